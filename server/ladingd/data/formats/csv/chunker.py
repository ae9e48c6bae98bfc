"""Cuts a file into record-aligned chunks."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ladingd.core.plan import Chunk
from ladingd.data.files.digest import digest, digest_all
from ladingd.data.formats.csv.boundaries import Frames, frame
from ladingd.data.formats.csv.quoting import UNTERMINATED_QUOTE

if TYPE_CHECKING:
    from ladingd.core.plan import Dialect, ImportPlan
    from ladingd.data.files.roots import Source

RECORD_LIMIT = 16 << 20
"""The longest record in bytes."""

QUOTE_LIMIT = 1 << 30
"""How far an open quote is followed, to refuse a long field as one record and not line by line."""

_SMALL_CHUNK = 1 << 20

RECORD_TOO_LONG = "RECORD_TOO_LONG"


def cut(
    source: Source, plan: ImportPlan, previous: Chunk | None, limit: int, *, record_limit: int = RECORD_LIMIT
) -> tuple[Chunk, ...]:
    """The next chunks, at most ``limit``: as many whole records as fit into ``chunk_bytes``, and at least one.

    A record longer than the limit is a chunk of its own, refused. So is the first line of one that would be longer and
    whose quotes are not regular; the lines after it are read as records. Shorter records are judged by ``frame``.
    """
    chunks: list[Chunk] = []
    cursor = _Cursor.after(source, plan, previous)
    while cursor.start < plan.end and len(chunks) < limit:
        chunk, lines = _next(source, plan, cursor, record_limit)
        chunks.append(chunk)
        cursor = cursor.behind(chunk, lines)
    return tuple(chunks)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cursor:
    ordinal: int
    start: int
    record: int
    line: int

    @classmethod
    def after(cls, source: Source, plan: ImportPlan, previous: Chunk | None) -> _Cursor:
        if previous is None:
            return cls(ordinal=0, start=plan.start, record=1, line=plan.first_line)
        here = cls(
            ordinal=previous.ordinal, start=previous.start, record=previous.first_record, line=previous.first_line
        )
        return here.behind(previous, count_lines(source, previous.start, previous.end))

    def behind(self, chunk: Chunk, lines: int) -> _Cursor:
        return _Cursor(
            ordinal=chunk.ordinal + 1,
            start=chunk.end,
            record=chunk.first_record + (chunk.records or 0),
            line=chunk.first_line + lines,
        )

    def chunk(self, length: int, records: int, refused: str | None = None) -> Chunk:
        return Chunk(
            ordinal=self.ordinal,
            start=self.start,
            end=self.start + length,
            first_record=self.record,
            first_line=self.line,
            records=records,
            refused=refused,
        )


def _next(source: Source, plan: ImportPlan, cursor: _Cursor, record_limit: int) -> tuple[Chunk, int]:
    """One chunk, and the number of lines in it."""
    size = _chunk_size(plan, cursor.start)
    # One byte more than the chunk may have: it tells whether a carriage return at its end is a line end of its own.
    data, frames = _window(source, plan, cursor.start, size + 1)
    fitting = int(np.searchsorted(frames.record_ends, size, side="right"))
    longest = max(record_limit, plan.chunk_bytes)
    while fitting == 0 and size < longest:
        size = min(2 * size, longest)
        data, frames = _window(source, plan, cursor.start, size + 1)
        fitting = min(1, frames.record_ends.size)
    if fitting:
        length = int(frames.record_ends[fitting - 1])
        lines = frames.lines_before(length)
        return replace(cursor.chunk(length, fitting), digest=digest(memoryview(data)[:length])), lines
    refused, lines = _refused(source, plan, cursor, record_limit)
    return replace(refused, digest=digest_all(source.blocks(refused.start, refused.end))), lines


def _chunk_size(plan: ImportPlan, start: int) -> int:
    """Small ones to begin with, so that no worker waits until it has one, and small ones at the end, so that none is
    at a large one when the others have nothing left."""
    done, left = start - plan.start, plan.end - start
    return min(plan.chunk_bytes, max(min(done // 2, left // 4), _SMALL_CHUNK))


def _window(source: Source, plan: ImportPlan, start: int, length: int) -> tuple[bytes, Frames]:
    end = min(start + length, plan.end)
    data = source.read(start, end)
    return data, frame(data, plan.dialect, final=end == plan.end)


def _refused(source: Source, plan: ImportPlan, cursor: _Cursor, record_limit: int) -> tuple[Chunk, int]:
    end = _end_of_record(source, plan.dialect, cursor.start, plan.end)
    if end is None:
        line_end = _end_of_line(source, cursor.start, plan.end)
        return cursor.chunk(line_end - cursor.start, 1, UNTERMINATED_QUOTE), 1
    lines = count_lines(source, cursor.start, end)
    return cursor.chunk(end - cursor.start, 1, RECORD_TOO_LONG), lines


def count_lines(source: Source, start: int, end: int) -> int:
    """How many lines end in a range; a carriage return and a line feed end one together."""
    lines, before = 0, b""
    for block in source.blocks(start, end):
        codes = np.frombuffer(block, np.uint8)
        lines += int(np.count_nonzero(codes == 10))
        if b"\r" in block or before == b"\r":
            lines += block.count(b"\r") - block.count(b"\r\n")
            lines -= before == b"\r" and block.startswith(b"\n")
        before = block[-1:]
    return lines


def _end_of_line(source: Source, start: int, end: int) -> int:
    position, returned = start, False
    for block in source.blocks(start, end):
        if returned:
            return position + block.startswith(b"\n")
        match = re.search(rb"\r\n|\r(?!\Z)|\n", block)
        if match:
            return position + match.end()
        position += len(block)
        returned = block.endswith(b"\r")
    return end


def _end_of_record(source: Source, dialect: Dialect, start: int, end: int) -> int | None:
    """Follow one record over any number of blocks. None: its quotes are not regular."""
    delimiter, quote, escape = (mark.encode() for mark in (dialect.delimiter, dialect.quote, dialect.escape))
    # Outside quotes only a line end matters, and a quote behind a delimiter. At the end of a block that may follow.
    outside = re.compile(rb"[\r\n]|%b(?:%b|\Z)" % (re.escape(delimiter), re.escape(quote)))
    inside = re.compile(rb"[%b%b]" % (re.escape(quote), re.escape(escape)))
    state, position, opened = "field start", start, start
    for block in source.blocks(start, end):
        index = 0
        while index < len(block):
            byte = block[index : index + 1]
            if state == "quoted":
                match = inside.search(block, index)
                if (position + match.start() if match else position + len(block)) - opened > QUOTE_LIMIT:
                    return None
                if match is None:
                    break
                state, index = ("closing" if match[0] == quote else "escaped"), match.end()
            elif state == "escaped":
                state, index = "quoted", index + 1
            elif state == "closing":
                if byte == quote:
                    state, index = "quoted", index + 1
                elif byte in (delimiter, b"\r", b"\n"):
                    state = "field"
                else:
                    return None
            elif state == "returned":
                return position + index + (byte == b"\n")
            elif state == "field start" and byte == quote:
                state, opened, index = "quoted", position + index, index + 1
            else:
                match = outside.search(block, index)
                if match is None:
                    state = "field"
                    break
                if match[0] == b"\n":
                    return position + match.end()
                state, index = ("returned" if match[0] == b"\r" else "field start"), match.start() + 1
        position += len(block)
    return None if state in ("quoted", "escaped") else end
