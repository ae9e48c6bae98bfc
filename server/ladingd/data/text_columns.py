"""Reads the columns of a SQLite table as text.

SQLite's columns hold values of any kind, and the driver guesses a column's kind by its first rows. So every column is
asked for as text, and once more as a double where reals can be: SQLite itself would write those with 15 digits only,
pyarrow writes the shortest text that reads back as the same number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.field_type import EXACT_DIGITS, FieldType, Kind, has_text_affinity, of_declaration
from ladingd.data.sqlite import TableColumn, statement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ladingd.data.sqlite import Database

_TEXT = "CASE typeof({c}) WHEN 'blob' THEN '\\x' || lower(hex({c})) ELSE {c} END"
_ANY = "CASE typeof({c}) WHEN 'real' THEN NULL WHEN 'blob' THEN '\\x' || lower(hex({c})) ELSE CAST({c} AS TEXT) END"
_BOOLEAN = "CASE WHEN typeof({c}) = 'integer' AND {c} IN (0, 1) THEN iif({c}, 'true', 'false') ELSE " + _ANY + " END"
# A decimal that is whole is kept as an integer. Beyond 2^53 a double would not be exact, so it stays an integer.
_WHOLE = "typeof({c}) = 'integer' AND {c} BETWEEN -9007199254740992 AND 9007199254740992"
_DECIMAL = "CASE WHEN " + _WHOLE + " THEN NULL ELSE " + _ANY + " END"
_REAL = "CASE WHEN typeof({c}) = 'real' THEN {c} END"
_DECIMAL_REAL = "CASE WHEN typeof({c}) = 'real' OR (" + _WHOLE + ") THEN CAST({c} AS REAL) END"


@dataclass(frozen=True, kw_only=True, slots=True)
class TextColumn:
    """How one column is asked for."""

    name: str
    type: FieldType
    may_be_real: bool

    @classmethod
    def of(cls, column: TableColumn) -> TextColumn:
        """By the column's declaration."""
        return cls(
            name=column.name,
            type=of_declaration(column.declared),
            may_be_real=not has_text_affinity(column.declared),
        )

    @property
    def expressions(self) -> tuple[str, ...]:
        """One expression for its text, and one for its reals where there can be some."""
        if not self.may_be_real:
            return (statement(_TEXT, c=self.name),)
        if self.type.kind is Kind.DECIMAL:
            return statement(_DECIMAL, c=self.name), statement(_DECIMAL_REAL, c=self.name)
        text = _BOOLEAN if self.type.kind is Kind.BOOLEAN else _ANY
        return statement(text, c=self.name), statement(_REAL, c=self.name)

    def text(self, parts: Sequence[pa.Array]) -> pa.Array:
        """The text of its values, out of what the expressions gave."""
        if not self.may_be_real or parts[1].null_count == len(parts[1]):
            return parts[0]
        reals = parts[1].cast(pa.string())
        if self.type.kind is Kind.DECIMAL:
            reals = _with_scale(parts[1], reals, self.type.scale)
        return pc.coalesce(parts[0], reals)


def read_text(
    database: Database, table: str, columns: Sequence[TextColumn], key: str | None, start: int, last: int
) -> Iterator[list[pa.Array]]:
    """The rows with keys from ``start`` to ``last``, batch by batch, as columns of text."""
    expressions = [expression for column in columns for expression in column.expressions]
    samples = [sample for column in columns for sample in ("'x'", "0.0")[: len(column.expressions)]]
    names = [f"{sample} AS c{number}" for number, sample in enumerate(samples)]
    select = f"SELECT {', '.join(expressions)}" + statement(" FROM {table}", table=table)  # noqa: S608 - all names are quoted
    values: tuple[int, ...] = ()
    if key is not None:
        select += statement(" WHERE {key} BETWEEN ? AND ? ORDER BY {key}", key=key)
        values = (start, last)
    # The first row is ours: by it the driver knows the kinds. It is left out again.
    query = f"SELECT {', '.join(names)} UNION ALL SELECT * FROM ({select})"  # noqa: S608 - all names are quoted
    with database.stream(query, values) as reader:
        skip = 1
        for batch in reader:
            rows, skip = batch.slice(skip), 0
            if rows.num_rows:
                parts = iter(rows.columns)
                yield [column.text([next(parts) for _ in column.expressions]) for column in columns]


def _with_scale(values: pa.Array, shortest: pa.Array, scale: int) -> pa.Array:
    """Reals as decimals with all their places; the shortest text of those that have more places than declared."""
    small = pc.less(pc.abs(values), 10.0 ** (EXACT_DIGITS - scale))
    decimals = pc.if_else(small, values, pa.scalar(None, pa.float64())).cast(pa.decimal128(38, scale))
    texts = decimals.cast(pa.string())
    return pc.if_else(pc.fill_null(pc.equal(texts.cast(pa.float64()), values), False), texts, shortest)
