"""Infers the type of a column from a sample of its values.

A type is chosen only if it changes no value: each value of that type must be written back as the same text. ``0123``
stays text, and so does ``1e5``. Decimals get as many digits as SQLite can keep, because the sample may not hold the
largest value. Values after the sample follow the same rule, one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.values.casting import VALUE_CAP, Misfit, cast, shorten
from ladingd.data.values.converters import typed
from ladingd.data.values.decimals import decimal_text
from ladingd.data.values.types import EXACT_DIGITS, PATTERNS, TEXT, FieldType, Kind

if TYPE_CHECKING:
    import numpy.typing as npt

    from ladingd.data.values.positions import Positions as Rows

WOULD_CHANGE = "WOULD_CHANGE"

_CERTAIN_FROM = 100
"""With fewer values, all of them must fit; with more, 99 %."""

_ZERO, _POINT = b"0."
_PLAIN_DIGITS = 10


def infer(column: pa.Array) -> FieldType:
    """The strictest type that the values fit. ``column`` is text; nulls and empty fields do not count."""
    values = column.filter(pc.greater(pc.fill_null(pc.binary_length(column), 0), 0))
    for kind in _candidates(values) if len(values) else ():
        shaped = values.filter(pc.match_substring_regex(values, PATTERNS[kind.kind]))
        if not _enough(len(shaped), len(values)):
            continue
        outcome = cast(shaped, typed(kind))
        fitting = len(shaped) - len(outcome.misfits)
        if _enough(fitting, len(values)) and not _altered_rows(shaped, outcome.values, kind).size:
            return kind
    return TEXT


def _enough(fitting: int, total: int) -> bool:
    return fitting == total or (total >= _CERTAIN_FROM and fitting * 100 >= total * 99)


def _candidates(values: pa.Array) -> list[FieldType]:
    kinds = [
        FieldType(kind=kind) for kind in (Kind.INTEGER, Kind.REAL, Kind.BOOLEAN, Kind.DATE, Kind.TIME, Kind.TIMESTAMP)
    ]
    fractions = values.filter(pc.match_substring_regex(values, rf"^-?[0-9]+\.[0-9]{{1,{EXACT_DIGITS}}}$"))
    if len(fractions):
        scales = pc.subtract(pc.binary_length(fractions), pc.add(pc.find_substring(fractions, "."), 1))
        scale = pc.mode(scales)[0]["mode"].as_py()
        kinds.insert(1, FieldType(kind=Kind.DECIMAL, precision=EXACT_DIGITS, scale=scale))
    return kinds


def altered(column: pa.Array, values: pa.Array, kind: FieldType, name: str) -> dict[int, Misfit]:
    """The values that an inferred type would change, by row. ``column`` is text or bytes."""
    rows = _altered_rows(column, values, kind)
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


def _altered_rows(column: pa.Array, values: pa.Array, kind: FieldType) -> Rows:
    """The rows whose value would change. A few bytes of each value show which are doubtful; only those are compared."""
    if kind.kind not in (Kind.INTEGER, Kind.DECIMAL, Kind.REAL, Kind.BOOLEAN) or values.null_count == len(values):
        return np.empty(0, np.int64)
    rows = _doubtful(column, values, kind)
    if not rows.size:
        return rows
    texts = column.take(rows)
    texts = texts.cast(pa.string()) if texts.type == pa.binary() else texts
    same = pc.equal(_written_back(values.take(rows), kind), texts)
    return rows[np.flatnonzero(~same.to_numpy(zero_copy_only=False))]


def _written_back(values: pa.Array, kind: FieldType) -> pa.Array:
    """The text that an export writes for values."""
    if kind.kind is Kind.DECIMAL:
        return decimal_text(values.cast(pa.decimal128(EXACT_DIGITS, kind.scale)))
    if kind.kind is Kind.REAL:
        values = pc.add(values, 0.0)  # SQLite knows no negative zero
    return values.cast(pa.string())


def _doubtful(column: pa.Array, values: pa.Array, kind: FieldType) -> Rows:
    if kind.kind is Kind.BOOLEAN:
        return np.flatnonzero(values.is_valid())
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
