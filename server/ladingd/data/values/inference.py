"""Infers the type of a column from a sample of its values, and how the values are written.

A type is chosen only if it changes no value. ``0123`` stays text, and so does ``12345678901234567890``. Zeros at the
end of a fraction do not count, nor does the word for a boolean: ``7`` beside ``80.25`` is a decimal, ``Yes`` and ``no``
are booleans. Values after the sample follow the same rule, one by one. Null words are no values here.

The first values propose types, strictest first; all values of the sample decide. A type that fits all of them wins.
Otherwise a type may reject one value in 100, but not different words: a single ``lost`` among 400 numbers is a mistake,
``A`` and ``B`` are codes, so their column is text.

Only all values of a column can tell ``04/05/2020`` from ``05/04/2020``, and ``1,250`` from ``1.250``. If they do not,
the column is text, unless another column of the file tells it for both.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.values.alteration import altered_rows
from ladingd.data.values.casting import OUT_OF_RANGE, Known, cast
from ladingd.data.values.converters import typed
from ladingd.data.values.notation import APOSTROPHES, BLANKS, NumberNotation, cast_written, notation_of
from ladingd.data.values.null_words import NULL_WORDS, null_words
from ladingd.data.values.types import EXACT_DIGITS, NUMBERS, PATTERNS, TEXT, FieldType, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ladingd.data.values.casting import Cast

_HEAD = 100
"""How many values propose types."""

_STEPS = (0, _HEAD, 1_000, 20_000)
"""After so many values, a type that does not fit is given up."""

TOLERANCE = 100
"""A type may reject one value in this many."""

_EXAMPLES = 50
"""How many different misfits propose further types."""

_TRIES = 8

_PLAIN = (
    Kind.INTEGER,
    Kind.DECIMAL,
    Kind.REAL,
    Kind.BOOLEAN,
    Kind.DATE,
    Kind.TIME,
    Kind.TIMESTAMP,
    Kind.TIMESTAMPTZ,
    Kind.UUID,
)
_ZONED = rf"{PATTERNS[Kind.TIMESTAMPTZ].removesuffix('?$')}$"
_SHAPES = {
    kind: re.compile(pattern)
    for kind, pattern in {
        **PATTERNS,
        Kind.BOOLEAN: r"^(?i:t|true|f|false|y|yes|n|no|on|off)$",
        Kind.TIMESTAMPTZ: _ZONED,
    }.items()
}
"""What values look like. 0 and 1 are integers, and a timestamp without a zone is in none."""

_OPPOSITES = {"t": "f", "f": "t", "y": "n", "n": "y", "no": "yes", "on": "off"}
"""Short words that need the other word of their pair: M and F are letters, NO is Norway."""

_FRACTION = re.compile(r"-?[0-9]*\.([0-9]+)")
_MANTISSA = r"^-?[0-9]+[eE][0-9]+$"
"""``12E12`` may be an id. A column of reals has a value with a point or with a sign in its exponent."""

_DATE = re.compile(
    r"([0-9]+)([/.-])([0-9]+)\2([0-9]+)(?: ([0-9]{1,2}:[0-9]{2}(:[0-9]{2}(?:\.[0-9]+)?)?)( ?[AaPp][Mm])?)?"
)
_NUMBER = re.compile(rf"-?[0-9][0-9.,{BLANKS}{APOSTROPHES}]*")
_THOUSANDS = r"^-?([1-9][0-9]{0,2}([.,][0-9]{3})?|0)$"
"""A number whose only mark may part thousands or a fraction."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The type of a column, and how its values are written."""

    type: FieldType
    notation: str = ""
    """As it is spelled after the type; empty: the type's default."""
    options: tuple[Finding, ...] = ()
    """The types of which nothing in the column tells which one is right. Meanwhile it is text."""

    def __str__(self) -> str:
        return f"{self.type}:{self.notation}" if self.notation else str(self.type)


_TEXT = Finding(type=TEXT)


def infer(column: pa.Array, typed_words: Sequence[str] = NULL_WORDS) -> FieldType:
    """The strictest type that the values fit as they are written by default. ``column`` is text or bytes."""
    return _Column(column, typed_words).find(written=False).type


def find_type(column: pa.Array, typed_words: Sequence[str] = NULL_WORDS) -> Finding:
    """The strictest type that the values fit. ``column`` is text or bytes; nulls and empty fields do not count.

    ``typed_words``: the null words of columns that are not text.
    """
    return _Column(column, typed_words).find(written=True)


def find_notation(column: pa.Array, kind: FieldType, typed_words: Sequence[str] = NULL_WORDS) -> Finding:
    """How the values for a column of a known type are written: in its default notation, or in one that fits more."""
    return _Column(column, typed_words).find_notation(kind)


def settle(findings: Sequence[Finding], mark: str = "") -> list[Finding]:
    """The findings of all columns of a file: the order of days and months and the decimal mark are the same in all.

    ``mark`` is the decimal mark if no column tells it.
    """
    habits = {_habit(found) for found in findings if not found.options}
    if not habits & {".", ","}:
        habits.add(mark)
    decided = []
    for found in findings:
        fitting = [option for option in found.options if _habit(option) in habits]
        decided.append(replace(fitting[0], options=()) if len(fitting) == 1 else found)
    return decided


def _habit(found: Finding) -> str:
    """What a notation tells of the whole file: the decimal mark, or the first part of a date; empty: nothing."""
    if found.type.kind in NUMBERS:
        return found.notation[:1] or ("" if found.type.kind is Kind.INTEGER else ".")
    return found.notation[:1]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trial:
    """What came of a type."""

    counts: Counter[str]
    """The values that do not fit, and how often they occur."""
    excluded: bool
    """The type would change a value, or means something else."""
    complete: bool
    """All values were tried."""

    @property
    def clean(self) -> bool:
        return not self.counts and not self.excluded

    def tolerable(self, values: int) -> bool:
        """Whether so many values may be rejected."""
        words = sum(not any(letter.isdigit() for letter in text) for text in self.counts)
        few = self.counts.total() * TOLERANCE <= values
        return self.complete and not self.excluded and few and words <= 1


class _Column:
    """The values of a column, and the values that propose types."""

    def __init__(self, column: pa.Array, typed_words: Sequence[str]) -> None:
        column = cast(column, typed(TEXT)).values
        self.values = column.filter(pc.greater(pc.fill_null(pc.binary_length(column), 0), 0))
        self.words = typed_words
        self.nulls = null_words(_REAL, (), typed_words)
        self.examples = [text for text in self.values[:_HEAD].to_pylist() if text not in self.nulls]
        if not self.examples and len(self.values):
            self.examples = self._without_nulls()[:_HEAD].to_pylist()
        self.trials: dict[Finding, _Trial] = {}

    def find(self, *, written: bool) -> Finding:
        """The strictest type that fits all values, else the strictest whose misfits can be tolerated, else text."""
        while len(self.trials) < _TRIES:
            found = next((each for each in self._proposed(written=written) if each not in self.trials), None)
            if found is None:
                break
            trial = self._try(found)
            if trial.clean:
                return self._decided(found, written=written)
            self.examples += list(trial.counts)[:_EXAMPLES]
        return next((found for found, trial in self.trials.items() if trial.tolerable(len(self.values))), _TEXT)

    def find_notation(self, kind: FieldType) -> Finding:
        plain = Finding(type=kind)
        trials = [(plain, self._try(plain).counts.total())]
        if trials[0][1]:
            others = [
                Finding(type=kind, notation=each.notation) for each in self._written() if _serves(each.type, kind)
            ]
            trials += [(each, self._try(each).counts.total()) for each in others]
        least = min(count for _, count in trials)
        best = [found for found, count in trials if count == least]
        return best[0] if len(best) == 1 or plain in best else replace(plain, options=tuple(best))

    def _decided(self, found: Finding, *, written: bool) -> Finding:
        """A type that fits all values, with the other notations that fit them as well."""
        plain_decimal = found.type.kind is Kind.DECIMAL and not found.notation
        if not written or not (found.notation or plain_decimal):
            return found
        if found.type.kind in NUMBERS and not self._all_match(_THOUSANDS):
            return found
        rivals = [each for each in self._written() if each != found and self._try(each).clean]
        if not rivals:
            return found
        return replace(found if plain_decimal else _TEXT, options=(found, *rivals))

    def _proposed(self, *, written: bool) -> Iterator[Finding]:
        """The types that most of the examples look like, the strictest first."""
        if not self.examples:
            return
        for kind in _PLAIN:
            if not self._most_match(_SHAPES[kind]):
                continue
            if kind is not Kind.DECIMAL:
                yield Finding(type=FieldType(kind=kind))
                continue
            fractions = map(_FRACTION.fullmatch, self.examples)
            scale = max((len(match[1]) for match in fractions if match), default=0)
            if 0 < scale <= EXACT_DIGITS:
                yield Finding(type=_decimal(scale))
        if written:
            yield from self._written()

    def _written(self) -> list[Finding]:
        """The types in other notations that most of the examples look like."""
        return [*_dates(self.examples), *_numbers(self.examples)]

    def _try(self, found: Finding) -> _Trial:
        """What comes of a type."""
        if found not in self.trials:
            self.trials[found] = self._tried(found)
        return self.trials[found]

    def _tried(self, found: Finding) -> _Trial:
        """Try a type with the first values, then with more of them, as long as it may still be right."""
        nulls = null_words(found.type, (), self.words)
        counts: Counter[str] = Counter()
        known = Known()
        for start, end in pairwise((*_STEPS, max(_STEPS[-1], len(self.values)))):
            values = self.values[start:end]
            if not len(values):
                break
            outcome, texts = _outcome(values, found, nulls, known)
            rows = pa.array(list(outcome.misfits), pa.int64())
            counts.update(values.take(rows).to_pylist())
            beyond = any(misfit.code == OUT_OF_RANGE for misfit in outcome.misfits.values())
            if beyond or altered_rows(texts, outcome.values, found.type).size:
                return _Trial(counts=counts, excluded=True, complete=False)
            if len(rows) * 10 > max(end - start, _HEAD):
                return _Trial(counts=counts, excluded=False, complete=False)
        return _Trial(counts=counts, excluded=not counts and self._is_only_alike(found, nulls), complete=True)

    def _is_only_alike(self, found: Finding, nulls: frozenset[str]) -> bool:
        """Whether the values have the shape of a type but mean something else."""
        if found.type.kind is Kind.REAL:
            return self._all_match(rf"{_MANTISSA}|{PATTERNS[Kind.INTEGER]}")
        if found.type.kind is Kind.BOOLEAN:
            words = {word.lower() for word in self.values.unique().to_pylist() if word not in nulls}
            return any(_OPPOSITES.get(word, word) not in words or word in "01" for word in words)
        if found.type.kind is Kind.TIMESTAMPTZ:
            return not self._all_match(_ZONED)
        if found.notation[1:] in (" ", "'") and found.type.kind is Kind.INTEGER:
            return len(pc.binary_length(self.values).unique()) == 1  # Numbers of telephones are all as long.
        return False

    def _most_match(self, pattern: re.Pattern[str]) -> bool:
        return sum(pattern.match(text) is not None for text in self.examples) * 2 >= len(self.examples)

    def _all_match(self, pattern: str) -> bool:
        return bool(pc.all(pc.match_substring_regex(self._without_nulls(), pattern)).as_py())

    def _without_nulls(self) -> pa.Array:
        nulls = pa.array(sorted(self.nulls), pa.string())
        return self.values.filter(pc.invert(pc.is_in(self.values, value_set=nulls)))


_REAL = FieldType(kind=Kind.REAL)


def _decimal(scale: int) -> FieldType:
    """As many digits as SQLite can keep, because the sample may lack the largest value."""
    return FieldType(kind=Kind.DECIMAL, precision=EXACT_DIGITS, scale=scale)


def _outcome(values: pa.Array, found: Finding, nulls: frozenset[str], known: Known) -> tuple[Cast, pa.Array]:
    """The values as a type, and their text in its default notation."""
    if not found.notation:
        return cast(values, typed(found.type), known, nul=False, nulls=nulls), values
    notation = notation_of(found.type, found.notation)
    written = cast_written(values, typed(found.type), notation, nul=False, nulls=nulls)
    return written, written.texts


def _serves(written: FieldType, kind: FieldType) -> bool:
    """Whether the notation of a type serves for values of another."""
    if written.kind in NUMBERS:
        return kind.kind in NUMBERS
    return kind.kind in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ) or kind.kind is written.kind is Kind.DATE


def _dates(examples: Sequence[str]) -> Iterator[Finding]:
    """The notations of dates in which most of the examples are written."""
    shapes = Counter(_date_shape(match) for text in examples if (match := _DATE.fullmatch(text)))
    for (year_first, mark, clock), times in shapes.most_common(1):
        if times * 2 < len(examples):
            return
        kind = FieldType(kind=Kind.TIMESTAMP if clock else Kind.DATE)
        orders = ("YYYY MM DD",) if year_first else ("DD MM YYYY", "MM DD YYYY")
        for order in orders:
            yield Finding(type=kind, notation=order.replace(" ", mark) + clock)


def _date_shape(match: re.Match[str]) -> tuple[bool, str, str]:
    clock = ""
    if match[5]:
        clock = (" HH:MM:SS" if match[6] else " HH:MM") + re.sub("[AaPp][Mm]", "AM", match[7] or "")
    return len(match[1]) == 4, match[2], clock


def _numbers(examples: Sequence[str]) -> Iterator[Finding]:
    """The notations of numbers in which most of the examples are written."""
    numbers = [text for text in examples if _NUMBER.fullmatch(text)]
    used = {_PLAIN_MARKS.get(letter, letter) for text in numbers for letter in text} - set("-0123456789")
    if not used or len(numbers) * 2 < len(examples):
        return
    for mark, group in ((",", ""), (",", "."), (",", " "), (",", "'"), (".", ","), (".", " "), (".", "'")):
        if used - {mark} != {group} - {""} or (group in (" ", "'") and mark == "," and mark not in used):
            continue
        notation = NumberNotation(mark, group)
        whole = rf"(0|[1-9][0-9]{{0,2}}([{re.escape(notation.groups)}][0-9]{{3}})+|[1-9][0-9]*)"
        pattern = rf"-?{whole}({re.escape(mark)}([0-9]+))?"
        matches = [match for text in numbers if (match := re.fullmatch(pattern, text))]
        if len(matches) * 2 < len(examples):
            continue
        scale = max(len(match[4] or "") for match in matches)
        if scale <= EXACT_DIGITS:
            yield Finding(type=_decimal(scale) if scale else FieldType(kind=Kind.INTEGER), notation=mark + group)


_PLAIN_MARKS = {**dict.fromkeys(BLANKS, " "), **dict.fromkeys(APOSTROPHES, "'")}
