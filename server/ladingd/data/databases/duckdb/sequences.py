"""Advances sequences past imported values of the columns that they fill.

DuckDB advances a sequence only when it generates a value. After an import of explicit values, the next insert without a
value would get one that is taken.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.databases.duckdb.session import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.databases.duckdb.catalog import TableShape
    from ladingd.data.databases.duckdb.session import Database
    from ladingd.data.values.positions import Positions

_NEXT = re.compile(r"nextval\('(?P<name>(?:[^']|'')+)'\)")
_PART = re.compile(r'"(?P<quoted>(?:[^"]|"")*)"|(?P<plain>[^."]+)')
_MAIN = "main"

# The sequence with a name.
_SEQUENCE = """
SELECT start_value, last_value, increment_by, min_value, max_value FROM duckdb_sequences()
WHERE database_name = current_database() AND lower(schema_name) = lower(?) AND lower(sequence_name) = lower(?)
"""
# The outer values of a column that 64 bits can hold.
_EXTENT = """
SELECT CAST(min({column}) AS BIGINT), CAST(max({column}) AS BIGINT) FROM {stage}
WHERE {column} <= 9223372036854775807
"""
# The next value is one step further. Neither this nor nextval is undone by a rollback.
_ADVANCE = "SELECT setval(?, ?)"


def move_past(database: Database, shape: TableShape, records: pa.RecordBatch, inserted: Positions) -> None:
    """Advance the sequences past the values of these records, in their direction and by whole steps."""
    for column in shape.columns:
        default = _NEXT.fullmatch(column.default or "")
        if default is None or column.name not in records.schema.names:
            continue
        values = records.column(column.name)
        if pa.types.is_integer(values.type):
            _move(database, default["name"].replace("''", "'"), values.take(pa.array(inserted)))


def move_past_staged(database: Database, shape: TableShape, names: Sequence[str], stage: str) -> None:
    """Advance the sequences past the values of these columns in a staging."""
    for column in shape.columns:
        default = _NEXT.fullmatch(column.default or "")
        if default is None or column.name not in names or not column.type.is_integer:
            continue
        found = database.rows(_EXTENT.format(column=quoted(column.name), stage=stage))
        _move(database, default["name"].replace("''", "'"), pa.array([*found[0]], pa.int64()))


def _move(database: Database, sequence: str, values: pa.Array) -> None:
    found = database.rows(_SEQUENCE, _qualified(sequence))
    if not found:
        return
    start, last, step, least, most = found[0]
    values = values.cast(pa.int64(), safe=False)
    values = values.filter(pc.and_(pc.greater_equal(values, least), pc.less_equal(values, most)))
    furthest = pc.min_max(values)["max" if step > 0 else "min"].as_py()
    following = start if last is None else last + step
    if furthest is None or step * (following - furthest) > 0:
        return
    base = start if last is None else last
    steps = -((base - furthest) // step)
    database.run(_ADVANCE, (sequence, max(least, min(most, base + steps * step))))


def _qualified(sequence: str) -> tuple[str, str]:
    """The schema and the name of a sequence as a default spells it."""
    parts = [part["plain"] or part["quoted"].replace('""', '"') for part in _PART.finditer(sequence)]
    return (parts[-2] if len(parts) > 1 else _MAIN), parts[-1]
