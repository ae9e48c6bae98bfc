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
from math import isfinite
from typing import TYPE_CHECKING, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.plan import Chunk, Column
from ladingd.data.formats.format import UNKNOWN_LINE, Piece
from ladingd.data.values.casting import cast
from ladingd.data.values.converters import typed
from ladingd.data.values.inference import TOLERANCE
from ladingd.data.values.types import TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ladingd.core.plan import ImportPlan
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.format import Format, Outline
    from ladingd.data.values.types import FieldType

_BLOCKS = 16
"""How many blocks of a larger file are read."""
_GLANCE = 16 << 10
"""The size of the blocks from which formats whose records name their fields learn first."""
_PIECE = 4 << 20
THREADS = 2
"""Most of the time is spent in pyarrow, which does not hold the interpreter."""


ROUNDS = 6
"""How often a survey begins anew because it has learnt of columns and types."""
_LEARNT = 1_000
"""How many records a round learns from."""


def surveyed(
    form: Format,
    source: Source,
    plan: ImportPlan,
    outline: Outline,
    share: int = 1,
    learn: Callable[[Outline, Sequence[bytes]], Outline | None] = lambda _outline, _records: None,
) -> Outline:
    """The outline with a sample of the whole file. ``plan`` has no columns yet. ``share``: the number of files.

    ``learn`` gives the outline with what records tell of columns and types that it lacks; None: such records will be
    refused.
    """
    if outline.whole or not outline.names or (len(outline.types) == len(outline.names) and not outline.inferred):
        return outline
    if form.sparse and plan.file.end - plan.file.start > 2 * _BLOCKS * _GLANCE:
        outline = _glanced(form, source, plan, outline, share, learn)
    pieces = _read(form, source, plan, outline, share)
    for _ in range(ROUNDS):
        records = _unlike(form, outline, pieces)
        wider = learn(outline, records) if records else None
        if wider is None:
            break
        outline = wider
        pieces = _read(form, source, plan, outline, share)
    if not pieces:
        return outline
    whole = _is_whole(form, plan, share)
    first: list[pa.Array] = [] if whole else [*outline.columns]
    return replace(
        outline,
        columns=[
            pa.concat_arrays(
                [_text(array) for array in (*first[place : place + 1], *(p.columns[place] for p in pieces))]
            )
            for place in range(len(outline.names))
        ],
        lines=_Lines(known=[] if whole else outline.lines, pieces=pieces, numbered=whole),
        whole=whole,
    )


def _glanced(
    form: Format,
    source: Source,
    plan: ImportPlan,
    outline: Outline,
    share: int,
    learn: Callable[[Outline, Sequence[bytes]], Outline | None],
) -> Outline:
    """The outline with what a small sample tells of columns and of numbers. To read many records that do not fit takes
    several times as long as to read others."""
    part = _plan_of(plan, outline, share)
    pieces = [*_blocks(form, source, part, _BLOCKS // share, _GLANCE)]
    records = _unlike(form, outline, pieces, surely=True)
    return (learn(outline, records) if records else None) or outline


def _is_whole(form: Format, plan: ImportPlan, share: int) -> bool:
    """Whether all of a file is read."""
    return plan.file.end - plan.file.start <= form.surveyed_whole // share


def _read(form: Format, source: Source, plan: ImportPlan, outline: Outline, share: int) -> list[Piece]:
    """The records that the survey looks at."""
    plan = _plan_of(plan, outline, share)
    if _is_whole(form, plan, share):
        return [*_all(form, source, plan)]
    return [*_blocks(form, source, plan, _BLOCKS // share, form.surveyed_block)]


def _plan_of(plan: ImportPlan, outline: Outline, share: int) -> ImportPlan:
    """The plan by which records are read. Values of several files are compared as text."""
    types = outline.types if share == 1 else {}
    columns = tuple(
        Column(source=name, target=name, type=str(types.get(name, TEXT)), inferred=True) for name in outline.names
    )
    return replace(plan, files=(replace(plan.file, layout=outline.layout),), columns=columns)


def _unlike(form: Format, outline: Outline, pieces: Sequence[Piece], *, surely: bool = False) -> list[bytes]:
    """Some records that have columns which the outline lacks, or values of other types.

    A type that few values do not fit is right, as it is in text, unless they are numbers of another kind. ``surely``:
    the pieces are too few to tell.
    """
    found: list[set[int]] = [
        {fault.index for fault in piece.faults if fault.code in form.telling_faults} for piece in pieces
    ]
    for place, name in enumerate(outline.names):
        if name not in outline.types:
            continue
        columns = [piece.columns[place] for piece in pieces]
        misfits = [_misfits(column, outline.types[name]) for column in columns]
        if surely or sum(map(len, misfits)) * TOLERANCE <= sum(len(column) - column.null_count for column in columns):
            pairs = zip(columns, misfits, strict=True)
            misfits = [[row for row in rows if _is_number(column[row].as_py())] for column, rows in pairs]
        for piece, here, rows in zip(pieces, found, misfits, strict=True):
            here.update(piece.indexes[rows].tolist())
    records: list[bytes] = []
    for piece, here in zip(pieces, found, strict=True):
        chosen = np.array(sorted(here)[: _LEARNT - len(records)], np.int64)
        if chosen.size:
            records += [record.encode() for record in piece.origins.raw(chosen).to_pylist()]
    return records


def _misfits(column: pa.Array, kind: FieldType) -> list[int]:
    """The rows whose value does not fit a type."""
    return [*cast(column, typed(kind), nul=False).misfits] if pa.types.is_string(column.type) else []


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False


def _all(form: Format, source: Source, plan: ImportPlan) -> Iterator[Piece]:
    plan = replace(plan, chunk_bytes=_PIECE)
    chunks: list[Chunk] = []
    while more := form.cut(source, plan, chunks[-1] if chunks else None, 1):
        chunks += more
    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(partial(form.read, source, plan), chunks)


def _blocks(form: Format, source: Source, plan: ImportPlan, number: int, block: int) -> Iterator[Piece]:
    plan = replace(plan, chunk_bytes=block)
    for place in range(1, number):
        start = form.record_near(
            source, plan, plan.file.start + (plan.file.end - plan.file.start - block) * place // (number - 1)
        )
        if start is None:
            return
        before = Chunk(ordinal=0, start=start, end=start, records=0)
        for chunk in form.cut(source, plan, before, 1):
            piece = form.read(source, plan, chunk)
            if sum(fault.code not in form.telling_faults for fault in piece.faults) <= 1:
                # The block may begin within a record.
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
