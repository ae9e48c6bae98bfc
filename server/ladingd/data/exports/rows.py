"""Writes the rows of a chunk in the format of the export."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, cast

from ladingd.data.formats.csv.dialect import Dialect
from ladingd.data.formats.csv.parser import parse
from ladingd.data.formats.registry import format_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed import ReadableBuffer

    from ladingd.core.plan import Chunk, ExportPlan
    from ladingd.data.databases.row_source import TableSource
    from ladingd.data.formats.format import Writer

_DELIMITED = Dialect(delimiter=",", quote='"')
_AT_ONCE = 4 << 20
"""Bytes of delimited text that are rewritten at once."""


def writer_of(plan: ExportPlan) -> Writer:
    """Writes the rows of an export."""
    return format_of(plan.layout).writer(plan.layout, plan.columns)


def write_rows(source: TableSource, plan: ExportPlan, chunk: Chunk, file: BinaryIO) -> int:
    """Write the rows of a chunk; return how many there are. Databases write delimited text, and write it fast: any
    other format is made from that."""
    writer = writer_of(plan)
    if writer.delimited:
        return source.write(plan, chunk, file)
    rewriter = Rewriter(file, writer, len(plan.columns))
    rows = source.write(replace(plan, layout=_DELIMITED.layout()), chunk, cast("BinaryIO", rewriter))
    rewriter.flush()
    return rows


class Rewriter:
    """A file that takes delimited records and writes them in another format. Each call brings whole records."""

    def __init__(self, file: BinaryIO, writer: Writer, width: int) -> None:
        self._file = file
        self._writer = writer
        self._width = width
        self._kept: list[bytes] = []
        self._size = 0

    def write(self, records: ReadableBuffer) -> int:
        """Take records."""
        data = bytes(records)
        self._kept.append(data)
        self._size += len(data)
        if self._size >= _AT_ONCE:
            self.flush()
        return len(data)

    def writelines(self, pieces: Iterable[ReadableBuffer]) -> None:
        """Take several pieces of records."""
        for piece in pieces:
            self.write(piece)

    def flush(self) -> None:
        """Write what was taken."""
        data = b"".join(self._kept)
        self._kept.clear()
        self._size = 0
        if data:
            self._file.writelines(self._writer.records(parse(data, _DELIMITED, self._width).columns))
