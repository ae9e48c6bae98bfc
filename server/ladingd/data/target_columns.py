"""Which columns of a table the columns of a file go to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import Column
from ladingd.data.field_type import FieldType, of_declaration
from ladingd.data.sqlite import TableColumn, TableShape, connected

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ladingd.core.spec import Table

_FIELD = "target.table"


def fold(name: str) -> str:
    """A name as SQLite compares it: without regard to the case of ASCII letters, and of them alone."""
    return name.encode().lower().decode()


def target_shape(target: Table, database: Path) -> TableShape | None:
    """The table to import into; None where it is still to be made. Raises InvalidSpec."""
    check_schema(target, "target")
    if not target.table or "\0" in target.table:
        raise InvalidSpec(_FIELD, "the table needs a name")
    for prefix in ("sqlite_", "lading_"):
        if fold(target.table).startswith(prefix):
            raise InvalidSpec(_FIELD, f"names that begin with {prefix} are taken by {prefix.rstrip('_')} itself")
    if not database.exists():
        return None
    with connected(database, read_only=True) as connection:
        shape = connection.shape(target.table)
    if shape is not None and shape.is_view:
        raise InvalidSpec(_FIELD, f"{target.table} is a view; records go into tables only")
    return shape


def check_schema(table: Table, field: str) -> None:
    """Raises InvalidSpec for a schema that SQLite has not."""
    if table.schema not in ("", "main"):
        raise InvalidSpec(f"{field}.schema", f"SQLite has no schema {table.schema!r}; leave it empty")


def match_columns(
    names: list[str], shape: TableShape, *, by_name: bool, types: Mapping[str, FieldType]
) -> tuple[Column, ...]:
    """Where each column of the file goes: by its name, or by its place where the file has no header.

    Raises InvalidSpec where a column has no counterpart, or the table cannot do without one the file lacks.
    """
    settable = [column for column in shape.columns if not column.generated]
    listing = ", ".join(column.name for column in settable)
    if by_name:
        by_fold = {fold(column.name): column for column in shape.columns}
        matched = [_counterpart(name, by_fold.get(fold(name)), shape, listing) for name in names]
    elif len(names) > len(settable):
        raise InvalidSpec(
            _FIELD, f"the file has {len(names)} columns, table {shape.name} has {len(settable)}: {listing}"
        )
    else:
        matched = settable[: len(names)]
    for column in settable:
        if column not in matched and not column.optional:
            raise InvalidSpec(
                _FIELD, f"column {column.name} of table {shape.name} may not be empty, and the file has no such column"
            )
    return tuple(
        Column(
            source=name,
            target=column.name,
            type=str(types.get(name) or of_declaration(column.declared)),
            nullable=column.nullable,
        )
        for name, column in zip(names, matched, strict=True)
    )


def _counterpart(name: str, column: TableColumn | None, shape: TableShape, listing: str) -> TableColumn:
    if column is None:
        raise InvalidSpec(_FIELD, f"table {shape.name} has no column {name!r}; it has {listing}")
    if column.generated:
        raise InvalidSpec(_FIELD, f"column {column.name} of table {shape.name} is computed by the database")
    return column
