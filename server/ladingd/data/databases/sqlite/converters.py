"""Converts the text of fields to values that SQLite stores."""

from __future__ import annotations

from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.values.converters import (
    Reading,
    Words,
    checked,
    only,
    out_of_range,
    put_reals,
    to_decimals,
    to_finite,
    typed,
)
from ladingd.data.values.types import EXACT_DIGITS, FieldType, Kind

_KEPT_AS_TEXT = frozenset({Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.UUID})


def sqlite_reading(kind: FieldType, *, inferred: bool = False) -> Reading:
    """How fields of a type are read. Types that SQLite lacks are checked and stay text; a decimal becomes a double.

    ``inferred``: numbers that a double cannot store are rejected later and need no care here.
    """
    if kind.kind in _KEPT_AS_TEXT:
        return checked(kind)
    if kind.kind is Kind.DECIMAL:
        kept = pa.decimal128(min(kind.precision, EXACT_DIGITS), kind.scale)
        limit = f" (at most {EXACT_DIGITS} digits in SQLite)" if kind.precision > EXACT_DIGITS else ""
        beyond = partial(out_of_range, arrow=kept)
        return Reading(kind=kind, convert=partial(_to_double, exact=kept), name=f"{kind}{limit}", beyond=beyond)
    if kind.kind is Kind.REAL and not inferred:
        return Reading(kind=kind, convert=_to_reals, name=str(kind), words=_INFINITIES)
    return typed(kind)


def _to_double(column: pa.Array, exact: pa.DataType) -> pa.Array:
    to_decimals(column, exact)
    return column.cast(pa.float64())  # From the text: a division by a power of ten would not give the nearest double.


def _to_reals(column: pa.Array) -> pa.Array:
    return _exact_integers(column, to_finite(column, pa.float64()))


def _exact_integers(column: pa.Array, values: pa.Array) -> pa.Array:
    """Store integers of 64 bits among reals exactly if a double cannot.

    Without such integers the values stay doubles. Otherwise they become integers, or text if there are reals too.
    """
    if not pc.any(pc.greater_equal(pc.abs(values), float(1 << 53)), min_count=0).as_py():
        return values
    texts = only(column, values.is_valid()).cast(pa.string())
    digits = pc.replace_substring_regex(texts, r"^(?:\+|(-?))0*([0-9])", r"\1\2")
    whole = pc.fill_null(is_integer(digits), False)
    if pc.all(pc.or_(whole, values.is_null())).as_py():
        return digits.cast(pa.int64())
    large = pc.and_(whole, pc.greater(pc.binary_length(digits), EXACT_DIGITS))
    if not pc.any(large, min_count=0).as_py():
        return values
    return pc.if_else(pc.fill_null(large, False), digits, values.cast(pa.string()))


def _put_infinities(values: pa.Array, texts: pa.Array, words: pa.Array) -> pa.Array:
    if pa.types.is_integer(values.type):
        values = values.cast(pa.string())
    if pa.types.is_string(values.type):
        # A numeric column turns a number that is too large for a double into an infinity.
        return pc.if_else(words, pc.if_else(pc.starts_with(texts, "-"), "-9e999", "9e999"), values)
    return put_reals(values, texts, words)


# NaN is missing: SQLite would store NULL.
_INFINITIES = Words(pattern=r"^(?i:[+-]?inf(inity)?)$", put=_put_infinities)


def is_integer(texts: pa.Array) -> pa.Array:
    """Whether texts are integers of 64 bits without a redundant sign or zero. Digits of equal length compare as
    text."""
    limit = pc.if_else(pc.starts_with(texts, "-"), str(-1 << 63), str((1 << 63) - 1))
    long = pc.and_(pc.match_substring_regex(texts, r"^-?[1-9][0-9]{18}$"), pc.less_equal(texts, limit))
    return pc.or_(long, pc.match_substring_regex(texts, r"^(0|-?[1-9][0-9]{0,17})$"))
