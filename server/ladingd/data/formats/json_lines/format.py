"""JSON Lines: each line is a JSON object (https://jsonlines.org). Strings stay strings. Numbers get the type of their
column; in a column of text they keep their digits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

from ladingd.core.plan import Layout
from ladingd.data.formats.format import SAMPLE, Format, Outline
from ladingd.data.formats.json_lines.chunker import cut
from ladingd.data.formats.json_lines.parser import BLANK, UNEXPECTED_KEY
from ladingd.data.formats.json_lines.reader import has_columns_of, read_piece
from ladingd.data.formats.json_lines.sample import learned, read_head
from ladingd.data.formats.json_lines.writer import JsonLinesWriter
from ladingd.data.formats.lines import blank_lines, end_of_line, find_beginning, lines_until
from ladingd.data.formats.options import FLATTENED, refuse_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.plan import Chunk, Column, ImportPlan
    from ladingd.core.spec import ExportSpec, ImportSpec
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.format import Piece

NAME = "json_lines"


class JsonLines(Format):
    """Each line is an object; its keys are the columns. A key that is missing is null."""

    name: ClassVar[str] = NAME
    title: ClassVar[str] = "JSON Lines"
    endings: ClassVar[frozenset[str]] = frozenset({"jsonl", "ndjson"})
    sparse: ClassVar[bool] = True
    telling_faults: ClassVar[frozenset[str]] = frozenset({UNEXPECTED_KEY})
    surveyed_whole: ClassVar[int] = 12 << 20
    surveyed_block: ClassVar[int] = 512 << 10

    def recognises(self, sample: bytes) -> bool:
        line, end, _ = sample.lstrip(BLANK + b"\n").partition(b"\n")
        if not end and len(sample) == SAMPLE:
            return False
        try:
            return isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            return False

    def check(self, spec: ImportSpec | ExportSpec) -> None:
        refuse_options(spec, self.title, but=("flatten",))

    def outline(self, source: Source, size: int, spec: ImportSpec, column_limit: int) -> Outline:
        beginning = find_beginning(source, size)
        head = read_head(source, beginning, size, column_limit, flatten=spec.flatten)
        return Outline(
            layout=Layout(format=NAME, details=FLATTENED if spec.flatten else {}),
            start=beginning.start,
            end=size,
            first_line=1 + beginning.lines,
            names=head.names,
            columns=head.columns,
            lines=head.lines,
            whole=head.whole,
            types=head.types,
            inferred=True,
            raw=head.raw,
            detected={"format": self.title, "encoding": "UTF-8"},
            notes=blank_lines(beginning.lines),
        )

    def has_columns_of(self, outline: Outline, first: Outline) -> bool:
        return has_columns_of(outline, first)

    def learn(self, outline: Outline, records: Sequence[bytes], path: str, column_limit: int) -> Outline:
        return learned(outline, records, path, column_limit)

    def cut(self, source: Source, plan: ImportPlan, previous: Chunk | None, limit: int) -> tuple[Chunk, ...]:
        return cut(source, plan, previous, limit)

    def read(self, source: Source, plan: ImportPlan, chunk: Chunk) -> Piece:
        return read_piece(source, plan, chunk)

    def lines(self, source: Source, plan: ImportPlan, last: Chunk) -> int | None:
        return lines_until(source, last)

    def record_near(self, source: Source, plan: ImportPlan, position: int) -> int | None:
        return end_of_line(source, position, plan.file.end)

    def layout(self, spec: ExportSpec, columns: Sequence[Column]) -> Layout:
        return Layout(format=NAME)

    def writer(self, layout: Layout, columns: Sequence[Column]) -> JsonLinesWriter:
        return JsonLinesWriter(columns=columns)
