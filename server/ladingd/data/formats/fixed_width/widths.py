"""How wide the columns of a file are, in characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from ladingd.core.errors import InvalidSpec
from ladingd.data.formats.lines import RECORD_LIMIT

REST = 0
"""The width of a last column that takes the rest of the line."""

FIELD = "fixed_width.widths"
_REST, _GAP = "*", "~"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of every line: a column, or a gap between columns."""

    width: int
    is_gap: bool = False

    def __str__(self) -> str:
        return f"{_GAP if self.is_gap else ''}{self.width or _REST}"


@dataclass(frozen=True, slots=True)
class Widths:
    """The parts of a line, from left to right. Only the last one may take the `REST`."""

    parts: Sequence[Part]

    @classmethod
    def of(cls, spelled: str) -> Widths:
        """The widths in the details of a layout."""
        parts = [(part.removeprefix(_GAP), part.startswith(_GAP)) for part in spelled.split(",")]
        return cls([Part(REST if width == _REST else int(width), is_gap) for width, is_gap in parts])

    def __str__(self) -> str:
        return ",".join(map(str, self.parts))

    @property
    def places(self) -> list[int]:
        """Where each part begins, counted from 0."""
        return [0, *accumulate(part.width for part in self.parts[:-1])]

    @property
    def columns(self) -> list[int]:
        """Which parts are columns."""
        return [place for place, part in enumerate(self.parts) if not part.is_gap]

    @property
    def gaps(self) -> list[int]:
        """Which parts are gaps."""
        return [place for place, part in enumerate(self.parts) if part.is_gap]

    @property
    def is_open(self) -> bool:
        """The last column takes the rest of the line."""
        return self.parts[-1].width == REST

    @property
    def total(self) -> int:
        """The length of a line. If the last column takes the rest, where it begins."""
        return sum(part.width for part in self.parts)

    @property
    def shown(self) -> str:
        """The widths as people may type them: a gap belongs to the column before it."""
        shown: list[int] = []
        for part in self.parts:
            if part.is_gap and shown:
                shown[-1] += part.width
            else:
                shown.append(part.width)
        return ",".join(str(width or _REST) for width in shown)

    def split(self, line: str) -> list[str]:
        """The values of one line, without blanks around them."""
        places = self.places
        ends = [*places[1:], None if self.is_open else self.total]
        return [line[places[column] : ends[column]].strip(" ") for column in self.columns]


class Wanted(NamedTuple):
    """The widths that a user has typed."""

    names: tuple[str, ...]
    """The names of the columns; empty: they have none."""
    parts: tuple[Part, ...]

    @property
    def all(self) -> Widths:
        """All parts of a line."""
        return Widths(self.parts)

    @property
    def widths(self) -> list[int]:
        """The widths of the columns."""
        return [part.width for part in self.parts if not part.is_gap]


def wanted(spelled: str) -> Wanted:
    """The widths in a spec: ``10,20,8`` or ``id=10,name=20,note=*``; ``~2`` are two blanks between columns.

    Raises InvalidSpec.
    """
    names: list[str] = []
    parts: list[Part] = []
    for part in spelled.split(",") if spelled else []:
        name, equals, number = (each.strip() for each in part.rpartition("="))
        if equals and not name:
            raise InvalidSpec(FIELD, f"{part!r} lacks a name before =")
        names += [name] if equals else []
        is_gap = number.startswith(_GAP) and not equals
        parts.append(Part(_width(number[is_gap:]), is_gap))
    columns = sum(not part.is_gap for part in parts)
    if parts and not columns:
        raise InvalidSpec(FIELD, "names gaps only: write the characters of each column, as in 10,20,8")
    if names and len(names) < columns:
        raise InvalidSpec(FIELD, "names some columns and not all: write 10,20,8 or id=10,name=20,amount=8")
    if any(part.width == REST for part in parts[:-1]) or (parts and parts[-1] == Part(REST, is_gap=True)):
        raise InvalidSpec(FIELD, "has * before the last column: only the last one can take the rest of the line")
    if sum(part.width for part in parts) > RECORD_LIMIT:
        raise InvalidSpec(FIELD, f"adds up to more than {RECORD_LIMIT:,} characters")
    return Wanted(tuple(names), tuple(parts))


def _width(text: str) -> int:
    if text == _REST:
        return REST
    if not (text.isascii() and text.isdecimal()) or not int(text[:9]) or len(text) > 9:
        raise InvalidSpec(
            FIELD, f"{text!r} is not a width: write the characters of each column, as in 10,20,8 or id=10,name=20"
        )
    return int(text)
