"""Lines, shared by all text formats: the beginning of a file, line ends, and the cursor over chunks."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ladingd.core.errors import InvalidSpec, SourceChanged
from ladingd.core.plan import Chunk
from ladingd.data.files.digest import digest, digest_all
from ladingd.data.files.encoding import to_utf8
from ladingd.data.files.fingerprint import check_chunk
from ladingd.data.formats.format import Origins, Piece
from ladingd.data.rejects.fault import Fault
from ladingd.data.values.casting import shorten
from ladingd.data.values.names import fold
from ladingd.data.values.positions import Positions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ladingd.core.plan import ImportPlan
    from ladingd.data.files.roots import Source

BOM = b"\xef\xbb\xbf"

_LF, _CR = 0x0A, 0x0D

RECORD_LIMIT = 16 << 20
"""The longest record in bytes."""

RECORD_TOO_LONG = "RECORD_TOO_LONG"

FILE_FIELD = "files[0].path"
"""The field of the spec that names the file."""

_MISFITS = re.compile("[\udc80-\udcff]")
_BLANK_LIMIT = 64 << 20
_SMALL_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
    """Where the text begins: after a byte order mark and ``lines`` blank lines."""

    start: int
    lines: int


def find_beginning(source: Source, size: int) -> Beginning:
    """Find the first line of a file that is not blank. Raises InvalidSpec."""
    mark = len(BOM) if source.read(0, min(len(BOM), size)) == BOM else 0
    start = mark
    for block in source.blocks(mark, size):
        rest = block.lstrip(b"\r\n")
        start += len(block) - len(rest)
        if rest:
            break
        if start > _BLANK_LIMIT:
            raise InvalidSpec(
                FILE_FIELD, f"{source.path} begins with more than {_BLANK_LIMIT:,} blank lines: remove them"
            )
    return Beginning(start=start, lines=count_lines(source, mark, start))


def blank_lines(lines: int) -> tuple[str, ...]:
    """The note about blank lines at the beginning of a file."""
    if not lines:
        return ()
    return ("line 1 is blank and was skipped" if lines == 1 else f"lines 1 to {lines:,} are blank and were skipped",)


def decodable(head: bytes, path: str, beginning: Beginning, *, whole: bool) -> bytes:
    """The head without a character that was cut in two, with a question mark for each byte that is not UTF-8.

    Raises InvalidSpec if it is not text.
    """
    first_line = head.split(b"\n", 1)[0]
    # One record with a NUL byte is refused alone. A file with many of them, or with one at the start, is not text.
    if b"\0" in first_line or head.count(0) * 1000 > len(head) + 1000:
        raise InvalidSpec(FILE_FIELD, f"{path} is a binary file: byte {beginning.start + head.index(0)} is NUL")
    try:
        return head[: codecs.utf_8_decode(head, "strict", whole)[1]]
    except UnicodeDecodeError:
        return _MISFITS.sub("?", head.decode(errors="surrogateescape")).encode()


def unique_names(fields: Sequence[str | None], path: str) -> list[str]:
    names = [name or f"column{number}" for number, name in enumerate(fields, 1)]
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if "\0" in name:
            raise InvalidSpec(FILE_FIELD, f"{path}: the name of column {number} has a NUL byte in it")
        if fold(name) in seen:
            other = seen[fold(name)]
            raise InvalidSpec(
                FILE_FIELD,
                f"{path}: columns {other} and {number} have the same name: {names[other - 1]!r} and {name!r}",
            )
        seen[fold(name)] = number
    return names


def lines_in(text: bytes) -> int:
    """The number of line ends in a piece of text."""
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


def count_lines(source: Source, start: int, end: int) -> int:
    """The number of line ends in a range. A carriage return with a line feed is one line end."""
    lines, before = 0, b""
    for block in source.blocks(start, end):
        codes = np.frombuffer(block, np.uint8)
        lines += int(np.count_nonzero(codes == 10))
        if b"\r" in block or before == b"\r":
            lines += block.count(b"\r") - block.count(b"\r\n")
            lines -= before == b"\r" and block.startswith(b"\n")
        before = block[-1:]
    return lines


def lines_until(source: Source, last: Chunk) -> int:
    """The number of lines of a file up to the end of its last chunk."""
    ended = source.read(last.end - 1, last.end) in (b"\n", b"\r")
    return last.first_line - 1 + count_lines(source, last.start, last.end) + (not ended)


def line_ends(data: bytes, *, final: bool = True) -> Positions:
    """The places just after the line ends: \\n, \\r\\n or a lone \\r. ``final``: nothing follows this text."""
    codes = np.frombuffer(data, np.uint8)
    feeds = np.flatnonzero(codes == _LF)
    if b"\r" not in data:
        return feeds + 1
    returns = np.flatnonzero(codes == _CR)
    if not final and returns[-1] == len(data) - 1:
        # A line feed may follow in the next piece.
        returns = returns[:-1]
    followers = np.append(codes, np.uint8(0))[returns + 1]
    ends = np.concatenate((feeds, returns[followers != _LF])) + 1
    ends.sort()
    return ends


def with_rest(data: bytes, ends: Positions) -> Positions:
    """The same ends, and that of a last line without a line end."""
    return ends if not data or (ends.size and ends[-1] == len(data)) else np.append(ends, len(data))


def end_of_line(source: Source, start: int, end: int) -> int:
    """The end of the line that begins at ``start``."""
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


def without_line_end(record: bytes) -> bytes:
    """A record without its line end."""
    for mark in (b"\r\n", b"\n", b"\r"):
        if record.endswith(mark):
            return record[: -len(mark)]
    return record


def read_chunk(source: Source, plan: ImportPlan, chunk: Chunk) -> bytes:
    """The text of a chunk, in UTF-8 as far as its bytes fit. Raises SourceChanged if it is not what was cut."""
    if source.size < plan.file.end:
        raise SourceChanged(f"{source.path} has become shorter: {plan.file.end - source.size} bytes are gone")
    data = source.read(chunk.start, chunk.end)
    check_chunk(source, chunk, digest(data))
    return to_utf8(data, plan.file.content.chunk_encoding)


def in_one_piece(column: pa.ChunkedArray) -> pa.Array:
    """A column that pyarrow has read from one block. It is not copied."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def is_utf8(data: bytes) -> bool:
    """Whether bytes are UTF-8. They are not copied."""
    offsets = pa.py_buffer(np.array([0, len(data)], np.int32))
    try:
        pa.Array.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(data)]).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordPlaces:
    """The position of each record in a chunk."""

    starts: Positions
    ends: Positions
    line_ends: Positions

    def raw(self, data: bytes, indexes: Positions) -> pa.Array:
        """The text of these records without line ends. ``records`` are in order."""
        records, places = np.unique(indexes, return_inverse=True)
        codes = np.frombuffer(data, np.uint8)
        starts, ends = self.starts[records], self.ends[records]
        for mark in b"\n\r":
            ends = ends - ((ends > starts) & (codes.take(ends - 1, mode="clip") == mark))
        bounds = np.zeros(2 * records.size + 1, np.int32)
        bounds[:-1:2], bounds[1::2] = starts, ends
        bounds[-1] = bounds[-2] if records.size else 0
        # Every second value lies between two of these records.
        pieces = pa.Array.from_buffers(pa.binary(), 2 * records.size, [None, pa.py_buffer(bounds), pa.py_buffer(data)])
        return pieces.take(pa.array(2 * places))

    def lines(self, indexes: Positions) -> Positions:
        """The number of lines before each of these records."""
        return np.searchsorted(self.line_ends, self.starts[indexes], side="right")


RAW_CAP = 64 << 10
"""How many bytes a reject keeps of a record over the length limit. All other rejects are whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OneRecord(Origins):
    """A chunk that is a single record, or the beginning of one."""

    text: bytes
    line: int

    def lines(self, records: Positions) -> Positions:
        return np.full(records.size, self.line, np.int64)

    def raw(self, records: Positions) -> pa.Array:
        record = without_line_end(self.text)
        return pa.repeat(
            pa.scalar(shorten(record, RAW_CAP if len(record) > RECORD_LIMIT else len(record))), records.size
        )

    def texts(self, records: Positions, column: int) -> pa.Array:
        return pa.repeat("", records.size)


def refused_record(source: Source, plan: ImportPlan, chunk: Chunk, messages: Mapping[str, str]) -> Piece:
    """The piece of a chunk that was cut as one refused record. ``messages`` has a message for each code.

    Only a part of a record that is too long is read.
    """
    check_chunk(source, chunk, digest_all(source.blocks(chunk.start, chunk.end)))
    text = source.read(chunk.start, min(chunk.end, chunk.start + RECORD_LIMIT + 3))
    text = to_utf8(text, plan.file.content.chunk_encoding)
    message = {
        **messages,
        RECORD_TOO_LONG: f"the record has {chunk.end - chunk.start:,} bytes, and may have {RECORD_LIMIT:,}",
    }[chunk.refused or ""]
    if len(without_line_end(text)) > RECORD_LIMIT:
        message += f"; of its text the first {RAW_CAP:,} bytes are kept"
    return Piece(
        columns=[pa.array([], pa.string()) for _ in plan.file_columns],
        indexes=np.empty(0, np.int64),
        origins=OneRecord(text=text, line=chunk.first_line),
        faults=[Fault(index=0, code=chunk.refused or "", message=message)],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cursor:
    """The place where the next chunk begins."""

    ordinal: int
    start: int
    record: int
    line: int

    @classmethod
    def after(cls, source: Source, plan: ImportPlan, previous: Chunk | None) -> Cursor:
        if previous is None:
            return cls(ordinal=0, start=plan.file.start, record=1, line=plan.file.first_line)
        here = cls(
            ordinal=previous.ordinal, start=previous.start, record=previous.first_record, line=previous.first_line
        )
        return here.behind(previous, count_lines(source, previous.start, previous.end))

    def behind(self, chunk: Chunk, lines: int) -> Cursor:
        return Cursor(
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


def chunk_size(plan: ImportPlan, start: int) -> int:
    """The size of the next chunk. The first chunks are small, so that every worker starts at once; the last ones are
    small, so that no worker has a large one left when the others are done."""
    done, left = start - plan.file.start, plan.file.end - start
    return min(plan.chunk_bytes, max(min(done // 2, left // 4), _SMALL_CHUNK))
