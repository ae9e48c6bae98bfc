"""A reject as people read it: what is wrong, and the record with the offending value marked."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from lading_client.cli.display.columns import printable, width
from lading_client.cli.display.output import colourful, painted
from lading_client.labels import label
from lading_client.model import RejectType

if TYPE_CHECKING:
    from lading_client.model import Reject

_TAB = "    "


def block(reject: Reject) -> list[str]:
    """The lines of one reject, with an empty line at the end."""
    kind = painted(label(reject.type), "yellow" if reject.type is RejectType.WARNING else "red")
    where = f"line {reject.line}, record {reject.record}"
    if reject.column:
        where += f", column {printable(reject.column)}, value {_shown_value(reject.value)}"
    head = f"{where}: {printable(reject.message)} ({kind}, {label(reject.connector)}, {reject.code})"
    return [head, *_record(reject), ""]


def _shown_value(value: str) -> str:
    return f"'{printable(value)}'"


def _record(reject: Reject) -> list[str]:
    """The physical lines of the record with their numbers, and a mark under the value at fault."""
    place = _place(reject)
    lines = []
    begin = 0
    for offset, text in enumerate(_physical_lines(reject.raw)):
        end = begin + len(text)
        body = text.rstrip("\r\n")
        number = f"{reject.line + offset:>8} | "
        if place is not None and begin <= place[0] < end:
            cut = min(place[1] - begin, len(body))
            before, wrong = _plain(body[: place[0] - begin]), _plain(body[place[0] - begin : cut])
            if colourful(sys.stdout):
                lines.append(number + before + painted(wrong, "red") + _plain(body[cut:]))
            else:
                lines.append(number + _plain(body))
                lines.append(" " * 8 + " | " + " " * width(before) + "^" * max(width(wrong), 1))
        else:
            lines.append(number + _plain(body))
        begin = end
    return lines


def _physical_lines(raw: str) -> list[str]:
    return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$", raw) or [""]


def _plain(text: str) -> str:
    return printable(text.replace("\t", _TAB))


def _place(reject: Reject) -> tuple[int, int] | None:
    """The position of the value in the record; None if it is not certain.

    The value is marked only if it occurs once, or once as a whole field: nothing else tells which field is meant.
    """
    if not reject.column or not reject.value:
        return None
    value = re.escape(reject.value)
    for pattern in (value, rf"(?<![^\W_]){value}(?![^\W_])"):
        found = list(re.finditer(pattern, reject.raw))
        if len(found) == 1:
            return found[0].span()
    return None
