"""Excel workbooks: one sheet, or a range of its cells. The line of a record is its row in the sheet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import Header, ImportSpec
from ladingd.data.formats.columnar.format import Columnar
from ladingd.data.formats.columnar.rows import Contents, Group
from ladingd.data.formats.excel.sheet import Range, column_of, read_sheet, text_of, without_collection
from ladingd.data.formats.excel.writer import ExcelWriter
from ladingd.data.formats.header import judge
from ladingd.data.formats.options import refuse_options

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from ladingd.core.plan import Column, Layout
    from ladingd.core.spec import ExportSpec
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.format import Outline

_ZIPPED, _OLD = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_WEIGHT = 0.52
"""The size of the values for each byte of the file. Every process that reads a chunk reads the whole sheet first, so
that a sheet of usual size is one chunk."""
_COMPARED = 200


@dataclass(frozen=True, kw_only=True)
class ExcelContents(Contents):
    """The records of a sheet."""

    most_rows: ClassVar[int] = 250_000
    table: pa.RecordBatch

    @property
    def is_small(self) -> bool:
        return False

    def batches(self, source: Source, place: int, size: int) -> Generator[pa.RecordBatch, None, None]:
        for first in range(0, self.table.num_rows, size):
            yield self.table.slice(first, size)


class Excel(Columnar):
    """The cells of a row are the fields of a record. Rows without any value count as empty."""

    name: ClassVar[str] = "excel"
    title: ClassVar[str] = "Excel"
    endings: ClassVar[frozenset[str]] = frozenset({"xlsx"})
    read_only_endings: ClassVar[frozenset[str]] = frozenset({"xlsm", "xlsb", "xls", "ods"})
    bounded: ClassVar[bool] = False

    def recognises(self, sample: bytes) -> bool:
        if sample.startswith(_OLD):
            return True
        is_book = any(mark in sample for mark in (b"[Content_Types].xml", b"xl/", b"opendocument.spreadsheet"))
        return sample.startswith(_ZIPPED) and is_book

    def check(self, spec: ImportSpec | ExportSpec) -> None:
        refuse_options(spec, self.title, own="excel", but=("header",))
        if isinstance(spec, ImportSpec):
            try:
                Range.parse(spec.excel.range)
            except ValueError as error:
                raise InvalidSpec("excel.range", str(error)) from error

    def options(self, spec: ImportSpec) -> Mapping[str, str]:
        header = spec.csv.header if spec.excel.header is Header.DEFAULT else spec.excel.header
        return {"sheet": spec.excel.sheet, "range": spec.excel.range, "header": header.value}

    def like(self, spec: ImportSpec, outline: Outline) -> ImportSpec:
        header = Header.PRESENT if outline.named else Header.ABSENT
        return replace(spec, csv=replace(spec.csv, header=header), excel=replace(spec.excel, header=header))

    def look(self, source: Source, size: int, options: Mapping[str, str]) -> ExcelContents:
        with without_collection():
            return self._read(source, size, options)

    def _read(self, source: Source, size: int, options: Mapping[str, str]) -> ExcelContents:
        sheet = read_sheet(source.read(0, size), options.get("sheet", ""), Range.parse(options.get("range", "")))
        rows, notes = sheet.rows, []
        if sheet.others:
            others = ", ".join(map(repr, sheet.others))
            notes.append(f"{source.path} has other sheets, which are not imported: {others} (--sheet)")
        if sheet.errors:
            notes.append(f"cells of the sheet hold an error such as #N/A (at least {sheet.errors:,}); they are null")
        above = _title_rows(rows)
        if above:
            first, last = sheet.first_line, sheet.first_line + above - 1
            lines = f"row {first} is" if above == 1 else f"rows {first} to {last} are"
            notes.append(f"{lines} above the table and {'was' if above == 1 else 'were'} skipped")
        rows = rows[above:]
        texts = [[None if cell == "" else text_of(cell) for cell in row] for row in rows[: _COMPARED + 1]]
        judged = judge(texts[0], list(zip(*texts[1:], strict=True)) or [()] * len(texts[0])) if texts else None
        header = Header(options.get("header", Header.DEFAULT.value))
        named = judged is not None and (judged.header if header is Header.DEFAULT else header is Header.PRESENT)
        shown = "yes" if named else "no"
        if judged is not None and header is Header.DEFAULT and judged.doubt:
            shown = f"{shown} (not certain: {judged.doubt})"
        width = len(rows[0]) if rows else 0
        names = _names(texts[0] if named else [None] * width)
        columns = [column_of(column) for column in zip(*rows[named:], strict=True)]
        columns = columns or [pa.nulls(0, pa.string())] * width
        table = pa.RecordBatch.from_arrays(columns, names=names)
        group = Group(first=0, rows=table.num_rows, size=int(size * _WEIGHT), start=0, end=size)
        return ExcelContents(
            schema=table.schema,
            groups=[group],
            table=table,
            named=named,
            first_line=sheet.first_line + above + named,
            blank_is_empty=True,
            options={**options, "sheet": sheet.name, "header": (Header.PRESENT if named else Header.ABSENT).value},
            detected={"sheet": repr(sheet.name), "header": shown},
            notes=notes,
        )

    def writer(self, layout: Layout, columns: Sequence[Column]) -> ExcelWriter:
        return ExcelWriter(columns=columns)


def _names(header: Sequence[str | None]) -> list[str]:
    return [(name or "").strip() or f"column{number}" for number, name in enumerate(header, 1)]


def _title_rows(rows: Sequence[Sequence[Any]]) -> int:
    """How many rows at the top are titles: they have one filled cell or none, and the table is wider than two."""
    if not rows or len(rows[0]) < 3:
        return 0
    for number, row in enumerate(rows[:50]):
        if sum(cell != "" for cell in row) > 1:
            return number
    return 0
