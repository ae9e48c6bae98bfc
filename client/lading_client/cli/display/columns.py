"""Text in columns on a terminal."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


_COLOUR = re.compile("(\x1b\\[[0-9]{1,2}m)")
"""The escape sequences that `output.painted` writes."""


def printable(text: str) -> str:
    """The text with control characters, escape sequences and bidirectional overrides written out as in Python.

    All names, values and messages of others pass through this function: a file must not control the terminal.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str, *, colours: bool = False) -> str:
    """The same for a text of several lines. With ``colours``, our own colour sequences stay."""
    if text.isprintable():
        return text
    if colours:
        pieces = _COLOUR.split(text)
        return "".join(piece if n % 2 else printable_lines(piece) for n, piece in enumerate(pieces))
    return "\n".join(printable(line) for line in text.split("\n"))


def width(text: str) -> int:
    """The width of the text in terminal cells."""
    if text.isascii():
        return len(text)
    cells = 0
    for c in text:
        if not unicodedata.combining(c):
            cells += 2 if unicodedata.east_asian_width(c) in "WF" else 1
    return cells


def shortened(text: str, cells: int) -> str:
    """The text, shortened to at most this many cells."""
    if width(text) <= cells:
        return text
    kept = text[:cells]
    while width(kept) > cells - 1:
        kept = kept[:-1]
    return kept + "…"


def aligned(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset(), gap: str = "  ") -> list[str]:
    """Lines of aligned columns. The columns in ``right`` are aligned to the right."""
    if not rows:
        return []
    widths = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [gap.join(_cell(row[i], widths[i], i in right) for i in range(len(row))).rstrip() for row in rows]


def _cell(text: str, cells: int, right: bool) -> str:
    space = " " * (cells - width(text))
    return space + text if right else text + space
