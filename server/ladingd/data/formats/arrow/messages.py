"""The messages of Arrow's IPC format (https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format):
the schema, dictionaries, and batches of rows.

pyarrow reads a stream from its beginning only; the positions of the messages make any batch readable. In a file, the
footer has the positions and the schema. Polars writes no message of the schema into files.
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
_SCHEMA_MESSAGE = struct.Struct("<IHHHHH2xiIhB5x")
"""The position of the message's table; the sizes of the list of its fields and of the table; the places of version,
kind and content in the table; and the table: the distance of the list, the distance of the content, version, kind."""
_BLOCK = struct.Struct("<qi4xq")
"""A message in the footer: its position, and the lengths of its metadata and of its values."""


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
    while start < end and (message := _message(source, start, end)) is not None:
        yield message
        start = message.end


@dataclass(frozen=True, slots=True)
class Footer:
    """The end of a file. Its methods raise Damaged."""

    data: bytes
    start: int
    """Where it begins in the file."""

    def messages(self, source: Source) -> Iterator[Message]:
        """The dictionaries and batches."""
        try:
            table = _Table.root(self.data)
            starts = [*table.blocks(2), *table.blocks(3)]
        except (struct.error, IndexError) as error:
            raise Damaged("is a damaged Arrow file: its footer cannot be read") from error
        for start in starts:
            message = _message(source, start, self.start) if 0 < start < self.start else None
            if message is None or message.kind not in (Kind.DICTIONARY, Kind.BATCH):
                raise Damaged(f"is a damaged Arrow file: its footer names byte {start:,}, where no rows begin")
            yield message

    def schema_message(self) -> bytes:
        """The message of the schema. All offsets in a FlatBuffer are relative, so the footer is copied as it is."""
        try:
            table = _Table.root(self.data)
            if not table.has(1):
                raise IndexError(1)
            version, schema = table.number(0, "h"), table.table(1).position
            metadata = _SCHEMA_MESSAGE.pack(16, 10, 11, 8, 10, 4, 12, schema + 12, version, Kind.SCHEMA) + self.data
        except (struct.error, IndexError) as error:
            raise Damaged("is a damaged Arrow file: its footer cannot be read") from error
        metadata += bytes(-len(metadata) % 8)
        return _CONTINUATION + len(metadata).to_bytes(4, "little") + metadata


def _message(source: Source, start: int, end: int) -> Message | None:
    """The message at a position; None: the mark of the end is there. Raises Damaged."""
    prefix = source.read(start, min(start + 8, end))
    marked = prefix.startswith(_CONTINUATION)  # Before version 0.15 messages began with their length.
    length = prefix[4:] if marked else prefix[:4]
    if len(length) < 4:
        raise _cut_off(start)
    size = int.from_bytes(length, "little")
    if not size:
        return None
    first = start + (8 if marked else 4)
    if size > _METADATA_LIMIT or first + size > end:
        raise _cut_off(start)
    try:
        message = _parsed(source.read(first, first + size), start, first + size)
    except (struct.error, IndexError) as error:
        raise Damaged(f"is a damaged Arrow file: the message at byte {start:,} cannot be read") from error
    if not first <= message.end <= end:
        raise _cut_off(start)
    return message


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

    def blocks(self, field: int) -> list[int]:
        """Where the messages of a list in the footer begin."""
        if not self.has(field):
            return []
        place = self.position + self._offset(field)
        place += struct.unpack_from("<I", self.data, place)[0]
        (count,) = struct.unpack_from("<I", self.data, place)
        if place + 4 + count * _BLOCK.size > len(self.data):
            raise IndexError(count)
        return [start for start, _, _ in _BLOCK.iter_unpack(self.data[place + 4 : place + 4 + count * _BLOCK.size])]

    def _offset(self, field: int) -> int:
        names = self.position - struct.unpack_from("<i", self.data, self.position)[0]
        if names < 0:
            raise IndexError(names)
        size = struct.unpack_from("<H", self.data, names)[0]
        place = 4 + 2 * field
        return int(struct.unpack_from("<H", self.data, names + place)[0]) if place < size else 0
