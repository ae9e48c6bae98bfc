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

from ladingd.data.quoting import Kind, grammar_of

if TYPE_CHECKING:
    from ladingd.core.plan import Dialect

Positions = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8]

_LF, _CR = 10, 13


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
    quotes = _quotes(data, dialect)
    if quotes.size and not (_regular(data, quotes, dialect) and (not final or quotes.size & 1 == 0)):
        return _read_odd_lines(data, dialect, line_ends, quotes, final=final)
    record_ends = line_ends
    if quotes.size:
        record_ends = line_ends[np.searchsorted(quotes, line_ends - 1) & 1 == 0]
    if final:
        record_ends = _with_rest(data, record_ends)
    return Frames(line_ends=line_ends, record_ends=record_ends, open=bool(quotes.size & 1))


def is_regular(data: bytes, dialect: Dialect) -> bool:
    """Whether the quotes of whole records are all regular and none is escaped."""
    if dialect.escape and dialect.escape.encode() in data:
        return False
    quotes = _quotes(data, dialect)
    return quotes.size & 1 == 0 and _regular(data, quotes, dialect)


def _line_ends(data: bytes, *, final: bool) -> Positions:
    codes = np.frombuffer(data, np.uint8)
    feeds = np.flatnonzero(codes == _LF)
    if b"\r" not in data:
        return feeds + 1
    returns = np.flatnonzero(codes == _CR)
    if not final and returns[-1] == len(data) - 1:
        # Whether a line feed belongs to it is not known yet.
        returns = returns[:-1]
    followers = np.append(codes, np.uint8(0))[returns + 1]
    ends = np.concatenate((feeds, returns[followers != _LF])) + 1
    ends.sort()
    return ends


def _with_rest(data: bytes, ends: Positions) -> Positions:
    return ends if not data or (ends.size and ends[-1] == len(data)) else np.append(ends, len(data))


def _quotes(data: bytes, dialect: Dialect) -> Positions:
    """The quotes that are not escaped."""
    quote, escape = dialect.quote.encode(), dialect.escape.encode()
    if quote not in data:
        return np.empty(0, np.int64)
    codes = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(codes == quote[0])
    if not escape or escape + quote not in data:
        return quotes
    # Of escape characters in a row every other one is escaped itself.
    marks = np.flatnonzero(codes == escape[0])
    begins = np.diff(marks, prepend=-2) != 1
    places = marks - np.maximum.accumulate(np.where(begins, marks, 0))
    behind = np.flatnonzero(codes[quotes - 1] == escape[0])
    behind = behind[quotes[behind] > 0]
    escaped = places[np.searchsorted(marks, quotes[behind] - 1)] & 1 == 0
    return np.delete(quotes, behind[escaped])


def _regular(data: bytes, quotes: Positions, dialect: Dialect) -> bool:
    """Whether quotes open and close fields in turn: each one that would open stands where a field starts, and each
    one that would close where a field ends; or the two stand side by side, and so are a doubled quote."""
    codes = np.frombuffer(data, np.uint8)
    opening, closing = quotes[0::2], quotes[1::2]
    doubled = opening[1:] - 1 == closing[: opening.size - 1]
    starts = _at_border(codes[opening - 1], dialect)  # codes[-1] is looked at for a quote at 0, which is right anyway
    starts[1:] |= doubled
    if quotes.size and quotes[0] == 0:
        starts[0] = True
    if not starts.all():
        return False
    ends = _at_border(codes.take(closing + 1, mode="clip"), dialect)
    ends[: doubled.size] |= doubled
    if closing.size and closing[-1] == len(data) - 1:
        ends[-1] = True
    return bool(ends.all())


def _at_border(codes: Codes, dialect: Dialect) -> npt.NDArray[np.bool_]:
    border: npt.NDArray[np.bool_] = (codes == ord(dialect.delimiter)) | (codes == _LF) | (codes == _CR)
    return border


def _read_odd_lines(data: bytes, dialect: Dialect, line_ends: Positions, quotes: Positions, *, final: bool) -> Frames:
    grammar = grammar_of(dialect)
    ends = _with_rest(data, line_ends) if final else line_ends
    whole = np.ones(ends.size, np.bool_)
    """The lines that end a record."""
    literal: list[int] = []
    refused: dict[int, str] = {}
    known, free = ends.size, 0
    for line in _odd_lines(data, dialect, ends, quotes):
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


def _odd_lines(data: bytes, dialect: Dialect, ends: Positions, quotes: Positions) -> list[int]:
    """The lines that are not regular records by themselves, should a record begin there."""
    codes = np.frombuffer(data, np.uint8)
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
    if data[end - 1] == _LF:
        return end - 2 if end > 1 and data[end - 2] == _CR else end - 1
    return end - 1 if data[end - 1] == _CR else end
