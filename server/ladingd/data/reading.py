"""How the text of a field becomes a value: what a target asks for, whatever its database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.field_type import DECIMAL_DIGITS, FieldType, Kind

Convert = Callable[[pa.Array], pa.Array]
"""Makes values of a column of text, or raises ArrowInvalid where one of them is none. Nulls stay nulls."""

_ZONE = r":[0-9.]+(Z|[+-][0-9:]+)$"
_NO_HEX = 0xFF


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A type of fields and what its values become. ``name`` is what a message calls the type."""

    kind: FieldType
    convert: Convert
    name: str
    beyond: Convert | None = None
    """Tells of each value that looks like the kind whether it is out of range; raises ArrowInvalid where it cannot."""


def typed(kind: FieldType, arrow: pa.DataType | None = None, name: str = "") -> Reading:
    """A reading that gives values of Arrow's own type for the kind, or of a narrower one."""
    arrow = arrow or natural(kind)
    beyond = partial(out_of_range, arrow=arrow) if kind.kind is Kind.DECIMAL else None
    return Reading(kind=kind, convert=_converter(kind, arrow), name=name or str(kind), beyond=beyond)


def natural(kind: FieldType) -> pa.DataType:
    """Arrow's own type for a kind."""
    match kind.kind:
        case Kind.INTEGER:
            return pa.int64()
        case Kind.REAL:
            return pa.float64()
        case Kind.DECIMAL:
            return pa.decimal128(kind.precision, kind.scale)
        case Kind.BOOLEAN:
            return pa.bool_()
        case Kind.DATE:
            return pa.date32()
        case Kind.TIME:
            return pa.time64("us")
        case Kind.TIMESTAMP:
            return pa.timestamp("us")
        case Kind.TIMESTAMPTZ:
            return pa.timestamp("us", "UTC")
        case Kind.UUID:
            return pa.binary(16)
        case Kind.TEXT:
            return pa.string()


def _converter(kind: FieldType, arrow: pa.DataType) -> Convert:
    match kind.kind:
        case Kind.REAL:
            return lambda column: to_finite(column, arrow)
        case Kind.DECIMAL:
            return lambda column: countable(column).cast(arrow)
        case Kind.TIME:
            return to_times
        case Kind.TIMESTAMPTZ:
            return to_instants
        case Kind.UUID:
            return to_uuids
        case Kind.TEXT:
            return lambda column: column
        case _:
            return lambda column: column.cast(arrow)


def only(column: pa.Array, wanted: pa.Array) -> pa.Array:
    """The wanted values; null in the place of the others."""
    return pc.if_else(wanted, column, pa.scalar(None, column.type))


def to_finite(column: pa.Array, arrow: pa.DataType) -> pa.Array:
    """Reals, none of them infinite or not a number."""
    values = column.cast(pa.float64()).cast(arrow)
    if pc.all(pc.is_finite(values), min_count=0).as_py() is False:
        raise pa.ArrowInvalid("not finite")
    return values


def countable(column: pa.Array) -> pa.Array:
    """The text itself, if pyarrow can count its digits: a decimal with more than 38 of them becomes another number."""
    if (pc.max(pc.binary_length(column)).as_py() or 0) > 38:
        raise pa.ArrowInvalid("too many digits")
    return column


def out_of_range(column: pa.Array, arrow: pa.DataType) -> pa.Array:
    """Which decimals have too many digits before or behind the point. pyarrow only says that there are some."""
    room = DECIMAL_DIGITS - arrow.scale
    values = countable(column).cast(pa.decimal128(DECIMAL_DIGITS, min(arrow.scale + room // 2, DECIMAL_DIGITS)))
    large = pc.greater_equal(pc.abs(values), pa.scalar(Decimal(10) ** (arrow.precision - arrow.scale)))
    return pc.fill_null(pc.or_(large, pc.not_equal(values, pc.round(values, arrow.scale))), False)


def to_times(column: pa.Array) -> pa.Array:
    """Times of day. pyarrow reads them only as part of a timestamp."""
    return pc.binary_join_element_wise("1970-01-01", column, " ").cast(pa.timestamp("us")).cast(pa.time64("us"))


def to_instants(column: pa.Array) -> pa.Array:
    """Timestamps of UTC, of text with a zone and, as UTC, of text without."""
    zoned = pa.timestamp("us", "UTC")
    try:
        return column.cast(zoned)
    except pa.ArrowInvalid:
        pass  # not swallowed: those without a zone are read in another way
    has_zone = pc.match_substring_regex(column, _ZONE)
    nothing = pa.scalar(None, pa.string())
    local = pc.if_else(has_zone, nothing, column).cast(pa.timestamp("us"))
    return pc.coalesce(pc.if_else(has_zone, column, nothing).cast(zoned), pc.assume_timezone(local, "UTC"))


def to_uuids(column: pa.Array) -> pa.Array:
    """The sixteen bytes of UUIDs that are written with their four hyphens."""
    if pc.all(pc.equal(pc.binary_length(column), 36), min_count=0).as_py() is False:
        raise pa.ArrowInvalid("no UUID")
    texts = pc.fill_null(column, "0" * 36).cast(pa.binary(36))
    digits = np.frombuffer(texts.buffers()[1], np.uint8).reshape(-1, 36)[texts.offset : texts.offset + len(texts)]
    nibbles = _HEX[digits[:, _DIGIT_PLACES]]
    if (nibbles == _NO_HEX).any() or (digits[:, _HYPHEN_PLACES] != ord("-"))[column.is_valid().to_numpy(False)].any():
        raise pa.ArrowInvalid("no UUID")
    octets = pa.py_buffer((nibbles[:, 0::2] << 4 | nibbles[:, 1::2]).tobytes())
    values = pa.Array.from_buffers(pa.binary(16), len(column), [None, octets])
    return only(values, column.is_valid())


_HYPHEN_PLACES = [8, 13, 18, 23]
_DIGIT_PLACES = [place for place in range(36) if place not in _HYPHEN_PLACES]
_HEX = np.full(256, _NO_HEX, np.uint8)
for _digit in "0123456789abcdefABCDEF":
    _HEX[ord(_digit)] = int(_digit, 16)
