"""Finds the records of a file: its lines, or if it has no line ends, pieces of the same number of characters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ladingd.core.plan import UTF8
from ladingd.data.files.digest import digest, digest_all
from ladingd.data.formats.fixed_width.widths import Widths
from ladingd.data.formats.lines import (
    RECORD_LIMIT,
    RECORD_TOO_LONG,
    Cursor,
    RecordPlaces,
    chunk_size,
    end_of_line,
    line_ends,
    lines_in,
    with_rest,
)

if TYPE_CHECKING:
    from ladingd.core.plan import Chunk, ImportPlan, Layout
    from ladingd.data.files.roots import Source
    from ladingd.data.values.positions import Positions

LINELESS = "lineless"
"""The detail of a layout whose records have no line ends."""


def is_lineless(head: bytes, widths: Widths) -> bool:
    """Whether a file has no line ends, from its head: it has none, and more characters than one record."""
    text = head.rstrip(b"\r\n\x1a")
    return not (widths.is_open or b"\n" in text or b"\r" in text) and len(text.decode(errors="replace")) > widths.total


def record_ends(data: bytes, layout: Layout, encoding: str = UTF8, *, final: bool = True) -> Positions:
    """The end of each record in text that begins with one. ``final``: nothing follows the text."""
    if LINELESS not in layout.details:
        ends = line_ends(data, final=final)
    elif encoding == UTF8 and not data.isascii():
        total = Widths.of(layout.details["widths"]).total
        ends = np.flatnonzero((np.frombuffer(data, np.uint8) & 0xC0) != 0x80)[total::total]
    else:  # Each byte is a character.
        total = Widths.of(layout.details["widths"]).total
        ends = np.arange(total, len(data) + 1, total)
    return with_rest(data, ends) if final else ends


def places_of(data: bytes, layout: Layout) -> RecordPlaces:
    """The places of the records of a chunk."""
    ends = record_ends(data, layout)
    return RecordPlaces(starts=np.concatenate((np.zeros(1, np.int64), ends))[:-1], ends=ends, line_ends=ends)


def cut(source: Source, plan: ImportPlan, previous: Chunk | None, limit: int) -> tuple[Chunk, ...]:
    """The next chunks, at most ``limit``. A record longer than the limit is a chunk of its own, refused."""
    chunks: list[Chunk] = []
    cursor = Cursor.after(source, plan, previous)
    while cursor.start < plan.file.end and len(chunks) < limit:
        chunk, lines = _next(source, plan, cursor)
        chunks.append(chunk)
        cursor = cursor.behind(chunk, lines)
    return tuple(chunks)


def _next(source: Source, plan: ImportPlan, cursor: Cursor) -> tuple[Chunk, int]:
    """As many whole records as fit, or one that is longer, and the number of lines."""
    size, longest = chunk_size(plan, cursor.start), max(RECORD_LIMIT + 2, plan.chunk_bytes)
    while True:
        # One byte more than the chunk may have shows whether a line feed follows a carriage return at its end.
        end = min(cursor.start + size + 1, plan.file.end)
        data = source.read(cursor.start, end)
        ends = record_ends(data, plan.file.layout, plan.file.content.chunk_encoding, final=end == plan.file.end)
        number = int(np.searchsorted(ends, size, side="right")) or min(1, ends.size)
        if number or size >= longest:
            break
        size = min(2 * size, longest)
    if number and ends[0] <= RECORD_LIMIT + 2:
        taken = memoryview(data)[: ends[number - 1]]
        lines = number if LINELESS not in plan.file.layout.details else lines_in(bytes(taken))
        return replace(cursor.chunk(len(taken), number), digest=digest(taken)), lines
    line_end = end_of_line(source, cursor.start, plan.file.end)
    refused = cursor.chunk(line_end - cursor.start, 1, RECORD_TOO_LONG)
    return replace(refused, digest=digest_all(source.blocks(refused.start, refused.end))), 1
