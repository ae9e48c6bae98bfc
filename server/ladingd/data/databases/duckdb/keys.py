"""What guards the keys of a merge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.core.errors import TargetRefused
from ladingd.data.databases.duckdb.session import quoted
from ladingd.data.databases.merge_keys import Key, given

if TYPE_CHECKING:
    from ladingd.core.plan import Merge
    from ladingd.data.databases.duckdb.catalog import TableShape
    from ladingd.data.databases.duckdb.session import Database

# A key that several rows have.
_AMBIGUOUS = "SELECT {shown}, count(*) FROM {table} AS t WHERE {given} GROUP BY {key} HAVING count(*) > 1 LIMIT 1"
# A column of a subquery has the collation of the first table in it, which need not have rows.
_COLLATED = """
SELECT text = 'A' OR text = 'á' OR text = 'e' || chr(769)
FROM (SELECT {name} AS text FROM {table} WHERE false UNION ALL SELECT * FROM (VALUES ('a'), ('é')))
"""


def shown(alias: str, name: str) -> str:
    """A column as text."""
    return f"CAST({alias}.{quoted(name)} AS VARCHAR)"


def is_collated(database: Database, shape: TableShape, name: str) -> bool:
    """Whether texts of a column can be equal without being identical."""
    column = shape.column(name)
    if column is None or column.type.declared != "VARCHAR":
        return False
    query = _COLLATED.format(table=shape.identifier, name=quoted(name))
    return any(equal for (equal,) in database.rows(query))


def is_exact(database: Database, shape: TableShape, name: str) -> bool:
    """Whether two values of a column are equal for the database exactly if they are identical."""
    column = shape.column(name)
    if column is None or not (column.type.is_integer or column.type.declared == "VARCHAR"):
        return False
    return not is_collated(database, shape, name)


def uniques(database: Database, shape: TableShape) -> list[tuple[str, ...]]:
    """The unique keys of which no two rows have equal ones. Indexes compare bytes, whatever the collation is."""
    return [
        unique.columns
        for unique in shape.uniques
        if unique.columns and not any(is_collated(database, shape, name) for name in unique.columns)
    ]


def is_guarded(database: Database, shape: TableShape, merge: Merge) -> bool:
    """Whether unique keys guarantee that no two rows have one of the keys of a merge."""
    found = uniques(database, shape)
    return all(any(set(unique) <= set(key) for unique in found) for key in (merge.key, merge.second_key) if key)


def check_unique(database: Database, shape: TableShape, merge: Merge) -> None:
    """Check that no two rows of the table have the same key. Raises TargetRefused, with an example."""
    for columns in filter(None, (merge.key, merge.second_key)):
        if any(shape.column(name) is None for name in columns):
            continue  # The job adds the column, which is NULL in all rows.
        key = Key(columns=columns)
        query = _AMBIGUOUS.format(
            shown=", ".join(f"any_value({shown('t', name)})" for name in columns),
            table=shape.identifier,
            given=given(columns, "t"),
            key=key.of("t"),
        )
        for *values, number in database.rows(query):
            raise TargetRefused(
                f"the key is not unique in table {shape.name}: {number:,} rows have {key.said(values)}; choose another "
                f"key, or remove the rows that are too many"
            )
