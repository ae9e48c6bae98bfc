"""Finds values that do not match the declared type of their column. SQLite stores such values.

An export writes them, but an import of the file rejects them, or stores text instead of bytes. It also rejects text
with NUL bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.data.databases.sqlite.session import statement
from ladingd.data.values.types import Affinity, Kind, of_declaration

if TYPE_CHECKING:
    from ladingd.data.databases.sqlite.session import Database, TableColumn, TableShape

SAMPLE = 1_000
"""How many rows are examined: a plan must not read a whole table."""
_COLUMNS = 500

_NUMBERS = frozenset({Kind.INTEGER, Kind.REAL, Kind.DECIMAL})


def misfits(database: Database, shape: TableShape) -> tuple[str, ...]:
    """A message for each column that has such values in the first rows."""
    notes = []
    for start in range(0, len(shape.columns), _COLUMNS):
        columns = [column for column in shape.columns[start : start + _COLUMNS] if column.affinity is not Affinity.BLOB]
        if not columns:
            continue
        counts = ", ".join(f"ifnull(sum({_condition(column)}), 0)" for column in columns)
        query = f"SELECT {counts} FROM (SELECT * FROM " + statement("{table}", table=shape.name) + f" LIMIT {SAMPLE})"  # noqa: S608 - quoted
        for column, count in zip(columns, database.rows(query)[0], strict=True):
            if count:
                rows = f"{count:,} of the first {SAMPLE:,} rows"
                notes.append(
                    f"column {column.name} is declared {column.declared}, and {rows} have {_consequence(column)}"
                )
    return tuple(notes)


def _condition(column: TableColumn) -> str:
    kind = of_declaration(column.declared).kind
    if kind is Kind.TEXT:
        condition = "typeof({c}) = 'blob' OR instr({c}, char(0)) > 0"
    elif kind is Kind.INTEGER:
        condition = "typeof({c}) NOT IN ('integer', 'null')"
    elif kind in _NUMBERS:
        condition = "typeof({c}) NOT IN ('integer', 'real', 'null')"
    elif kind is Kind.BOOLEAN:
        condition = "typeof({c}) <> 'null' AND {c} NOT IN (0, 1)"
    else:
        condition = "typeof({c}) NOT IN ('text', 'null')"
    return statement(condition, c=column.name)


def _consequence(column: TableColumn) -> str:
    if of_declaration(column.declared).kind is Kind.TEXT:
        return "bytes or NUL bytes there: an import of the file makes text of bytes and refuses text with NUL bytes"
    return "values of another kind there: an import of the file refuses them"
