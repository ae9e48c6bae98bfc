"""Fixed width: a value is told by its place in the line, and padded with blanks."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import Layout
from ladingd.core.spec import CsvFormat, ExportSpec, FixedWidthFormat, Header, ImportSpec, Ragged
from ladingd.data.formats.csv.dialect import DELIMITER_BYTES, NO_DELIMITER, mark
from ladingd.data.formats.csv.structure import WEAK
from ladingd.data.formats.csv.structure import find_structure as find_delimiter
from ladingd.data.formats.fixed_width.reader import RULED, WIDTHS, read_piece
from ladingd.data.formats.fixed_width.records import LINELESS, cut
from ladingd.data.formats.fixed_width.sample import NAME, read_head
from ladingd.data.formats.fixed_width.structure import find_ruler, is_surely_fixed
from ladingd.data.formats.fixed_width.widths import Widths, wanted
from ladingd.data.formats.fixed_width.writer import FixedWidthWriter, widths_for
from ladingd.data.formats.format import SAMPLE, Format, Outline
from ladingd.data.formats.lines import BOM, blank_lines, end_of_line, find_beginning, lines_until
from ladingd.data.formats.options import refuse_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.plan import Chunk, Column, ImportPlan
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.format import Piece

_HEADER = "header"
_LINE = re.compile(r"\r\n|\r|\n")


class FixedWidth(Format):
    """Every line has its columns at the same characters."""

    name: ClassVar[str] = NAME
    title: ClassVar[str] = "fixed width"
    endings: ClassVar[frozenset[str]] = frozenset()
    surveyed_whole: ClassVar[int] = 48 << 20

    def recognises(self, sample: bytes) -> bool:
        if b"\t" in sample or b"\0" in sample:
            return False
        lines = _LINE.split(sample.removeprefix(BOM).decode(errors="replace"))
        lines = [line for line in (lines[:-1] if len(sample) == SAMPLE else lines) if line.strip()]
        if not is_surely_fixed(lines):
            return False
        if find_ruler(lines) is not None:
            return True
        return find_delimiter(sample, CsvFormat(), final=len(sample) < SAMPLE).dialect.delimiter in (
            NO_DELIMITER,
            *WEAK,
        )

    def is_meant(self, spec: ImportSpec | ExportSpec) -> bool:
        return spec.fixed_width != FixedWidthFormat()

    def check(self, spec: ImportSpec | ExportSpec) -> None:
        refuse_options(spec, self.title, own=NAME, but=("header", "skip_lines", "comment", "ragged"))
        options = _options(spec)
        wanted(options.widths)
        comment = mark(options.comment)
        if comment and (len(comment.encode()) > DELIMITER_BYTES or any(bad in comment for bad in "\r\n\0")):
            raise InvalidSpec(
                f"{NAME}.comment", f"{comment!r} is not a text within a line of up to {DELIMITER_BYTES} bytes"
            )

    def outline(self, source: Source, size: int, spec: ImportSpec, column_limit: int) -> Outline:
        beginning = find_beginning(source, size)
        notes = blank_lines(beginning.lines)
        if beginning.start == size:
            layout = Layout(format=NAME, details={WIDTHS: "1"})
            return Outline(layout=layout, start=size, end=size, first_line=1 + beginning.lines, notes=notes)
        head = read_head(source, beginning, size, _options(spec), column_limit)
        first_line = 1 + beginning.lines + head.lines
        lineless = LINELESS in head.layout.details
        return Outline(
            layout=head.layout,
            start=beginning.start + head.start,
            end=size,
            first_line=first_line,
            names=head.names,
            named=head.named,
            columns=head.piece.columns,
            lines=[0 if lineless else first_line + index for index in head.piece.indexes.tolist()],
            whole=head.whole,
            detected=head.detected,
            notes=(*notes, *head.notes),
        )

    def with_header(self, spec: ImportSpec) -> ImportSpec | None:
        own = spec.fixed_width
        decided = _options(spec).header is not Header.DEFAULT or wanted(own.widths).names
        return None if decided else replace(spec, fixed_width=replace(own, header=Header.PRESENT))

    def like(self, spec: ImportSpec, outline: Outline) -> ImportSpec:
        if RULED in outline.layout.details:
            return spec
        own, header = spec.fixed_width, Header.PRESENT if outline.named else Header.ABSENT
        if wanted(own.widths).names:
            header = own.header  # The names are not those of a header.
        widths = own.widths or outline.layout.details[WIDTHS]
        return replace(spec, fixed_width=replace(own, widths=widths, header=header))

    def cut(self, source: Source, plan: ImportPlan, previous: Chunk | None, limit: int) -> tuple[Chunk, ...]:
        return cut(source, plan, previous, limit)

    def read(self, source: Source, plan: ImportPlan, chunk: Chunk) -> Piece:
        return read_piece(source, plan, chunk)

    def lines(self, source: Source, plan: ImportPlan, last: Chunk) -> int | None:
        return None if LINELESS in plan.file.layout.details else lines_until(source, last)

    def record_near(self, source: Source, plan: ImportPlan, position: int) -> int | None:
        return None if LINELESS in plan.file.layout.details else end_of_line(source, position, plan.file.end)

    def layout(self, spec: ExportSpec, columns: Sequence[Column]) -> Layout:
        header = _options(spec).header is not Header.ABSENT
        widths = widths_for(columns, wanted(spec.fixed_width.widths), header=header)
        return Layout(format=NAME, details={WIDTHS: str(widths), _HEADER: "yes" if header else "no"})

    def writer(self, layout: Layout, columns: Sequence[Column]) -> FixedWidthWriter:
        details = layout.details
        return FixedWidthWriter(columns=columns, widths=Widths.of(details[WIDTHS]), named=details[_HEADER] == "yes")


def _options(spec: ImportSpec | ExportSpec) -> FixedWidthFormat:
    """The options of fixed width. What they leave open, those of CSV may tell."""
    own, csv = spec.fixed_width, spec.csv
    return FixedWidthFormat(
        widths=own.widths,
        header=csv.header if own.header is Header.DEFAULT else own.header,
        skip_lines=csv.skip_lines if own.skip_lines is None else own.skip_lines,
        comment=own.comment or csv.comment,
        ragged=own.ragged or (Ragged.FILL if csv.ragged is Ragged.FILL else None),
    )
