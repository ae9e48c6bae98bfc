"""Finds the records in a part of a file.

A record reaches to its end tag, whatever it contains. If that is missing, it reaches to the next record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ladingd.data.formats.xml.markup import BLANKS, Gap, begins_regularly, record_tags
from ladingd.data.formats.xml.record import is_well_formed

if TYPE_CHECKING:
    from ladingd.data.formats.xml.markup import Frame, Tags

_AHEAD = 64
"""How many tags are looked at to find out whether a record contains another one, or is not closed."""


@dataclass(kw_only=True, slots=True)
class Found:
    """The records in a part of a file, good or not."""

    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    end: int = 0
    """Where the next record begins, as far as it is known; else where the last one ends."""
    gap: Gap | None = None
    """What follows the last record, if it is known to be the last one of the file."""
    closed: int | None = None
    """Where the root ends."""
    beside: dict[bytes, int] = field(default_factory=dict)
    """The names of other elements between the records, and the record that follows the first of each."""


def records_in(data: bytes, frame: Frame, *, final: bool, limit: int | None = None) -> Found:
    """The records, at most ``limit``. ``final``: nothing follows the data, so a record without an end counts."""
    tags = record_tags(data, frame.record)
    regular = min(begins_regularly(data, tags), len(data) if limit is None else limit) if frame.parents else 0
    found = Found(starts=tags.starts[: 2 * regular : 2], ends=tags.ends[1 : 2 * regular : 2])
    place = found.end = found.ends[-1] if regular else 0
    index = 2 * regular
    while limit is None or len(found.starts) < limit:
        while index < len(tags.starts) and tags.starts[index] < place:
            index += 1
        start = tags.starts[index] if index < len(tags.starts) else len(data)
        if index == len(tags.starts) or tags.steps[index] < 0 or (start > place and data[place:start].strip(BLANKS)):
            gap = Gap(frame)
            walked = gap.walk(data, place, 0, final=final)
            complete = gap.next is not None or gap.closed is not None or (final and walked == len(data))
            if complete and gap.fault is not None:
                found.starts.append(gap.fault)
                found.ends.append(_fault_end(data, gap, walked))
            if gap.next is None:
                found.gap, found.closed = gap, gap.closed
                found.end = walked if complete else found.end
                return found
            for name in gap.beside:
                found.beside.setdefault(name, len(found.starts))
            place = found.end = gap.next
            continue
        found.end = start
        end = _end_of(data, tags, index, frame, final=final)
        if end is None:
            return found
        found.starts.append(start)
        found.ends.append(end)
        place = found.end = end
        if frame.parents == ():
            found.closed = end
            return found
    return found


def _fault_end(data: bytes, gap: Gap, walked: int) -> int:
    """Where what cannot stand between records ends: before the next record or the end tag of the root."""
    end = next(place for place in (gap.next, gap.closing, walked) if place is not None)
    return _behind_text(data, end)


def _end_of(data: bytes, tags: Tags, index: int, frame: Frame, *, final: bool) -> int | None:
    """Where the record that begins with a tag ends; None: the data end before."""
    start, first_end = tags.starts[index], tags.ends[index]
    if tags.steps[index] == 0:
        return first_end
    depth = 0
    ahead = len(tags.steps) if frame.nests else index + _AHEAD
    for place in range(index, min(ahead, len(tags.steps))):
        depth += tags.steps[place]
        if not depth:
            end = tags.ends[place]
            if frame.nests or place == index + 1 or is_well_formed(data[start:end]):
                return end
            break
    else:
        if not final and (frame.nests or ahead > len(tags.steps)):
            return None
    # Its end tag is missing.
    end = tags.starts[index + 1] if index + 1 < len(tags.starts) else len(data)
    for parent in reversed(frame.parents):
        closing = data.find(b"</" + parent, first_end, end)
        if closing >= 0:
            end = closing
    return _behind_text(data, end)


def _behind_text(data: bytes, end: int) -> int:
    """The end of what is not blank before a place."""
    while data[end - 1] in BLANKS:
        end -= 1
    return end
