"""Arrow's IPC format (https://arrow.apache.org/docs/format/Columnar.html), as a file (also called Feather) or a
stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa

from ladingd.core.plan import Layout
from ladingd.data.formats.arrow.messages import Footer, Kind, Message, begins_stream, messages
from ladingd.data.formats.arrow.writer import ArrowFileWriter, ArrowStreamWriter
from ladingd.data.formats.columnar.format import Columnar
from ladingd.data.formats.columnar.rows import Contents, Damaged, Group

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from ladingd.core.plan import Column
    from ladingd.core.spec import ExportSpec
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.columnar.writer import ColumnarWriter

_MAGIC, _PADDED = b"ARROW1", b"ARROW1\0\0"
_TAIL = 4 + len(_MAGIC)
"""How many bytes at the end of a file have the length of the footer and the mark of the format."""
_STREAM = ".arrows"
_DECOMPRESSED = 4
"""How much larger compressed values are assumed to be in memory."""


@dataclass(frozen=True, kw_only=True)
class ArrowContents(Contents):
    """The messages of a file."""

    found: Sequence[Message]
    """The batches, one for each group."""

    schema_message: bytes
    dictionaries: Sequence[tuple[int, int]]

    def batches(self, source: Source, place: int, size: int) -> Generator[pa.RecordBatch, None, None]:
        message = self.found[place]
        parts = [source.read(start, end) for start, end in (*self.dictionaries, (message.start, message.end))]
        with pa.ipc.open_stream(pa.py_buffer(b"".join([self.schema_message, *parts]))) as stream:
            batch = stream.read_next_batch()
        batch.validate(full=True)  # A false offset would end the process.
        for first in range(0, batch.num_rows, size):
            yield batch.slice(first, size)


class Arrow(Columnar):
    """Columns as Arrow has them in memory."""

    name: ClassVar[str] = "arrow"
    title: ClassVar[str] = "Arrow"
    endings: ClassVar[frozenset[str]] = frozenset({"arrow", "arrows", "feather", "ipc"})

    def recognises(self, sample: bytes) -> bool:
        return sample.startswith(_PADDED) or begins_stream(sample)

    def look(self, source: Source, size: int, options: Mapping[str, str]) -> ArrowContents:
        is_file = size >= len(_PADDED) and source.read(0, len(_PADDED)) == _PADDED
        found, schema_message, place = _file(source, size) if is_file else _stream(source, size)
        try:
            schema = pa.ipc.read_schema(pa.py_buffer(schema_message))
        except (pa.ArrowException, OSError) as error:
            raise Damaged(f"is a damaged Arrow file: its schema cannot be read ({error})") from error
        dictionaries = [(message.start, message.end) for message in found if message.kind == Kind.DICTIONARY]
        batches = [message for message in found if message.kind == Kind.BATCH]
        groups: list[Group] = []
        first = 0
        for message in batches:
            values = (message.end - message.body) * (_DECOMPRESSED if message.codec else 1)
            groups.append(Group(first=first, rows=message.rows, size=values, start=message.start, end=message.end))
            first += message.rows
        return ArrowContents(
            schema=schema,
            groups=groups,
            detected={"compression": ", ".join(sorted({message.codec or "none" for message in batches})) or "none"},
            shared=[place, *dictionaries],
            found=batches,
            schema_message=schema_message,
            dictionaries=dictionaries,
        )

    def layout(self, spec: ExportSpec, columns: Sequence[Column]) -> Layout:
        is_stream = PurePosixPath(spec.file.path).suffix.lower() == _STREAM
        return Layout(format=self.name, details={"kind": "stream" if is_stream else "file"})

    def writer(self, layout: Layout, columns: Sequence[Column]) -> ColumnarWriter:
        kind = ArrowStreamWriter if layout.details.get("kind") == "stream" else ArrowFileWriter
        return kind(columns=columns)


_Found = tuple[list[Message], bytes, tuple[int, int]]
"""The messages, the one of the schema, and where in the file the schema is."""


def _stream(source: Source, size: int) -> _Found:
    """Raises Damaged."""
    found = list(messages(source, 0, size))
    if not found or found[0].kind != Kind.SCHEMA:
        raise Damaged("is not an Arrow file: it does not begin with a schema")
    place = (found[0].start, found[0].end)
    return found, source.read(*place), place


def _file(source: Source, size: int) -> _Found:
    """Raises Damaged."""
    tail = source.read(max(size - _TAIL, 0), size)
    if len(tail) < _TAIL or not tail.endswith(_MAGIC):
        raise Damaged("is a damaged Arrow file: its end is missing, so it was not written or copied completely")
    end = size - _TAIL
    start = end - int.from_bytes(tail[: -len(_MAGIC)], "little")
    if start < len(_PADDED):
        raise Damaged("is a damaged Arrow file: its footer cannot be read")
    footer = Footer(source.read(start, end), start)
    return list(footer.messages(source)), footer.schema_message(), (start, end)
