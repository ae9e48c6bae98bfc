"""Where records end in delimited text.

The rule is that of pyarrow's parser, which reads them afterwards: a quote is special only at the start of a field;
inside, a doubled quote is a quote; what follows the closing quote is literal up to the delimiter or the line end.
Lines end with \\n, \\r\\n or a lone \\r.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ladingd.core.plan import Dialect

Positions = npt.NDArray[np.int64]

_LF, _CR = 10, 13


@dataclass(frozen=True, kw_only=True, slots=True)
class Frames:
    """The ends of lines and of records in a piece of text; positions just behind the line end."""

    line_ends: Positions
    record_ends: Positions
    """Of whole records only, but for the last one of a final piece, which may lack its line end."""
    open: bool
    """The piece ends inside quotes."""

    def lines_before(self, position: int) -> int:
        """How many lines have ended there."""
        return int(np.searchsorted(self.line_ends, position, side="right"))


def frame(data: bytes, dialect: Dialect, *, final: bool, records: int | None = None) -> Frames:
    """Find the records of a piece that begins with one. ``final``: nothing follows the piece.

    ``records``: so many there are; are they as many as lines, no quote needs to be looked at.
    """
    line_ends = _line_ends(data, final=final)
    if line_ends.size == records and line_ends[-1] == len(data):
        return Frames(line_ends=line_ends, record_ends=line_ends, open=False)
    toggles = _quotes(data, dialect)
    record_ends = line_ends
    if toggles.size:
        record_ends = line_ends[np.searchsorted(toggles, line_ends - 1) & 1 == 0]
    is_open = bool(toggles.size & 1)
    if final and not is_open and data and not (record_ends.size and record_ends[-1] == len(data)):
        record_ends = np.append(record_ends, len(data))
    return Frames(line_ends=line_ends, record_ends=record_ends, open=is_open)


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


def _quotes(data: bytes, dialect: Dialect) -> Positions:
    """The quotes that open or close, in turn. A doubled quote may count as one that closes and one that opens."""
    quote = dialect.quote.encode()
    if quote not in data:
        return np.empty(0, np.int64)
    codes = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(codes == quote[0])
    # Taken in turn, they are right if every one that would open stands where a field starts, or follows a closing
    # one directly and so doubles it.
    opening, closing = quotes[0::2], quotes[1::2]
    before = codes[opening - 1]
    starts = (before == ord(dialect.delimiter)) | (before == _LF) | (before == _CR)
    starts[1:] |= opening[1:] - 1 == closing[: opening.size - 1]
    if opening[0] == 0:
        starts[0] = True
    return quotes if bool(starts.all()) else _irregular_quotes(data, dialect)


def _irregular_quotes(data: bytes, dialect: Dialect) -> Positions:
    """The same for text with quotes that mean nothing, as in ``5" nail``: one search for each quoted field."""
    quote, delimiter = re.escape(dialect.quote.encode()), re.escape(dialect.delimiter.encode())
    quoted = re.compile(rb"[%b\r\n]%b(?:[^%b]++|%b%b)*+(%b?)" % (delimiter, quote, quote, quote, quote, quote))
    toggles: list[int] = []
    for match in quoted.finditer(b"\n" + data):  # the line end stands for the one before the piece
        toggles.append(match.start())
        if match[1]:
            toggles.append(match.end() - 2)
    return np.array(toggles, np.int64)
