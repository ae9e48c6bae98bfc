"""Checks an import against its files and its table before anything runs."""

from __future__ import annotations

import re
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from ladingd.core.clock import utc_now
from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import ImportPlan, Phase, Window
from ladingd.core.spec import CreateTable
from ladingd.data.files.roots import open_source
from ladingd.data.imports.column_types import wanted_types
from ladingd.data.imports.examination import examine
from ladingd.data.imports.finding import describe
from ladingd.data.imports.mapping import with_columns
from ladingd.data.imports.sample import Sample
from ladingd.data.imports.selection import named_in_spec, select
from ladingd.data.mapping.expressions import variables_of
from ladingd.data.mapping.matching import FIELD
from ladingd.data.mapping.reconciliation import check_operation
from ladingd.data.values.names import fold
from ladingd.data.values.null_words import wanted

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
    spec: ImportSpec, roots: Mapping[str, Path], own_files: Mapping[str, Path], target: Target, *, complete: bool = True
) -> ImportPlan:
    """Make the plan. Raises InvalidSpec; changes nothing. Unless it must be ``complete``, columns without a counterpart
    are left out on both sides."""
    if not 1 <= spec.chunk_bytes <= CHUNK_LIMIT:
        raise InvalidSpec("chunk_bytes", f"must be from 1 to {CHUNK_LIMIT:,}")
    words, typed_words = wanted(spec.null_words)
    check_operation(spec)
    table = target.table(spec.target)
    if table is None and spec.create is CreateTable.NEVER:
        raise _no_table(spec, target)
    plan = ImportPlan(
        files=(),
        columns=(),
        target=spec.target,
        create_table=table is None,
        chunk_bytes=spec.chunk_bytes,
        null_words=words,
        typed_null_words=typed_words,
        filter=spec.filter.strip(),
        variables=_variables(spec),
        enumerations=spec.enumerations,
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
    has_lines = all(each.outline.lines[0] != 0 for each in full if each.outline.lines)
    plan = replace(plan, window=_window(spec, has_lines=has_lines))
    mapped = with_columns(
        plan, spec, sample, target, table, path=first.file.name, by_name=first.outline.named, complete=complete
    )
    notes = (*plan.notes, *mapped.notes)
    return replace(mapped.plan, detected=describe(mapped.plan, examined, mapped.null_words), notes=notes)


def _no_table(spec: ImportSpec, target: Target) -> InvalidSpec:
    wanted = spec.target
    names = [name for schema, name in target.tables() if schema == wanted.schema]
    close = get_close_matches(fold(wanted.table), map(fold, names), n=3)
    there = [name for name in names if fold(name) in close]
    said = f"; did you mean {' or '.join(map(repr, there))}?" if there else ";"
    return InvalidSpec(FIELD, f"there is no table {wanted.table!r}{said} --create auto creates it")


def _window(spec: ImportSpec, *, has_lines: bool) -> Window:
    """The part of the files to import. Raises InvalidSpec."""
    if spec.last_line and spec.last_line < spec.first_line:
        raise InvalidSpec("last_line", f"{spec.last_line} is before the first line, {spec.first_line}")
    for name in ("first_line", "last_line"):
        if getattr(spec, name) and not has_lines:
            raise InvalidSpec(name, "the file has no lines; use skip and limit")
    return Window(skip=spec.skip, limit=spec.limit, first_line=spec.first_line, last_line=spec.last_line)


def _variables(spec: ImportSpec) -> dict[str, str]:
    """The variables of the plan; none if nothing reads them. Raises InvalidSpec."""
    for name in spec.variables:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise InvalidSpec("variables", f"{name!r} is not a name: use letters, digits and underscores")
    try:
        variables = variables_of(spec.variables, utc_now())
    except ValueError as error:
        raise InvalidSpec("variables", str(error)) from error
    reads = spec.where or spec.filter or any(column.expression for column in spec.columns)
    return variables if reads else {}


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
