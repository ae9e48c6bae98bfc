"""Decides which tables of SQLite can be import targets: records must be written exactly once and the bill be
correct."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.data.mapping.matching import FIELD, no_table
from ladingd.data.values.names import fold

if TYPE_CHECKING:
    from ladingd.core.spec import Table
    from ladingd.data.databases.sqlite.session import TableShape

_TEXTS_AND_COMMENTS = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|\Z)""", re.DOTALL
)
_CONFLICT_CLAUSE = re.compile(r"\bON\s+CONFLICT\s+(ROLLBACK|REPLACE|IGNORE|FAIL)\b", re.IGNORECASE)
_ROLLBACK = re.compile(r"\bRAISE\s*\(\s*ROLLBACK\b|\bOR\s+ROLLBACK\b", re.IGNORECASE)
_CONSEQUENCES = {
    "ROLLBACK": "rolls back other records together with the rejected one",
    "REPLACE": "silently deletes records",
    "IGNORE": "silently skips records",
    "FAIL": "keeps half of a failed statement",
}


def check_schema(table: Table, field: str) -> None:
    """Raises InvalidSpec for a schema that SQLite lacks."""
    if table.schema not in ("", "main"):
        raise InvalidSpec(f"{field}.schema", f"SQLite has no schema {table.schema!r}; leave it empty")


def check_name(table: Table) -> None:
    """Raises InvalidSpec for a name that a target table cannot have."""
    check_schema(table, "target")
    if not table.table or "\0" in table.table:
        raise InvalidSpec(FIELD, "the table needs a name")
    for prefix in ("sqlite_", "lading_"):
        if fold(table.table).startswith(prefix):
            raise InvalidSpec(FIELD, f"names that begin with {prefix} are taken by {prefix.rstrip('_')} itself")


def unusable(shape: TableShape) -> str | None:
    """Why a table cannot be a target; None if it can."""
    if shape.is_view:
        return no_table(shape.name, "view")
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
