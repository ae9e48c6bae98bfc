"""Finds the columns of a file from some of its lines.

A line of dashes under the header, as many programs print it, gives the columns exactly. Otherwise characters that are
blank in all lines separate the columns. Lines may share such a blank by chance, above all one within a value. The
header and the alignment of the values tell; where they do not, the columns are uncertain, and the user is asked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ladingd.core.spec import Header
from ladingd.data.formats.fixed_width.slices import Flags
from ladingd.data.formats.fixed_width.widths import REST, Part, Widths
from ladingd.data.formats.header import judge

_RULER = re.compile(r" ?(?:-+|=+)(?:(?: +|\+)(?:-+|=+))+ *")
_RULE = re.compile(r"[-=]+")
_LONG = 3
"""The fewest dashes that one of its columns must have."""
_ABOVE = 50
"""The most lines above a line of dashes."""
_CONFORMING = 0.9
"""The share of the records that must have blanks between the columns that a line of dashes shows."""
_ALIGNED = 0.9
"""The share of the values of a column that must begin, or end, at the same character."""
_RIGID = 0.9
"""The share of the lines that show a blank to stand within values if all of them have text on both sides of it."""
_USUAL = 0.95
"""The share of the lines that have one length in a file whose lines are not cut off. Other lines are damaged."""
_FEWEST = 2
_JUDGED = 200
_CELLS = 64 << 20

_DATE = re.compile(r"[0-9]{4}[-/.][0-9]{2}[-/.][0-9]{2}|[0-9]{2}[-/.][0-9]{2}[-/.][0-9]{4}")
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?")


class Uncertain(Exception):
    """Why the columns of a file are uncertain. ``guess`` has them as they seem to be; empty: nothing is known."""

    def __init__(self, reason: str, guess: str = "") -> None:
        super().__init__(reason)
        self.guess = guess


class Ruler(NamedTuple):
    """A line of dashes, and the columns that it shows."""

    line: int
    """Its place among the lines."""
    widths: Widths
    bars: bool
    """Bars stand between the values, as in the output of psql."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """The columns of a file."""

    widths: Widths
    header: bool
    """The first line names the columns."""
    doubt: str = ""
    """Why the decision on the header is uncertain."""


def find_ruler(lines: Sequence[str]) -> Ruler | None:
    """The line of dashes under the header, if the records below fit it."""
    place = next((place for place, line in enumerate(lines[:_ABOVE]) if _RULER.fullmatch(line)), 0)
    if not place:
        return None
    runs = [match.span() for match in _RULE.finditer(lines[place])]
    if max(end - start for start, end in runs) < _LONG:
        return None
    parts = [Part(runs[0][0], is_gap=True)] if runs[0][0] else []
    bars = "+" in lines[place]
    if bars and parts:
        return None
    for (start, end), following in zip(runs, [*runs[1:], None], strict=True):
        parts.append(Part(end - start))
        if following is not None:
            parts.append(Part(following[0] - end, is_gap=True))
    widths = Widths(parts)
    header, below = lines[place - 1], [line for line in lines[place + 1 :] if line.strip()]
    if not all(widths.split(header)) or not _fits(header, widths, bars=bars):
        return None
    fitting = sum(_fits(line, widths, bars=bars) for line in below)
    return Ruler(place, widths, bars) if fitting >= _CONFORMING * len(below) - 1 else None


def _fits(line: str, widths: Widths, *, bars: bool) -> bool:
    allowed = ("", "|") if bars else ("",)
    places = widths.places
    gaps = (line[places[gap] : places[gap] + widths.parts[gap].width].strip() for gap in widths.gaps)
    return all(gap in allowed for gap in gaps) and not line[widths.total :].strip()


def find_structure(lines: Sequence[str], header: Header) -> Structure:
    """The columns of lines without a line of dashes. Raises Uncertain."""
    if any("\t" in line for line in lines):
        raise Uncertain("lines have tabs, whose width is uncertain: replace them first, for example with expand")
    number, lines = len(lines), _of_one_length(lines)
    if len(lines) < _FEWEST:
        raise Uncertain("there are too few lines to compare")
    inked = _inked(lines)
    spans = _spans(inked)
    if len(spans) < 2:
        raise Uncertain("no character is blank in all lines")
    ends = len(lines) == number or any(line.endswith(" ") for line in lines[1:])
    sheet, doubt = _Sheet(lines=lines, inked=inked, header=header is not Header.ABSENT, ends=ends), ""
    columns = sheet.joined(spans)
    if header is Header.DEFAULT:
        cells = [[line[start:end].strip() for start, end in columns] for line in lines[: _JUDGED + 1]]
        judged = judge(cells[0], [[row[place] for row in cells[1:]] for place in range(len(columns))])
        doubt = judged.doubt
        if not judged.header:
            sheet = replace(sheet, header=False, reasons=[])
            columns = sheet.joined(spans)
    widths = sheet.widths(columns)
    if sheet.reasons:
        raise Uncertain(sheet.reasons[0], widths.shown)
    return Structure(widths=widths, header=sheet.header, doubt=doubt)


def _of_one_length(lines: Sequence[str]) -> Sequence[str]:
    """The first line and those that are as long as nearly all others; all lines if they have different lengths."""
    (length, number), *_ = Counter(len(line) for line in lines[1:]).most_common(1) or [(0, 0)]
    if number < _USUAL * len(lines[1:]):
        return lines
    return [line for place, line in enumerate(lines) if not place or len(line) == length]


class _Span(NamedTuple):
    start: int
    end: int


def _inked(lines: Sequence[str]) -> Flags:
    """Which characters of each line are not blank."""
    length = max(map(len, lines))
    lines = lines[: max(_FEWEST, _CELLS // max(length, 1))]
    codes = np.array(lines, f"<U{max(length, 1)}").view(np.uint32).reshape(len(lines), -1)
    inked: Flags = (codes != ord(" ")) & (codes != 0)
    return inked


def _spans(inked: Flags) -> list[_Span]:
    """The runs of characters that are not blank in all lines."""
    used = np.concatenate(([False], inked.any(axis=0), [False]))
    edges = np.flatnonzero(used[1:] != used[:-1]).tolist()
    return [_Span(*pair) for pair in zip(edges[::2], edges[1::2], strict=True)]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sheet:
    """Some lines of a file."""

    lines: Sequence[str]
    inked: Flags
    header: bool
    ends: bool
    """Lines of one length end with the last column. Otherwise they may have lost their blanks."""
    reasons: list[str] = field(default_factory=list)
    """Why the columns are uncertain."""

    @property
    def body(self) -> Flags:
        """The lines without the header."""
        return self.inked[self.header :]

    def joined(self, spans: Sequence[_Span]) -> list[_Span]:
        """The spans, where a blank within values does not separate them."""
        joined: list[_Span] = []
        for span in spans:
            if joined and self._is_one(joined[-1], span):
                joined[-1] = _Span(joined[-1].start, span.end)
            else:
                joined.append(span)
        if self.header:
            for span in joined:
                self._check_header(span)
        return joined

    def _is_one(self, left: _Span, right: _Span) -> bool:
        """Whether two spans are one column."""
        rigid = self._is_rigid(left, right)
        if not self.header:
            if rigid and not self._are_date_and_time(left, right):
                self.reasons.append(self._doubt(right))
            return rigid and self._are_date_and_time(left, right)
        names = self.inked[0]
        if not names[right.start : right.end].any():
            if not rigid:
                self.reasons.append(f"the column at character {right.start + 1} has no name in the header")
            return True
        is_word_of_name = right.start - left.end == 1 and bool(names[left.end - 1] and names[right.start])
        if is_word_of_name and not self.body[:, right.start : right.end].any():
            return True
        if is_word_of_name and rigid:
            self.reasons.append(self._doubt(right))
        return False

    @staticmethod
    def _doubt(right: _Span) -> str:
        return f"the blank at character {right.start} may stand between columns or within values"

    def _is_rigid(self, left: _Span, right: _Span) -> bool:
        """Whether exactly one blank stands between two spans in nearly every line that has text in both. Words of one
        value do so."""
        if right.start - left.end != 1:
            return False
        both = self.body[:, left.start : left.end].any(axis=1) & self.body[:, right.start : right.end].any(axis=1)
        touching = self.body[both, left.end - 1] & self.body[both, right.start]
        return not both.any() or bool(touching.mean() >= _RIGID)

    def _are_date_and_time(self, left: _Span, right: _Span) -> bool:
        lines = [line for line in self.lines[:_JUDGED] if line[left.start : right.end].strip()]
        return all(
            _DATE.fullmatch(line[left.start : left.end].strip())
            and _TIME.fullmatch(line[right.start : right.end].strip())
            for line in lines
        )

    def _check_header(self, span: _Span) -> None:
        """Check that the header does not hide the end of a column: names may fill the blanks between columns."""
        if not self.inked[0, span.start : span.end].any():
            self.reasons.append(f"the column at character {span.start + 1} has no name in the header")
        parts = [
            _Span(span.start + start, span.start + end) for start, end in _spans(self.body[:, span.start : span.end])
        ]
        for left, right in pairwise(parts):
            if not self._is_rigid(left, right):
                self.reasons.append(
                    f"the header has no blank between the columns before and behind character {right.start}"
                )

    def widths(self, spans: Sequence[_Span]) -> Widths:
        """The parts of a line. Between columns that may both become wider is a gap, which must be blank."""
        aligned = [self._alignment(span) for span in spans]
        ends, starts = [], [0]
        for place, (left, right) in enumerate(pairwise(spans)):
            (is_left, is_right), (next_left, next_right) = aligned[place : place + 2]
            to_left, to_right = is_left and not is_right, next_right and not next_left
            if to_left and not next_right:
                ends.append(right.start)
                starts.append(right.start)
            elif to_right and not is_left:
                ends.append(left.end)
                starts.append(left.end)
            else:
                ends.append(left.end)
                starts.append(right.start)
        lengths = {len(line) for line in self.lines[self.header :]}
        ends.append(lengths.pop() if self.ends and len(lengths) == 1 else REST)
        parts: list[Part] = []
        for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
            if place and start > ends[place - 1]:
                parts.append(Part(start - ends[place - 1], is_gap=True))
            parts.append(Part(max(end - start, REST)))
        return Widths(parts)

    def _alignment(self, span: _Span) -> tuple[bool, bool]:
        """Whether the values of a column begin at one character, and whether they end at one."""
        body = self.body[:, span.start : span.end]
        body = body[body.any(axis=1)]
        if not len(body):
            return True, False
        used = np.flatnonzero(body.any(axis=0))
        is_left = bool(body[:, used[0]].mean() >= _ALIGNED)
        is_right = bool(body[:, used[-1]].mean() >= _ALIGNED)
        if not (is_left or is_right):
            self.reasons.append(f"the values at character {span.start + 1} are neither left-aligned nor right-aligned")
        return is_left, is_right


def is_surely_fixed(lines: Sequence[str]) -> bool:
    """Whether lines are a table of fixed width beyond doubt, although nobody says so.

    All records have the same length, the columns are certain, most lines are padded, and not all in the same places.
    """
    filled = [line for line in lines if line.strip()]
    if find_ruler(filled) is not None:
        return True
    filled = [*_of_one_length(filled)]
    if len(filled) < 4 or len({len(line) for line in filled[1:]}) > 1 or len(filled[0]) > len(filled[1]):
        return False
    inked = _inked(filled[1:])
    if sum("  " in line for line in filled[1:]) * 2 < len(filled) or (inked == inked[0]).all():
        return False
    if any(line.startswith(('"', "'")) for line in filled):
        return False
    try:
        find_structure(filled, Header.DEFAULT)
    except Uncertain:
        return False
    return True
