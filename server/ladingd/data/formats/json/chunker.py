"""Cuts the array of a JSON file into chunks of whole elements, each with the comma or bracket behind it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ladingd.core.plan import UTF8
from ladingd.data.files.digest import digest, digest_all
from ladingd.data.formats.json.elements import BLANKS, Skipping, elements_in
from ladingd.data.formats.lines import RECORD_LIMIT, RECORD_TOO_LONG, Cursor, chunk_size, count_lines, lines_in

if TYPE_CHECKING:
    from ladingd.core.plan import Chunk, ImportPlan
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.json.elements import Elements
    from ladingd.data.values.positions import Positions

_SHORT = 64 << 10
"""So many bytes behind the array belong to its last chunk. More are a chunk without records."""

_known: OrderedDict[str, tuple[Positions, Positions]] = OrderedDict()
"""The places of the elements in the last chunks, by digest."""
_KNOWN = 16


def cut(source: Source, plan: ImportPlan, previous: Chunk | None, limit: int) -> tuple[Chunk, ...]:
    """The next chunks, at most ``limit``. An element longer than the limit is a chunk of its own, refused."""
    chunks: list[Chunk] = []
    cursor = Cursor.after(source, plan, previous)
    while cursor.start < plan.file.end and len(chunks) < limit:
        chunk, lines = _next(source, plan, cursor)
        chunks.append(chunk)
        cursor = cursor.behind(chunk, lines)
    return tuple(chunks)


def is_behind(source: Source, plan: ImportPlan, chunk: Chunk) -> bool:
    """Whether a chunk is what follows the array."""
    return chunk.records == 0 and chunk.start > plan.file.start and source.read(chunk.start - 1, chunk.start) == b"]"


def _next(source: Source, plan: ImportPlan, cursor: Cursor) -> tuple[Chunk, int]:
    """The next chunk and the number of its lines."""
    if cursor.start > plan.file.start and source.read(cursor.start - 1, cursor.start) == b"]":
        return _digested(source, cursor.chunk(plan.file.end - cursor.start, 0)), 0
    size, longest = chunk_size(plan, cursor.start), max(RECORD_LIMIT + 1, plan.chunk_bytes)
    while True:
        end = min(cursor.start + size, plan.file.end)
        data = source.read(cursor.start, end)
        found = elements_in(data, final=end == plan.file.end)
        if found.starts or found.closed or (end == plan.file.end and len(data) <= longest):
            break
        if size >= longest:
            return _too_long(source, plan, cursor)
        size = min(2 * size, longest)
    for place, (first, last) in enumerate(zip(found.starts, found.ends, strict=True)):
        if last - first > RECORD_LIMIT:
            if not place:
                return _too_long(source, plan, cursor)
            found = elements_in(data, final=False, limit=place)
            break
    stop = cursor.start + found.end
    if not found.closed:
        stop = _behind_blanks(source, stop, plan.file.end)
    elif plan.file.end - stop <= _SHORT:
        stop = plan.file.end
    data = data[: stop - cursor.start] if stop <= end else source.read(cursor.start, stop)
    known_by = digest(data)
    _known[known_by] = places_of(found)
    while len(_known) > _KNOWN:
        _known.popitem(last=False)
    return replace(cursor.chunk(len(data), len(found.starts)), digest=known_by), lines_in(data)


def places_of(found: Elements) -> tuple[Positions, Positions]:
    """Where elements begin and end."""
    return np.array(found.starts, np.int64), np.array(found.ends, np.int64)


def remembered(plan: ImportPlan, chunk: Chunk) -> tuple[Positions, Positions] | None:
    """Where the elements of a chunk begin and end, if this process has cut it, as it does for a plan."""
    return _known.get(chunk.digest or "") if plan.file.content.chunk_encoding == UTF8 else None


def _behind_blanks(source: Source, start: int, end: int) -> int:
    """Where the next element begins, so that chunks begin in the line of their first record."""
    for block in source.blocks(start, end, _SHORT):
        rest = block.lstrip(BLANKS)
        start += len(block) - len(rest)
        if rest:
            break
    return start


def _too_long(source: Source, plan: ImportPlan, cursor: Cursor) -> tuple[Chunk, int]:
    skipping, position, kept, end = Skipping(), cursor.start, b"", plan.file.end
    for block in source.blocks(cursor.start, plan.file.end):
        data = kept + block
        whole = len(data.rstrip(b"\\"))
        stop = skipping.end(data[:whole], 0)
        if stop is not None:
            end = position - len(kept) + stop + 1
            if data[stop] == ord(","):
                end = _behind_blanks(source, end, plan.file.end)
            break
        position, kept = position + len(block), data[whole:]
    chunk = _digested(source, cursor.chunk(end - cursor.start, 1, RECORD_TOO_LONG))
    return chunk, count_lines(source, chunk.start, chunk.end)


def _digested(source: Source, chunk: Chunk) -> Chunk:
    return replace(chunk, digest=digest_all(source.blocks(chunk.start, chunk.end)))
