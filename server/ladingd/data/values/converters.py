"""Converts the text of fields to the values that a target wants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.values.types import DECIMAL_DIGITS, FieldType, Kind

Convert = Callable[[pa.Array], pa.Array]
"""Converts a column of text, or raises ArrowInvalid if one value does not fit. Nulls stay nulls."""

_FIRST_DAY = date(1, 1, 1)
_SECONDS_END, _COLON = len("2024-05-01 12:00:00"), ord(":")
_ZONE = r":[0-9.]+(Z|[+-][0-9:]+)$"
_MINUTES = r"^(.{10}[ T][0-9]{2}:[0-9]{2})(Z|[+-].*)?$"
_ZEROS = r"(\.[0-9]{6})0{1,3}"
_NO_HEX = 0xFF


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """Further values that a database knows for a kind, as a pattern of their text: ``infinity``, ``24:00:00``."""

    pattern: str
    put: Callable[[pa.Array, pa.Array, pa.Array], pa.Array]
    """Completes the values of a column. Arguments: the values, null for each word; the text of all values that fit; and
    the mask of the words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How fields of a type are converted. Messages call the type ``name``."""

    kind: FieldType
    convert: Convert
    name: str
    beyond: Convert | None = None
    """Whether each value that looks like the kind is out of range. Raises ArrowInvalid if it cannot tell."""
    words: Words | None = None


def typed(kind: FieldType, arrow: pa.DataType | None = None, name: str = "") -> Reading:
    """A reading into Arrow's natural type for the kind, or into a narrower one."""
    arrow = arrow or natural(kind)
    beyond = partial(out_of_range, arrow=arrow) if kind.kind is Kind.DECIMAL else None
    return Reading(kind=kind, convert=_converter(kind, arrow), name=name or str(kind), beyond=beyond)


def natural(kind: FieldType) -> pa.DataType:
    """Arrow's natural type for a kind."""
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
        case Kind.BOOLEAN:
            return lambda column: to_booleans(column, arrow)
        case Kind.REAL:
            return lambda column: to_finite(column, arrow)
        case Kind.DECIMAL:
            return lambda column: to_decimals(column, arrow)
        case Kind.TIME:
            return to_times
        case Kind.TIMESTAMPTZ:
            return to_instants
        case Kind.UUID:
            return to_uuids
        case Kind.TEXT:
            return lambda column: column
        case Kind.DATE | Kind.TIMESTAMP:
            return lambda column: after_christ(_cast(column, arrow))
        case _:
            return lambda column: column.cast(arrow)


def checked(kind: FieldType) -> Reading:
    """A reading that checks the text and keeps it as it is."""
    check = typed(kind)
    return Reading(kind=kind, convert=partial(_as_it_is, check=check), name=str(kind), beyond=check.beyond)


def _as_it_is(column: pa.Array, check: Reading) -> pa.Array:
    check.convert(column)
    return column


def only(column: pa.Array, wanted: pa.Array) -> pa.Array:
    """The values where ``wanted`` is true; null elsewhere."""
    return pc.if_else(wanted, column, pa.scalar(None, column.type))


def to_finite(column: pa.Array, arrow: pa.DataType) -> pa.Array:
    """Finite reals."""
    values = column.cast(pa.float64()).cast(arrow)
    if pc.all(pc.is_finite(values), min_count=0).as_py() is False:
        raise pa.ArrowInvalid("not finite")
    return values


_TRUE_WORDS = pa.array(["t", "tr", "tru", "true", "y", "ye", "yes", "on", "1"])
_FALSE_WORDS = pa.array(["f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0"])


def to_booleans(column: pa.Array, arrow: pa.DataType) -> pa.Array:
    """Booleans in any of the words that PostgreSQL accepts. pyarrow knows true, false, 0 and 1."""
    try:
        return column.cast(arrow)
    except pa.ArrowInvalid:
        words = pc.ascii_lower(column)
    values = pc.is_in(words, value_set=_TRUE_WORDS)
    known = pc.or_(pc.or_(values, pc.is_in(words, value_set=_FALSE_WORDS)), pc.is_null(words))
    if not pc.all(known, min_count=0).as_py():
        raise pa.ArrowInvalid("not a boolean")
    return only(values, column.is_valid())


def put_reals(values: pa.Array, texts: pa.Array, words: pa.Array) -> pa.Array:
    """Infinities and NaN among reals."""
    return pc.if_else(words, only(texts, words).cast(pa.float64()).cast(values.type), values)


def leave_text(values: pa.Array, texts: pa.Array, words: pa.Array) -> pa.Array:
    """The whole column as text, for the server to parse: some of its values have no counterpart in Arrow's type."""
    return texts


def to_decimals(column: pa.Array, arrow: pa.DataType) -> pa.Array:
    """Decimals that equal their text exactly."""
    long = (pc.max(pc.binary_length(column)).as_py() or 0) > DECIMAL_DIGITS
    if long and (pc.max(pc.count_substring_regex(column, "[0-9]")).as_py() or 0) > DECIMAL_DIGITS:
        # pyarrow changes a number with more digits.
        raise pa.ArrowInvalid("too many digits")
    # pyarrow lets a number overflow if it fits no decimal of this scale.
    if arrow.precision + arrow.scale > DECIMAL_DIGITS and pc.any(_too_large(column, arrow)).as_py():
        raise pa.ArrowInvalid("out of range")
    return column.cast(arrow)


def out_of_range(column: pa.Array, arrow: pa.DataType) -> pa.Array:
    """Which decimals have too many digits before or after the point. pyarrow only reports that some have."""
    behind = pc.utf8_rtrim(pc.replace_substring_regex(column, r"^[^.]*\.?", ""), "0")
    small = pc.greater(pc.binary_length(behind), arrow.scale)
    return pc.fill_null(pc.or_(_too_large(column, arrow), small), False)


def _too_large(column: pa.Array, arrow: pa.DataType) -> pa.Array:
    """Which decimals have too many digits before the point. Leading zeros do not count."""
    whole = pc.replace_substring_regex(pc.utf8_ltrim(column, "+-0"), r"\..*$", "")
    return pc.greater(pc.binary_length(whole), arrow.precision - arrow.scale)


def _cast(column: pa.Array, arrow: pa.DataType) -> pa.Array:
    """Dates or timestamps. pyarrow refuses zeros after the last place of the type."""
    try:
        return column.cast(arrow)
    except pa.ArrowInvalid:
        shorter = _without_zeros(column)
        if shorter.equals(column):
            raise
    return shorter.cast(arrow)


def _without_zeros(column: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(column, _ZEROS, r"\1")


def after_christ(values: pa.Array) -> pa.Array:
    """Dates or timestamps from the year 1 on. pyarrow also accepts a year 0, which never was."""
    first = pc.min(values)
    if first.is_valid and first.value < pa.scalar(_FIRST_DAY).cast(values.type).value:
        raise pa.ArrowInvalid("there was no year 0")
    return values


def to_times(column: pa.Array) -> pa.Array:
    """Times of day. pyarrow reads them only as part of a timestamp."""
    joined = pc.binary_join_element_wise("1970-01-01", column, " ")
    return _cast(joined, pa.timestamp("us")).cast(pa.time64("us"))


def to_instants(column: pa.Array) -> pa.Array:
    """Timestamps in UTC. Text without a zone is read as UTC."""
    zoned = pa.timestamp("us", "UTC")
    if not _has_seconds(column):
        # pyarrow confuses zones without a colon and minutes.
        column = pc.replace_substring_regex(column, _MINUTES, r"\1:00\2")
        if not _has_seconds(column):
            raise pa.ArrowInvalid("no time to the minute")
    try:
        return after_christ(column.cast(zoned))
    except pa.ArrowInvalid:
        column = _without_zeros(column)  # Text without a zone is read in another way below.
    has_zone = pc.match_substring_regex(column, _ZONE)
    nothing = pa.scalar(None, pa.string())
    local = pc.if_else(has_zone, nothing, column).cast(pa.timestamp("us"))
    both = pc.coalesce(pc.if_else(has_zone, column, nothing).cast(zoned), pc.assume_timezone(local, "UTC"))
    return after_christ(both)


def _has_seconds(column: pa.Array) -> bool:
    """Whether all values have the colons of a timestamp's time."""
    _, offsets, buffer = column.buffers()
    bounds = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    if not rows.size:
        return True
    starts, lengths = bounds[:-1][rows], np.diff(bounds)[rows]
    codes = np.frombuffer(buffer, np.uint8)
    if lengths.min() < _SECONDS_END:
        return False
    return bool((codes[starts + 13] == _COLON).all() and (codes[starts + 16] == _COLON).all())


def to_uuids(column: pa.Array) -> pa.Array:
    """The sixteen bytes of UUIDs that are written with four hyphens."""
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
