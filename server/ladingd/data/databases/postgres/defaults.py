"""Evaluates the defaults of columns on a server of PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ladingd.data.databases.postgres.catalog import TableShape
    from ladingd.data.databases.postgres.session import Session

# The expression of each column's default, as the type of the column. An identity takes its values from a sequence.
_EXPRESSIONS = """
SELECT a.attname, format('CAST((%%s) AS %%s)::text', CASE WHEN a.attidentity = '' THEN pg_get_expr(d.adbin, d.adrelid)
    ELSE format('nextval(%%L::regclass)', pg_get_serial_sequence(a.attrelid::regclass::text, a.attname)) END,
    format_type(a.atttypid, a.atttypmod))
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s AND a.attname = ANY (%s)
"""
_VALUES = "SELECT {expression} FROM generate_series(1, {number})"


def expressions(session: Session, shape: TableShape, names: Collection[str]) -> dict[str, sql.SQL]:
    """The defaults of columns in SQL, as text."""
    return {name: sql.SQL(expression) for name, expression in session.rows(_EXPRESSIONS, (shape.oid, list(names)))}


def evaluate(session: Session, shape: TableShape, numbers: Mapping[str, int]) -> dict[str, list[str | None]]:
    """The defaults of columns as text, evaluated so many times each."""
    return {
        name: [
            value
            for (value,) in session.rows(
                sql.SQL(_VALUES).format(expression=expression, number=sql.Literal(numbers[name]))
            )
        ]
        for name, expression in expressions(session, shape, numbers).items()
    }
