"""The keys of a merge in SQL. ``s`` is the staging, ``t`` is the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ladingd.core.errors import TargetRefused
from ladingd.data.databases.sqlite.collations import collations
from ladingd.data.databases.sqlite.session import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.plan import Merge
    from ladingd.data.databases.sqlite.session import Session, TableShape

_SHOWN = "CASE typeof({c}) WHEN 'blob' THEN '\\x' || lower(hex({c})) ELSE CAST({c} AS TEXT) END"
# A key that several rows have.
_AMBIGUOUS = "SELECT {shown}, count(*) FROM {table} AS t WHERE {given} GROUP BY {key} HAVING count(*) > 1 LIMIT 1"
# The parts of each unique index that holds for some rows or all, without expressions' names.
_UNIQUES = """
SELECT l.name, l.partial, x.name, x.coll FROM pragma_index_list(?) l, pragma_index_xinfo(l.name) x
WHERE l."unique" AND x.key ORDER BY l.seq, x.seqno
"""
# The only column of a primary key that is the rowid, which has no index.
_ROWID = """
SELECT name FROM pragma_table_xinfo(?1) WHERE pk = 1 AND upper(type) = 'INTEGER'
    AND (SELECT count(*) FROM pragma_table_xinfo(?1) WHERE pk > 0) = 1
    AND NOT EXISTS (SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk')
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One of the keys of a merge."""

    columns: tuple[str, ...]
    complete: str
    """Whether a staged record is found by this key."""

    @classmethod
    def first(cls, merge: Merge) -> Key:
        """The first key. All staged records have it, if there is no second one."""
        return cls(columns=merge.key, complete=given(merge.key, "s") if merge.second_key else "1")

    @classmethod
    def second(cls, merge: Merge) -> Key:
        """The key of records that lack the first one."""
        return cls(columns=merge.second_key, complete=f"NOT ({given(merge.key, 's')})")

    def of(self, alias: str) -> str:
        """The columns: ``s.a, s.b``."""
        return ", ".join(f"{alias}.{quoted(name)}" for name in self.columns)

    def shown(self, alias: str) -> str:
        """The columns as text."""
        return ", ".join(shown(alias, name) for name in self.columns)

    def equal(self, one: str = "t", other: str = "s") -> str:
        """Whether two rows have the same key, in the collation of the first one."""
        return " AND ".join(f"{one}.{quoted(name)} = {other}.{quoted(name)}" for name in self.columns)

    def said(self, values: Sequence[str | None]) -> str:
        """The key in messages: ``(id) = (5)``."""
        return f"({', '.join(self.columns)}) = ({', '.join(value or '' for value in values)})"


def given(columns: Sequence[str], alias: str) -> str:
    """Whether no column of a key is empty."""
    return " AND ".join(f"{alias}.{quoted(name)} IS NOT NULL" for name in columns)


def shown(alias: str, name: str) -> str:
    """A column as text."""
    return _SHOWN.format(c=f"{alias}.{quoted(name)}")


def uniques(session: Session, shape: TableShape) -> tuple[list[tuple[str, ...]], bool]:
    """The unique keys that hold for all rows in the collations of their columns, and whether there are others."""
    known = collations(session, shape)
    found: list[tuple[str, ...]] = [(str(name),) for (name,) in session.rows(_ROWID, (shape.name,)) if shape.has_rowid]
    parts: dict[tuple[str, bool], list[tuple[str | None, str]]] = {}
    for index, partial, column, collation in session.rows(_UNIQUES, (shape.name,)):
        parts.setdefault((index, bool(partial)), []).append((column, collation.upper()))
    odd = False
    for (_, partial), columns in parts.items():
        if partial or any(known.get(name or "") != collation for name, collation in columns):
            odd = True
        else:
            found.append(tuple(str(name) for name, _ in columns))
    return found, odd


def is_guarded(session: Session, shape: TableShape, merge: Merge) -> bool:
    """Whether unique indexes guarantee that no two rows have one of the keys of a merge."""
    found, _ = uniques(session, shape)
    return all(any(set(unique) <= set(key) for unique in found) for key in (merge.key, merge.second_key) if key)


def check_unique(session: Session, shape: TableShape, merge: Merge) -> None:
    """Check that no two rows of the table have the same key. Raises TargetRefused, with an example."""
    for columns in filter(None, (merge.key, merge.second_key)):
        if any(shape.column(name) is None for name in columns):
            continue  # The job adds the column, which is NULL in all rows.
        key = Key(columns=columns, complete="1")
        query = _AMBIGUOUS.format(
            shown=key.shown("t"), table=f"main.{quoted(shape.name)}", given=given(columns, "t"), key=key.of("t")
        )
        for *values, number in session.rows(query):
            raise TargetRefused(
                f"the key is not unique in table {shape.name}: {number:,} rows have {key.said(values)}; choose another "
                f"key, or remove the rows that are too many"
            )
