"""What guards the keys of a merge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.core.errors import TargetRefused
from ladingd.data.databases.merge_keys import Key, given
from ladingd.data.databases.sqlite.collations import BINARY, collations
from ladingd.data.databases.sqlite.session import quoted
from ladingd.data.values.types import Affinity

if TYPE_CHECKING:
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


def exact_columns(session: Session, shape: TableShape) -> frozenset[str]:
    """The columns in which two values are equal exactly if they are identical."""
    known = collations(session, shape)
    return frozenset(
        column.name
        for column in shape.columns
        if column.affinity is Affinity.INTEGER or (column.affinity is Affinity.TEXT and known[column.name] == BINARY)
    )


def is_guarded(session: Session, shape: TableShape, merge: Merge) -> bool:
    """Whether unique indexes guarantee that no two rows have one of the keys of a merge."""
    found, _ = uniques(session, shape)
    return all(any(set(unique) <= set(key) for unique in found) for key in (merge.key, merge.second_key) if key)


def check_unique(session: Session, shape: TableShape, merge: Merge) -> None:
    """Check that no two rows of the table have the same key. Raises TargetRefused, with an example."""
    for columns in filter(None, (merge.key, merge.second_key)):
        if any(shape.column(name) is None for name in columns):
            continue  # The job adds the column, which is NULL in all rows.
        key = Key(columns=columns)
        query = _AMBIGUOUS.format(
            shown=key.shown("t", shown), table=f"main.{quoted(shape.name)}", given=given(columns, "t"), key=key.of("t")
        )
        for *values, number in session.rows(query):
            raise TargetRefused(
                f"the key is not unique in table {shape.name}: {number:,} rows have {key.said(values)}; choose another "
                f"key, or remove the rows that are too many"
            )
