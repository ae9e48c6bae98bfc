"""Reads the beginning of a delimited file: the header, and a sample of the records."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import Header
from ladingd.data.formats.csv.boundaries import frame
from ladingd.data.formats.csv.detection import count_fields, detect
from ladingd.data.formats.csv.dialect import Dialect
from ladingd.data.formats.csv.header import judge
from ladingd.data.formats.csv.parser import parse
from ladingd.data.formats.csv.quoting import TEXT_AFTER_QUOTE, UNTERMINATED_QUOTE, Kind, grammar_of
from ladingd.data.formats.lines import FILE_FIELD, RECORD_LIMIT, decodable, lines_in, unique_names, without_line_end

if TYPE_CHECKING:
    from ladingd.core.spec import CsvFormat
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.lines import Beginning
    from ladingd.data.values.positions import Positions

HEAD = 1 << 20
"""How many bytes of a file are read, unless the first records are longer."""

_REFUSALS = {
    UNTERMINATED_QUOTE: "a quote is opened in the first record and never closed",
    TEXT_AFTER_QUOTE: "text follows a closing quote",
}
"""Why the columns cannot be determined, by the code of the fault."""

_LINE = re.compile(rb"\r\n|\r|\n")

_FIRST = 2
"""The number of records that decide: the possible header and the record after it."""

_COUNTED = 1_000_000
"""The columns of a record with too many are counted up to this number, for the message."""

_JUDGED_VALUES = 40_000
_FEWEST_RECORDS = 20
"""The most values in the sample. A wide file is judged by fewer records."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The names of the columns, and the whole records after the header."""

    dialect: Dialect
    names: list[str]
    named: bool
    """The first record names the columns."""
    doubt: str
    """Why the decision on the header is uncertain, and which option overrides it; empty: it is certain."""
    header_end: int
    """The length of the header in bytes; 0 if there is none."""
    header_lines: int
    records: bytes


def read_head(source: Source, beginning: Beginning, size: int, wanted: CsvFormat, column_limit: int) -> Head:
    """Read the head of a file that is not empty. If the first records are longer than the head, more is read.

    Raises InvalidSpec.
    """
    end = min(beginning.start + HEAD, size)
    text = decodable(source.read(beginning.start, end), source.path, beginning, whole=end == size)
    dialect = detect(text, wanted, final=end == size)
    frames = frame(text, dialect, final=end == size)
    if frames.record_ends.size < _FIRST and end < size:
        end = min(beginning.start + RECORD_LIMIT + 1, size)
        text = decodable(source.read(beginning.start, end), source.path, beginning, whole=end == size)
        ends = _first_ends(text, dialect, final=end == size)
    else:
        ends = frames.record_ends
    if not ends.size:
        raise InvalidSpec(FILE_FIELD, f"{source.path}: {_endless(text)}")
    first = int(ends[0])
    record = without_line_end(text[:first])
    judged = grammar_of(dialect).read(record, 0, len(record), final=True)
    if judged.kind is Kind.REFUSED:
        what = _REFUSALS[judged.code]
        raise InvalidSpec(FILE_FIELD, f"{source.path}: {what} (line {beginning.lines + 1:,}): correct that line")
    width = count_fields(record, dialect, column_limit + 1)
    if width > column_limit:
        found = f"{count_fields(record, dialect, _COUNTED):,}"
        more = "at least " if found == f"{_COUNTED:,}" else ""
        raise InvalidSpec(
            FILE_FIELD, f"{source.path} has {more}{found} columns; at most {column_limit:,} can be imported"
        )
    fields = [column[0].as_py() for column in parse(record, dialect, width).columns]
    behind = text[first : int(ends[-1])]
    header, doubt = _judged(fields, behind, dialect, wanted)
    if not header:
        names = [f"column{number}" for number in range(1, width + 1)]
        records = text[:first] + behind
        return Head(
            dialect=dialect, names=names, named=False, doubt=doubt, header_end=0, header_lines=0, records=records
        )
    return Head(
        dialect=dialect,
        names=unique_names(fields, source.path),
        named=True,
        doubt=doubt,
        header_end=first,
        header_lines=lines_in(text[:first]),
        records=behind,
    )


def _judged(fields: list[str | None], behind: bytes, dialect: Dialect, wanted: CsvFormat) -> tuple[bool, str]:
    """Whether the first record is a header, and why that is uncertain."""
    if wanted.header is not Header.DEFAULT:
        return wanted.header is Header.PRESENT, ""
    judged = max(_JUDGED_VALUES // len(fields), _FEWEST_RECORDS)
    ends = frame(behind, dialect, final=True).record_ends[:judged]
    some = parse(behind[: ends[-1]] if ends.size else b"", dialect, len(fields))
    return judge(fields, [[str(value) for value in column.to_pylist() if value] for column in some.columns])


def _first_ends(text: bytes, dialect: Dialect, *, final: bool) -> Positions:
    """The ends of the first two records, as far as they end. The other records are not read: there may be very many."""
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


def _endless(text: bytes) -> str:
    if len(text) <= RECORD_LIMIT:
        return _REFUSALS[UNTERMINATED_QUOTE]
    return f"the first record has more than {RECORD_LIMIT:,} bytes, which is too long"
