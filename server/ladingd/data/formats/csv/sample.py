"""Reads the beginning of a delimited file: the header, and a sample of the records."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import count, pairwise
from typing import TYPE_CHECKING

import numpy as np

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import Header
from ladingd.data.formats.csv.boundaries import frame
from ladingd.data.formats.csv.dialect import Dialect
from ladingd.data.formats.csv.parser import parse
from ladingd.data.formats.csv.quoting import TEXT_AFTER_QUOTE, UNTERMINATED_QUOTE, Kind, grammar_of
from ladingd.data.formats.csv.structure import count_fields, find_structure
from ladingd.data.formats.csv.wide_delimiter import is_wide, with_narrow
from ladingd.data.formats.header import Judgement, different_names, joined_names, judge, judge_lines
from ladingd.data.formats.lines import FILE_FIELD, RECORD_LIMIT, decodable, lines_in, without_line_end

if TYPE_CHECKING:
    from ladingd.core.spec import CsvFormat
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.csv.quoting import Found
    from ladingd.data.formats.csv.structure import Structure
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

_FIRST = 3
"""The number of records that decide: a header of up to two records and the record after it."""

_COUNTED = 1_000_000
"""The columns of a record with too many are counted up to this number, for the message."""

_JUDGED_VALUES = 8_000
_FEWEST_RECORDS = 20
"""The most values in the sample. A wide file is judged by fewer records."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The names of the columns, and the whole records after the header."""

    dialect: Dialect
    names: list[str]
    fields: int
    """How many fields the records have. The last one is no column if it has neither a name nor a value."""
    header_lines: int
    """How many records name the columns."""
    doubt: str
    """Why the decision on the header is uncertain, and which option overrides it; empty: it is certain."""
    delimiter_doubt: str
    """The same for the delimiter."""
    start: int
    """The bytes before the first record, with the header."""
    lines: int
    """The lines before the first record, with the header."""
    records: bytes
    notes: tuple[str, ...] = ()
    """What is unusual: lines before the table, names that were changed."""


def read_head(source: Source, beginning: Beginning, size: int, wanted: CsvFormat, column_limit: int) -> Head:
    """Read the head of a file that is not empty. If the first records are longer than the head, more is read.

    Raises InvalidSpec.
    """
    end = min(beginning.start + HEAD, size)
    text = decodable(source.read(beginning.start, end), source.path, beginning, whole=end == size)
    structure = find_structure(text, wanted, final=end == size)
    dialect = structure.dialect
    ends = frame(text[structure.start :], dialect, final=end == size).record_ends
    needed = max(_FIRST, wanted.header_lines + 1)
    if ends.size < needed and end < size:
        end = min(beginning.start + RECORD_LIMIT + 1, size)
        text = decodable(source.read(beginning.start, end), source.path, beginning, whole=end == size)
        ends = _first_ends(text[structure.start :], dialect, needed, final=end == size)
    preamble, text = text[: structure.start], text[structure.start :]
    first_line = beginning.lines + lines_in(preamble) + 1
    if not ends.size:
        raise InvalidSpec(FILE_FIELD, f"{source.path}: {_endless(text)}")
    first = int(ends[0])
    record = without_line_end(text[:first])
    found = _read(record, dialect)
    if found.kind is Kind.REFUSED:
        what = _REFUSALS[found.code]
        raise InvalidSpec(FILE_FIELD, f"{source.path}: {what} (line {first_line:,}): correct that line")
    width = count_fields(record, dialect, column_limit + 1)
    if max(width, structure.fields) > column_limit:
        counted = f"{count_fields(record, dialect, _COUNTED):,}"
        more = "at least " if counted == f"{_COUNTED:,}" else ""
        raise InvalidSpec(
            FILE_FIELD, f"{source.path} has {more}{counted} columns; at most {column_limit:,} can be imported"
        )
    fields = _fields(record, dialect, width)
    number = structure.fields if structure.fields > 1 else width
    behind = text[first : int(ends[-1])]
    judged = _judged(fields, behind, dialect, number, wanted)
    notes = _before(structure, preamble, beginning)
    if judged.header:
        if judged.lines > 1:
            fields, first = _header(text, ends.tolist(), dialect, judged.lines, source.path)
            behind = text[first : int(ends[-1])]
            last = first_line + lines_in(without_line_end(text[:first]))
            notes += (f"lines {first_line:,} to {last:,} are the header; their names are joined",)
        names, number, more_notes = _fitted(fields, number, behind, dialect)
        notes += more_notes
        start, records = first, behind
    else:
        names = [""] * number
        start, records = 0, text[: int(ends[-1])]
    if any("\0" in name for name in names):
        raise InvalidSpec(FILE_FIELD, f"{source.path}: a name in line {first_line:,} has a NUL byte in it")
    names, renamed = different_names(names)
    return Head(
        dialect=dialect,
        names=names,
        fields=number,
        header_lines=judged.lines if judged.header else 0,
        doubt=judged.doubt,
        delimiter_doubt=structure.doubt,
        start=structure.start + start,
        lines=lines_in(preamble) + lines_in(text[:start]),
        records=records,
        notes=(*notes, *renamed),
    )


def _fields(record: bytes, dialect: Dialect, width: int) -> list[str | None]:
    """The fields of a record that may be a header."""
    columns = parse(record, replace(dialect, comment=""), width).columns
    fields = [column[0].as_py() if len(column) else None for column in columns]
    return [field.strip() if field else field for field in fields]


def _header(text: bytes, ends: list[int], dialect: Dialect, number: int, path: str) -> tuple[list[str | None], int]:
    """The names of a header of several records, and where it ends. Raises InvalidSpec."""
    lines: list[list[str | None]] = []
    for start, end in pairwise([0, *ends]):
        record = without_line_end(text[start:end])
        if not record.strip() or (dialect.comment and record.startswith(dialect.comment.encode())):
            continue
        lines.append(_fields(record, dialect, count_fields(record, dialect, _COUNTED)))
        if len(lines) == number:
            return [name or None for name in joined_names(lines)], end
    raise InvalidSpec("csv.header_lines", f"{path} has only {len(lines)} records, and {number} are to be the header")


def _read(record: bytes, dialect: Dialect) -> Found:
    record, dialect = with_narrow(record, dialect)
    return grammar_of(dialect).read(record, 0, len(record), final=True)


def _before(structure: Structure, preamble: bytes, beginning: Beginning) -> tuple[str, ...]:
    """What people are told of the lines before the table."""
    notes = []
    first, last = beginning.lines + 1, beginning.lines + lines_in(preamble)
    if structure.named:
        notes.append(f"line {first:,} names the delimiter, as Excel writes it")
        first += 1
    if last >= first:
        which = f"line {first:,} stands" if first == last else f"lines {first:,} to {last:,} stand"
        notes.append(
            f"{which} before the table and was skipped"
            if first == last
            else f"{which} before the table and were skipped"
        )
    return tuple(notes)


def _fitted(
    fields: list[str | None], number: int, behind: bytes, dialect: Dialect
) -> tuple[list[str], int, tuple[str, ...]]:
    """The names of a header for records with ``number`` fields; how many fields are read; what people are told."""
    names = [field or "" for field in fields]
    if names[0].startswith("#") and len(names[0]) > 1:
        names[0] = names[0][1:].strip()
    extra = names[number:]
    if any(extra):
        dropped = ", ".join(repr(name) for name in extra if name)
        note = f"the header names {len(names)} columns and the records have {number} fields: left out {dropped}"
        return names[:number], number, (note,)
    names = names[:number]
    if len(fields) < number:
        made = [f"column{place}" for place in range(len(fields) + 1, number + 1)]
        note = (
            f"the header names {len(fields)} columns and the records have {number} fields: {', '.join(made)} is added"
        )
        return names + made, number, (note,)
    if number > 1 and not names[-1] and not _has_values(behind, dialect, number):
        note = "a delimiter follows the last field of each record; the empty column after it was left out"
        return names[:-1], number, (note,)
    return names, number, ()


def _has_values(records: bytes, dialect: Dialect, width: int) -> bool:
    """Whether the last column of the records has a value."""
    last = parse(records, dialect, width).columns[-1]
    return bool(last.null_count < len(last))


def _judged(fields: list[str | None], behind: bytes, dialect: Dialect, number: int, wanted: CsvFormat) -> Judgement:
    """Whether the first records are a header, and why that is uncertain."""
    if wanted.header_lines:
        return Judgement(True, lines=wanted.header_lines)
    if wanted.header is not Header.DEFAULT:
        return Judgement(wanted.header is Header.PRESENT)
    judged = max(_JUDGED_VALUES // number, _FEWEST_RECORDS)
    ends = frame(behind, dialect, final=True).record_ends[:judged]
    some = parse(behind[: ends[-1]] if ends.size else b"", dialect, number)
    # What a header lacks or has too many is no evidence against it.
    fitted = [*fields[:number], *[f"column{place}" for place in range(len(fields) + 1, number + 1)]]
    if (
        number > 1
        and len(fields) == number
        and not fields[-1]
        and not some.columns[-1].null_count < len(some.columns[-1])
    ):
        fitted[-1] = f"column{number}"
    columns = [[str(value) if value else None for value in column.to_pylist()] for column in some.columns]
    blank = set(some.skipped.tolist())
    second = next(index for index in count() if index not in blank)
    if not columns[0] or second in {*some.refused, *(each.index for each in some.misshapen)}:
        return judge(fitted, columns)
    return judge_lines(fitted, [column[0] for column in columns], [column[1:] for column in columns])


def _first_ends(text: bytes, dialect: Dialect, number: int, *, final: bool) -> Positions:
    """The ends of so many records, as far as they end. The other records are not read: there may be very many."""
    if is_wide(dialect):
        return frame(text, dialect, final=final).record_ends[:number]
    ends: list[int] = []
    position = 0
    while len(ends) < number and position < len(text):
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
