"""Evaluates the defaults of columns on a server of PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ladingd.data.databases.postgres.catalog import TableShape
    from ladingd.data.databases.postgres.session import Session
    from ladingd.data.databases.target import Defaults

# The expression of each column's default, as the type of the column. An identity takes its values from a sequence.
_EXPRESSIONS = """
SELECT a.attname, format('CAST((%%s) AS %%s)::text', CASE WHEN a.attidentity = '' THEN pg_get_expr(d.adbin, d.adrelid)
    ELSE format('nextval(%%L::regclass)', pg_get_serial_sequence(a.attrelid::regclass::text, a.attname)) END,
    format_type(a.atttypid, a.atttypmod))
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s AND a.attname = ANY (%s)
"""
# A default that does not change has one value, and needs no row for each time.
_VALUES = """
SELECT value, count(*) FROM (SELECT {expression} AS value FROM generate_series(1, {number})) made GROUP BY value
"""


def expressions(session: Session, shape: TableShape, names: Collection[str]) -> dict[str, sql.SQL]:
    """The defaults of columns in SQL, as text."""
    return {name: sql.SQL(expression) for name, expression in session.rows(_EXPRESSIONS, (shape.oid, list(names)))}


def evaluate(session: Session, shape: TableShape, numbers: Mapping[str, int]) -> Defaults:
    """The defaults of columns, evaluated so many times each."""
    return {
        name: session.rows(sql.SQL(_VALUES).format(expression=expression, number=sql.Literal(numbers[name])))
        for name, expression in expressions(session, shape, numbers).items()
    }
