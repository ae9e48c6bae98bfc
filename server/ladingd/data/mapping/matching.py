"""Matches the columns of a file to those of a table, and checks that the table is still the planned one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec, SpecOutdated, TargetChanged
from ladingd.core.plan import Column
from ladingd.data.databases.target import TargetColumn
from ladingd.data.mapping.narrowing import is_narrower
from ladingd.data.values.names import fold
from ladingd.data.values.types import TEXT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ladingd.core.plan import ImportPlan
    from ladingd.data.databases.target import TargetTable
    from ladingd.data.values.types import FieldType

FIELD = "target.table"


def match_columns(
    names: list[str],
    table: TargetTable,
    *,
    kept: list[str],
    by_name: bool,
    types: Mapping[str, FieldType],
    addable: bool = False,
    inserts: bool = True,
) -> tuple[Column, ...]:
    """The target of each column of the file: by name, or by position if the file has no header.

    ``inserts``: records become rows, so each column that may not be empty needs a value.

    An exact name wins over one that differs only in case, and that over the shortened name that the database ``kept``
    when it created the table for such a file. ``addable``: a column without a counterpart is added to the table, as
    text and under the name that the database keeps. Raises InvalidSpec if a column of the file has no counterpart, or
    if the table requires a column that the file lacks.
    """
    settable = [column for column in table.columns if not column.generated]
    if by_name:
        matched = [_counterpart(name, short, table, addable=addable) for name, short in zip(names, kept, strict=True)]
        _check_different(names, matched, table)
    elif len(names) > len(settable):
        raise InvalidSpec(
            FIELD,
            f"the file has {len(names)} columns, table {table.name} has {len(settable)}: {_listing(settable)}",
        )
    else:
        matched = settable[: len(names)]
    for column in settable:
        if inserts and column not in matched and not column.optional:
            raise InvalidSpec(
                FIELD, f"column {column.name} of table {table.name} may not be empty, and the file has no such column"
            )
    return tuple(
        Column(
            source=name,
            target=column.name,
            type=str(types.get(name) or column.type),
            nullable=column.nullable,
            defaulted=column.defaulted,
            declared=column.declared,
            added=column not in table.columns,
        )
        for name, column in zip(names, matched, strict=True)
    )


def _counterpart(name: str, kept: str, table: TargetTable, *, addable: bool) -> TargetColumn:
    found = [column for column in table.columns if column.name == name]
    found = found or [column for column in table.columns if fold(column.name) == fold(name)]
    found = found or [column for column in table.columns if column.name == kept]
    if not found and addable:
        return TargetColumn(name=kept, declared="", type=TEXT, nullable=True, optional=True, generated=False)
    if not found:
        settable = _listing(column for column in table.columns if not column.generated)
        raise InvalidSpec(FIELD, f"table {table.name} has no column {name!r}; it has {settable}; --add-columns adds it")
    if len(found) > 1:
        raise InvalidSpec(FIELD, f"table {table.name} has several columns for {name!r}: {_listing(found)}")
    if found[0].generated:
        raise InvalidSpec(FIELD, f"column {found[0].name} of table {table.name} is computed by the database")
    return found[0]


def _check_different(names: list[str], matched: Sequence[TargetColumn], table: TargetTable) -> None:
    by_target: dict[str, str] = {}
    for name, column in zip(names, matched, strict=True):
        other = by_target.setdefault(column.name, name)
        if other != name:
            raise InvalidSpec(FIELD, f"{other!r} and {name!r} both go to column {column.name} of table {table.name}")


def check_table(plan: ImportPlan, table: TargetTable | None, declarations: Sequence[str], *, used: bool) -> bool:
    """Check that a table is the planned one; return whether it still has to be created with these declared types.

    ``used``: the table holds records of the job. Raises TargetChanged, and SpecOutdated if a column accepts fewer
    values than planned.
    """
    if not plan.columns:  # the file is empty
        return False
    if table is None:
        if used or not plan.create_table:
            raise TargetChanged(f"table {plan.target.table} is gone")
        return True
    if plan.create_table and not used:
        wanted = [(column.target, kind) for column, kind in zip(plan.columns, declarations, strict=True)]
        if wanted != [(column.name, column.declared) for column in table.columns]:
            raise TargetChanged(f"table {table.name} is there now, with columns {_listing(table.columns)}")
    _check_columns(plan, table)
    if not used:
        _check_types(plan, table)
    return False


def missing_columns(plan: ImportPlan, table: TargetTable | None, declarations: Sequence[str]) -> list[tuple[str, str]]:
    """The columns that a plan adds and the table lacks, with their declared types. Raises TargetChanged if the table is
    gone, or has such a column of another type."""
    if table is None:
        raise TargetChanged(f"table {plan.target.table} is gone")
    there = {fold(column.name): column for column in table.columns}
    missing = []
    for column, declared in zip(plan.columns, declarations, strict=True):
        found = there.get(fold(column.target)) if column.added else None
        if column.added and found is None:
            missing.append((column.target, declared))
        elif found is not None and (found.name, found.declared, found.nullable) != (column.target, declared, True):
            raise TargetChanged(f"table {table.name} has a column {found.name!r} of type {found.declared} now")
    return missing


def _check_columns(plan: ImportPlan, table: TargetTable) -> None:
    there = {column.name: column for column in table.columns}
    planned = {column.target: column for column in plan.columns}
    for name, column in planned.items():
        if name not in there or there[name].generated:
            raise TargetChanged(f"table {table.name} has no column {name!r} to write into any more")
        # A key of a table that the job has created may be of a kind that the database fills, such as SQLite's rowid.
        if there[name].nullable != column.nullable and not (plan.create_table and there[name].nullable):
            raise TargetChanged(
                f"column {name!r} of table {table.name} was planned as one that {_emptiness(column.nullable)}"
            )
        if column.defaulted and not there[name].defaulted:
            raise TargetChanged(f"column {name!r} of table {table.name} has lost its default, and it may not be empty")
    for name in there.keys() - planned.keys() if plan.merge is None or plan.merge.inserts else ():
        if not (there[name].optional or there[name].generated):
            raise TargetChanged(f"table {table.name} has a new column {name!r} that may not be empty")


def _check_types(plan: ImportPlan, table: TargetTable) -> None:
    """Planning anew would only lead to rejects that nobody expects, so the job is refused."""
    there = {column.name: column.declared for column in table.columns}
    for column in plan.columns:
        now = there[column.target]
        if column.declared and is_narrower(now, column.declared):
            raise SpecOutdated(
                f"column {column.target!r} of table {table.name} was planned as {column.declared} and is {now} now: "
                f"give it that type again and start the job, or plan it anew: lading clone"
            )


def _emptiness(nullable: bool) -> str:
    return "may be empty" if nullable else "may not be empty"


def _listing(columns: Iterable[TargetColumn]) -> str:
    return ", ".join(repr(column.name) for column in columns)
