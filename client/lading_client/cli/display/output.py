"""Where the commands write: results to standard output, everything else to standard error.

All output is safe for a terminal, even if it contains text of others: see `columns.printable`.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

import typer

from lading_client.cli.arguments.options import Format
from lading_client.cli.display.columns import printable_lines
from lading_client.json_format import as_json

if TYPE_CHECKING:
    from collections.abc import Iterable


class Output:
    """Results in the requested format."""

    def __init__(self, form: Format) -> None:
        self.json = form is Format.JSON

    def document(self, value: Any) -> None:
        """One JSON document on a line."""
        print(_escaped(json.dumps(as_json(value), ensure_ascii=False)), flush=True)  # noqa: T201

    def text(self, lines: Iterable[str]) -> None:
        """Lines for people."""
        colours = colourful(sys.stdout)
        for line in lines:
            print(printable_lines(line, colours=colours), flush=True)  # noqa: T201

    def note(self, text: str) -> None:
        """A message that is not a result."""
        print(printable_lines(text), file=sys.stderr, flush=True)  # noqa: T201


def _escaped(document: str) -> str:
    """JSON with characters that could control a terminal written as ``\\u``. The document keeps its meaning."""
    if document.isprintable():
        return document
    # json.dumps has already escaped all characters below U+0020. Characters beyond the basic plane take two escapes.
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in document)


def painted(text: str, colour: str | None, *, stream: TextIO | None = None) -> str:
    """The text in a colour if the stream is a terminal that shows colours."""
    return typer.style(text, fg=colour) if colour and colourful(stream or sys.stdout) else text


def colourful(stream: TextIO) -> bool:
    """Whether the stream shows colours and the user wants them."""
    return not os.environ.get("NO_COLOR") and animated(stream)


def animated(stream: TextIO) -> bool:
    """Whether the stream is a terminal that can redraw its lines."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
