"""Checks an import against its real file and table, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import HEAD, Column, Dialect, ImportPlan
from ladingd.data.files import fingerprint
from ladingd.data.formats.csv.dialect import check_format
from ladingd.data.formats.csv.parser import RecordPlaces, parse
from ladingd.data.formats.csv.sample import find_beginning, read_head
from ladingd.data.formats.signature import LOOK, check_readable
from ladingd.data.imports.finding import describe
from ladingd.data.mapping.column_names import kept_names, renamed
from ladingd.data.mapping.matching import fold, match_columns
from ladingd.data.values import types as field_type
from ladingd.data.values.casting import cast
from ladingd.data.values.inference import infer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.spec import ImportSpec
    from ladingd.data.databases.target import Target, TargetTable
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.csv.sample import Head
    from ladingd.data.values.converters import Reading
    from ladingd.data.values.types import FieldType

CHUNK_LIMIT = 64 << 20
"""A worker holds a chunk in memory several times over: as text, as columns, as values."""


def plan_import(spec: ImportSpec, source: Source, target: Target) -> ImportPlan:
    """Make the plan. Raises InvalidSpec; changes nothing."""
    if not 1 <= spec.chunk_bytes <= CHUNK_LIMIT:
        raise InvalidSpec("chunk_bytes", f"must be from 1 to {CHUNK_LIMIT:,}")
    check_format(spec.csv)
    state, size = source.state, source.size
    check_readable(source.path, source.read(0, min(LOOK, size)))
    table = target.table(spec.target)
    beginning = find_beginning(source, size)
    planned = ImportPlan(
        file=spec.file,
        fingerprint=fingerprint.take(source, size, max(HEAD, beginning.start), state),
        dialect=Dialect(delimiter=spec.csv.delimiter or ",", quote=spec.csv.quote or '"'),
        columns=(),
        target=spec.target,
        create_table=table is None,
        start=beginning.start,
        end=size,
        first_line=1 + beginning.lines,
        chunk_bytes=spec.chunk_bytes,
        notes=_blank_lines(beginning.lines),
    )
    if beginning.start == size:
        _wanted_types(spec, [], source.path, target)
        empty = f"{source.path} is empty: no columns" + (", so no table was made" if table is None else "")
        return replace(planned, notes=(*planned.notes, empty))
    head = read_head(source, beginning, size, spec.csv, target.column_limit)
    types = _wanted_types(spec, head.names, source.path, target)
    sample = _Sample.of(head, planned.first_line + head.header_lines)
    kept = kept_names(head.names, target)
    if table is not None:
        columns = match_columns(head.names, table, kept=kept, by_name=head.layout.header, types=types)
        renamings: tuple[str, ...] = ()
    else:
        columns = tuple(
            _new_column(name, new, types.get(name), values)
            for name, new, values in zip(head.names, kept, sample.columns, strict=True)
        )
        renamings = renamed(head.names, kept, target)
    start = beginning.start + head.header_end
    planned = replace(
        planned,
        fingerprint=fingerprint.take(source, size, max(HEAD, start), state),
        dialect=head.layout.dialect,
        columns=columns,
        start=start,
        first_line=planned.first_line + head.header_lines,
    )
    planned = replace(planned, detected=describe(planned, head.layout))
    notes = (*renamings, *_warnings(columns, table), *_misfits(columns, target.readings(planned), sample))
    return replace(planned, notes=(*planned.notes, *notes))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sample:
    """The records of the head, as columns of text."""

    columns: list[pa.Array]
    lines: list[int]

    @classmethod
    def of(cls, head: Head, first_line: int) -> _Sample:
        parsed = parse(head.records, head.layout.dialect, len(head.names))
        places = RecordPlaces.of(head.records, head.layout.dialect)
        left_out = {each.index for each in parsed.misshapen} | parsed.refused.keys() | set(parsed.blank.tolist())
        kept = [index for index in range(places.ends.size) if index not in left_out]
        lines = (first_line + places.lines(np.array(kept, np.int64))).tolist()
        return cls(columns=parsed.columns, lines=lines)


def _new_column(name: str, new: str, wanted: FieldType | None, values: pa.Array) -> Column:
    return Column(source=name, target=new, type=str(wanted or infer(values)), inferred=wanted is None)


def _wanted_types(spec: ImportSpec, names: list[str], path: str, target: Target) -> dict[str, FieldType]:
    by_fold = {fold(name): name for name in names}
    listing = ", ".join(map(repr, names)) or "none at all"
    types: dict[str, FieldType] = {}
    for wanted, word in spec.types.items():
        name = by_fold.get(fold(wanted))
        if name is None:
            raise InvalidSpec(f"types.{wanted}", f"{path} has no column {wanted!r}; it has {listing}")
        try:
            types[name] = field_type.parse(word)
            target.check_type(types[name])
        except ValueError as error:
            raise InvalidSpec(f"types.{wanted}", str(error)) from error
    return types


def _blank_lines(lines: int) -> tuple[str, ...]:
    if not lines:
        return ()
    return ("line 1 is blank and was skipped" if lines == 1 else f"lines 1 to {lines:,} are blank and were skipped",)


def _warnings(columns: tuple[Column, ...], table: TargetTable | None) -> tuple[str, ...]:
    """What the table and its columns have to say to those who fill them."""
    filled = {column.target for column in columns}
    if table is None:
        return ()
    return (*table.notes, *(column.note for column in table.columns if column.note and column.name in filled))


def _misfits(columns: tuple[Column, ...], readings: Sequence[Reading], sample: _Sample) -> tuple[str, ...]:
    """A sentence for each column with values in the sample that will be refused. It goes into the journal, which more
    people may read than records: so it does not show the values."""
    notes = []
    for column, reading, values in zip(columns, readings, sample.columns, strict=True):
        misfits = cast(values, reading).misfits
        if misfits:
            row, first = next(iter(misfits.items()))
            notes.append(
                f"{column.source} is read as {column.type}: {len(misfits):,} of the first "
                f"{len(values) - values.null_count:,} values will be refused, the first in line "
                f"{sample.lines[row]}: it {first.problem}"
            )
    return tuple(notes)
