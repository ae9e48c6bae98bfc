"""The messages of Arrow's IPC format (https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format).

A stream and a file hold the same messages: the schema, dictionaries, and batches of rows. pyarrow reads a stream from
its beginning only; the positions of the messages make any batch readable.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Self

from ladingd.data.formats.columnar.rows import Damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ladingd.data.files.roots import Source

_CONTINUATION = b"\xff\xff\xff\xff"
_METADATA_LIMIT = 256 << 20


class Kind(IntEnum):
    """The content of a message. The numbers are those of the format."""

    SCHEMA = 1
    DICTIONARY = 2
    BATCH = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A message in a file."""

    kind: int
    start: int
    """Where the message begins, in bytes."""
    body: int
    """Where its values begin."""
    end: int
    rows: int = 0
    codec: str = ""
    """How the values are compressed; empty: they are not."""


def messages(source: Source, start: int, end: int) -> Iterator[Message]:
    """The messages between two positions. Raises Damaged."""
    while start < end:
        prefix = source.read(start, min(start + 8, end))
        marked = prefix.startswith(_CONTINUATION)  # Before version 0.15 messages began with their length.
        length = prefix[4:] if marked else prefix[:4]
        if len(length) < 4:
            raise _cut_off(start)
        size = int.from_bytes(length, "little")
        if not size:
            return
        first = start + (8 if marked else 4)
        if size > _METADATA_LIMIT or first + size > end:
            raise _cut_off(start)
        try:
            message = _parsed(source.read(first, first + size), start, first + size)
        except (struct.error, IndexError) as error:
            raise Damaged(f"is a damaged Arrow file: the message at byte {start:,} cannot be read") from error
        if not first <= message.end <= end:
            raise _cut_off(start)
        yield message
        start = message.end


def begins_stream(sample: bytes) -> bool:
    """Whether bytes are the beginning of a stream: the message of a schema."""
    if not sample.startswith(_CONTINUATION) or len(sample) < 16:
        return False
    try:
        return _parsed(sample[8:], 0, 0).kind == Kind.SCHEMA
    except (struct.error, IndexError):
        return False


def _cut_off(start: int) -> Damaged:
    return Damaged(
        f"is a damaged Arrow file: it ends within the message at byte {start:,}, so it was not written or copied "
        "completely"
    )


def _parsed(metadata: bytes, start: int, body: int) -> Message:
    message = _Table.root(metadata)
    kind = message.number(1, "B")
    rows, codec = 0, ""
    if kind == Kind.BATCH:
        batch = message.table(2)
        rows = batch.number(0, "q")
        if batch.has(3):
            codec = "zstd" if batch.table(3).number(0, "b") else "lz4"
    return Message(kind=kind, start=start, body=body, end=body + message.number(3, "q"), rows=rows, codec=codec)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a FlatBuffer (https://flatbuffers.dev/internals)."""

    data: bytes
    position: int

    @classmethod
    def root(cls, data: bytes) -> Self:
        return cls(data, struct.unpack_from("<I", data)[0])

    def has(self, field: int) -> bool:
        return self._offset(field) > 0

    def number(self, field: int, kind: str) -> int:
        """A number; 0 if the table does not have it."""
        offset = self._offset(field)
        return int(struct.unpack_from(f"<{kind}", self.data, self.position + offset)[0]) if offset else 0

    def table(self, field: int) -> _Table:
        place = self.position + self._offset(field)
        return _Table(self.data, place + struct.unpack_from("<I", self.data, place)[0])

    def _offset(self, field: int) -> int:
        names = self.position - struct.unpack_from("<i", self.data, self.position)[0]
        if names < 0:
            raise IndexError(names)
        size = struct.unpack_from("<H", self.data, names)[0]
        place = 4 + 2 * field
        return int(struct.unpack_from("<H", self.data, names + place)[0]) if place < size else 0
