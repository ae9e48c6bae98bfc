"""Finds tags in XML, whether it is well-formed or not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from ladingd.core.plan import Layout
    from ladingd.data.values.positions import Positions

    Codes = npt.NDArray[np.uint8]

BLANKS = b" \t\r\n"

_CDATA = b"<![CDATA["
SPECIALS = {b"<!--": b"-->", _CDATA: b"]]>", b"<?": b"?>"}
"""How comments, CDATA and processing instructions begin and end. They may contain any other mark."""

_ATTRIBUTES = rb"""(?:[^<>"']++|"[^"<]*+"|'[^'<]*+')*+"""
_TAG_END = re.compile(_ATTRIBUTES + rb">")
_PIECE = re.compile(
    rb"(?P<special><!--(?s:.*?)-->|<!\[CDATA\[(?s:.*?)\]\]>|<\?(?s:.*?)\?>)"
    rb"|<(?![!?])(?P<end>/?)(?P<name>[^ \t\r\n<>/]++)" + _ATTRIBUTES + rb">"
    rb"|(?P<text>[^<]++)"
)
_LT, _SLASH, _GT, _BANG, _QUESTION = b"</>!?"
_IS_BLANK = np.zeros(256, np.bool_)
_IS_BLANK[list(BLANKS)] = True
_BEHIND_NAME = np.zeros(256, np.bool_)
_BEHIND_NAME[list(BLANKS + b"/>")] = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """Which elements of a file are its records."""

    record: bytes
    """Their name, with its prefix."""
    parents: tuple[bytes, ...]
    """The names of the elements around them, the root first."""
    nests: bool
    """A record may contain elements of its own name."""

    @classmethod
    def of(cls, layout: Layout) -> Frame:
        details = layout.details
        return cls(
            record=details["record"].encode(),
            parents=tuple(details["parents"].encode().split()),
            nests=bool(details["nests"]),
        )

    def details(self) -> dict[str, str]:
        return {
            "record": self.record.decode(),
            "parents": b" ".join(self.parents).decode(),
            "nests": "yes" if self.nests else "",
        }


class Tags(NamedTuple):
    """Tags of record elements, in order."""

    starts: list[int]
    ends: list[int]
    steps: list[int]
    """How much deeper each of them leads: 1, -1 or, if it is empty, 0."""


def record_tags(data: bytes, name: bytes) -> Tags:
    """The complete tags with a name. Comments, CDATA and processing instructions have none."""
    codes = np.frombuffer(data, np.uint8)
    starts = _outside_specials(data, codes, np.flatnonzero(codes == _LT))
    closing = codes.take(starts + 1, mode="clip") == _SLASH
    names = starts + 1 + closing
    for place, code in enumerate(name):
        fits = codes.take(names + place, mode="clip") == code
        starts, closing, names = starts[fits], closing[fits], names[fits]
    behind = names + len(name)
    next_codes = codes.take(behind, mode="clip")
    fits = _BEHIND_NAME[next_codes] & (behind < len(data))
    starts, closing, behind, next_codes = starts[fits], closing[fits], behind[fits], next_codes[fits]
    ends = behind + 1
    for index in np.flatnonzero(next_codes != _GT).tolist():
        end = _tag_end(data, int(behind[index]))
        if end is None:
            starts, closing, ends = starts[:index], closing[:index], ends[:index]
            break
        ends[index] = end
    steps = np.where(closing, -1, codes.take(ends - 2) != _SLASH)
    return Tags(starts.tolist(), ends.tolist(), steps.tolist())


def _tag_end(data: bytes, place: int) -> int | None:
    """The place behind the tag whose name ends at ``place``; None: it is not complete."""
    if match := _TAG_END.match(data, place):
        return match.end()
    beyond = data.find(b"<", place)  # No value may contain it.
    if beyond < 0:
        return None
    end = data.find(b">", place, beyond)
    return end + 1 if end >= 0 else beyond


def _outside_specials(data: bytes, codes: Codes, starts: Positions) -> Positions:
    """The marks outside comments, CDATA and processing instructions, up to the first of those that is not complete."""
    second = codes.take(starts + 1, mode="clip")
    outside = np.ones(starts.size, np.bool_)
    place = 0
    for mark in starts[(second == _BANG) | (second == _QUESTION)].tolist():
        if mark < place:
            continue
        end = _special_end(data, mark)
        place = len(data) if end is None else end
        first, last = np.searchsorted(starts, [mark, place])
        outside[first:last] = False
    return starts[outside]


def _special_end(data: bytes, place: int) -> int | None:
    """The place behind the comment, CDATA or processing instruction that begins at ``place``; None: it is not
    complete. Other marks are taken for their first two bytes."""
    for mark, closing in SPECIALS.items():
        if data.startswith(mark, place):
            end = data.find(closing, place + len(mark))
            return end + len(closing) if end >= 0 else None
        if len(data) - place < len(mark) and mark.startswith(data[place:]):
            return None
    return place + 2


def begins_regularly(data: bytes, tags: Tags) -> int:
    """How many records at the beginning are a start tag and an end tag, with nothing but blanks before it."""
    steps = np.array(tags.steps[: len(tags.steps) // 2 * 2]).reshape(-1, 2)
    irregular = np.flatnonzero((steps != [1, -1]).any(axis=1))
    number = int(irregular[0]) if irregular.size else len(steps)
    if not number:
        return 0
    is_text = ~_IS_BLANK[np.frombuffer(data, np.uint8)]
    gaps = np.empty((number, 2), np.int64)
    gaps[:, 0], gaps[:, 1] = [0, *tags.ends[1 : 2 * number - 1 : 2]], tags.starts[: 2 * number : 2]
    filled = np.logical_or.reduceat(is_text, gaps.ravel())[::2] & (gaps[:, 0] < gaps[:, 1])
    return int(np.argmax(filled)) if filled.any() else number


class Gap:
    """Walks through what stands between records, piece by piece: ends and beginnings of other elements, comments."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._until = b""
        self.open = list(frame.parents)
        """The elements that are not closed yet."""
        self.fault: int | None = None
        """Where something begins that cannot stand there: text beside records, or an end tag without its start."""
        self.next: int | None = None
        """Where the next record begins."""
        self.closing: int | None = None
        """Where the end tag of the root begins."""
        self.closed: int | None = None
        """Where it ends."""
        self.beside: dict[bytes, None] = {}
        """The names of other elements that stand around the records."""

    def walk(self, data: bytes, place: int, base: int, *, final: bool) -> int:
        """Walk on until a record begins, the root is closed, or the data end. Return the place of what is not complete.

        ``base``: the place of the data. ``final``: nothing follows the data.
        """
        while self.next is None and self.closed is None and place < len(data):
            if self._until:
                end = data.find(self._until, place)
                if end < 0:
                    return len(data) if final else max(place, len(data) - 2)
                place, self._until = end + len(self._until), b""
                continue
            piece = _PIECE.match(data, place)
            if piece is None:
                special = next((mark for mark in SPECIALS if data.startswith(mark, place)), b"")
                if special:
                    place, self._until = place + len(special), SPECIALS[special]
                    continue
                if not final and data.find(b"<", place + 1) < 0:
                    break
                self._wrong(base + place)
                place += 1
                continue
            if piece["text"] is not None:
                blank = len(piece["text"]) - len(piece["text"].lstrip(BLANKS))
                if blank < len(piece["text"]) and self._is_among_records:
                    self._wrong(base + place + blank)
            elif piece["special"] is not None:
                if piece["special"].startswith(_CDATA) and self._is_among_records:
                    self._wrong(base + place)
            elif piece["end"]:
                self._close(piece["name"], base + place, base + piece.end())
            elif piece["name"] == self._frame.record and (self.fault is not None or self._is_among_records):
                self.next = base + place
            elif self.fault is None:
                self._begin(piece["name"], is_closed=data[piece.end() - 2] == _SLASH)
            place = piece.end()
        return place

    @property
    def _is_among_records(self) -> bool:
        return tuple(self.open) == self._frame.parents

    def _begin(self, name: bytes, *, is_closed: bool) -> None:
        around, level = tuple(self.open), len(self.open)
        if self._frame.parents[:level] == around and name not in self._frame.parents[level : level + 1]:
            self.beside[name] = None
        if not is_closed:
            self.open.append(name)

    def _close(self, name: bytes, place: int, end: int) -> None:
        if self.fault is None and self.open[-1:] == [name]:
            self.open.pop()
            if not self.open:
                self.closing, self.closed = place, end
        elif (name,) == self._frame.parents[:1]:
            self.closing, self.closed = place, end
        else:
            self._wrong(place)

    def _wrong(self, place: int) -> None:
        if self.fault is None:
            self.fault = place


class RecordEnd:
    """Looks for the end of a record, piece by piece."""

    def __init__(self, frame: Frame) -> None:
        name = re.escape(frame.record)
        self._mark = re.compile(rb"<!--|<!\[CDATA\[|<\?|</?" + name + rb"(?=[ \t\r\n/>])")
        self._overlap = len(frame.record) + len(_CDATA)
        self._nests = frame.nests
        self._until = b""
        self._depth = 0

    def find(self, data: bytes, *, final: bool) -> tuple[int | None, int]:
        """Where the record ends, and how much of the data is of no further use. The end is None if the data end before.

        A record that must not contain another one ends where the next one begins.
        """
        place = 0
        while True:
            if self._until:
                end = data.find(self._until, place)
                if end < 0:
                    return None, max(place, len(data) - 2)
                place, self._until = end + len(self._until), b""
            mark = self._mark.search(data, place)
            if mark is None:
                return None, max(place, len(data) - self._overlap)
            if mark[0] in SPECIALS:
                place, self._until = mark.end(), SPECIALS[mark[0]]
                continue
            tag_end = _tag_end(data, mark.end())
            if tag_end is None:
                return None, len(data) if final else mark.start()
            if mark[0].startswith(b"</"):
                self._depth -= 1
            elif self._depth and not self._nests:
                return mark.start(), mark.start()
            elif data[tag_end - 2] != _SLASH:
                self._depth += 1
            place = tag_end
            if self._depth <= 0:
                return place, place
