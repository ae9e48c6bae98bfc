"""Converts the columns of a SQLite table to text.

SQLite's columns can hold values of any type. Most hold values of their declared type; the *typed* way selects such a
column unchanged. The *careful* way handles values of any type: it selects every column as text. Columns that may
contain reals are also selected as doubles, because SQLite would write reals with only 15 digits, while pyarrow writes
the shortest text that reads back as the same number. Both ways give the same text.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.databases.sqlite.session import statement
from ladingd.data.values.decimals import decimal_text
from ladingd.data.values.types import EXACT_DIGITS, Affinity, FieldType, Kind, of_declaration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.databases.sqlite.session import TableShape

_TEXT = "CASE typeof({c}) WHEN 'blob' THEN '\\x' || lower(hex({c})) ELSE {c} END"
_ANY = "CASE typeof({c}) WHEN 'real' THEN NULL WHEN 'blob' THEN '\\x' || lower(hex({c})) ELSE CAST({c} AS TEXT) END"
_BOOLEAN = "CASE WHEN typeof({c}) = 'integer' AND {c} IN (0, 1) THEN iif({c}, 'true', 'false') ELSE " + _ANY + " END"
# SQLite stores a whole decimal as an integer. Beyond 2^53 it stays an integer, because a double would not be exact.
_WHOLE = "typeof({c}) = 'integer' AND {c} BETWEEN -9007199254740992 AND 9007199254740992"
_DECIMAL = "CASE WHEN " + _WHOLE + " THEN NULL ELSE " + _ANY + " END"
_REAL = "CASE WHEN typeof({c}) = 'real' THEN {c} END"
_DECIMAL_REAL = "CASE WHEN typeof({c}) = 'real' OR (" + _WHOLE + ") THEN CAST({c} AS REAL) END"

# Created once: pyarrow searches for a missing module whenever it makes a scalar from text.
_TRUE, _FALSE = pa.scalar("true"), pa.scalar("false")

# The driver turns integers into doubles. Up to this limit they are exact, and pyarrow writes them without an exponent.
_EXACT = {Kind.DECIMAL: 2.0**53 - 1, Kind.REAL: 1e10 - 1}


class Unfit(Exception):
    """A column holds a value that needs the careful way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextColumn:
    """The expressions that select a column, and the conversion of its values to text."""

    name: str
    type: FieldType
    affinity: Affinity

    @property
    def sample(self) -> str:
        """A value of the type that the typed way expects."""
        if self.type.kind in (Kind.INTEGER, Kind.BOOLEAN):
            return "1"
        return "0.0" if self.type.kind in (Kind.DECIMAL, Kind.REAL) else "'x'"

    @property
    def arrow_type(self) -> pa.DataType:
        """The type that the driver infers from the sample."""
        return {"1": pa.int64(), "0.0": pa.float64(), "'x'": pa.string()}[self.sample]

    @property
    def oddity(self) -> str:
        """The condition of values that the typed way would get wrong without noticing. The driver or the value itself
        reveals other odd values."""
        if self.sample != "'x'":
            return statement("typeof({c}) IN ('text', 'blob')", c=self.name)
        if self.affinity is Affinity.TEXT:
            return statement("typeof({c}) = 'blob'", c=self.name)
        return statement("typeof({c}) IN ('real', 'blob')", c=self.name)

    def typed_text(self, values: pa.Array) -> pa.Array:
        """The text of values of the expected type. Raises Unfit."""
        kind = self.type.kind
        if values.type != self.arrow_type:
            raise Unfit
        if kind is Kind.BOOLEAN:
            _check(values, 0, 1)
            return pc.if_else(pc.cast(values, pa.bool_()), _TRUE, _FALSE)
        if kind in _EXACT and self.affinity is not Affinity.REAL:
            _check(values, -_EXACT[kind], _EXACT[kind])
        return self._number_text(values)

    @property
    def expressions(self) -> tuple[str, ...]:
        """The careful way: an expression for the text, and one for reals if the column may contain them."""
        if self.affinity is Affinity.TEXT:
            return (statement(_TEXT, c=self.name),)
        if self.type.kind is Kind.DECIMAL:
            return statement(_DECIMAL, c=self.name), statement(_DECIMAL_REAL, c=self.name)
        text = _BOOLEAN if self.type.kind is Kind.BOOLEAN else _ANY
        return statement(text, c=self.name), statement(_REAL, c=self.name)

    def careful_text(self, parts: Sequence[pa.Array]) -> pa.Array:
        """The text of the values that the expressions selected."""
        if len(parts) == 1 or parts[1].null_count == len(parts[1]):
            return parts[0]
        return pc.coalesce(parts[0], self._number_text(parts[1]))

    def _number_text(self, values: pa.Array) -> pa.Array:
        return _with_scale(values, self.type.scale) if self.type.kind is Kind.DECIMAL else values.cast(pa.string())


def text_columns(shape: TableShape) -> dict[str, TextColumn]:
    """The columns of a table by name. Values of a view or a virtual table need not match the declaration."""
    loose = shape.is_view or shape.is_virtual
    return {
        column.name: TextColumn(
            name=column.name,
            type=of_declaration(column.declared),
            affinity=Affinity.BLOB if loose else column.affinity,
        )
        for column in shape.columns
    }


def _check(values: pa.Array, least: float, most: float) -> None:
    found = pc.min_max(values)
    if found["min"].is_valid and not least <= found["min"].as_py() <= found["max"].as_py() <= most:
        raise Unfit


def _with_scale(values: pa.Array, scale: int) -> pa.Array:
    """Reals as decimals with all declared places. A value with more places becomes its shortest text."""
    small = pc.less(pc.abs(values), 10.0 ** (EXACT_DIGITS - scale))
    decimals = pc.if_else(small, values, pa.scalar(None, pa.float64())).cast(pa.decimal128(38, scale))
    texts = decimal_text(decimals)
    kept = pc.or_(pc.is_null(values), pc.fill_null(pc.equal(texts.cast(pa.float64()), values), False))
    return texts if pc.all(kept, min_count=0).as_py() else pc.if_else(kept, texts, _shortest(values))


def _shortest(values: pa.Array) -> pa.Array:
    texts = values.cast(pa.string()).to_pylist()
    return pa.array([format(Decimal(text), "f") if text and "e" in text else text for text in texts], pa.string())
