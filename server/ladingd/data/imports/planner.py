"""Checks an import against its file and its table before anything runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import HEAD, Column, ImportPlan
from ladingd.data.files import fingerprint
from ladingd.data.formats.registry import format_to_read
from ladingd.data.imports.finding import describe
from ladingd.data.mapping.column_names import kept_names, renamed
from ladingd.data.mapping.matching import match_columns
from ladingd.data.values import types as field_type
from ladingd.data.values.casting import cast
from ladingd.data.values.inference import infer
from ladingd.data.values.names import fold

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from ladingd.core.spec import ImportSpec
    from ladingd.data.databases.target import Target, TargetTable
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.format import Outline
    from ladingd.data.values.converters import Reading
    from ladingd.data.values.types import FieldType

CHUNK_LIMIT = 64 << 20
"""A worker holds a chunk in memory several times over: as text, as columns, as values."""


def plan_import(spec: ImportSpec, source: Source, target: Target) -> ImportPlan:
    """Make the plan. Raises InvalidSpec; changes nothing."""
    if not 1 <= spec.chunk_bytes <= CHUNK_LIMIT:
        raise InvalidSpec("chunk_bytes", f"must be from 1 to {CHUNK_LIMIT:,}")
    state, size = source.state, source.size
    form = format_to_read(source, spec)
    form.check(spec)
    table = target.table(spec.target)
    outline = form.outline(source, size, spec, target.column_limit)
    names = list(outline.names)
    planned = ImportPlan(
        file=spec.file,
        fingerprint=fingerprint.take(source, size, max(HEAD, outline.start), state),
        layout=outline.layout,
        columns=(),
        target=spec.target,
        create_table=table is None,
        start=outline.start,
        end=outline.end,
        first_line=outline.first_line,
        chunk_bytes=spec.chunk_bytes,
        notes=outline.notes,
    )
    types = _wanted_types(spec, names, source.path, target)
    if not names:
        empty = f"{source.path} is empty: no columns" + (", so no table was made" if table is None else "")
        return replace(planned, notes=(*planned.notes, empty))
    kept = kept_names(names, target)
    if table is not None:
        columns = match_columns(names, table, kept=kept, by_name=outline.named, types=types)
        renamings: tuple[str, ...] = ()
    else:
        columns = tuple(
            _new_column(name, new, types.get(name) or outline.types.get(name), values)
            for name, new, values in zip(names, kept, outline.columns, strict=True)
        )
        renamings = renamed(names, kept, target)
    planned = replace(planned, columns=columns)
    planned = replace(planned, detected=describe(planned, outline))
    notes = (*renamings, *_warnings(columns, table), *_misfits(columns, target.readings(planned), outline))
    return replace(planned, notes=(*planned.notes, *notes))


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


def _warnings(columns: tuple[Column, ...], table: TargetTable | None) -> tuple[str, ...]:
    """The notes of the table and of the columns that the import fills."""
    filled = {column.target for column in columns}
    if table is None:
        return ()
    return (*table.notes, *(column.note for column in table.columns if column.note and column.name in filled))


def _misfits(columns: tuple[Column, ...], readings: Sequence[Reading], outline: Outline) -> tuple[str, ...]:
    """A sentence for each column of the sample with values that will be refused.

    The journal shows it. More people may read the journal than the records, so it repeats no value.
    """
    notes = []
    for column, reading, values in zip(columns, readings, outline.columns, strict=True):
        misfits = cast(values, reading).misfits
        if misfits:
            row, first = next(iter(misfits.items()))
            notes.append(
                f"{column.source} is read as {column.type}: {len(misfits):,} of the first "
                f"{len(values) - values.null_count:,} values will be refused, the first in line "
                f"{outline.lines[row]}: it {first.problem}"
            )
    return tuple(notes)
