"""The beginning of a file to import: what stands before the records, and what the first of them say of the others."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import Header
from ladingd.data.formats.csv.boundaries import frame
from ladingd.data.formats.csv.chunker import RECORD_LIMIT, count_lines
from ladingd.data.formats.csv.dialect import Layout, count_fields, detect
from ladingd.data.formats.csv.header import judge
from ladingd.data.formats.csv.parser import BOM, parse, without_line_end
from ladingd.data.formats.csv.quoting import TEXT_AFTER_QUOTE, UNTERMINATED_QUOTE, Kind, grammar_of
from ladingd.data.mapping.matching import fold

if TYPE_CHECKING:
    from ladingd.core.plan import Dialect
    from ladingd.core.spec import CsvFormat
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.csv.marks import Positions

HEAD = 1 << 20
"""How many bytes of a file are looked at, if the first records are not longer."""

_FIELD = "files[0].path"

_REFUSALS = {
    UNTERMINATED_QUOTE: "a quote is opened in the first record and never closed",
    TEXT_AFTER_QUOTE: "text follows a closing quote",
}
"""Why no columns are known."""

_BLANK_LIMIT = 64 << 20
_LINE = re.compile(rb"\r\n|\r|\n")

_FIRST = 2
"""So many records decide: one that may be the header, and one behind it."""

_COUNTED = 1_000_000
"""So far the columns of a record that has too many are counted, for the message."""

_JUDGED_VALUES = 40_000
_FEWEST_RECORDS = 20
"""A wide file is judged by fewer records."""


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
    """Look for the first line of a file that has something on it. Raises InvalidSpec."""
    mark = len(BOM) if source.read(0, min(len(BOM), size)) == BOM else 0
    start = mark
    for block in source.blocks(mark, size):
        rest = block.lstrip(b"\r\n")
        start += len(block) - len(rest)
        if rest:
            break
        if start > _BLANK_LIMIT:
            raise InvalidSpec(_FIELD, f"{source.path} begins with more than {_BLANK_LIMIT:,} blank lines: remove them")
    return Beginning(start=start, lines=count_lines(source, mark, start))


def read_head(source: Source, beginning: Beginning, size: int, wanted: CsvFormat, column_limit: int) -> Head:
    """Read the head of a file that is not empty. Only where the first records are longer, more of it is read.

    Raises InvalidSpec.
    """
    end = min(beginning.start + HEAD, size)
    text = _text(source.read(beginning.start, end), source.path, beginning, whole=end == size)
    dialect = detect(text, wanted, final=end == size)
    frames = frame(text, dialect, final=end == size)
    if frames.record_ends.size < _FIRST and end < size:
        end = min(beginning.start + RECORD_LIMIT + 1, size)
        text = _text(source.read(beginning.start, end), source.path, beginning, whole=end == size)
        ends = _first_ends(text, dialect, final=end == size)
    else:
        ends = frames.record_ends
    if not ends.size:
        raise InvalidSpec(_FIELD, f"{source.path}: {_endless(text)}")
    first = int(ends[0])
    record = without_line_end(text[:first])
    judged = grammar_of(dialect).read(record, 0, len(record), final=True)
    if judged.kind is Kind.REFUSED:
        what = _REFUSALS[judged.code]
        raise InvalidSpec(_FIELD, f"{source.path}: {what} (line {beginning.lines + 1:,}): correct that line")
    width = count_fields(record, dialect, column_limit + 1)
    if width > column_limit:
        found = f"{count_fields(record, dialect, _COUNTED):,}"
        more = "at least " if found == f"{_COUNTED:,}" else ""
        raise InvalidSpec(_FIELD, f"{source.path} has {more}{found} columns; at most {column_limit:,} can be imported")
    fields = [column[0].as_py() for column in parse(record, dialect, width).columns]
    behind = text[first : int(ends[-1])]
    layout = _layout(fields, behind, dialect, wanted)
    if not layout.header:
        names = [f"column{number}" for number in range(1, width + 1)]
        return Head(layout=layout, names=names, header_end=0, header_lines=0, records=text[:first] + behind)
    return Head(
        layout=layout,
        names=_names(fields, source.path),
        header_end=first,
        header_lines=lines_in(text[:first]),
        records=behind,
    )


def _layout(fields: list[str | None], behind: bytes, dialect: Dialect, wanted: CsvFormat) -> Layout:
    if wanted.header is not Header.DEFAULT:
        return Layout(dialect=dialect, header=wanted.header is Header.PRESENT)
    judged = max(_JUDGED_VALUES // len(fields), _FEWEST_RECORDS)
    ends = frame(behind, dialect, final=True).record_ends[:judged]
    some = parse(behind[: ends[-1]] if ends.size else b"", dialect, len(fields))
    below = [[str(value) for value in column.to_pylist() if value] for column in some.columns]
    header, doubt = judge(fields, below)
    return Layout(dialect=dialect, header=header, doubt=doubt)


def _first_ends(text: bytes, dialect: Dialect, *, final: bool) -> Positions:
    """Where the first two records end, so far as they do. No look at the others: there may be very many."""
    ends: list[int] = []
    position = 0
    while len(ends) < _FIRST and position < len(text):
        line = _LINE.search(text, position)
        known = line is not None and (line.end() < len(text) or final)
        found = grammar_of(dialect).read(text, position, line.start() if line and known else None, final=final)
        if found.kind is Kind.UNDECIDED:
            break
        mark = _LINE.match(text, found.end)
        position = len(text) if mark is None else mark.end()
        ends.append(position)
    return np.array(ends, np.int64)


def lines_in(text: bytes) -> int:
    """How many lines end in a piece of text."""
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


def _endless(text: bytes) -> str:
    if len(text) <= RECORD_LIMIT:
        return _REFUSALS[UNTERMINATED_QUOTE]
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
        line = 1 + beginning.lines + lines_in(head[: error.start])
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
