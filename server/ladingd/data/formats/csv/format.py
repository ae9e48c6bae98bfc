"""Delimited text: CSV, TSV, and their relatives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ladingd.core.plan import Layout
from ladingd.core.spec import ExportSpec, Header, Ragged
from ladingd.data.formats.csv.chunker import cut
from ladingd.data.formats.csv.dialect import FIELDS, FILL, NAME, NO_DELIMITER, RAGGED, Dialect, check_marks
from ladingd.data.formats.csv.parser import parse, record_places
from ladingd.data.formats.csv.reader import read_piece
from ladingd.data.formats.csv.sample import read_head
from ladingd.data.formats.csv.writer import CsvWriter
from ladingd.data.formats.format import Format, Outline
from ladingd.data.formats.header import shown_header
from ladingd.data.formats.lines import blank_lines, end_of_line, find_beginning, lines_until
from ladingd.data.formats.options import HEADER_LINES, check_header_lines, refuse_options
from ladingd.data.values.null_words import wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.plan import Chunk, Column, ImportPlan
    from ladingd.core.spec import CsvFormat, ImportSpec
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.csv.sample import Head
    from ladingd.data.formats.format import Piece

_MARKS = {NO_DELIMITER: "none", ",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "blank"}

_DELIMITERS = {".tsv": "\t", ".tab": "\t", ".psv": "|"}
"""What other programs expect between the fields of files with these names."""


class Csv(Format):
    """One record a line, its fields separated by a delimiter; a field in quotes may contain both."""

    name: ClassVar[str] = NAME
    title: ClassVar[str] = "CSV"
    endings: ClassVar[frozenset[str]] = frozenset({"csv", "tsv", "tab", "psv"})
    surveyed_whole: ClassVar[int] = 64 << 20

    def recognises(self, sample: bytes) -> bool:
        return False  # Any text may be delimited.

    def check(self, spec: ImportSpec | ExportSpec) -> None:
        refuse_options(spec, self.title, own="csv")
        if isinstance(spec, ExportSpec):
            check_marks(_to_write(spec), writes=True)
        else:
            check_marks(spec.csv, writes=False)
            check_header_lines("csv", spec.csv)

    def outline(self, source: Source, size: int, spec: ImportSpec, column_limit: int) -> Outline:
        beginning = find_beginning(source, size)
        first_line, notes = 1 + beginning.lines, blank_lines(beginning.lines)
        if beginning.start == size:
            layout = Dialect.wanted(spec.csv).layout()
            return Outline(layout=layout, start=size, end=size, first_line=first_line, notes=notes)
        head = read_head(source, beginning, size, spec.csv, column_limit)
        first_line += head.lines
        fill = spec.csv.ragged is Ragged.FILL
        null_words, _ = wanted(spec.null_words)
        parsed = parse(head.records, replace(head.dialect, null_words=null_words), head.fields, fill=fill)
        places = record_places(head.records, head.dialect)
        left_out = {each.index for each in parsed.misshapen} | parsed.refused.keys() | set(parsed.skipped.tolist())
        kept = [index for index in range(places.ends.size) if index not in left_out]
        return Outline(
            layout=_layout(head, null_words, fill=fill),
            start=beginning.start + head.start,
            end=size,
            first_line=first_line,
            names=head.names,
            named=head.header_lines > 0,
            columns=parsed.columns[: len(head.names)],
            lines=(first_line + places.lines(np.array(kept, np.int64))).tolist(),
            whole=beginning.start + head.start + len(head.records) >= size,
            decimal_mark="." if head.dialect.delimiter == "," else "",
            detected=_detected(head),
            notes=(*notes, *head.notes),
        )

    def with_header(self, spec: ImportSpec) -> ImportSpec | None:
        decided = spec.csv.header is not Header.DEFAULT or spec.csv.header_lines
        return None if decided else replace(spec, csv=replace(spec.csv, header=Header.PRESENT))

    def like(self, spec: ImportSpec, outline: Outline) -> ImportSpec:
        delimiter = outline.layout.details["delimiter"]
        csv = replace(
            spec.csv,
            delimiter=spec.csv.delimiter or (delimiter if delimiter != NO_DELIMITER else ""),
            header=Header.PRESENT if outline.named else Header.ABSENT,
            header_lines=int(outline.layout.details.get(HEADER_LINES, "0")),
        )
        return replace(spec, csv=csv)

    def cut(self, source: Source, plan: ImportPlan, previous: Chunk | None, limit: int) -> tuple[Chunk, ...]:
        return cut(source, plan, previous, limit)

    def read(self, source: Source, plan: ImportPlan, chunk: Chunk) -> Piece:
        return read_piece(source, plan, chunk)

    def lines(self, source: Source, plan: ImportPlan, last: Chunk) -> int | None:
        return lines_until(source, last)

    def record_near(self, source: Source, plan: ImportPlan, position: int) -> int | None:
        return end_of_line(source, position, plan.file.end)

    def layout(self, spec: ExportSpec, columns: Sequence[Column]) -> Layout:
        header = Header.ABSENT if spec.csv.header is Header.ABSENT else Header.PRESENT
        return Dialect.wanted(_to_write(spec)).layout(header)

    def writer(self, layout: Layout, columns: Sequence[Column]) -> CsvWriter:
        names = [column.target for column in columns] if layout.details.get("header") != "absent" else []
        return CsvWriter(dialect=Dialect.of(layout), names=names)


def _to_write(spec: ExportSpec) -> CsvFormat:
    """The options of an export. The ending of the file's name decides what separates fields if the spec does not."""
    ending = PurePosixPath(spec.file.path).suffix.lower()
    return replace(spec.csv, delimiter=spec.csv.delimiter or _DELIMITERS.get(ending, ","))


def _layout(head: Head, null_words: tuple[str, ...], *, fill: bool) -> Layout:
    details = dict(replace(head.dialect, null_words=null_words).details())
    if head.fields != len(head.names):
        details[FIELDS] = str(head.fields)
    if head.header_lines > 1:
        details[HEADER_LINES] = str(head.header_lines)
    if fill:
        details[RAGGED] = FILL
    return Layout(format=NAME, details=details)


def _detected(head: Head) -> dict[str, str]:
    dialect = head.dialect
    delimiter = dialect.delimiter
    shown = _MARKS.get(delimiter) or (delimiter if delimiter.isprintable() else repr(delimiter))
    if dialect.blanks:
        shown += " and blanks"
    found = {
        "delimiter": _with_doubt(shown, head.delimiter_doubt),
        "quote": f"{dialect.quote}, escaped by {dialect.escape}" if dialect.escape else dialect.quote,
        "header": _with_doubt(shown_header(head.header_lines), head.doubt),
        "encoding": "UTF-8",
    }
    if dialect.comment:
        found["comments"] = dialect.comment
    return found


def _with_doubt(found: str, doubt: str) -> str:
    return f"{found} (in doubt: {doubt})" if doubt else found
