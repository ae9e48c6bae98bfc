"""The types of PostgreSQL's columns: what they are as field types, and which Arrow types go into them as they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa

from ladingd.data.values.converters import BOOLEAN_WORDS, Reading, Words, checked, leave_text, put_reals, typed
from ladingd.data.values.types import DECIMAL_DIGITS, TEXT, FieldType, Kind

_TEXTS = frozenset({"text", "varchar", "bpchar", "json", "jsonb"})
_SPELLED = frozenset({Kind.DECIMAL, Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.UUID})
"""Kinds of values that a column of text gets as they are spelled."""
_KINDS: dict[str, Kind] = {
    "int2": Kind.INTEGER,
    "int4": Kind.INTEGER,
    "int8": Kind.INTEGER,
    "float4": Kind.REAL,
    "float8": Kind.REAL,
    "bool": Kind.BOOLEAN,
    "date": Kind.DATE,
    "time": Kind.TIME,
    "timestamp": Kind.TIMESTAMP,
    "timestamptz": Kind.TIMESTAMPTZ,
    "uuid": Kind.UUID,
}
_ARROW: dict[str, pa.DataType] = {
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "bytea": pa.binary(),
    "uuid": pa.binary(16),
}
_DECLARATIONS: dict[Kind, str] = {
    Kind.INTEGER: "bigint",
    Kind.REAL: "double precision",
    Kind.BOOLEAN: "boolean",
    Kind.DATE: "date",
    Kind.TIME: "time without time zone",
    Kind.TIMESTAMP: "timestamp without time zone",
    Kind.TIMESTAMPTZ: "timestamp with time zone",
    Kind.UUID: "uuid",
    Kind.TEXT: "text",
}

# What the server writes for values that Arrow's types have not, and what it takes for booleans and zones. Dates that
# Arrow has are not among them: the calendar has its say there.
_MONTH_AND_DAY = r"-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_FAR_DAY = rf"[1-9][0-9]{{4,6}}{_MONTH_AND_DAY}"
_DAY = rf"[0-9]{{4,7}}{_MONTH_AND_DAY}"
_CLOCK = r"[ T]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
_ZONE = r"(Z|[+-][0-9]{2}(:?[0-5][0-9](:[0-5][0-9])?)?)?"
_ZONE_TO_THE_SECOND = r"[+-][0-9]{2}:[0-5][0-9]:[0-5][0-9]"
_WORDS: dict[Kind, Words] = {
    Kind.BOOLEAN: BOOLEAN_WORDS,
    Kind.REAL: Words(pattern=r"^(?i:[+-]?inf(inity)?|nan)$", put=put_reals),
    Kind.DECIMAL: Words(pattern=r"^(?i:nan)$", put=leave_text),
    Kind.DATE: Words(pattern=rf"^((?i:-?infinity)|{_FAR_DAY}|{_DAY} BC)$", put=leave_text),
    Kind.TIME: Words(pattern=r"^24:00:00(\.0{1,6})?$", put=leave_text),
    Kind.TIMESTAMP: Words(pattern=rf"^((?i:-?infinity)|{_FAR_DAY}{_CLOCK}|{_DAY}{_CLOCK} BC)$", put=leave_text),
    Kind.TIMESTAMPTZ: Words(
        pattern=rf"^((?i:-?infinity)|{_FAR_DAY}{_CLOCK}{_ZONE}|{_DAY}{_CLOCK}({_ZONE} BC|{_ZONE_TO_THE_SECOND}))$",
        put=leave_text,
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PgType:
    """A type as the catalog has it. ``base`` is the type behind all domains, by its name in pg_catalog; empty where
    it is of another schema. ``precision``, ``scale`` and ``length`` are None where the declaration has none."""

    declared: str
    """As SQL spells it: ``numeric(10,2)``, ``app.mood``, ``text[]``."""
    plain: str
    """The type behind all domains, without modifiers. A cast to it cuts nothing off; the assignment that follows
    refuses what is too long."""
    base: str
    is_array: bool = False
    is_domain: bool = False
    precision: int | None = None
    scale: int | None = None
    length: int | None = None
    labels: tuple[str, ...] = ()
    """Of an enum, in its order."""

    @property
    def field_type(self) -> FieldType:
        """The type that fields for it are read as; text where we have none like it."""
        if self.is_array:
            return TEXT
        if self.base == "numeric" and self.precision is not None and self.scale is not None:
            if self.precision <= DECIMAL_DIGITS and 0 <= self.scale <= self.precision:
                return FieldType(kind=Kind.DECIMAL, precision=self.precision, scale=self.scale)
            return TEXT
        return FieldType(kind=_KINDS.get(self.base, Kind.TEXT))

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type that COPY takes fastest. Text, where the server has to read the value itself."""
        if self.is_array:
            return pa.string()
        if self.base == "numeric" and self.precision is not None and self.scale is not None:
            if self.precision <= DECIMAL_DIGITS and 0 <= self.scale <= self.precision:
                return pa.decimal128(self.precision, self.scale)
            return pa.string()
        return _ARROW.get(self.base, pa.string())

    def reading(self, kind: FieldType) -> Reading:
        """How fields of a kind are read for a column of this type."""
        if kind == self.field_type and kind != TEXT:
            return admitting(typed(kind, self.arrow, self.plain if kind.kind is Kind.INTEGER else ""))
        if kind.kind in _SPELLED and self.field_type == TEXT:
            return checked(kind)
        if kind.kind is self.field_type.kind is Kind.DECIMAL:
            return typed(_common(kind, self.field_type))
        return typed(kind)

    def takes(self, arrow: pa.DataType) -> bool:
        """Whether binary COPY takes values of this Arrow type as they are."""
        if self.is_array:
            return False
        if pa.types.is_string(arrow):
            return self.base in _TEXTS or bool(self.labels)
        if self.base == "numeric":
            return bool(pa.types.is_decimal128(arrow))
        return self.base in _ARROW and bool(arrow == _ARROW[self.base])

    def loose(self, arrow: pa.DataType) -> str:
        """The type of a column that takes every such value, whatever length, range or domain says."""
        if pa.types.is_string(arrow):
            return "text"
        return self.base

    def may_refuse(self, arrow: pa.DataType) -> bool:
        """Whether there are values of this Arrow type that are none of this type."""
        if self.is_domain or not self.takes(arrow):
            return True
        if self.base == "numeric":
            return not self._holds(arrow)
        if self.base in ("varchar", "bpchar"):
            return self.length is not None
        return self.base in ("json", "jsonb") or bool(self.labels)

    def equal_alike(self, arrow: pa.DataType) -> bool:
        """Whether two values of this Arrow type are equal to the server exactly if they are the same."""
        return (
            self.takes(arrow)
            and not pa.types.is_floating(arrow)
            and self.base not in ("bpchar", "json", "jsonb")
            and (self.base != "numeric" or self._holds(arrow))
        )

    def _holds(self, arrow: pa.DataType) -> bool:
        """Whether a numeric takes every such decimal without rounding it."""
        if self.precision is None or self.scale is None:
            return True
        whole = arrow.precision - arrow.scale
        return bool(arrow.scale <= self.scale and whole <= self.precision - self.scale)


def admitting(reading: Reading) -> Reading:
    """The same for a column of the reading's own kind, which has values that no file of another kind would have."""
    return replace(reading, words=_WORDS.get(reading.kind.kind))


def declaration(kind: FieldType) -> str:
    """The type of a column in CREATE TABLE, as the catalog spells it afterwards."""
    if kind.kind is Kind.DECIMAL:
        return f"numeric({kind.precision},{kind.scale})"
    return _DECLARATIONS[kind.kind]


def _common(one: FieldType, other: FieldType) -> FieldType:
    """The decimals that both types hold: the server would round what it has no digits for, without a word."""
    scale = min(one.scale, other.scale)
    whole = min(one.precision - one.scale, other.precision - other.scale)
    return FieldType(kind=Kind.DECIMAL, precision=max(whole + scale, 1), scale=scale)
