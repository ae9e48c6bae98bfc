"""Converts columns of text to typed columns, and finds the values that do not fit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.files.encoding import misfit, readable
from ladingd.data.values.converters import only
from ladingd.data.values.types import DECIMAL_DIGITS, NUMBERS, PATTERNS, PHRASES, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ladingd.data.values.converters import Convert, Reading
    from ladingd.data.values.positions import Positions
    from ladingd.data.values.types import FieldType

    Offsets = npt.NDArray[np.int32]

OUT_OF_RANGE = "OUT_OF_RANGE"

VALUE_CAP = 1 << 10
"""The length in bytes from which a message shortens a value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Misfit:
    """A value that is not of its column's type."""

    value: str
    code: str
    problem: str
    """``is not a date``: for the journal, which shows no values."""
    told: str = ""
    """The same problem with the other values involved; empty if there are none."""

    @property
    def message(self) -> str:
        """The message of a reject."""
        return f"'{self.value}' {self.told or self.problem}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cast:
    """The values, with null for each misfit, and the misfits by row, in order."""

    values: pa.Array
    misfits: Mapping[int, Misfit]


class Known:
    """Misfits and null words of one column in earlier chunks.

    Such values recur from chunk to chunk. Looking for known ones takes a fifth of the time of a diagnosis.
    """

    def __init__(self) -> None:
        self._misfits: dict[str, Misfit | None] = {}
        """None: the value is a null word."""

    def take_out(self, column: pa.Array) -> tuple[pa.Array, dict[int, Misfit]]:
        """The column without known values, and the rows of the misfits. If a chunk has no known value, they are
        forgotten."""
        if not self._misfits:
            return column, {}
        rows = _rows(pc.is_in(column, value_set=pa.array(list(self._misfits), pa.string())))
        if not rows.size:
            self._misfits.clear()
        values = column.take(pa.array(rows)).to_pylist()
        found = ((row, self._misfits[value]) for row, value in zip(rows.tolist(), values, strict=True))
        return _blanked(column, rows), {row: misfit for row, misfit in found if misfit is not None}

    def learn_nulls(self, words: Sequence[str]) -> None:
        """Remember null words."""
        self._misfits |= dict.fromkeys(words)

    def learn(self, texts: Sequence[str], misfits: Mapping[str, Misfit]) -> None:
        """Remember the misfits that occur more than once."""
        for text, times in Counter(texts).items():
            if times > 1 and len(text) <= _KNOWN_LENGTH and len(self._misfits) < _KNOWN_VALUES:
                self._misfits[text] = misfits[text]


# Bytes of values that pyarrow converts although our patterns refuse them. Such values get a closer look.
_SUSPECT_BYTES = {Kind.INTEGER: b"xX", Kind.DECIMAL: b"eE", Kind.REAL: b"nN"}
_LENGTHS = {Kind.DATE: (10, 10), Kind.TIMESTAMP: (16, 26), Kind.TIMESTAMPTZ: (16, 32), Kind.TIME: (5, 15)}
_GUESSES = 8
_KNOWN_VALUES, _KNOWN_LENGTH = 64, 64
# The bytes and lengths of usual values. A value with other bytes or another length is checked against the pattern.
_ANY = (1 << 31) - 1
_LOOKS: dict[Kind, tuple[bytes, int, int]] = {
    Kind.INTEGER: (b"0123456789-", 1, _ANY),
    Kind.DECIMAL: (b"0123456789+-.", 1, DECIMAL_DIGITS),
    Kind.REAL: (b"0123456789+-.eE", 1, _ANY),
    Kind.BOOLEAN: (b"01truefalsynoTRUEFALSYNO", 1, 5),
    Kind.DATE: (b"0123456789-", *_LENGTHS[Kind.DATE]),
    Kind.TIME: (b"0123456789:.", *_LENGTHS[Kind.TIME]),
    Kind.TIMESTAMP: (b"0123456789-:. T", *_LENGTHS[Kind.TIMESTAMP]),
    Kind.TIMESTAMPTZ: (b"0123456789-+:. TZ", *_LENGTHS[Kind.TIMESTAMPTZ]),
    Kind.UUID: (b"0123456789abcdefABCDEF-", 36, 36),
}


def cast(
    column: pa.Array,
    reading: Reading,
    known: Known | None = None,
    *,
    nul: bool = True,
    nulls: frozenset[str] = frozenset(),
) -> Cast:
    """Convert a column of text or bytes. Empty text and the words ``nulls`` are null, except in text columns.

    The whole column is tried at once, which is cheap; the offenders are searched only if that fails. ``known`` holds
    the misfits of earlier chunks and gets those of this one. ``nul``: values may contain NUL bytes.
    """
    if nul and _contains(column, 0):
        # pyarrow may keep the bytes of a value that has become null, so a NUL byte proves nothing yet.
        broken = _rows(pc.match_substring(column, "\0"))
        if broken.size:
            return _without(column, broken, reading, "NUL_BYTE", lambda value: "contains a NUL byte", nulls)
    if column.type == pa.binary():
        try:
            column = column.cast(pa.string())
        except pa.ArrowInvalid:
            broken = np.array(_offenders(column, lambda piece: piece.cast(pa.string())))
            return _without(column, broken, reading, "NOT_UTF8", misfit, nulls)
    if reading.kind.kind is Kind.TEXT:
        return Cast(values=column, misfits={})
    known = known or Known()
    column, found = known.take_out(column)
    error = None
    if not _suspect(column, reading.kind.kind):
        try:
            return Cast(values=reading.convert(column), misfits=found)
        except pa.ArrowInvalid as one_is_none:
            error = one_is_none
    shaped, misshapen = _without_misshapen(column, reading)
    values, unfit = _without_unfit(shaped, reading, error)
    rows = np.concatenate((misshapen, unfit))
    texts = column.take(pa.array(rows))
    if reading.words is not None and rows.size:
        are_words = pc.match_substring_regex(texts, reading.words.pattern)
        words, rows = rows[_rows(are_words)], rows[_rows(pc.invert(are_words))]
        texts = texts.filter(pc.invert(are_words))
        if words.size:
            good = _blanked(column, rows)
            good = only(good, pc.greater(pc.binary_length(good), 0))
            values = reading.words.put(values, good, _mask(len(column), words))
    if nulls and rows.size:
        are_null = pc.is_in(texts, value_set=pa.array(sorted(nulls)))
        known.learn_nulls(texts.filter(are_null).unique().to_pylist())
        rows, texts = rows[_rows(pc.invert(are_null))], texts.filter(pc.invert(are_null))
    listed = texts.to_pylist()
    misfits = {text: _misfit(reading, text) for text in set(listed)}
    known.learn(listed, misfits)
    found |= {row: misfits[text] for row, text in zip(rows.tolist(), listed, strict=True)}
    return Cast(values=values, misfits=dict(sorted(found.items())))


def _without_misshapen(column: pa.Array, reading: Reading) -> tuple[pa.Array, Positions]:
    """The values that look like the type, ready for conversion, and the rows of all others."""
    kind = reading.kind.kind
    rows = _doubtful_rows(column, kind)
    texts = column.take(pa.array(rows))
    blank = pc.equal(pc.binary_length(texts), 0)
    shaped = pc.match_substring_regex(texts, PATTERNS[kind])
    misshapen = rows[_rows(pc.invert(pc.or_(shaped, blank)))]
    if kind is Kind.DECIMAL and pc.any(shaped).as_py():
        column = pc.replace_with_mask(column, _mask(len(column), rows), _shortest(only(texts, shaped)))
        return column, misshapen
    return _blanked(column, np.concatenate((misshapen, rows[_rows(blank)]))), misshapen


def _doubtful_rows(column: pa.Array, kind: Kind) -> Positions:
    """The rows whose length or bytes are unusual for the kind. A pattern on every value would take far longer."""
    letters, shortest, longest = _LOOKS[kind]
    bounds, buffer = _layout(column)
    lengths = np.diff(bounds)
    doubtful = (lengths < shortest) | (lengths > longest)
    if buffer is not None:
        strange = bytes(code not in letters for code in range(256))
        marks = buffer.slice(bounds[0], bounds[-1] - bounds[0]).to_pybytes().translate(strange)
        places = np.flatnonzero(np.frombuffer(marks, np.bool_)) + bounds[0]
        doubtful[np.searchsorted(bounds, places, side="right") - 1] = True
    return np.flatnonzero(doubtful & _valid(column))


def _without_unfit(column: pa.Array, reading: Reading, error: pa.ArrowInvalid | None) -> tuple[pa.Array, Positions]:
    """The converted values, and the rows that look like the type but are out of range or not in the calendar.

    ``error``: the error of the first conversion, if one was tried. Its value usually recurs.
    """
    unfit: list[Positions] = []
    for turn in range(_GUESSES):
        rows = _told(error, column, reading) if error is not None else None
        if rows is not None:
            unfit.append(rows)
            column = _blanked(column, rows)
        elif turn:
            break
        try:
            return reading.convert(column), _joined(unfit)
        except pa.ArrowInvalid as another:
            error = another
    distinct = column.unique()
    offenders = distinct.take(pa.array(_offenders(distinct, reading.convert), pa.int64()))
    unfit.append(_rows(pc.is_in(column, value_set=offenders)))
    return reading.convert(_blanked(column, unfit[-1])), _joined(unfit)


def _told(error: pa.ArrowInvalid, column: pa.Array, reading: Reading) -> Positions | None:
    """The rows at fault for a failed conversion: those with the value that the error names, or those out of range.

    None if the error points to no row.
    """
    named = re.search(r"Failed to parse string: '(.*)' as a scalar|'(.*)'", str(error), re.DOTALL)
    value = named and (named[1] if named[1] is not None else named[2])
    try:
        if value is not None:
            rows = _rows(pc.equal(column, value))
        elif reading.beyond is not None:
            rows = _large(column, reading.kind)
            rows = rows[_rows(reading.beyond(column.take(pa.array(rows))))]
        else:
            return None
    except pa.ArrowInvalid:
        return None
    if not rows.size:
        return None
    try:
        reading.convert(column.take(pa.array(rows[:1])))
    except pa.ArrowInvalid:
        return rows
    return None


def _large(column: pa.Array, kind: FieldType) -> Positions:
    """The rows of decimals that may be out of range, by their length and the position of the point."""
    bounds, buffer = _layout(column)
    lengths = np.diff(bounds)
    if not kind.scale or not buffer:
        return np.flatnonzero((lengths > kind.precision) & _valid(column))
    points = np.frombuffer(buffer, np.uint8).take(bounds[1:] - (kind.scale + 1), mode="clip")
    return np.flatnonzero(((lengths > kind.precision + 1) | (points != ord("."))) & _valid(column))


def _shortest(column: pa.Array) -> pa.Array:
    """Decimals without needless zeros, which would count as digits."""
    column = pc.replace_substring_regex(column, r"(\.[0-9]*?)0+$", r"\1")
    column = pc.replace_substring_regex(column, r"^([+-]?)\.$", r"\10")
    return pc.replace_substring_regex(column, r"^([+-]?)0+([0-9])", r"\1\2")


def _misfit(reading: Reading, value: str) -> Misfit:
    kind = reading.kind
    shown = shorten(value.encode(), VALUE_CAP)
    if kind.kind in NUMBERS and re.search(PATTERNS[kind.kind], value):
        return Misfit(value=shown, code=OUT_OF_RANGE, problem=f"is out of range for {reading.name}")
    return Misfit(value=shown, code=kind.refusal_code, problem=f"is not {PHRASES[kind.kind]}")


def _without(
    column: pa.Array,
    broken: Positions,
    reading: Reading,
    code: str,
    problem: Callable[[bytes], str],
    nulls: frozenset[str],
) -> Cast:
    """Cast a column whose ``broken`` rows fit no type."""
    misfits = {row: _broken(column[row].as_py(), code, problem) for row in broken.tolist()}
    # A copy drops the bytes of the broken values; later checks look for such bytes.
    rest = cast(only(column, pc.invert(_mask(len(column), broken))), reading, nulls=nulls)
    return Cast(values=rest.values, misfits=dict(sorted({**misfits, **rest.misfits}.items())))


def _broken(value: str | bytes, code: str, problem: Callable[[bytes], str]) -> Misfit:
    data = value.encode() if isinstance(value, str) else value
    return Misfit(value=shorten(data, VALUE_CAP), code=code, problem=problem(data))


def shorten(text: bytes, cap: int) -> str:
    """The first ``cap`` bytes as text, with a mark if bytes were cut off and U+FFFD for bytes that are not UTF-8."""
    if len(text) <= cap:
        return readable(text)
    # A character that would be cut in two is dropped.
    head = text[:cap]
    while head and head[-1] & 0xC0 == 0x80 and cap - len(head) < 3:
        head = head[:-1]
    if head and head[-1] >= 0xC0:
        head = head[:-1]
    return f"{readable(head)}… (shortened)"


def _suspect(column: pa.Array, kind: Kind) -> bool:
    if any(_contains(column, byte) for byte in _SUSPECT_BYTES.get(kind, b"")):
        return True
    if kind in _LENGTHS:
        shortest, longest = _LENGTHS[kind]
        extent = pc.min_max(pc.binary_length(column)).as_py()
        return extent["min"] is not None and (extent["min"] < shortest or extent["max"] > longest)
    return False


def _contains(column: pa.Array, byte: int) -> bool:
    """Whether any value contains a byte."""
    bounds, buffer = _layout(column)
    if buffer is None or byte not in buffer.slice(bounds[0], bounds[-1] - bounds[0]).to_pybytes():
        return False
    # The byte may belong to a value that has become null.
    return column.null_count == 0 or _contains(column.drop_null(), byte)


def _offenders(column: pa.Array, convert: Convert, first: int = 0) -> list[int]:
    """The rows that make a conversion fail, found by halving: pyarrow does not name them all."""
    try:
        convert(column)
    except pa.ArrowInvalid:
        if len(column) == 1:
            return [first]
        middle = len(column) // 2
        return _offenders(column[:middle], convert, first) + _offenders(column[middle:], convert, first + middle)
    return []


def _layout(column: pa.Array) -> tuple[Offsets, pa.Buffer | None]:
    """The offsets of a column of text (the start of each value, then the end of the last), and its bytes."""
    _, offsets, buffer = column.buffers()
    return np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1], buffer


def _blanked(column: pa.Array, rows: Positions) -> pa.Array:
    """The column with nulls in some rows. No bytes are moved or removed."""
    valid = np.ones(column.offset + len(column), np.bool_)
    valid[column.offset :] = _valid(column)
    valid[column.offset + rows] = False
    _, offsets, buffer = column.buffers()
    bitmap = pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(column.type, len(column), [bitmap, offsets, buffer], offset=column.offset)


def _valid(column: pa.Array) -> npt.NDArray[np.bool_]:
    return column.is_valid().to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _mask(length: int, rows: Positions) -> pa.Array:
    marked = np.zeros(length, np.bool_)
    marked[rows] = True
    return pa.array(marked)


def _rows(mask: pa.Array) -> Positions:
    return pc.indices_nonzero(mask).to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def _joined(rows: Sequence[Positions]) -> Positions:
    return np.concatenate(rows) if rows else np.empty(0, np.int64)
