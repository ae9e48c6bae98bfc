"""Makes foreign text safe to print: it cannot control the terminal or fake a line of output."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with control characters, escape sequences and bidirectional overrides escaped as in Python.

    Names, values and messages pass through here before they are logged as text or printed by a command.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """Like ``printable``, but line ends stay."""
    return "\n".join(map(printable, text.split("\n")))
