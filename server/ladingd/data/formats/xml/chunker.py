"""Cuts a file into chunks of whole records, each with what stands between them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ladingd.data.files.digest import digest, digest_all
from ladingd.data.formats.lines import RECORD_LIMIT, RECORD_TOO_LONG, Cursor, chunk_size, count_lines, lines_in
from ladingd.data.formats.xml.markup import BLANKS, Frame, Gap, RecordEnd, record_tags
from ladingd.data.formats.xml.scanner import records_in

if TYPE_CHECKING:
    from ladingd.core.plan import Chunk, ImportPlan
    from ladingd.data.files.roots import Source

MISPLACED = "NOT_XML"
"""The code of a chunk that cannot stand between records."""

_SHORT = 64 << 10
"""So many bytes behind the root belong to the last chunk. More are a chunk without records."""


def cut(source: Source, plan: ImportPlan, previous: Chunk | None, limit: int) -> tuple[Chunk, ...]:
    """The next chunks, at most ``limit``. A record longer than the limit is a chunk of its own, refused."""
    chunks: list[Chunk] = []
    frame = Frame.of(plan.file.layout)
    cursor = Cursor.after(source, plan, previous)
    while cursor.start < plan.file.end and len(chunks) < limit:
        chunk, lines = _next(source, plan, cursor, frame)
        chunks.append(chunk)
        cursor = cursor.behind(chunk, lines)
    return tuple(chunks)


def _next(source: Source, plan: ImportPlan, cursor: Cursor, frame: Frame) -> tuple[Chunk, int]:
    """The next chunk and the number of its lines."""
    size, longest = chunk_size(plan, cursor.start), max(RECORD_LIMIT + 1, plan.chunk_bytes)
    while True:
        end = min(cursor.start + size, plan.file.end)
        data = source.read(cursor.start, end)
        found = records_in(data, frame, final=end == plan.file.end)
        if found.starts or found.end or found.closed is not None or (end == plan.file.end and len(data) <= longest):
            break
        if size >= longest:
            return _long(source, plan, cursor, frame)
        size = min(2 * size, longest)
    for place, (first, last) in enumerate(zip(found.starts, found.ends, strict=True)):
        if last - first > RECORD_LIMIT:
            if not first:
                return _long(source, plan, cursor, frame)
            del found.starts[place:], found.ends[place:]
            found.end, found.closed = first, None
            break
    stop = cursor.start + found.end
    if not found.starts:
        stop = stop if found.closed is None else plan.file.end
        return _counted(source, cursor.chunk(stop - cursor.start, 0))
    if found.closed is not None and plan.file.end - stop <= _SHORT:
        stop = plan.file.end
    elif found.closed is not None or found.end == found.ends[-1]:
        stop = _behind_blanks(source, cursor.start + found.ends[-1], plan.file.end)
    data = data[: stop - cursor.start] if stop <= end else source.read(cursor.start, stop)
    return replace(cursor.chunk(len(data), len(found.starts)), digest=digest(data)), lines_in(data)


def _long(source: Source, plan: ImportPlan, cursor: Cursor, frame: Frame) -> tuple[Chunk, int]:
    """The chunk of a record that is too long, or of what stands between records, if that is long."""
    head = source.read(cursor.start, min(cursor.start + _SHORT, plan.file.end))
    tags = record_tags(head, frame.record)
    is_record = head.startswith(b"<" + frame.record) and tags.starts[:1] in ([], [0])
    if is_record:
        end = _record_end(source, plan, cursor, frame)
        refused = RECORD_TOO_LONG if end - cursor.start > RECORD_LIMIT else None
        end = _behind_blanks(source, end, plan.file.end)
        return _counted(source, cursor.chunk(end - cursor.start, 1, refused))
    gap = walked(source, frame, cursor.start, plan.file.end)
    end = plan.file.end if gap.next is None else gap.next
    if gap.fault is None:
        return _counted(source, cursor.chunk(end - cursor.start, 0))
    return _counted(source, cursor.chunk(end - cursor.start, 1, MISPLACED))


def walked(source: Source, frame: Frame, start: int, end: int) -> Gap:
    """What stands between records from ``start`` on."""
    gap, base, kept = Gap(frame), start, b""
    for block in source.blocks(start, end):
        data = kept + block
        place = gap.walk(data, 0, base, final=base + len(data) == end or len(data) > RECORD_LIMIT)
        if gap.next is not None or gap.closed is not None:
            break
        base, kept = base + place, data[place:]
    return gap


def _record_end(source: Source, plan: ImportPlan, cursor: Cursor, frame: Frame) -> int:
    search, base, kept = RecordEnd(frame), cursor.start, b""
    for block in source.blocks(cursor.start, plan.file.end):
        data = kept + block
        end, used = search.find(data, final=base + len(data) == plan.file.end or len(data) > RECORD_LIMIT)
        if end is not None:
            return base + end
        base, kept = base + used, data[used:]
    return plan.file.end


def _behind_blanks(source: Source, start: int, end: int) -> int:
    """Where what is not blank begins, so that chunks begin in the line of their first record."""
    for block in source.blocks(start, end, _SHORT):
        rest = block.lstrip(BLANKS)
        start += len(block) - len(rest)
        if rest:
            break
    return start


def _counted(source: Source, chunk: Chunk) -> tuple[Chunk, int]:
    """A chunk that need not be in memory, with its digest and the number of its lines."""
    chunk = replace(chunk, digest=digest_all(source.blocks(chunk.start, chunk.end)))
    return chunk, count_lines(source, chunk.start, chunk.end)
