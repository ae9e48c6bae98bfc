"""Tells how an import would fill its table, and which columns of either side are not used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.core.errors import TableNotFound
from ladingd.core.tables import Suggestion, TableColumn, TableDescription
from ladingd.data.mapping import expressions
from ladingd.data.values.names import fold

if TYPE_CHECKING:
    from ladingd.core.plan import ImportPlan
    from ladingd.core.spec import Table
    from ladingd.data.databases.target import TargetTable


def suggestion(plan: ImportPlan, table: TargetTable | None) -> Suggestion:
    """What a plan does with the columns of both sides. ``table``: the existing table."""
    used = {column.source for column in plan.columns if column.from_file} | expressions.used_in(plan)
    filled = {column.target for column in plan.columns}
    return Suggestion(
        plan=plan,
        guessed=frozenset(
            column.target for column in plan.columns if column.from_file and fold(column.source) != fold(column.target)
        ),
        unused_fields=[field.name for field in plan.fields if field.name not in used],
        unused_columns=[
            column.name
            for column in (table.columns if table is not None else ())
            if column.name not in filled and not column.generated
        ],
    )


def described(table: Table, found: TargetTable | None) -> TableDescription:
    """A table as people see it. Raises TableNotFound."""
    if found is None:
        raise TableNotFound(table.table)
    return TableDescription(
        table=table,
        columns=[
            TableColumn(
                name=column.name,
                declared=column.declared,
                type=str(column.type),
                nullable=column.nullable,
                required=not (column.optional or column.generated),
                generated=column.generated,
            )
            for column in found.columns
        ],
        notes=[*found.notes, *(column.note for column in found.columns if column.note)],
    )
