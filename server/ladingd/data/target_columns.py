"""Which columns of a table the columns of a file go to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import Column
from ladingd.data import field_type
from ladingd.data.field_type import FieldType, of_declaration
from ladingd.data.sqlite.database import TableColumn, TableShape, connected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ladingd.core.spec import Table

_FIELD = "target.table"

_TEXTS_AND_COMMENTS = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|\Z)""", re.DOTALL
)
_CONFLICT_CLAUSE = re.compile(r"\bON\s+CONFLICT\s+(ROLLBACK|REPLACE|IGNORE|FAIL)\b", re.IGNORECASE)
_ROLLBACK = re.compile(r"\bRAISE\s*\(\s*ROLLBACK\b|\bOR\s+ROLLBACK\b", re.IGNORECASE)
_CONSEQUENCES = {
    "ROLLBACK": "takes back other records together with the one that is refused",
    "REPLACE": "removes records without a word",
    "IGNORE": "leaves out records without a word",
    "FAIL": "keeps half of a statement that is refused",
}


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
    problem = unusable(shape) if shape is not None else None
    if problem is not None:
        raise InvalidSpec(_FIELD, problem)
    return shape


def unusable(shape: TableShape) -> str | None:
    """Why records cannot go into a table exactly once, with a bill that is true; None where they can."""
    if shape.is_view:
        return f"{shape.name} is a view; records go into tables only"
    if shape.is_virtual:
        return f"{shape.name} is a virtual table, or belongs to one; records go into ordinary tables only"
    clause = _CONFLICT_CLAUSE.search(_without_texts(shape.declaration))
    if clause is not None:
        word = clause[1].upper()
        return f"table {shape.name} is declared with ON CONFLICT {word}, which {_CONSEQUENCES[word]}"
    if any(_ROLLBACK.search(_without_texts(trigger)) for trigger in shape.triggers):
        return f"a trigger of table {shape.name} can ROLLBACK, which {_CONSEQUENCES['ROLLBACK']}"
    return None


def _without_texts(sql: str) -> str:
    return _TEXTS_AND_COMMENTS.sub(" '' ", sql)


def outdated(columns: tuple[Column, ...], shape: TableShape) -> str | None:
    """What of a table does not go with planned columns any more; None where all does."""
    problem = unusable(shape)
    if problem is not None:
        return problem
    there = {column.name: column for column in shape.columns}
    planned = {column.target: column for column in columns}
    for name, column in planned.items():
        if name not in there or there[name].generated:
            return f"table {shape.name} has no column {name!r} to write into any more"
        if there[name].nullable != column.nullable:
            return f"column {name!r} of table {shape.name} was planned as one that {_emptiness(column.nullable)}"
    for name in there.keys() - planned.keys():
        if not (there[name].optional or there[name].generated):
            return f"table {shape.name} has a new column {name!r} that may not be empty"
    return None


def unlike(columns: tuple[Column, ...], shape: TableShape) -> str | None:
    """How a table differs from the one that would be made from planned columns; None where it does not."""
    wanted = [(column.target, field_type.parse(column.type).declaration) for column in columns]
    found = [(column.name, column.declared) for column in shape.columns]
    if wanted != found:
        return f"table {shape.name} is there now, with columns {_listing(shape.columns)}"
    return outdated(columns, shape)


def _emptiness(nullable: bool) -> str:
    return "may be empty" if nullable else "may not be empty"


def _listing(columns: Iterable[TableColumn]) -> str:
    return ", ".join(repr(column.name) for column in columns)


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
    listing = _listing(settable)
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
