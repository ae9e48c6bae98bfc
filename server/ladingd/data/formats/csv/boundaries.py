"""Finds the ends of records in delimited text, by the rule of ``quoting.py``. Lines end with \\n, \\r\\n or a lone \\r.

numpy alone handles text with regular quotes. In other text, numpy finds the lines that are not whole records, and only
those are read one by one.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ladingd.data.formats.csv.marks import BLANK, CR, LF, Hits, quotes_in, read_marks
from ladingd.data.formats.csv.quoting import Kind, grammar_of
from ladingd.data.formats.csv.wide_delimiter import is_wide, narrow
from ladingd.data.formats.lines import line_ends, with_rest
from ladingd.data.values.positions import Positions

if TYPE_CHECKING:
    from ladingd.data.formats.csv.dialect import Dialect

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Frames:
    """The ends of lines and records in a piece of text: positions just after the line end."""

    line_ends: Positions
    record_ends: Positions
    """The ends of whole records. The last record of a final piece may lack its line end."""
    open: bool = False
    """The piece ends inside quotes."""
    literal: list[int] = field(default_factory=list)
    """The records, counted from 0, with a field that begins with a quote and is kept verbatim."""
    refused: dict[int, str] = field(default_factory=dict)
    """The refused records with their codes. Each is the first line of a record whose quotes are not regular."""

    def lines_before(self, position: int) -> int:
        """The number of lines that end at or before a position."""
        return int(np.searchsorted(self.line_ends, position, side="right"))


def frame(data: bytes, dialect: Dialect, *, final: bool, records: int | None = None) -> Frames:
    """Find the records of a piece that begins with a record. ``final``: nothing follows the piece.

    ``records``: their number, if it is known. If there are as many lines, quotes are ignored.
    """
    if is_wide(dialect):
        narrowed = narrow(data, dialect)
        frames = frame(narrowed.data, narrowed.dialect, final=final, records=records)
        return replace(
            frames,
            line_ends=narrowed.original(frames.line_ends),
            record_ends=narrowed.original(frames.record_ends),
        )
    found = line_ends(data, final=final)
    if found.size == records and found[-1] == len(data):
        return Frames(line_ends=found, record_ends=found)
    marks = read_marks(data, dialect)
    if not marks.regular or (final and marks.open):
        return _read_odd_lines(data, dialect, found, final=final)
    record_ends = found[marks.outside(found - 1)]
    if final:
        record_ends = with_rest(data, record_ends)
    return Frames(line_ends=found, record_ends=record_ends, open=marks.open)


def _at_border(codes: Codes, dialect: Dialect) -> Hits:
    border: Hits = (codes == ord(dialect.delimiter)) | (codes == LF) | (codes == CR)
    return border


def _read_odd_lines(data: bytes, dialect: Dialect, line_ends: Positions, *, final: bool) -> Frames:
    grammar = grammar_of(dialect)
    ends = with_rest(data, line_ends) if final else line_ends
    whole = np.ones(ends.size, np.bool_)
    """The lines that end a record."""
    literal: list[int] = []
    refused: dict[int, str] = {}
    known, free = ends.size, 0
    for line in _odd_lines(data, dialect, ends):
        if line < free:
            continue
        start = int(ends[line - 1]) if line else 0
        found = grammar.read(data, start, _without_mark(data, int(ends[line])), final=final)
        last = line
        if found.kind is Kind.REGULAR:
            last = bisect_left(ends, found.end)
        if found.kind is Kind.UNDECIDED or last == ends.size:
            known = line
            break
        if found.kind is Kind.LITERAL:
            literal.append(line)
        elif found.kind is Kind.REFUSED:
            refused[line] = found.code
        whole[line:last] = False
        free = last + 1
    record = np.cumsum(whole) - 1
    return Frames(
        line_ends=line_ends,
        record_ends=ends[:known][whole[:known]],
        open=known < ends.size,
        literal=[int(record[line]) for line in literal],
        refused={int(record[line]): code for line, code in refused.items()},
    )


def _odd_lines(data: bytes, dialect: Dialect, ends: Positions) -> list[int]:
    """The lines that would not be whole regular records if a record began there."""
    codes = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(quotes_in(data, dialect))
    lines = np.searchsorted(ends, quotes, side="right")
    firsts = np.flatnonzero(np.diff(lines, prepend=-1))
    counts = np.diff(firsts, append=lines.size)
    closes = (np.arange(lines.size) - np.repeat(firsts, counts)) & 1 == 1
    beside = quotes[1:] - 1 == quotes[:-1]
    before = quotes - 1
    if dialect.blanks:
        before = _last_not_blank(codes)[before]
    starts = _at_border(codes[before], dialect) | (before < 0) | (quotes == 0)
    stops = _at_border(codes.take(quotes + 1, mode="clip"), dialect) | (quotes == len(data) - 1)
    right = np.where(closes, stops, starts)
    right[1:] |= beside & ~closes[1:]
    right[:-1] |= beside & closes[:-1]
    regular = np.logical_and.reduceat(right, firsts) & (counts & 1 == 0)
    # Without a quote at the start of a field, no quote has a meaning.
    odd = ~regular & np.logical_or.reduceat(starts, firsts)
    found: list[int] = lines[firsts[odd]].tolist()
    return [line for line in found if line < ends.size]


def _last_not_blank(codes: Codes) -> Positions:
    """For each byte the last one up to it that is not a blank; -1 if there is none."""
    found: Positions = np.maximum.accumulate(np.where(codes != BLANK, np.arange(codes.size), -1))
    return found


def _without_mark(data: bytes, end: int) -> int:
    """The end of a line, without its line end."""
    if data[end - 1] == LF:
        return end - 2 if end > 1 and data[end - 2] == CR else end - 1
    return end - 1 if data[end - 1] == CR else end
