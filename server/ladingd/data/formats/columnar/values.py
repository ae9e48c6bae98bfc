"""Turns Arrow's many types into the few that a mapping knows."""

from __future__ import annotations

import json
import math
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.values import types as field_type
from ladingd.data.values.types import DECIMAL_DIGITS, FieldType, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

_UUID = "arrow.uuid"


def type_of(kind: pa.DataType) -> FieldType:
    """The type of a column of a new table for values of an Arrow type."""
    if isinstance(kind, pa.BaseExtensionType):
        return FieldType(kind=Kind.UUID) if kind.extension_name == _UUID else type_of(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return type_of(kind.value_type)
    plain_kind = _plain_type(kind)
    if plain_kind is None:
        return field_type.TEXT
    if pa.types.is_decimal(plain_kind):
        return FieldType(kind=Kind.DECIMAL, precision=plain_kind.precision, scale=plain_kind.scale)
    if pa.types.is_timestamp(plain_kind):
        return FieldType(kind=Kind.TIMESTAMP if plain_kind.tz is None else Kind.TIMESTAMPTZ)
    return {
        pa.bool_(): FieldType(kind=Kind.BOOLEAN),
        pa.int64(): FieldType(kind=Kind.INTEGER),
        pa.float64(): FieldType(kind=Kind.REAL),
        pa.date32(): FieldType(kind=Kind.DATE),
        pa.time64("us"): FieldType(kind=Kind.TIME),
    }.get(plain_kind, field_type.TEXT)


def plain(values: pa.Array) -> pa.Array:
    """The values in a type that a mapping knows; as text if there is none.

    Bytes become ``\\x`` and hexadecimal digits, nested values JSON. No value is rounded: one with nanoseconds makes
    its column text.
    """
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        return _uuids(values.storage) if kind.extension_name == _UUID else plain(values.storage)
    if pa.types.is_dictionary(kind):
        return plain(values.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        return plain(pc.run_end_decode(values))
    wanted = _plain_type(kind)
    if wanted is None:
        return pa.array(list(_written(values)), pa.string())
    if kind == wanted:
        return _decodable(values) if pa.types.is_string(kind) else values
    try:
        return plain(values.cast(wanted)) if wanted == pa.string() else values.cast(wanted)
    except pa.ArrowInvalid:  # Nanoseconds.
        return pc.replace_substring_regex(values.cast(pa.string()), r"\.?0+(Z?)$", r"\1")


def _decodable(values: pa.Array) -> pa.Array:
    """Text, or bytes if not all of it is UTF-8. pyarrow reads files without a check."""
    try:
        return values.view(pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return values.view(pa.binary())


def as_json(values: pa.Array) -> list[Any]:
    """The values for a JSON document: numbers and booleans as such, all else as in ``plain``."""
    if pa.types.is_nested(values.type):
        return [_json_value(value) for value in _objects(values)]
    return [_json_value(value) for value in plain(values).to_pylist()]


def _plain_type(kind: pa.DataType) -> pa.DataType | None:
    """The type to which values are cast; None: their text is made one by one."""
    types = pa.types
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind) or types.is_null(kind):
        return pa.string()
    if types.is_boolean(kind) or types.is_date32(kind):
        return kind
    if types.is_uint64(kind):
        return pa.decimal128(20, 0)
    if types.is_integer(kind):
        return pa.int64()
    if types.is_floating(kind):
        return pa.float64()
    if types.is_decimal(kind):
        precision, scale = kind.precision - min(kind.scale, 0), max(kind.scale, 0)
        return pa.decimal128(precision, scale) if scale <= precision <= DECIMAL_DIGITS else pa.string()
    if types.is_date(kind):
        return pa.date32()
    if types.is_time(kind):
        return pa.time64("us")
    if types.is_timestamp(kind):
        return pa.timestamp("us", None if kind.tz is None else "UTC")
    return None


def _written(values: pa.Array) -> Iterator[str | None]:
    """The text of values for which Arrow has no text."""
    if pa.types.is_nested(values.type):
        for value in _objects(values):
            yield None if value is None else json.dumps(_json_value(value), ensure_ascii=False)
    elif pa.types.is_duration(values.type):
        unit = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}[values.type.unit]
        for count in values.cast(pa.int64()).to_pylist():
            yield None if count is None else f"{count} {unit}"
    else:
        for value in values.to_pylist():
            yield None if value is None else str(_json_value(value))


def _objects(values: pa.Array) -> list[Any]:
    """Nested values as Python's. Those of a map with a key that occurs twice are lists of pairs."""
    values = values.cast(_without_nanoseconds(values.type), safe=False)
    try:
        return values.to_pylist(maps_as_pydicts="strict")  # type: ignore[no-any-return]
    except KeyError:
        return values.to_pylist()  # type: ignore[no-any-return]


def _without_nanoseconds(kind: pa.DataType) -> pa.DataType:
    """A nested type with text in the place of times that Python cannot hold."""
    types = pa.types
    if types.is_struct(kind):
        return pa.struct([field.with_type(_without_nanoseconds(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(_without_nanoseconds(kind.key_type), _without_nanoseconds(kind.item_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(_without_nanoseconds(kind.value_type), kind.list_size)
    if types.is_large_list(kind):
        return pa.large_list(_without_nanoseconds(kind.value_type))
    if types.is_list(kind):
        return pa.list_(_without_nanoseconds(kind.value_type))
    if (types.is_timestamp(kind) or types.is_time64(kind)) and kind.unit == "ns":
        return pa.string()
    return kind


def _json_value(value: Any) -> Any:
    """A value that JSON can hold."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return rf"\x{value.hex()}"
    if isinstance(value, dict):
        return {str(_json_value(key)): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _uuids(values: pa.Array) -> pa.Array:
    digits = [None if value is None else value.hex() for value in values.to_pylist()]
    return pc.replace_substring_regex(
        pa.array(digits, pa.string()), r"^(.{8})(.{4})(.{4})(.{4})(.{12})$", r"\1-\2-\3-\4-\5"
    )
