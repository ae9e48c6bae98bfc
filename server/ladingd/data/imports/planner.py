"""Checks an import against its files and its table before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import Column, ImportPlan, Phase
from ladingd.core.spec import ColumnNames, CreateTable
from ladingd.data.files.roots import open_source
from ladingd.data.imports.column_types import (
    doubts,
    known_types,
    look_at_sample,
    new_types,
    storable_types,
    wanted_types,
)
from ladingd.data.imports.examination import examine
from ladingd.data.imports.finding import describe
from ladingd.data.imports.sample import Sample
from ladingd.data.imports.selection import named_in_spec, select
from ladingd.data.mapping.column_names import kept_names, renamed
from ladingd.data.mapping.matching import FIELD, match_columns
from ladingd.data.mapping.reconciliation import check_operation, inserts, planned_merge
from ladingd.data.mapping.snake_case import numbered, snake_names
from ladingd.data.values.inference import Finding
from ladingd.data.values.null_words import wanted as wanted_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ladingd.core.spec import ImportSpec
    from ladingd.data.databases.connection import Connection
    from ladingd.data.databases.target import Target, TargetTable
    from ladingd.data.imports.examination import Examination
    from ladingd.data.imports.selection import Selection

CHUNK_LIMIT = 64 << 20
"""A worker holds a chunk in memory several times over: as text, as columns, as values."""


ALLOW = "set hooks = true in [connections.{name}] of the daemon's configuration"
"""How an administrator allows hooks."""


def check_hooks(spec: ImportSpec, connection: Connection) -> None:
    """Raise InvalidSpec if the spec has hooks and the connection does not allow them."""
    for field in ("before", "after"):
        if getattr(spec, field) and not connection.hooks:
            how = ALLOW.format(name=connection.name)
            raise InvalidSpec(field, f"connection {connection.name} does not allow hooks; an administrator can {how}")


def plan_import(
    spec: ImportSpec, roots: Mapping[str, Path], own_files: Mapping[str, Path], target: Target
) -> ImportPlan:
    """Make the plan. Raises InvalidSpec; changes nothing."""
    if not 1 <= spec.chunk_bytes <= CHUNK_LIMIT:
        raise InvalidSpec("chunk_bytes", f"must be from 1 to {CHUNK_LIMIT:,}")
    words, typed_words = wanted_words(spec.null_words)
    check_operation(spec.reconciliation)
    table = target.table(spec.target)
    if spec.provenance:
        raise InvalidSpec("provenance", "is not available yet")
    if table is None and spec.create is CreateTable.NEVER:
        raise InvalidSpec(FIELD, f"there is no table {spec.target.table!r}; --create auto creates it")
    plan = ImportPlan(
        files=(),
        columns=(),
        target=spec.target,
        create_table=table is None,
        chunk_bytes=spec.chunk_bytes,
        null_words=words,
        typed_null_words=typed_words,
        before=spec.before,
        after=spec.after,
    )
    selection = select(spec, roots, own_files)
    examined = _examined(selection, spec, plan, roots, own_files, target.column_limit, table)
    plan = replace(
        plan,
        files=tuple(each.file for each in examined),
        phases=(Phase.LOAD,) * len(examined),
        notes=(*selection.notes, *_notes(examined)),
    )
    full = [each for each in examined if each.outline.names]
    if not full:
        wanted_types(spec, (), examined[0].file.name, target)
        empty = f"{_empty(examined)}: no columns" + (", so no table was made" if table is None else "")
        return replace(plan, notes=(*plan.notes, empty))
    first, sample = full[0], Sample.of(full)
    names = sample.names
    types = wanted_types(spec, names, first.file.name, target)
    wanted = snake_names(names) if spec.names is ColumnNames.SNAKE else names
    kept = kept_names(wanted, target)
    renamings: tuple[str, ...] = ()
    if table is not None:
        kinds = {name: found.type for name, found in types.items()}
        columns = match_columns(
            names,
            table,
            kept=kept,
            by_name=first.outline.named,
            types=kinds,
            addable=spec.add_columns,
            inserts=inserts(spec.reconciliation),
        )
        added = [column.source for column in columns if column.added]
        if added:
            target.check_addable(spec.target)
        new = _new_columns(plan, sample.only(added), types, target)
        columns = tuple(
            replace(column, type=str(new[column.source].finding.type)) if column.added else column for column in columns
        )
        findings = [
            new[column.source].finding if column.added else found
            for column, found in zip(columns, known_types(replace(plan, columns=columns), sample, types), strict=True)
        ]
        columns = tuple(
            replace(column, notation=found.notation, inferred=column.added and new[column.source].inferred)
            for column, found in zip(columns, findings, strict=True)
        )
        renamings = _additions(columns, table, target)
    else:
        new = _new_columns(plan, sample, types, target)
        findings = [new[name].finding for name in names]
        columns = tuple(
            Column(
                source=name,
                target=target_name,
                type=str(new[name].finding.type),
                notation=new[name].finding.notation,
                inferred=new[name].inferred,
            )
            for name, target_name in zip(names, kept, strict=True)
        )
        notes = numbered(names, wanted) if wanted is not names else ()
        renamings = (*notes, *renamed(wanted, kept, target))
    size = sum(file.fingerprint.size for file in plan.files)
    merge = planned_merge(spec.reconciliation, columns, table, size, target.slice_bytes)
    if table is None and merge is not None and merge.makes_unique:
        plan = replace(plan, primary_key=merge.key)
        columns = tuple(replace(column, nullable=column.target not in merge.key) for column in columns)
    plan = replace(plan, columns=columns, merge=merge)
    if merge is not None:
        plan = replace(plan, phases=(*plan.phases, Phase.MERGE))
        if table is not None:
            target.check_merge(plan)
    looked = look_at_sample(plan, target.readings(plan), sample)
    notes = (*plan.notes, *renamings, *_warnings(columns, table), *doubts(columns, findings), *looked.notes)
    return replace(plan, detected=describe(plan, examined, tuple(looked.null_words)), notes=notes)


@dataclass(frozen=True, kw_only=True, slots=True)
class _NewColumn:
    """How a column is created."""

    finding: Finding
    inferred: bool
    """Some of the values, not the user or the file, decided on the type."""


def _new_columns(
    plan: ImportPlan, sample: Sample, types: Mapping[str, Finding], target: Target
) -> dict[str, _NewColumn]:
    """How the columns of a sample are created, by name."""
    sample = replace(sample, types=storable_types(plan, sample, target))
    return {
        name: _NewColumn(finding=found, inferred=name not in types and (sample.inferred or name not in sample.types))
        for name, found in zip(sample.names, new_types(plan, sample.names, sample, types), strict=True)
    }


def _additions(columns: Sequence[Column], table: TargetTable, target: Target) -> tuple[str, ...]:
    """A sentence about the columns that the table gets. Raises InvalidSpec if it cannot get them."""
    added = [column for column in columns if column.added]
    if not added:
        return ()
    if len(table.columns) + len(added) > target.column_limit:
        raise InvalidSpec(
            "add_columns",
            f"table {table.name} has {len(table.columns):,} columns and would get {len(added):,} more; "
            f"the database stores at most {target.column_limit:,}",
        )
    listing = ", ".join(f"{column.target} ({column.type})" for column in added)
    return (f"table {table.name} gets new columns: {listing}",)


def _examined(
    selection: Selection,
    spec: ImportSpec,
    draft: ImportPlan,
    roots: Mapping[str, Path],
    own_files: Mapping[str, Path],
    column_limit: int,
    table: TargetTable | None,
) -> list[Examination]:
    """All files. Each has columns of the ones before."""
    examined: list[Examination] = []
    first = None
    for selected in selection.files:
        with named_in_spec(selected.number), open_source(roots, own_files, selected.location) as source:
            examination = examine(
                source,
                selected.location,
                selected.member,
                spec,
                draft,
                column_limit=column_limit,
                share=len(selection.files),
                first=first,
                table=table,
            )
        examined.append(examination)
        if examination.outline.names:
            first = examination if first is None else first.with_columns_of(examination)
    return examined


def _notes(examined: Sequence[Examination]) -> tuple[str, ...]:
    """What people should know about the files."""
    if len(examined) == 1:
        return examined[0].notes
    return tuple(f"{each.file.name}: {note}" for each in examined for note in each.notes)


def _empty(examined: Sequence[Examination]) -> str:
    return f"{examined[0].file.name} is empty" if len(examined) == 1 else "all files are empty"


def _warnings(columns: tuple[Column, ...], table: TargetTable | None) -> tuple[str, ...]:
    """The notes of the table and of the columns that the import fills."""
    filled = {column.target for column in columns}
    if table is None:
        return ()
    return (*table.notes, *(column.note for column in table.columns if column.note and column.name in filled))
