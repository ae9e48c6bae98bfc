"""Cuts a file into record-aligned chunks."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ladingd.data.files.digest import digest, digest_all
from ladingd.data.formats.csv.boundaries import Frames, frame
from ladingd.data.formats.csv.dialect import Dialect
from ladingd.data.formats.csv.quoting import UNTERMINATED_QUOTE
from ladingd.data.formats.lines import RECORD_LIMIT, RECORD_TOO_LONG, Cursor, chunk_size, count_lines, end_of_line

if TYPE_CHECKING:
    from ladingd.core.plan import Chunk, ImportPlan
    from ladingd.data.files.roots import Source

QUOTE_LIMIT = 1 << 30
"""How many bytes an open quote is followed, to refuse a long field as one record instead of line by line."""


def cut(
    source: Source, plan: ImportPlan, previous: Chunk | None, limit: int, *, record_limit: int = RECORD_LIMIT
) -> tuple[Chunk, ...]:
    """The next chunks, at most ``limit``: as many whole records as fit into ``chunk_bytes``, and at least one.

    A record longer than the limit is a chunk of its own, refused. So is the first line of one that would be longer and
    whose quotes are not regular; the lines after it are read as records. Shorter records are judged by ``frame``.
    """
    chunks: list[Chunk] = []
    cursor = Cursor.after(source, plan, previous)
    while cursor.start < plan.file.end and len(chunks) < limit:
        chunk, lines = _next(source, plan, cursor, record_limit)
        chunks.append(chunk)
        cursor = cursor.behind(chunk, lines)
    return tuple(chunks)


def _next(source: Source, plan: ImportPlan, cursor: Cursor, record_limit: int) -> tuple[Chunk, int]:
    """One chunk, and the number of lines in it."""
    size = chunk_size(plan, cursor.start)
    # One byte more than the chunk may have shows whether a line feed follows a carriage return at its end.
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


def _window(source: Source, plan: ImportPlan, start: int, length: int) -> tuple[bytes, Frames]:
    end = min(start + length, plan.file.end)
    data = source.read(start, end)
    return data, frame(data, Dialect.of(plan.file.layout), final=end == plan.file.end)


def _refused(source: Source, plan: ImportPlan, cursor: Cursor, record_limit: int) -> tuple[Chunk, int]:
    end = _end_of_record(source, Dialect.of(plan.file.layout), cursor.start, plan.file.end)
    if end is None:
        line_end = end_of_line(source, cursor.start, plan.file.end)
        return cursor.chunk(line_end - cursor.start, 1, UNTERMINATED_QUOTE), 1
    lines = count_lines(source, cursor.start, end)
    return cursor.chunk(end - cursor.start, 1, RECORD_TOO_LONG), lines


def _end_of_record(source: Source, dialect: Dialect, start: int, end: int) -> int | None:
    """The end of one record over any number of blocks. None: its quotes are not regular."""
    delimiter, quote, escape = (mark.encode() for mark in (dialect.delimiter, dialect.quote, dialect.escape))
    # Outside quotes, only a line end and a quote after a delimiter matter. Either may follow in the next block.
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
