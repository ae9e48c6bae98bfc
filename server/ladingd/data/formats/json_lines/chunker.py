"""Cuts a file of JSON Lines into chunks of whole lines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ladingd.data.files.digest import digest, digest_all
from ladingd.data.formats.lines import RECORD_LIMIT, RECORD_TOO_LONG, Cursor, chunk_size, end_of_line

if TYPE_CHECKING:
    from ladingd.core.plan import Chunk, ImportPlan
    from ladingd.data.files.roots import Source


def cut(source: Source, plan: ImportPlan, previous: Chunk | None, limit: int) -> tuple[Chunk, ...]:
    """The next chunks, at most ``limit``. A record longer than the limit is a chunk of its own, refused."""
    chunks: list[Chunk] = []
    cursor = Cursor.after(source, plan, previous)
    while cursor.start < plan.file.end and len(chunks) < limit:
        chunks.append(_next(source, plan, cursor))
        cursor = cursor.behind(chunks[-1], chunks[-1].records or 0)
    return tuple(chunks)


def _next(source: Source, plan: ImportPlan, cursor: Cursor) -> Chunk:
    """As many whole lines as fit, or one line that is longer."""
    size, longest = chunk_size(plan, cursor.start), max(RECORD_LIMIT + 1, plan.chunk_bytes)
    while True:
        end = min(cursor.start + size, plan.file.end)
        data = source.read(cursor.start, end)
        length = len(data) if end == plan.file.end else data.rfind(b"\n") + 1
        if length and not (end == plan.file.end and length > longest):
            records = data.count(b"\n", 0, length) + (not data.endswith(b"\n", 0, length))
            first = data.find(b"\n") + 1 or length
            if first <= RECORD_LIMIT + 2:
                taken = memoryview(data)[:length]
                return replace(cursor.chunk(length, records), digest=digest(taken))
            return replace(cursor.chunk(first, 1, RECORD_TOO_LONG), digest=digest(memoryview(data)[:first]))
        if size >= longest:
            break
        size = min(2 * size, longest)
    line_end = end_of_line(source, cursor.start, plan.file.end)
    refused = cursor.chunk(line_end - cursor.start, 1, RECORD_TOO_LONG)
    return replace(refused, digest=digest_all(source.blocks(refused.start, refused.end)))
