"""The collations of a table's columns, which SQLite's catalog does not show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.data.databases.sqlite.session import statement

if TYPE_CHECKING:
    from ladingd.data.databases.sqlite.session import Session, TableShape

BINARY = "BINARY"
"""The collation in which texts are equal exactly if they are identical."""
_COLUMNS = 500
# A column of a subquery has the collation of the first table in it, which need not have rows.
_COMPARED = "SELECT {tests} FROM (SELECT {columns} FROM main.{table} WHERE 0 UNION ALL SELECT {texts})"
# Each collation makes other texts equal. No connection of Lading has collations that a program defines.
_TESTS = ("{c} = 'A'", "{c} = 'a '")
_FOUND = {(1, 0): "NOCASE", (0, 1): "RTRIM"}


def collations(session: Session, shape: TableShape) -> dict[str, str]:
    """The collation of each column."""
    found: dict[str, str] = {}
    for start in range(0, len(shape.columns), _COLUMNS):
        names = [column.name for column in shape.columns[start : start + _COLUMNS]]
        query = _COMPARED.format(
            tests=", ".join(statement(test, c=f"c{place}") for place, _ in enumerate(names) for test in _TESTS),
            columns=", ".join(statement("{c} AS {name}", c=name, name=f"c{place}") for place, name in enumerate(names)),
            table=statement("{table}", table=shape.name),
            texts=", ".join("'a'" for _ in names),
        )
        answers = session.rows(query)[0]
        for place, name in enumerate(names):
            found[name] = _FOUND.get(answers[2 * place : 2 * place + 2], BINARY)
    return found
