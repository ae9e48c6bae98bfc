"""Maps PostgreSQL's column types to field types and Arrow types."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa

from ladingd.data.values.converters import Reading, Words, checked, leave_text, put_reals, typed
from ladingd.data.values.types import DECIMAL_DIGITS, TEXT, FieldType, Kind

_TEXTS = frozenset({"text", "varchar", "bpchar", "json", "jsonb"})
_SPELLED = frozenset({Kind.DECIMAL, Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.UUID})
"""Kinds of values that a text column stores as spelled in the file."""
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

# The server's spelling of values that Arrow's types lack, and of booleans and zones. Dates within Arrow's range are
# excluded, because they must be checked against the calendar.
_MONTH_AND_DAY = r"-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_FAR_DAY = rf"[1-9][0-9]{{4,6}}{_MONTH_AND_DAY}"
_DAY = rf"[0-9]{{4,7}}{_MONTH_AND_DAY}"
_CLOCK = r"[ T]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
_ZONE = r"(Z|[+-][0-9]{2}(:?[0-5][0-9](:[0-5][0-9])?)?)?"
_ZONE_TO_THE_SECOND = r"[+-][0-9]{2}:[0-5][0-9]:[0-5][0-9]"
_WORDS: dict[Kind, Words] = {
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
    """A type in the catalog. ``base`` is the type below all domains by its name in pg_catalog; empty if it is in
    another schema. ``precision``, ``scale`` and ``length`` are None if the declaration has none."""

    declared: str
    """The type in SQL: ``numeric(10,2)``, ``app.mood``, ``text[]``."""
    plain: str
    """The type below all domains, without modifiers. A cast to it truncates nothing; the assignment that follows
    rejects values that are too long."""
    base: str
    is_array: bool = False
    is_domain: bool = False
    precision: int | None = None
    scale: int | None = None
    length: int | None = None
    labels: tuple[str, ...] = ()
    """The labels of an enum, in order."""

    @property
    def field_type(self) -> FieldType:
        """The type of its fields; text if there is no matching type."""
        if self.is_array:
            return TEXT
        if self.base == "numeric" and self.precision is not None and self.scale is not None:
            if self.precision <= DECIMAL_DIGITS and 0 <= self.scale <= self.precision:
                return FieldType(kind=Kind.DECIMAL, precision=self.precision, scale=self.scale)
            return TEXT
        return FieldType(kind=_KINDS.get(self.base, Kind.TEXT))

    @property
    def longest_text(self) -> int:
        """The most characters of a text of this type; 0: there is no limit."""
        if self.is_array:
            return 0
        if self.labels:
            return max(map(len, self.labels))
        return self.length or 0 if self.base in ("varchar", "bpchar") else 0

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type that COPY accepts fastest; text if the server must parse the value."""
        if self.is_array:
            return pa.string()
        if self.base == "numeric" and self.precision is not None and self.scale is not None:
            if self.precision <= DECIMAL_DIGITS and 0 <= self.scale <= self.precision:
                return pa.decimal128(self.precision, self.scale)
            return pa.string()
        return _ARROW.get(self.base, pa.string())

    def reading(self, kind: FieldType) -> Reading:
        """How fields of this kind are read for the column."""
        if kind == self.field_type and kind != TEXT:
            return admitting(typed(kind, self.arrow, self.plain if kind.kind is Kind.INTEGER else ""))
        if kind.kind in _SPELLED and self.field_type == TEXT:
            return checked(kind)
        if kind.kind is self.field_type.kind is Kind.DECIMAL:
            return typed(_common(kind, self.field_type))
        return typed(kind)

    def takes(self, arrow: pa.DataType) -> bool:
        """Whether binary COPY accepts values of this Arrow type unchanged."""
        if self.is_array:
            return False
        if pa.types.is_string(arrow):
            return self.base in _TEXTS or bool(self.labels)
        if self.base == "numeric":
            return bool(pa.types.is_decimal128(arrow))
        return self.base in _ARROW and bool(arrow == _ARROW[self.base])

    def loose(self, arrow: pa.DataType) -> str:
        """The column type without limits of length, range or domain, which accepts every such value."""
        if pa.types.is_string(arrow):
            return "text"
        return self.base

    def may_refuse(self, arrow: pa.DataType) -> bool:
        """Whether this type may reject values of the Arrow type."""
        if self.is_domain or not self.takes(arrow):
            return True
        if self.base == "numeric":
            return not self._holds(arrow)
        if self.base in ("varchar", "bpchar"):
            return self.length is not None
        return self.base in ("json", "jsonb") or bool(self.labels)

    def equal_alike(self, arrow: pa.DataType) -> bool:
        """Whether the server considers two values of this Arrow type equal exactly if they are identical."""
        return (
            self.takes(arrow)
            and not pa.types.is_floating(arrow)
            and self.base not in ("bpchar", "json", "jsonb")
            and (self.base != "numeric" or self._holds(arrow))
        )

    def _holds(self, arrow: pa.DataType) -> bool:
        """Whether a numeric stores every such decimal without rounding."""
        if self.precision is None or self.scale is None:
            return True
        whole = arrow.precision - arrow.scale
        return bool(arrow.scale <= self.scale and whole <= self.precision - self.scale)


def admitting(reading: Reading) -> Reading:
    """The reading, extended by special values of the column's own type, such as infinity."""
    return replace(reading, words=_WORDS.get(reading.kind.kind))


def declaration(kind: FieldType) -> str:
    """The type of a column in CREATE TABLE, in the catalog's spelling."""
    if kind.kind is Kind.DECIMAL:
        return f"numeric({kind.precision},{kind.scale})"
    return _DECLARATIONS[kind.kind]


def _common(one: FieldType, other: FieldType) -> FieldType:
    """The decimals that both types can store. The server would silently round excess digits."""
    scale = min(one.scale, other.scale)
    whole = min(one.precision - one.scale, other.precision - other.scale)
    return FieldType(kind=Kind.DECIMAL, precision=max(whole + scale, 1), scale=scale)
