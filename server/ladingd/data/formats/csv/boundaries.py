"""Where records end in delimited text, by the rule of ``quoting.py``. Lines end with \\n, \\r\\n or a lone \\r.

Text whose quotes are all regular is framed by numpy alone. In other text, numpy finds the lines that are not whole
records by themselves, and only those are read one by one.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ladingd.data.formats.csv.marks import CR, LF, Hits, quotes_in, read_marks
from ladingd.data.formats.csv.quoting import Kind, grammar_of
from ladingd.data.values.positions import Positions

if TYPE_CHECKING:
    from ladingd.data.formats.csv.dialect import Dialect

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Frames:
    """The ends of lines and of records in a piece of text; positions just behind the line end."""

    line_ends: Positions
    record_ends: Positions
    """Of whole records only, but for the last one of a final piece, which may lack its line end."""
    open: bool = False
    """The piece ends inside quotes."""
    literal: list[int] = field(default_factory=list)
    """The records with a field that begins with a quote and is kept as it stands, counted from 0."""
    refused: dict[int, str] = field(default_factory=dict)
    """The records that are refused, with their codes: each is the first line of one whose quotes are not regular."""

    def lines_before(self, position: int) -> int:
        """How many lines have ended there."""
        return int(np.searchsorted(self.line_ends, position, side="right"))


def frame(data: bytes, dialect: Dialect, *, final: bool, records: int | None = None) -> Frames:
    """Find the records of a piece that begins with one. ``final``: nothing follows the piece.

    ``records``: their number, if known; if there are as many lines, no quote needs to be looked at, and none is.
    """
    line_ends = _line_ends(data, final=final)
    if line_ends.size == records and line_ends[-1] == len(data):
        return Frames(line_ends=line_ends, record_ends=line_ends)
    marks = read_marks(data, dialect)
    if not marks.regular or (final and marks.open):
        return _read_odd_lines(data, dialect, line_ends, final=final)
    record_ends = line_ends[marks.outside(line_ends - 1)]
    if final:
        record_ends = _with_rest(data, record_ends)
    return Frames(line_ends=line_ends, record_ends=record_ends, open=marks.open)


def _line_ends(data: bytes, *, final: bool) -> Positions:
    codes = np.frombuffer(data, np.uint8)
    feeds = np.flatnonzero(codes == LF)
    if b"\r" not in data:
        return feeds + 1
    returns = np.flatnonzero(codes == CR)
    if not final and returns[-1] == len(data) - 1:
        # Whether a line feed belongs to it is not known yet.
        returns = returns[:-1]
    followers = np.append(codes, np.uint8(0))[returns + 1]
    ends = np.concatenate((feeds, returns[followers != LF])) + 1
    ends.sort()
    return ends


def _with_rest(data: bytes, ends: Positions) -> Positions:
    return ends if not data or (ends.size and ends[-1] == len(data)) else np.append(ends, len(data))


def _at_border(codes: Codes, dialect: Dialect) -> Hits:
    border: Hits = (codes == ord(dialect.delimiter)) | (codes == LF) | (codes == CR)
    return border


def _read_odd_lines(data: bytes, dialect: Dialect, line_ends: Positions, *, final: bool) -> Frames:
    grammar = grammar_of(dialect)
    ends = _with_rest(data, line_ends) if final else line_ends
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
    """The lines that are not regular records by themselves, should a record begin there."""
    codes = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(quotes_in(data, dialect))
    lines = np.searchsorted(ends, quotes, side="right")
    firsts = np.flatnonzero(np.diff(lines, prepend=-1))
    counts = np.diff(firsts, append=lines.size)
    closes = (np.arange(lines.size) - np.repeat(firsts, counts)) & 1 == 1
    beside = quotes[1:] - 1 == quotes[:-1]
    starts = _at_border(codes[quotes - 1], dialect) | (quotes == 0)
    stops = _at_border(codes.take(quotes + 1, mode="clip"), dialect) | (quotes == len(data) - 1)
    right = np.where(closes, stops, starts)
    right[1:] |= beside & ~closes[1:]
    right[:-1] |= beside & closes[:-1]
    regular = np.logical_and.reduceat(right, firsts) & (counts & 1 == 0)
    # Where no quote stands at the start of a field, none means anything.
    odd = ~regular & np.logical_or.reduceat(starts, firsts)
    found: list[int] = lines[firsts[odd]].tolist()
    return [line for line in found if line < ends.size]


def _without_mark(data: bytes, end: int) -> int:
    """Where a line ends without its line end."""
    if data[end - 1] == LF:
        return end - 2 if end > 1 and data[end - 2] == CR else end - 1
    return end - 1 if data[end - 1] == CR else end
