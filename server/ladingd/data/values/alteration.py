"""Finds values that an inferred type would change: ``0123`` is no integer, because an export would write ``123``.

Zeros at the end of a fraction, a zero before the point and the word for a boolean may change. So may the exponent of a
real, but no digit that a double does not keep.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.values.casting import VALUE_CAP, Misfit, shorten
from ladingd.data.values.decimals import decimal_text
from ladingd.data.values.types import EXACT_DIGITS, FieldType, Kind

if TYPE_CHECKING:
    import numpy.typing as npt

    from ladingd.data.values.positions import Positions as Rows

WOULD_CHANGE = "WOULD_CHANGE"

_ZERO, _POINT = b"0."
_PLAIN_DIGITS = 10


def altered(column: pa.Array, values: pa.Array, kind: FieldType, name: str) -> dict[int, Misfit]:
    """The values that an inferred type would change, by row. ``column`` is text or bytes."""
    rows = altered_rows(column, values, kind)
    if not rows.size:
        return {}
    texts = column.take(rows).to_pylist()
    become = _written_back(values.take(rows), kind).to_pylist()
    misfits = {}
    problem = f"would change as {kind.with_article}; import {name} as text to keep it"
    for row, text, other in zip(rows.tolist(), texts, become, strict=True):
        shown = shorten(text.encode() if isinstance(text, str) else text, VALUE_CAP)
        told = f"would become {other} as {kind.with_article}; import {name} as text to keep it"
        misfits[row] = Misfit(value=shown, code=WOULD_CHANGE, problem=problem, told=told)
    return misfits


def altered_rows(column: pa.Array, values: pa.Array, kind: FieldType) -> Rows:
    """The rows whose value would change. A few bytes of each value show which are doubtful; only those are compared."""
    if kind.kind not in (Kind.INTEGER, Kind.DECIMAL, Kind.REAL) or values.null_count == len(values):
        return np.empty(0, np.int64)
    rows = _doubtful(column, values, kind)
    if not rows.size:
        return rows
    texts = column.take(rows)
    texts = texts.cast(pa.string()) if texts.type == pa.binary() else texts
    written = _written_back(values.take(rows), kind)
    differs = np.flatnonzero(~pc.equal(written, texts).to_numpy(zero_copy_only=False))
    if kind.kind is Kind.INTEGER or not differs.size:
        return rows[differs]
    texts, written = texts.take(differs), written.take(differs)
    same = pc.equal(_bare(texts), _bare(written)) if kind.kind is Kind.DECIMAL else _same_reals(texts, written)
    changed: Rows = rows[differs[~same.to_numpy(zero_copy_only=False)]]
    return changed


def _bare(texts: pa.Array) -> pa.Array:
    """Decimals without the zeros that may change. A point at the end may not: ``1.`` may be an ordinal."""
    texts = pc.replace_substring_regex(texts, r"^(-?)\.([0-9])", r"\10.\2")
    return pc.replace_substring_regex(texts, r"(\.[0-9]*[1-9])0+$|\.0+$", r"\1")


def _same_reals(texts: pa.Array, written: pa.Array) -> pa.Array:
    """Whether reals have the shape of one, and no more digits than a double keeps."""
    shaped = pc.match_substring_regex(texts, r"^-?((0|[1-9][0-9]*)(\.[0-9]+)?|\.[0-9]+)([eE][+-]?[0-9]+)?$")
    negative_zero = pc.match_substring_regex(texts, r"^-[0.]+([eE]|$)")
    same = pc.and_(shaped, pc.invert(negative_zero)).to_numpy(zero_copy_only=False)
    digits = pc.count_substring_regex(pc.replace_substring_regex(texts, "[eE].*$", ""), "[0-9]")
    for row in np.flatnonzero(same & (digits.to_numpy() > EXACT_DIGITS)).tolist():
        same[row] = Decimal(texts[row].as_py()) == Decimal(written[row].as_py())
    return pa.array(same)


def _written_back(values: pa.Array, kind: FieldType) -> pa.Array:
    """The text that an export writes for values."""
    if kind.kind is Kind.DECIMAL:
        decimals = pa.types.is_decimal(values.type)
        return decimal_text(values if decimals else values.cast(pa.decimal128(EXACT_DIGITS, kind.scale)))
    if kind.kind is Kind.REAL:
        values = pc.add(values, 0.0)  # SQLite knows no negative zero
    return values.cast(pa.string())


def _doubtful(column: pa.Array, values: pa.Array, kind: FieldType) -> Rows:
    _, offsets, buffer = column.buffers()
    bounds = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    starts, ends = bounds[:-1], bounds[1:]
    codes = np.frombuffer(buffer, np.uint8)
    # A leading sign, zero or point is doubtful in every type. All three sort before the other digits.
    firsts = codes.take(starts, mode="clip")
    doubtful = firsts <= _ZERO
    if kind.kind is Kind.INTEGER:
        rows = np.flatnonzero(doubtful)
        seconds = codes.take(starts[rows] + 1, mode="clip")
        rows = rows[(ends[rows] - starts[rows] > 1) & ((firsts[rows] == _ZERO) | (seconds == _ZERO))]
    elif kind.kind is Kind.DECIMAL:
        # A zero before the point is regular: fractions below one need no closer look.
        doubtful &= (firsts != _ZERO) | (codes.take(starts + 1, mode="clip") != _POINT)
        doubtful |= codes.take(ends - (kind.scale + 1), mode="clip") != _POINT
        rows = np.flatnonzero(doubtful | (ends - starts < kind.scale + 2))
    else:
        # Few digits without needless zeros come back unchanged. From 1e10 on, reals are written with an exponent.
        lasts = codes.take(ends - 1, mode="clip")
        doubtful |= (ends - starts > _PLAIN_DIGITS) | (lasts <= _ZERO)
        if any(mark in memoryview(buffer).tobytes() for mark in b"eE"):
            doubtful[:] = True
        rows = np.flatnonzero(doubtful)
    there: npt.NDArray[np.bool_] = values.is_valid().to_numpy(zero_copy_only=False)
    return rows[there[rows]]
