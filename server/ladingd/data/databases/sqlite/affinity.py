"""SQLite's columns convert values by their affinity. This module finds values that would change, and prevents
changes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.databases.sqlite.converters import is_integer
from ladingd.data.values.decimals import decimal_text
from ladingd.data.values.types import Affinity, FieldType, Kind

# A numeric column converts text of this form to a number (sqlite.org/datatype3.html, 3).
_NUMBER = r"^[\t\n\v\f\r ]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[\t\n\v\f\r ]*$"

_BYTES = r"^\\x([0-9a-fA-F]{2})*$"


def keepable(values: pa.Array, kind: FieldType, affinity: Affinity) -> pa.Array:
    """The values in a form that the column stores unchanged. In a text column, SQLite would write a number without the
    zeros of a decimal and with only 15 digits of a real."""
    if affinity is Affinity.TEXT and kind.kind in (Kind.DECIMAL, Kind.REAL) and not pa.types.is_string(values.type):
        if kind.kind is Kind.DECIMAL:
            return decimal_text(values.cast(pa.decimal128(38, kind.scale)))
        return values.cast(pa.string())
    if affinity is Affinity.BLOB and kind.kind is Kind.REAL and pa.types.is_string(values.type):
        # Reals that are text because some are large integers: such a column would store them as text.
        return values.cast(pa.float64())
    return values


def with_bytes(values: pa.Array, affinity: Affinity, declared: str) -> tuple[pa.Array, list[int]]:
    """The values of a column that stores bytes, and the rows of malformed bytes.

    Text in the form of an export, ``\\x`` and pairs of hexadecimal digits, becomes bytes. Other text stays text, but in
    a column declared BLOB it must not begin with ``\\x``. If a column has both, its values are a union.
    """
    if affinity is not Affinity.BLOB or not pa.types.is_string(values.type):
        return values, []
    marked = pc.fill_null(pc.starts_with(values, "\\x"), False)
    if not pc.any(marked, min_count=0).as_py():
        return values, []
    spelled = pc.fill_null(pc.match_substring_regex(values, _BYTES), False)
    broken: list[int] = []
    if "BLOB" in declared.upper():
        broken = pc.indices_nonzero(pc.and_(marked, pc.invert(spelled))).to_pylist()
    if not pc.any(spelled, min_count=0).as_py():
        return values, broken
    octets = pa.array([bytes.fromhex(text[2:]) for text in values.filter(spelled).to_pylist()], pa.binary())
    texts = values.filter(pc.invert(spelled))
    if texts.null_count == len(texts):
        return pc.replace_with_mask(pa.nulls(len(values), pa.binary()), spelled, octets), broken
    kinds = spelled.to_numpy(zero_copy_only=False).astype(np.int8)
    places = np.where(kinds, np.cumsum(kinds), np.cumsum(1 - kinds)) - 1
    return pa.UnionArray.from_dense(pa.array(kinds), pa.array(places, pa.int32()), [texts, octets]), broken


def changed_texts(values: pa.Array, affinity: Affinity) -> list[int]:
    """The rows of text that the column would convert to a number of another spelling: ``0123``, ``1.50``."""
    if not pa.types.is_string(values.type) or affinity in (Affinity.TEXT, Affinity.BLOB):
        return []
    rows = pc.indices_nonzero(pc.fill_null(pc.match_substring_regex(values, _NUMBER), False))
    if not len(rows):
        return []
    texts = values.take(rows)
    numbers = pc.utf8_trim_whitespace(texts).cast(pa.float64())
    kept = pc.equal(pc.add(numbers, 0.0).cast(pa.string()), texts)
    if affinity is not Affinity.REAL:
        kept = pc.or_(kept, is_integer(texts))
    return rows.filter(pc.invert(kept)).to_pylist()  # type: ignore[no-any-return]
