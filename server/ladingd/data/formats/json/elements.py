"""Finds the elements of an array in JSON, whether they are valid or not.

A closing bracket closes everything that was opened within, and strings may contain line ends. Most faults therefore do
not reach beyond their own element.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import islice

from ladingd.data.formats.json_lines.strings import STRING, regular

BLANKS = b" \t\r\n"
"""What may stand between the elements."""

_SPACE = re.compile(rb"[ \t\r\n]*+")

_TEXT = re.compile(rb'(?s:[^"\\]++|\\.)*+')
_MARK = re.compile(rb'["\[\]{},]')
_OPENED_BY = {ord("]"): ord("["), ord("}"): ord("{")}
_QUOTE, _COMMA = ord('"'), ord(",")


@cache  # These patterns are large, so they are made when they are needed.
def _regular() -> re.Pattern[bytes]:
    return re.compile(regular())


@cache
def _element() -> re.Pattern[bytes]:
    """A regular element, and the comma or bracket behind it."""
    return re.compile(rb"[ \t\r\n]*+(" + regular() + rb")[ \t\r\n]*+[,\]]")


class Skipping:
    """Looks for the end of an element, piece by piece."""

    def __init__(self, closing: bytes = b"]") -> None:
        self._closing = closing[0]
        self._opened = bytearray()
        self._in_string = False

    def end(self, data: bytes, place: int) -> int | None:
        """The place of the comma or bracket behind the element; None: the data end before. No piece but the last may
        end with a backslash."""
        while place < len(data):
            if self._in_string:
                match = _TEXT.match(data, place)
                place = match.end() if match else place
                if place == len(data):
                    break
                self._in_string, place = False, place + 1
                continue
            mark = _MARK.search(data, place)
            if mark is None:
                break
            code, place = data[mark.start()], mark.end()
            if code == _QUOTE:
                self._in_string = True
            elif code in (_COMMA, self._closing) and not self._opened:
                return mark.start()
            elif code in _OPENED_BY:
                opened = self._opened.rfind(_OPENED_BY[code])
                if opened >= 0:
                    del self._opened[opened:]
            elif code != _COMMA:
                self._opened.append(code)
        return None


def end_of(data: bytes, start: int, closing: bytes = b"]") -> int | None:
    """The place of the comma or bracket behind the element that begins at ``start``; None: the data end before."""
    found = _regular().match(data, start)
    return Skipping(closing).end(data, found.end() if found else start)


@dataclass(frozen=True, kw_only=True, slots=True)
class Elements:
    """The elements in a part of an array."""

    starts: list[int]
    ends: list[int]
    end: int
    """The end of the last comma or bracket behind them."""
    closed: bool
    """The bracket that closes the array is the last one."""


def elements_in(data: bytes, *, final: bool, limit: int | None = None) -> Elements:
    """The elements, at most ``limit``. ``final``: what follows the last comma is an element, too, if it is not blank.

    An element between two commas may be empty. A comma before the closing bracket means nothing.
    """
    starts: list[int] = []
    ends: list[int] = []
    place, closed = 0, False
    while not closed and (limit is None or len(starts) < limit):
        # Nearly every element, and what is behind it, is found by one pattern.
        scanner = _element().scanner(data, place)  # type: ignore[attr-defined]
        for match in islice(iter(scanner.match, None), limit and limit - len(starts)):
            start, end = match.span(1)
            starts.append(start)
            ends.append(end)
            place = match.end()
            if closed := data[place - 1] != _COMMA:
                break
        if closed or len(starts) == limit:
            break
        start = _skip(data, place)
        stop = end_of(data, start) if start < len(data) else None
        if stop is None and not (final and start < len(data)):
            break
        end = start + len(data[start:stop].rstrip())
        closed = stop is not None and data[stop] != _COMMA
        if not closed or end > start:
            starts.append(start)
            ends.append(end)
        place = len(data) if stop is None else stop + 1
    return Elements(starts=starts, ends=ends, end=place, closed=closed)


_KEY = re.compile(rb"[ \t\r\n]*+(" + STRING + rb")[ \t\r\n]*+:[ \t\r\n]*+")
_OF_OBJECTS = re.compile(rb"\[[ \t\r\n]*+\{")


@dataclass(frozen=True, kw_only=True, slots=True)
class Array:
    """An array in a document."""

    start: int
    """The place behind its opening bracket."""
    key: bytes = b""
    """The key that it has in the object around it, with quotes; empty: the document is the array."""
    others: tuple[bytes, ...] = ()
    """The keys before it."""


def find_array(head: bytes) -> Array | None:
    """The array that a document is, or the first array of objects in the object that it is; None: there is none."""
    start = _skip(head, 0)
    if head.startswith(b"[", start):
        return Array(start=start + 1)
    if not head.startswith(b"{", start):
        return None
    place: int | None = start + 1
    others: list[bytes] = []
    while place is not None and (key := _KEY.match(head, place)):
        if _OF_OBJECTS.match(head, key.end()):
            return Array(start=key.end() + 1, key=key[1], others=tuple(others))
        others.append(key[1])
        stop = end_of(head, key.end(), b"}")
        place = stop + 1 if stop is not None and head[stop] == _COMMA else None
    return None


def _skip(data: bytes, place: int) -> int:
    match = _SPACE.match(data, place)
    return match.end() if match else place
