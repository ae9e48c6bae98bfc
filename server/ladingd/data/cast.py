"""Turns columns of text into columns of values, and finds the values that cannot be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.field_type import DECIMAL_DIGITS, PATTERNS, PHRASES, Kind
from ladingd.data.reading import only

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.framing import Positions
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
_LENGTHS = {Kind.DATE: (10, 10), Kind.TIMESTAMP: (19, 26), Kind.TIMESTAMPTZ: (19, 32), Kind.TIME: (5, 15)}
_GUESSES = 8
_NUMBERS = frozenset({Kind.INTEGER, Kind.REAL, Kind.DECIMAL})
# The bytes and the lengths that values have. What has others may be a value all the same: then it is one in disguise.
_ANY = (1 << 31) - 1
_LOOKS: dict[Kind, tuple[bytes, int, int]] = {
    Kind.INTEGER: (b"0123456789-", 1, _ANY),
    Kind.DECIMAL: (b"0123456789+-.", 1, DECIMAL_DIGITS),
    Kind.REAL: (b"0123456789+-.eE", 1, _ANY),
    Kind.BOOLEAN: (b"01truefalsTRUEFALS", 1, 5),
    Kind.DATE: (b"0123456789-", *_LENGTHS[Kind.DATE]),
    Kind.TIME: (b"0123456789:.", *_LENGTHS[Kind.TIME]),
    Kind.TIMESTAMP: (b"0123456789-:. T", *_LENGTHS[Kind.TIMESTAMP]),
    Kind.TIMESTAMPTZ: (b"0123456789-+:. TZ", *_LENGTHS[Kind.TIMESTAMPTZ]),
    Kind.UUID: (b"0123456789abcdefABCDEF-", 36, 36),
}


def cast(column: pa.Array, reading: Reading, *, nul: bool = True) -> Cast:
    """Read a column of text, or of bytes. Empty text is null in every type but text. ``nul``: there may be NUL bytes.

    The whole column is tried first, which costs next to nothing; only where that fails are the offenders looked for.
    """
    if nul and _contains(column, 0):
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
    error = None
    if not _suspect(column, reading.kind.kind):
        try:
            return Cast(values=reading.convert(column), misfits=[])
        except pa.ArrowInvalid as one_is_none:
            error = one_is_none
    column, misfits = _without_misshapen(column, reading)
    for turn in range(_GUESSES):
        # What looks right may be out of range, or not in the calendar. Such troubles repeat themselves.
        offenders = _told(error, column, reading) if error is not None else None
        if offenders is not None:
            misfits += _misfits(reading, column, pc.indices_nonzero(offenders))
            column = only(column, pc.invert(offenders))
        elif turn:
            break
        try:
            return Cast(values=reading.convert(column), misfits=sorted(misfits, key=lambda misfit: misfit.index))
        except pa.ArrowInvalid as another:
            error = another
    distinct = column.unique()
    offenders = pc.is_in(column, value_set=distinct.take(_offenders(distinct, reading.convert)))
    misfits += _misfits(reading, column, pc.indices_nonzero(offenders))
    values = reading.convert(only(column, pc.invert(offenders)))
    return Cast(values=values, misfits=sorted(misfits, key=lambda misfit: misfit.index))


def _told(error: pa.ArrowInvalid, column: pa.Array, reading: Reading) -> pa.Array | None:
    """The values that a conversion failed by: the one that it names, or those that are out of range; None where neither
    tells."""
    named = re.search(r"Failed to parse string: '(.*)' as a scalar|'(.*)'", str(error), re.DOTALL)
    value = named and (named[1] if named[1] is not None else named[2])
    try:
        if value is not None:
            offenders = pc.fill_null(pc.equal(column, value), False)
        elif reading.beyond is not None:
            offenders = reading.beyond(column)
        else:
            return None
    except pa.ArrowInvalid:
        return None
    rows = pc.indices_nonzero(offenders)
    if not len(rows):
        return None
    try:
        reading.convert(column.take(rows[:1]))
    except pa.ArrowInvalid:
        return offenders
    return None


def _misfits(reading: Reading, column: pa.Array, rows: pa.Array) -> list[Misfit]:
    told: dict[str, Misfit] = {}
    misfits = []
    for row, value in zip(rows.to_pylist(), column.take(rows).to_pylist(), strict=True):
        known = told.get(value)
        if known is None:
            known = told[value] = _misfit(reading, row, value)
        misfits.append(Misfit(index=row, value=known.value, code=known.code, message=known.message))
    return misfits


def _doubtful_rows(column: pa.Array, kind: Kind) -> Positions:
    """The rows whose length, or one of whose bytes, no value of the kind has. A pattern would take far longer."""
    letters, shortest, longest = _LOOKS[kind]
    _, offsets, buffer = column.buffers()
    bounds = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    lengths = np.diff(bounds)
    doubtful = (lengths < shortest) | (lengths > longest)
    if buffer is not None:
        strange = bytes(code not in letters for code in range(256))
        marks = buffer.slice(bounds[0], bounds[-1] - bounds[0]).to_pybytes().translate(strange)
        places = np.flatnonzero(np.frombuffer(marks, np.bool_)) + bounds[0]
        doubtful[np.searchsorted(bounds, places, side="right") - 1] = True
    return np.flatnonzero(doubtful & column.is_valid().to_numpy(zero_copy_only=False))


def _without_misshapen(column: pa.Array, reading: Reading) -> tuple[pa.Array, list[Misfit]]:
    """The column without the values that do not look like the type, and those."""
    kind = reading.kind.kind
    rows = pa.array(_doubtful_rows(column, kind))
    texts = column.take(rows)
    texts = only(texts, pc.not_equal(pc.binary_length(texts), 0))
    shaped = pc.fill_null(pc.match_substring_regex(texts, PATTERNS[kind]), False)
    misfits = _misfits(reading, column, rows.filter(pc.and_(pc.invert(shaped), texts.is_valid())))
    doubtful = _mask(len(column), rows)
    if not pc.any(shaped).as_py():
        return only(column, pc.invert(doubtful)), misfits
    texts = only(texts, shaped)
    return pc.replace_with_mask(column, doubtful, _shortest(texts) if kind is Kind.DECIMAL else texts), misfits


def _shortest(column: pa.Array) -> pa.Array:
    """Decimals without zeros that mean nothing: with them there may be too many digits."""
    column = pc.replace_substring_regex(column, r"(\.[0-9]*?)0+$", r"\1")
    column = pc.replace_substring_regex(column, r"^([+-]?)\.$", r"\10")
    return pc.replace_substring_regex(column, r"^([+-]?)0+([0-9])", r"\1\2")


def _misfit(reading: Reading, row: int, value: str) -> Misfit:
    kind = reading.kind
    shown = shorten(value.encode(), VALUE_CAP)
    if kind.kind in _NUMBERS and re.search(PATTERNS[kind.kind], value):
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


def _mask(length: int, rows: Sequence[int] | pa.Array) -> pa.Array:
    marked = np.zeros(length, np.bool_)
    marked[np.asarray(rows)] = True
    return pa.array(marked)


def _rows(mask: pa.Array) -> list[int]:
    return pc.indices_nonzero(mask).to_pylist()  # type: ignore[no-any-return]
