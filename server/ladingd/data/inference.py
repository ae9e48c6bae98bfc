"""Which type the values of a column have.

A type is taken only if the values that fit it would be written back as the same text: ``0123`` stays text, and so does
``1e5``. Decimals get all the digits that SQLite can keep, as a sample does not know the largest value.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.cast import cast
from ladingd.data.field_type import EXACT_DIGITS, TEXT, FieldType, Kind

_CERTAIN_FROM = 100
"""With fewer values all of them must fit, with more 99 of a hundred."""


def infer(column: pa.Array) -> FieldType:
    """The first type, from the strictest on, that the values fit. ``column`` is text; nulls and nothing count not."""
    values = column.filter(pc.greater(pc.fill_null(pc.binary_length(column), 0), 0))
    if not len(values):
        return TEXT
    for candidate in (_integer, _decimal, _real, _boolean, _date, _time, _timestamp):
        kind, fitting = candidate(values)
        if fitting == len(values) or (len(values) >= _CERTAIN_FROM and fitting * 100 >= len(values) * 99):
            return kind
    return TEXT


Candidate = tuple[FieldType, int]


def _integer(values: pa.Array) -> Candidate:
    return _fitting(values, FieldType(kind=Kind.INTEGER), r"^(0|-?[1-9][0-9]*)$")


def _decimal(values: pa.Array) -> Candidate:
    shaped = _matching(
        _matching(values, r"^-?(0|[1-9][0-9]*)\.[0-9]{1,15}$"), r"[1-9]|^[^-]"
    )  # -0.00 would lose its sign
    if not len(shaped):
        return TEXT, 0
    scales = pc.subtract(pc.binary_length(shaped), pc.add(pc.find_substring(shaped, "."), 1))
    scale = pc.mode(scales)[0]["mode"].as_py()
    kind = FieldType(kind=Kind.DECIMAL, precision=EXACT_DIGITS, scale=scale)
    return kind, _accepted(shaped.filter(pc.equal(scales, scale)), kind)


def _real(values: pa.Array) -> Candidate:
    kind = FieldType(kind=Kind.REAL)
    shaped = _matching(_matching(values, r"^-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?$"), r"[1-9]|^[^-]")
    reals = cast(shaped, kind).values
    return kind, pc.sum(pc.equal(reals.cast(pa.string()), shaped)).as_py() or 0


def _boolean(values: pa.Array) -> Candidate:
    return _fitting(values, FieldType(kind=Kind.BOOLEAN), r"^(true|false)$")


def _date(values: pa.Array) -> Candidate:
    return _fitting(values, FieldType(kind=Kind.DATE), "")


def _time(values: pa.Array) -> Candidate:
    return _fitting(values, FieldType(kind=Kind.TIME), "")


def _timestamp(values: pa.Array) -> Candidate:
    return _fitting(values, FieldType(kind=Kind.TIMESTAMP), "")


def _fitting(values: pa.Array, kind: FieldType, pattern: str) -> Candidate:
    return kind, _accepted(_matching(values, pattern) if pattern else values, kind)


def _accepted(values: pa.Array, kind: FieldType) -> int:
    return len(values) - len(cast(values, kind).misfits)


def _matching(values: pa.Array, pattern: str) -> pa.Array:
    return values.filter(pc.match_substring_regex(values, pattern))
