"""Maps DuckDB's column types to types of fields, and values to text."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from ladingd.data.databases.duckdb.session import statement
from ladingd.data.values.converters import Reading, Words, checked, put_reals, typed
from ladingd.data.values.types import DECIMAL_DIGITS, TEXT, FieldType, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

_DECIMAL = re.compile(r"DECIMAL\(([0-9]+),([0-9]+)\)")
_INTEGERS: Mapping[str, pa.DataType] = {
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "UTINYINT": pa.uint8(),
    "USMALLINT": pa.uint16(),
    "UINTEGER": pa.uint32(),
    "UBIGINT": pa.uint64(),
}
KEYS = frozenset(_INTEGERS) - {"UBIGINT"}
"""The integer types whose values fit into 64 bits with a sign."""
_REALS: Mapping[str, pa.DataType] = {"FLOAT": pa.float32(), "DOUBLE": pa.float64()}
_OTHERS: Mapping[str, Kind] = {
    "BOOLEAN": Kind.BOOLEAN,
    "DATE": Kind.DATE,
    "TIME": Kind.TIME,
    "TIMESTAMP": Kind.TIMESTAMP,
    "TIMESTAMP WITH TIME ZONE": Kind.TIMESTAMPTZ,
    "UUID": Kind.UUID,
    "VARCHAR": Kind.TEXT,
    "BLOB": Kind.TEXT,
}
_DECLARED = {
    Kind.INTEGER: "BIGINT",
    Kind.REAL: "DOUBLE",
    Kind.BOOLEAN: "BOOLEAN",
    Kind.DATE: "DATE",
    Kind.TIME: "TIME",
    Kind.TIMESTAMP: "TIMESTAMP",
    Kind.TIMESTAMPTZ: "TIMESTAMP WITH TIME ZONE",
    Kind.UUID: "UUID",
    Kind.TEXT: "VARCHAR",
}
_REAL_WORDS = Words(pattern=r"^(?i:[+-]?inf(inity)?|nan)$", put=put_reals)
_BYTES = r"""
CASE WHEN regexp_matches({c}, '^\\x([0-9a-fA-F][0-9a-fA-F])*$') THEN unhex(substr({c}, 3)) ELSE encode({c}) END
"""


def declaration(kind: FieldType) -> str:
    """The type of a column in CREATE TABLE, in DuckDB's own spelling."""
    return f"DECIMAL({kind.precision},{kind.scale})" if kind.kind is Kind.DECIMAL else _DECLARED[kind.kind]


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnType:
    """The type of a column."""

    declared: str
    field_type: FieldType
    arrow: pa.DataType | None = None
    """The Arrow type of its values; None: the default type for the field type."""
    native: bool = True
    """Whether Lading parses its values. Otherwise DuckDB converts them from text: INTERVAL, ENUM, JSON, lists,
    structs."""

    def reading(self, planned: FieldType, *, inferred: bool = False) -> Reading:
        """How fields are converted to values of this column."""
        if not self.native or (self.field_type == TEXT and planned != TEXT):
            return checked(planned)
        if self.field_type.kind is Kind.UUID:
            return checked(self.field_type)
        reading = typed(self.field_type, self.arrow, self._name)
        if inferred:
            return reading
        if self.field_type.kind is Kind.REAL:
            return replace(reading, words=_REAL_WORDS)
        return reading

    @property
    def is_integer(self) -> bool:
        """Whether its values are integers of at most 64 bits."""
        return self.declared in _INTEGERS

    @property
    def _name(self) -> str:
        return self.declared.lower() if self.declared in _INTEGERS and self.declared != "BIGINT" else ""

    def value(self, name: str) -> str:
        """The expression that an import inserts. Hexadecimal text after ``\\x`` becomes bytes; other text becomes its
        UTF-8."""
        return statement(_BYTES.strip() if self.declared == "BLOB" else "{c}", c=name)

    def expression(self, name: str) -> str:
        """The expression that an export selects."""
        if self.declared == "BLOB":
            return statement("'\\x' || lower(hex({c}))", c=name)
        if self.declared in _REALS:
            return statement("{c}", c=name)
        return statement("CAST({c} AS VARCHAR)", c=name)

    def text(self, values: pa.Array) -> pa.Array:
        """The text of selected values. A real becomes the shortest text that reads back as the same number."""
        return values if values.type == pa.string() else values.cast(pa.string())


def of_declaration(declared: str) -> ColumnType:
    """The type of a column from DuckDB's declaration."""
    decimal = _DECIMAL.fullmatch(declared)
    if decimal is not None and int(decimal[1]) <= DECIMAL_DIGITS:
        kind = FieldType(kind=Kind.DECIMAL, precision=int(decimal[1]), scale=int(decimal[2]))
        return ColumnType(declared=declared, field_type=kind)
    if declared in _INTEGERS:
        return ColumnType(declared=declared, field_type=FieldType(kind=Kind.INTEGER), arrow=_INTEGERS[declared])
    if declared in _REALS:
        return ColumnType(declared=declared, field_type=FieldType(kind=Kind.REAL), arrow=_REALS[declared])
    if declared in _OTHERS:
        return ColumnType(declared=declared, field_type=FieldType(kind=_OTHERS[declared]))
    return ColumnType(declared=declared, field_type=TEXT, native=False)
