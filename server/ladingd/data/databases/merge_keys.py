"""The keys of a merge in the SQL of databases that quote names by the standard. ``s`` is the staging, ``t`` is the
table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ladingd.core.plan import Merge

TRUE, FALSE = "1 = 1", "1 = 0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One of the keys of a merge."""

    columns: tuple[str, ...]
    complete: str = TRUE
    """Whether a staged record is found by this key."""

    @classmethod
    def first(cls, merge: Merge) -> Key:
        """The first key. All staged records have it, if there is no second one."""
        return cls(columns=merge.key, complete=given(merge.key, "s") if merge.second_key else TRUE)

    @classmethod
    def second(cls, merge: Merge) -> Key:
        """The key of records that lack the first one."""
        return cls(columns=merge.second_key, complete=f"NOT ({given(merge.key, 's')})")

    @property
    def mark(self) -> str:
        """A column of the table that is not NULL if a row was found. Without a key, none is found."""
        if not self.columns:
            return "NULL"
        return f"t.{quoted(self.columns[0])}"

    @property
    def present(self) -> str:
        """Whether a staged record is found by this key, and no column of it is empty."""
        return f"{self.complete} AND {given(self.columns, 's')}" if self.columns else self.complete

    def of(self, alias: str) -> str:
        """The columns: ``s.a, s.b``."""
        return ", ".join(f"{alias}.{quoted(name)}" for name in self.columns)

    def shown(self, alias: str, text: Callable[[str, str], str]) -> str:
        """The columns as text. ``text`` gives the expression for an alias and a column."""
        return ", ".join(text(alias, name) for name in self.columns) or "NULL"

    def equal(self, one: str = "t", other: str = "s") -> str:
        """Whether two rows have the same key, in the collation of the first one. Without a key, no two rows do."""
        if not self.columns:
            return FALSE
        return " AND ".join(f"{one}.{quoted(name)} = {other}.{quoted(name)}" for name in self.columns)

    def said(self, values: Sequence[str | None]) -> str:
        """The key in messages: ``(id) = (5)``."""
        return f"({', '.join(self.columns)}) = ({', '.join(value or '' for value in values)})"


def given(columns: Sequence[str], alias: str) -> str:
    """Whether no column of a key is empty."""
    return " AND ".join(f"{alias}.{quoted(name)} IS NOT NULL" for name in columns)


def quoted(name: str) -> str:
    """A name as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'
