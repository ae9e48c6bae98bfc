"""Text in columns on a terminal."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


_COLOUR = re.compile("(\x1b\\[[0-9]{1,2}m)")
"""What `output.painted` writes."""


def printable(text: str) -> str:
    """The text with control characters, escape sequences and bidirectional overrides written out as in Python.

    Names, values and messages of others come to a terminal by this way alone: a file must not command it.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str, *, colours: bool = False) -> str:
    """The same for a text of several lines; with ``colours`` those that we paint with stay."""
    if text.isprintable():
        return text
    if colours:
        pieces = _COLOUR.split(text)
        return "".join(piece if n % 2 else printable_lines(piece) for n, piece in enumerate(pieces))
    return "\n".join(printable(line) for line in text.split("\n"))


def width(text: str) -> int:
    """How many cells of a terminal the text takes."""
    if text.isascii():
        return len(text)
    cells = 0
    for c in text:
        if not unicodedata.combining(c):
            cells += 2 if unicodedata.east_asian_width(c) in "WF" else 1
    return cells


def shortened(text: str, cells: int) -> str:
    """The text in at most so many cells."""
    if width(text) <= cells:
        return text
    kept = text[:cells]
    while width(kept) > cells - 1:
        kept = kept[:-1]
    return kept + "…"


def aligned(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset(), gap: str = "  ") -> list[str]:
    """Lines of aligned columns; those named in ``right`` have their texts on the right."""
    if not rows:
        return []
    widths = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [gap.join(_cell(row[i], widths[i], i in right) for i in range(len(row))).rstrip() for row in rows]


def _cell(text: str, cells: int, right: bool) -> str:
    space = " " * (cells - width(text))
    return space + text if right else text + space
