"""Notations: how the values of a column are written if not as their type is written by default.

A notation turns text into the default notation of the type: ``31/12/2024`` into ``2024-12-31``, ``1.234,5`` into
``1234.5``, ``ja`` into ``true``. It is spelled after its type: ``date:DD/MM/YYYY``, ``timestamp:DD.MM.YYYY HH:MM``,
``decimal(10,2):,.``, ``decimal(10,2):€,``, ``boolean:ja/nein``.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.values.casting import VALUE_CAP, Cast, Misfit, cast, shorten
from ladingd.data.values.converters import only, typed
from ladingd.data.values.types import NUMBERS, PHRASES, TEXT, FieldType, Kind

if TYPE_CHECKING:
    from ladingd.data.values.converters import Reading

BLANKS = " \u00a0\u2007\u202f"
"""The blanks that part thousands; the last three keep a number on one line."""

APOSTROPHES = "'\u2019"

_DAYS = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})


class Notation(ABC):
    """A way to write the values of a type."""

    @property
    @abstractmethod
    def sample(self) -> str:
        """How people are shown the notation."""

    @abstractmethod
    def canonical(self, column: pa.Array) -> pa.Array:
        """A column of text in the default notation; null where a value is not written in this notation."""


_TOKENS = {
    "YYYY": ("year", "[0-9]{4}"),
    "MM": ("month", "[0-9]{1,2}"),
    "M": ("month", "[0-9]{1,2}"),
    "DD": ("day", "[0-9]{1,2}"),
    "D": ("day", "[0-9]{1,2}"),
    "HH": ("hour", "[0-9]{1,2}"),
    "H": ("hour", "[0-9]{1,2}"),
    "SS": ("second", r"[0-9]{2}(?:\.[0-9]{1,6})?"),
    "AM": ("half", "(?i:am|pm)"),
}
_TOKEN = re.compile("YYYY|MM?|DD?|HH?|SS|AM|[^A-Za-z]")
_DATE_FIELDS = ["year", "month", "day"]


@dataclass(frozen=True)
class DateNotation(Notation):
    """Dates with the parts YYYY, MM, DD, and times with HH, MM, SS and AM (or PM). Leading zeros may be missing."""

    format: str
    timed: bool
    """The values are timestamps."""

    @property
    def sample(self) -> str:
        return self.format

    @cached_property
    def fields(self) -> list[str]:
        """The parts in their order. Raises ValueError if they make no date."""
        return [name for name, _ in self._parts if name]

    @cached_property
    def pattern(self) -> str:
        """What a value looks like, with a named group for each part."""
        return "^" + "".join(f"(?P<{name}>{text})" if name else text for name, text in self._parts) + "$"

    @cached_property
    def _parts(self) -> list[tuple[str, str]]:
        tokens = _TOKEN.findall(self.format)
        parts: list[tuple[str, str]] = []
        for token in tokens:
            name, text = _TOKENS.get(token, ("", re.escape(token)))
            if name == "month" and "hour" in (part for part, _ in parts):
                name, text = "minute", "[0-9]{2}"
            parts.append((name, text))
        names = [name for name, _ in parts if name]
        clock = names[3:]
        whole = clock in ([], ["hour", "minute"], ["hour", "minute", "second"]) or (
            clock in (["hour", "minute", "half"], ["hour", "minute", "second", "half"])
        )
        if "".join(tokens) != self.format or sorted(names[:3]) != sorted(_DATE_FIELDS) or not whole:
            raise ValueError(f"{self.format!r} is not a date like DD/MM/YYYY, or with a time: DD/MM/YYYY HH:MM:SS")
        if clock and not self.timed:
            raise ValueError(f"{self.format!r} has a time, and a date has none; take timestamp:{self.format}")
        return parts

    def canonical(self, column: pa.Array) -> pa.Array:
        found = pc.extract_regex(column, self.pattern)
        part = {name: pc.struct_field(found, name) for name in self.fields}
        date = pc.binary_join_element_wise(part["year"], _two_digits(part["month"]), _two_digits(part["day"]), "-")
        if not self.timed:
            return date
        if "hour" not in part:
            return pc.binary_join_element_wise(date, "00:00:00", " ")
        hour = _two_digits(part["hour"])
        if "half" in part:
            hour = _of_24(hour, pc.equal(pc.ascii_lower(part["half"]), "pm"))
        return pc.binary_join_element_wise(
            date, pc.binary_join_element_wise(hour, part["minute"], part.get("second", pa.scalar("00")), ":"), " "
        )


def _two_digits(numbers: pa.Array) -> pa.Array:
    return pc.ascii_lpad(numbers, 2, "0")


def _of_24(hour: pa.Array, late: pa.Array) -> pa.Array:
    """The hour from 00 to 23 of an hour from 1 to 12; null for other hours."""
    hour = only(hour, pc.match_substring_regex(hour, "^(0[1-9]|1[0-2])$"))
    early = pc.cast(pc.if_else(pc.equal(hour, "12"), "0", hour), pa.int64())
    return _two_digits(pc.cast(pc.if_else(late, pc.add(early, 12), early), pa.string()))


@dataclass(frozen=True)
class NumberNotation(Notation):
    """Numbers with a decimal mark and a mark between thousands. Without the latter, any mark is accepted there."""

    mark: str
    """``.`` or ``,``."""
    group: str = ""
    """``.``, ``,``, a blank (which stands for all blanks) or an apostrophe; empty: any of them but the mark."""
    whole: bool = False
    """The values are integers."""
    symbol: str = ""
    """A currency or a percent sign, which a value may have before or after the number."""

    @property
    def sample(self) -> str:
        thousands = f"1{self.group}234" if self.group else "1234"
        return f"{self.symbol}{thousands}" if self.whole else f"{self.symbol}{thousands}{self.mark}56"

    @property
    def groups(self) -> str:
        """The characters that may part thousands."""
        other = "," if self.mark == "." else "."
        return {"": other + BLANKS + APOSTROPHES, " ": BLANKS, "'": APOSTROPHES}.get(self.group, self.group)

    def canonical(self, column: pa.Array) -> pa.Array:
        if self.symbol:
            blanks = f"[{re.escape(BLANKS)}]*"
            column = pc.replace_substring_regex(
                column, rf"^([+-]?){re.escape(self.symbol)}{blanks}|{blanks}{re.escape(self.symbol)}$", r"\1"
            )
        group = f"[{re.escape(self.groups)}]"
        digits = rf"([0-9]{{1,3}}({group}[0-9]{{3}})+|[0-9]+)"
        fits = pc.match_substring_regex(column, rf"^[+-]?({digits}({re.escape(self.mark)}[0-9]*)?)$")
        plain = pc.replace_substring_regex(only(column, fits), group, "")
        return plain if self.mark == "." else pc.replace_substring(plain, self.mark, ".")


@dataclass(frozen=True)
class BooleanNotation(Notation):
    """A word for true and a word for false, in any case."""

    true: str
    false: str

    @property
    def sample(self) -> str:
        return f"{self.true}/{self.false}"

    def canonical(self, column: pa.Array) -> pa.Array:
        words = pc.utf8_lower(column)
        yes, no = pc.equal(words, self.true.lower()), pc.equal(words, self.false.lower())
        return only(pc.if_else(yes, "true", "false"), pc.or_(yes, no))


def notation_of(kind: FieldType, text: str) -> Notation:
    """The notation that is spelled after a type. Raises ValueError."""
    if kind.kind in _DAYS:
        notation = DateNotation(text.upper(), timed=kind.kind is not Kind.DATE)
        notation.fields  # noqa: B018 - checks the parts
        return notation
    if kind.kind in NUMBERS:
        found = re.fullmatch(r"([^0-9+.,'-]*)([.,])([.,']|\s?)", text)
        if found is None or found[2] == found[3]:
            raise ValueError(
                f"{text!r} does not say how numbers are written: give the decimal mark (. or ,); behind it, if you "
                "like, the mark between thousands (. or , or a blank or '), and before it a currency or %"
            )
        symbol, mark, group = found[1].strip(), found[2], " " if found[3] and found[3] in BLANKS else found[3]
        return NumberNotation(mark, group, whole=kind.kind is Kind.INTEGER, symbol=symbol)
    if kind.kind is Kind.BOOLEAN:
        true, slash, false = text.partition("/")
        if not slash or not true or not false or true.lower() == false.lower():
            raise ValueError(f"{text!r} does not name two words: write the word for true, /, and the word for false")
        return BooleanNotation(true, false)
    raise ValueError(f"{kind} has one notation only; leave out {':' + text!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Written(Cast):
    """A column that was read in a notation."""

    texts: pa.Array
    """The values in the default notation."""


def cast_written(
    column: pa.Array,
    reading: Reading,
    notation: Notation,
    *,
    nul: bool = True,
    nulls: frozenset[str] = frozenset(),
) -> Written:
    """Convert a column whose values are written in a notation."""
    legible = cast(column, typed(TEXT), nul=nul)
    column = legible.values
    texts = notation.canonical(column)
    misfits = dict(legible.misfits)
    phrase = f"{PHRASES[reading.kind.kind].partition(' (')[0]} ({notation.sample})"
    outcome = cast(texts, reading, nul=False)
    strange = pc.and_(pc.is_null(texts), pc.fill_null(pc.greater(pc.binary_length(column), 0), False))
    unlike = Misfit(value="", code=reading.kind.refusal_code, problem=f"is not {PHRASES[reading.kind.kind]}")
    found = {**dict.fromkeys(pc.indices_nonzero(strange).to_pylist(), unlike), **outcome.misfits}
    told: dict[str, Misfit] = {}
    for (row, misfit), value in zip(
        found.items(), column.take(pa.array(list(found), pa.int64())).to_pylist(), strict=True
    ):
        if value in nulls and misfit is unlike:
            continue
        if value not in told:
            problem = misfit.problem.replace(PHRASES[reading.kind.kind], phrase)
            told[value] = replace(misfit, value=shorten(value.encode(), VALUE_CAP), problem=problem)
        misfits[row] = told[value]
    return Written(values=outcome.values, misfits=dict(sorted(misfits.items())), texts=texts)
