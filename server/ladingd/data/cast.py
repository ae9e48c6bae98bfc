"""Turns columns of text into columns of values, and finds the values that cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.field_type import PATTERNS, PHRASES, Kind
from ladingd.data.reading import only

if TYPE_CHECKING:
    from ladingd.data.reading import Convert, Reading

VALUE_CAP = 1 << 10
"""The longest value in bytes that is shown whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Misfit:
    """A value that is not of its column's type."""

    index: int
    value: str
    code: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cast:
    """The values, null where a misfit was, and the misfits in the order of their rows."""

    values: pa.Array
    misfits: list[Misfit]


# What pyarrow's casts take and our patterns do not; values that show such signs are looked at more closely.
_SUSPECT_BYTES = {Kind.INTEGER: b"xX", Kind.DECIMAL: b"eE", Kind.REAL: b"nN"}
_LENGTHS = {Kind.DATE: (10, 10), Kind.TIMESTAMP: (19, 26)}


def cast(column: pa.Array, reading: Reading) -> Cast:
    """Read a column of text, or of bytes. Empty text is null in every type but text.

    The whole column is tried first, which costs next to nothing; only where that fails are the offenders looked for.
    """
    if _contains(column, 0):
        # pyarrow may keep the bytes of a value that has become null, so that one was found proves nothing.
        broken = pc.fill_null(pc.match_substring(column, "\0"), False)
        if pc.any(broken).as_py():
            return _without(column, broken, reading, "NUL_BYTE", "contains a NUL byte")
    if column.type == pa.binary():
        try:
            column = column.cast(pa.string())
        except pa.ArrowInvalid:
            broken = _mask(len(column), _offenders(column, lambda piece: piece.cast(pa.string())))
            return _without(column, broken, reading, "NOT_UTF8", "is not UTF-8")
    if reading.kind.kind is Kind.TEXT:
        return Cast(values=column, misfits=[])
    if not _suspect(column, reading.kind.kind):
        try:
            return Cast(values=reading.convert(column), misfits=[])
        except pa.ArrowInvalid:
            pass  # not swallowed: what follows finds out which values it was
    return _closely(column, reading)


def _closely(column: pa.Array, reading: Reading) -> Cast:
    kind, convert = reading.kind, reading.convert
    column = only(column, pc.not_equal(pc.binary_length(column), 0))
    shaped = pc.fill_null(pc.match_substring_regex(column, PATTERNS[kind.kind]), True)
    misfits = [_misfit(reading, row, column[row].as_py(), shaped=False) for row in _rows(pc.invert(shaped))]
    column = only(column, shaped)
    raw = column
    if kind.kind is Kind.DECIMAL:
        column = _shortest(column)
    try:
        return Cast(values=convert(column), misfits=misfits)
    except pa.ArrowInvalid:
        pass  # not swallowed: some that look right are out of range, or not in the calendar
    # Troubles repeat themselves (2023-02-30 in every tenth record), so each value is looked at once.
    distinct = column.unique()
    wrong = _offenders(distinct, convert)
    offenders = _rows(pc.is_in(column, value_set=distinct.take(wrong))) if wrong else []
    misfits += [_misfit(reading, row, raw[row].as_py(), shaped=True) for row in offenders]
    if offenders:
        column = only(column, pc.invert(_mask(len(column), offenders)))
    return Cast(values=convert(column), misfits=sorted(misfits, key=lambda misfit: misfit.index))


def _shortest(column: pa.Array) -> pa.Array:
    """Decimals without zeros that mean nothing: with them there may be too many digits."""
    column = pc.replace_substring_regex(column, r"(\.[0-9]*?)0+$", r"\1")
    return pc.replace_substring_regex(column, r"^([+-]?)0+([0-9])", r"\1\2")


def _misfit(reading: Reading, row: int, value: str, *, shaped: bool) -> Misfit:
    kind = reading.kind
    shown = shorten(value.encode(), VALUE_CAP)
    if shaped and kind.kind in (Kind.INTEGER, Kind.REAL, Kind.DECIMAL):
        message = f"'{shown}' is out of range for {reading.name}"
        return Misfit(index=row, value=shown, code="OUT_OF_RANGE", message=message)
    return Misfit(index=row, value=shown, code=kind.refusal_code, message=f"'{shown}' is not {PHRASES[kind.kind]}")


def _without(column: pa.Array, broken: pa.Array, reading: Reading, code: str, problem: str) -> Cast:
    """Cast the rest of a column with values that are broken whatever the type."""
    misfits = [_broken(row, column[row].as_py(), code, problem) for row in _rows(broken)]
    rest = cast(only(column, pc.invert(broken)), reading)
    return Cast(values=rest.values, misfits=sorted(misfits + rest.misfits, key=lambda misfit: misfit.index))


def _broken(row: int, value: str | bytes, code: str, problem: str) -> Misfit:
    shown = shorten(value.encode() if isinstance(value, str) else value, VALUE_CAP)
    return Misfit(index=row, value=shown, code=code, message=f"'{shown}' {problem}")


def shorten(text: bytes, cap: int) -> str:
    """The text, with a mark where more than ``cap`` bytes of it were cut off; U+FFFD stands for what is no UTF-8."""
    if len(text) <= cap:
        return text.decode(errors="replace")
    # A character cut in two is left out.
    head = text[:cap]
    while head and head[-1] & 0xC0 == 0x80 and cap - len(head) < 3:
        head = head[:-1]
    if head and head[-1] >= 0xC0:
        head = head[:-1]
    return f"{head.decode(errors='replace')}… (shortened)"


def _suspect(column: pa.Array, kind: Kind) -> bool:
    if kind is Kind.TIME:
        return True
    if any(_contains(column, byte) for byte in _SUSPECT_BYTES.get(kind, b"")):
        return True
    if kind in _LENGTHS:
        shortest, longest = _LENGTHS[kind]
        extent = pc.min_max(pc.binary_length(column)).as_py()
        return extent["min"] is not None and (extent["min"] < shortest or extent["max"] > longest)
    return False


def _contains(column: pa.Array, byte: int) -> bool:
    """Whether a byte stands anywhere in the values."""
    _, offsets, values = column.buffers()
    if values is None or not len(column):
        return False
    bounds = memoryview(offsets).cast("i")
    start, end = bounds[column.offset], bounds[column.offset + len(column)]
    return byte in bytes(memoryview(values)[start:end])


def _offenders(column: pa.Array, convert: Convert, first: int = 0) -> list[int]:
    """The rows that make a conversion fail: pyarrow does not say which, so halves are tried, and halves of halves."""
    try:
        convert(column)
    except pa.ArrowInvalid:
        if len(column) == 1:
            return [first]
        middle = len(column) // 2
        return _offenders(column[:middle], convert, first) + _offenders(column[middle:], convert, first + middle)
    return []


def _mask(length: int, rows: list[int]) -> pa.Array:
    marked = [False] * length
    for row in rows:
        marked[row] = True
    return pa.array(marked, pa.bool_())


def _rows(mask: pa.Array) -> list[int]:
    return pc.indices_nonzero(mask).to_pylist()  # type: ignore[no-any-return]
