"""What comes to a terminal: no text of others may command it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def printable(text: str) -> str:
    """The text with control characters, escape sequences and bidirectional overrides written out as in Python.

    The one way for names, values and messages into the log as text, and into what the commands print.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def write(lines: Iterable[str]) -> None:
    """Print lines."""
    sys.stdout.writelines(f"{printable(line)}\n" for line in lines)
