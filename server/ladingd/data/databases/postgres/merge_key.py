"""The keys of a merge, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from ladingd.core.errors import TargetRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.plan import Merge
    from ladingd.data.databases.postgres.catalog import TableShape
    from ladingd.data.databases.postgres.session import Session

# A key that several rows have.
_AMBIGUOUS = "SELECT {shown}, count(*) FROM {table} t WHERE {given} GROUP BY {key} HAVING count(*) > 1 LIMIT 1"
TRUE, FALSE = sql.SQL("true"), sql.SQL("false")


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One of the keys of a merge, in SQL. ``s`` is the staging, ``t`` is the table."""

    columns: tuple[str, ...]
    complete: sql.Composable
    """Whether a staged record is found by this key."""

    @classmethod
    def first(cls, merge: Merge) -> Key:
        """The first key. All staged records have it, if there is no second one."""
        return cls(columns=merge.key, complete=given(merge.key, "s") if merge.second_key else TRUE)

    @classmethod
    def second(cls, merge: Merge) -> Key:
        """The key of records that lack the first one."""
        complete = sql.SQL("NOT ({}) AND {}").format(given(merge.key, "s"), given(merge.second_key, "s"))
        return cls(columns=merge.second_key, complete=complete)

    def of(self, alias: str) -> sql.Composable:
        """The columns: ``s.a, s.b``."""
        return sql.SQL(", ").join(sql.Identifier(alias, name) for name in self.columns)

    def shown(self, alias: str) -> sql.Composable:
        """The columns as text."""
        return sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(alias, name)) for name in self.columns)

    def equal(self, one: str = "t", other: str = "s") -> sql.Composable:
        """Whether two rows have the same key. Without a key, no two rows do."""
        if not self.columns:
            return FALSE
        pairs = [(sql.Identifier(one, name), sql.Identifier(other, name)) for name in self.columns]
        return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(*pair) for pair in pairs)

    def said(self, values: Sequence[str | None]) -> str:
        """The key in messages: ``(id) = (5)``."""
        return f"({', '.join(self.columns)}) = ({', '.join(value or '' for value in values)})"


def check_visible(session: Session, shape: TableShape, merge: Merge, *, guarded: bool) -> None:
    """Check that no policy hides rows that only a look at all rows can protect. ``guarded``: unique indexes, which know
    hidden rows, protect the keys. Raises TargetRefused."""
    if not shape.policed:
        return
    who = f"row-level security may hide rows of table {shape.name} from the account {session.user}"
    advice = "use a connection whose account sees all rows (ALTER ROLE … BYPASSRLS)"
    if merge.replace:
        raise TargetRefused(f"{who}, and they would stay beside the new ones: {advice}, or import with a key only")
    if not guarded:
        raise TargetRefused(f"{who}, and no unique index guards the key: {advice}, or create one")


def check_unique(session: Session, shape: TableShape, merge: Merge) -> None:
    """Check that no two rows of the table have the same key. Raises TargetRefused, with an example."""
    for columns in filter(None, (merge.key, merge.second_key)):
        if any(shape.column(name) is None for name in columns):
            continue  # The job adds the column, which is NULL in all rows.
        key = Key(columns=columns, complete=TRUE)
        query = sql.SQL(_AMBIGUOUS).format(
            table=shape.identifier, key=key.of("t"), shown=key.shown("t"), given=given(columns, "t")
        )
        for *values, number in session.rows(query):
            raise TargetRefused(
                f"the key is not unique in table {shape.name}: {number:,} rows have {key.said(values)}; choose another "
                f"key, or remove the rows that are too many"
            )


def given(columns: Sequence[str], alias: str) -> sql.Composable:
    """Whether no column of a key is empty."""
    return sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(sql.Identifier(alias, name)) for name in columns)
