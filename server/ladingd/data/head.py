"""The beginning of a file to import: what stands before the records, and what the first of them say of the others."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.data.cut import RECORD_LIMIT, count_lines
from ladingd.data.detection import Layout, detect, first_record
from ladingd.data.framing import Frames, frame
from ladingd.data.parse import BOM
from ladingd.data.target_columns import fold

if TYPE_CHECKING:
    from ladingd.core.spec import CsvFormat
    from ladingd.data.files import Source

HEAD = 1 << 20
"""How many bytes of a file are looked at, if the first records are not longer."""

_FIELD = "files[0].path"


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
    """Where the text begins: behind a byte order mark and ``lines`` blank lines."""

    start: int
    lines: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The names of the columns, and the whole records behind the header."""

    layout: Layout
    names: list[str]
    header_end: int
    """In bytes from the beginning of the text; 0 where there is no header."""
    header_lines: int
    records: bytes


def find_beginning(source: Source, size: int) -> Beginning:
    """Look for the first line of a file that has something on it."""
    mark = len(BOM) if source.read(0, min(len(BOM), size)) == BOM else 0
    start = mark
    for block in source.blocks(mark, size):
        rest = block.lstrip(b"\r\n")
        start += len(block) - len(rest)
        if rest:
            break
    return Beginning(start=start, lines=count_lines(source, mark, start))


def read_head(source: Source, beginning: Beginning, size: int, wanted: CsvFormat) -> Head:
    """Read the head of a file that is not empty. Only where the first records are longer, more of it is read.

    Raises InvalidSpec.
    """
    for reach in (HEAD, RECORD_LIMIT + 1):
        end = min(beginning.start + reach, size)
        text = _text(source.read(beginning.start, end), source.path, beginning, whole=end == size)
        layout = detect(text, wanted)
        frames = frame(text, layout.dialect, final=end == size)
        if end == size or frames.record_ends.size > layout.header:
            break
    if not frames.record_ends.size:
        raise InvalidSpec(_FIELD, f"{source.path}: {_endless(frames)}")
    first, last = int(frames.record_ends[0]), int(frames.record_ends[-1])
    fields = first_record(text[:first], layout.dialect)
    if not layout.header:
        names = [f"column{number}" for number in range(1, len(fields) + 1)]
        return Head(layout=layout, names=names, header_end=0, header_lines=0, records=text[:last])
    return Head(
        layout=layout,
        names=_names(fields, source.path),
        header_end=first,
        header_lines=frames.lines_before(first),
        records=text[first:last],
    )


def _endless(frames: Frames) -> str:
    if frames.open:
        return "a quote is opened in the first record and never closed"
    return f"the first record has more than {RECORD_LIMIT:,} bytes, which is too long"


def _text(head: bytes, path: str, beginning: Beginning, *, whole: bool) -> bytes:
    """The head without a character that was cut in two. Raises InvalidSpec where it is not text in UTF-8."""
    for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        if head.startswith(mark):
            raise InvalidSpec(_FIELD, f"{path} is UTF-16; only UTF-8 can be read yet: convert it first")
    first_line = head.split(b"\n", 1)[0]
    # A record with a NUL byte in it is refused alone; a file that is full of them, or begins so, is no text.
    if b"\0" in first_line or head.count(0) * 1000 > len(head) + 1000:
        raise InvalidSpec(_FIELD, f"{path} is a binary file: byte {beginning.start + head.index(0)} is NUL")
    try:
        return head[: codecs.utf_8_decode(head, "strict", whole)[1]]
    except UnicodeDecodeError as error:
        line = 1 + beginning.lines + len(re.findall(rb"\r\n|\r|\n", head[: error.start]))
        raise InvalidSpec(
            _FIELD,
            f"{path} is not text in UTF-8: byte {beginning.start + error.start} (line {line:,}) is "
            f"0x{head[error.start]:02X}; convert it first",
        ) from error


def _names(fields: list[str | None], path: str) -> list[str]:
    names = [name or f"column{number}" for number, name in enumerate(fields, 1)]
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if "\0" in name:
            raise InvalidSpec(_FIELD, f"{path}: the name of column {number} has a NUL byte in it")
        if fold(name) in seen:
            other = seen[fold(name)]
            raise InvalidSpec(
                _FIELD, f"{path}: columns {other} and {number} have the same name: {names[other - 1]!r} and {name!r}"
            )
        seen[fold(name)] = number
    return names
