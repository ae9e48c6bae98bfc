"""Reads more of a file than its beginning, for a better decision on the types of its columns.

A small file is read whole. Of a larger one, blocks are read that are spread evenly, so the time does not grow with the
file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, overload

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.plan import Chunk, Column
from ladingd.data.formats.format import UNKNOWN_LINE, Piece
from ladingd.data.values.casting import cast
from ladingd.data.values.converters import typed
from ladingd.data.values.types import TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ladingd.core.plan import ImportPlan
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.format import Format, Outline

_BLOCK, _BLOCKS = 1 << 20, 16
"""The size of a block of a larger file, and how many there are."""
_PIECE = 4 << 20
THREADS = 2
"""Most of the time is spent in pyarrow, which does not hold the interpreter."""


def surveyed(form: Format, source: Source, plan: ImportPlan, outline: Outline, share: int = 1) -> Outline:
    """The outline with a sample of the whole file. ``plan`` has no columns yet. ``share``: the number of files."""
    if outline.whole or not outline.names or len(outline.types) == len(outline.names):
        return outline
    columns = tuple(Column(source=name, target=name, type=str(TEXT)) for name in outline.names)
    plan = replace(plan, columns=columns)
    size = plan.file.end - plan.file.start
    limit = form.surveyed_whole // share
    pieces = [*(_all(form, source, plan) if size <= limit else _blocks(form, source, plan, _BLOCKS // share))]
    if not pieces:
        return outline
    first: list[pa.Array] = [] if size <= limit else [*outline.columns]
    known: Sequence[int] = [] if size <= limit else outline.lines
    return replace(
        outline,
        columns=[
            pa.concat_arrays(
                [_text(array) for array in (*first[place : place + 1], *(p.columns[place] for p in pieces))]
            )
            for place in range(len(columns))
        ],
        lines=_Lines(known=known, pieces=pieces, numbered=size <= limit),
        whole=size <= limit,
    )


def _all(form: Format, source: Source, plan: ImportPlan) -> Iterator[Piece]:
    plan = replace(plan, chunk_bytes=_PIECE)
    chunks: list[Chunk] = []
    while more := form.cut(source, plan, chunks[-1] if chunks else None, 1):
        chunks += more
    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(partial(form.read, source, plan), chunks)


def _blocks(form: Format, source: Source, plan: ImportPlan, number: int) -> Iterator[Piece]:
    plan = replace(plan, chunk_bytes=_BLOCK)
    for place in range(1, number):
        start = form.record_near(
            source, plan, plan.file.start + (plan.file.end - plan.file.start - _BLOCK) * place // (number - 1)
        )
        if start is None:
            return
        before = Chunk(ordinal=0, start=start, end=start, records=0)
        for chunk in form.cut(source, plan, before, 1):
            piece = form.read(source, plan, chunk)
            if len(piece.faults) <= 1:  # The block may begin within a record.
                yield replace(piece, columns=[column[1:] for column in piece.columns], indexes=piece.indexes[1:])


def _text(column: pa.Array) -> pa.Array:
    if not (pa.types.is_string(column.type) or pa.types.is_binary(column.type)):
        return pc.cast(column, pa.string())
    return cast(column, typed(TEXT), nul=False).values


@dataclass(frozen=True, kw_only=True)
class _Lines(Sequence[int]):
    """The line of each record of a sample, looked up when it is needed."""

    known: Sequence[int]
    pieces: Sequence[Piece]
    numbered: bool

    def __len__(self) -> int:
        return len(self.known) + sum(piece.indexes.size for piece in self.pieces)

    @overload
    def __getitem__(self, row: int) -> int: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[int]: ...
    def __getitem__(self, row: int | slice) -> int | Sequence[int]:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        if row < len(self.known):
            return self.known[row]
        if not self.numbered:
            return UNKNOWN_LINE
        starts = [len(self.known), *accumulate((p.indexes.size for p in self.pieces), initial=len(self.known))][1:]
        place = bisect_right(starts, row) - 1
        piece = self.pieces[place]
        return int(piece.origins.lines(piece.indexes[row - starts[place] :][:1])[0])
