"""How people write tables: `[CONNECTION.]TABLE`, with unusual names in double quotes."""

from __future__ import annotations

import re

from lading_client.spec import Table

_PART = re.compile(r'"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[^".][^.]*)')


class BadTableName(ValueError):
    """Not a valid table name."""

    def __init__(self, text: str, problem: str) -> None:
        super().__init__(
            f"{text!r} is not a table name: {problem}; write TABLE or CONNECTION.TABLE, "
            "and put a name with a dot in quotes: 'CONNECTION.\"my.table\"'"
        )


def parse(text: str) -> Table:
    """`t`, `connection.t` or `connection.schema.t`, each part quoted or not. Raises BadTableName."""
    parts: list[str] = []
    position = 0
    while True:
        match = _PART.match(text, position)
        if match is None:
            raise BadTableName(text, "a name is empty, or a closing quote is missing")
        quoted = match["quoted"]
        parts.append(match["plain"] if quoted is None else quoted.replace('""', '"'))
        position = match.end()
        if position == len(text):
            break
        if text[position] != ".":
            raise BadTableName(text, "text follows a closing quote")
        position += 1
    match parts:
        case [table]:
            return Table(table=table)
        case [connection, table]:
            return Table(connection=connection, table=table)
        case [connection, schema, table]:
            return Table(connection=connection, schema=schema, table=table)
    raise BadTableName(text, "it has too many parts")


def written(table: Table) -> str:
    """A table as `parse` reads it, with its connection."""
    parts = (table.connection, table.schema, table.table) if table.schema else (table.connection, table.table)
    return ".".join(_quoted(part) for part in parts)


def _quoted(part: str) -> str:
    return '"' + part.replace('"', '""') + '"' if "." in part or part.startswith('"') else part
