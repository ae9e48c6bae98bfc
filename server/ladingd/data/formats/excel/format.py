"""Excel workbooks: one sheet, or a range of its cells. The line of a record is its row in the sheet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import Header, ImportSpec
from ladingd.data.formats.columnar.format import Columnar
from ladingd.data.formats.columnar.rows import Contents, Damaged, Group
from ladingd.data.formats.excel.sheet import Range, column_of, read_sheet, text_of, without_collection
from ladingd.data.formats.excel.writer import ExcelWriter
from ladingd.data.formats.header import Judgement, joined_names, judge, judge_lines, shown_header
from ladingd.data.formats.options import HEADER_LINES, check_header_lines, refuse_options

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
        refuse_options(spec, self.title, own="excel", but=("header", "header_lines"))
        if isinstance(spec, ImportSpec):
            check_header_lines("csv", spec.csv)
            check_header_lines("excel", spec.excel)
            try:
                Range.parse(spec.excel.range)
            except ValueError as error:
                raise InvalidSpec("excel.range", str(error)) from error

    def options(self, spec: ImportSpec) -> Mapping[str, str]:
        header = spec.csv.header if spec.excel.header is Header.DEFAULT else spec.excel.header
        return {
            "sheet": spec.excel.sheet,
            "range": spec.excel.range,
            "header": header.value,
            HEADER_LINES: str(spec.excel.header_lines or spec.csv.header_lines),
        }

    def with_header(self, spec: ImportSpec) -> ImportSpec | None:
        options = self.options(spec)
        decided = Header(options["header"]) is not Header.DEFAULT or int(options[HEADER_LINES])
        return None if decided else replace(spec, excel=replace(spec.excel, header=Header.PRESENT))

    def like(self, spec: ImportSpec, outline: Outline) -> ImportSpec:
        header = Header.PRESENT if outline.named else Header.ABSENT
        lines = int(outline.layout.details[HEADER_LINES])
        return replace(
            spec,
            csv=replace(spec.csv, header=header),
            excel=replace(spec.excel, header=header, header_lines=lines),
        )

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
        if sheet.formulas:
            notes.append(
                f"formulas of the sheet have no stored value (at least {sheet.formulas:,}); they are null: "
                "open and save the workbook with a program that computes them"
            )
        above = _title_rows(rows)
        if above:
            first, last = sheet.first_line, sheet.first_line + above - 1
            lines = f"row {first} is" if above == 1 else f"rows {first} to {last} are"
            notes.append(f"{lines} above the table and {'was' if above == 1 else 'were'} skipped")
        rows = rows[above:]
        texts = [[None if cell == "" else text_of(cell) for cell in row] for row in rows[: _COMPARED + 1]]
        judged = _judged(texts, options)
        header_lines = judged.lines if judged.header else 0
        if header_lines > len(rows):
            raise Damaged(f"has only {len(rows)} rows below its titles, and {header_lines} are to be the header")
        shown = shown_header(header_lines) + (f" (not certain: {judged.doubt})" if judged.doubt else "")
        width = len(rows[0]) if rows else 0
        names = _names(joined_names(texts[:header_lines]) if header_lines else [None] * width)
        columns = [column_of(column) for column in zip(*rows[header_lines:], strict=True)]
        columns = columns or [pa.nulls(0, pa.string())] * width
        table = pa.RecordBatch.from_arrays(columns, names=names)
        group = Group(first=0, rows=table.num_rows, size=int(size * _WEIGHT), start=0, end=size)
        return ExcelContents(
            schema=table.schema,
            groups=[group],
            table=table,
            named=header_lines > 0,
            first_line=sheet.first_line + above + header_lines,
            blank_is_empty=True,
            options={
                **options,
                "sheet": sheet.name,
                "header": (Header.PRESENT if header_lines else Header.ABSENT).value,
                HEADER_LINES: str(header_lines),
            },
            detected={"sheet": repr(sheet.name), "header": shown},
            notes=notes,
        )

    def writer(self, layout: Layout, columns: Sequence[Column]) -> ExcelWriter:
        return ExcelWriter(columns=columns)


def _judged(texts: Sequence[Sequence[str | None]], options: Mapping[str, str]) -> Judgement:
    """Whether the first rows are a header, and why that is uncertain."""
    header, lines = Header(options.get("header", Header.DEFAULT.value)), int(options.get(HEADER_LINES, "0"))
    if lines or header is not Header.DEFAULT:
        return Judgement(header is not Header.ABSENT and bool(texts), lines=lines or 1)
    if len(texts) < 2:
        return judge(texts[0], [()] * len(texts[0])) if texts else Judgement(False)
    return judge_lines(texts[0], texts[1], [*zip(*texts[2:], strict=True)] or [()] * len(texts[0]))


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
