"""Reads a chunk of delimited text into columns of text.

pyarrow's parser handles regular quotes only: it drops a closing quote inside a field and keeps the rest. A chunk with
irregular quotes is therefore copied, without the refused records, with literal fields quoted and with nothing escaped.
The copy also lacks blank lines and comments, which pyarrow would read as records.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from ladingd.data.formats.csv.boundaries import frame
from ladingd.data.formats.csv.marks import CR, LF, has_blank_lines, read_marks, without_blanks
from ladingd.data.formats.csv.quoting import grammar_of
from ladingd.data.formats.csv.wide_delimiter import is_wide, narrow
from ladingd.data.formats.lines import BOM, RecordPlaces, in_one_piece, is_utf8, without_line_end
from ladingd.data.values.positions import Positions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ladingd.data.formats.csv.dialect import Dialect


@dataclass(frozen=True, kw_only=True, slots=True)
class Misshapen:
    """A record with a wrong number of columns. ``index`` counts the records of the chunk from 0."""

    index: int
    columns: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """The records of a chunk: those with the right number of columns, and all others.

    The columns are text, or bytes if the chunk is not UTF-8. An empty field without quotes is null.
    """

    columns: list[pa.Array]
    misshapen: list[Misshapen]
    refused: dict[int, str] = field(default_factory=dict)
    """The records whose quotes are not regular, with their codes."""
    literal: list[int] = field(default_factory=list)
    """The records with a field that begins with a quote and is kept verbatim."""
    skipped: Positions = field(default_factory=lambda: np.empty(0, np.int64))
    """The records that are blank lines or comments. They are not in the columns."""

    @property
    def rows(self) -> int:
        """The number of records in the columns."""
        return len(self.columns[0])

    @property
    def records(self) -> int:
        """The number of all records."""
        return self.rows + len(self.misshapen) + len(self.refused) + self.skipped.size


NOTHING: frozenset[int] = frozenset()


def parse(data: bytes, dialect: Dialect, width: int, *, fill: bool = False, unread: frozenset[int] = NOTHING) -> Parsed:
    """Read whole records into ``width`` columns. ``fill``: the fields that a short record lacks are null. ``unread``:
    columns that nobody needs; all their fields are null."""
    if is_wide(dialect):
        narrowed = narrow(data, dialect)
        parsed = parse(narrowed.data, narrowed.dialect, width, fill=fill, unread=unread)
        if dialect.quote.encode() not in data:
            return parsed
        return replace(parsed, columns=[narrowed.restored(column) for column in parsed.columns])
    if not (has_blank_lines(data) or _has_comments(data, dialect) or (dialect.blanks and _HOLLOW.search(data))):
        return _parse_filled(data, dialect, width, fill=fill, unread=unread)
    places = record_places(data, dialect)
    codes = np.frombuffer(data, np.uint8)
    skipped = np.flatnonzero(_is_blank(data, places, dialect) | _is_comment(codes, places, dialect))
    kept = _without(codes, places, skipped)
    parsed = _parse_filled(codes[kept].tobytes(), dialect, width, fill=fill, unread=unread)
    numbers = np.delete(np.arange(places.starts.size), skipped)
    return Parsed(
        columns=parsed.columns,
        misshapen=[replace(each, index=int(numbers[each.index])) for each in parsed.misshapen],
        refused={int(numbers[index]): code for index, code in parsed.refused.items()},
        literal=[int(numbers[index]) for index in parsed.literal],
        skipped=skipped,
    )


_HOLLOW = re.compile(rb"(?:\A|(?<=[\r\n])) ++(?=[\r\n]|\Z)")
"""A line of blanks."""


def _has_comments(data: bytes, dialect: Dialect) -> bool:
    mark = dialect.comment.encode()
    return bool(mark) and (data.startswith(mark) or b"\n" + mark in data or b"\r" + mark in data)


def _is_blank(data: bytes, places: RecordPlaces, dialect: Dialect) -> npt.NDArray[np.bool_]:
    firsts = np.frombuffer(data, np.uint8)[places.starts]
    blank: npt.NDArray[np.bool_] = (firsts == LF) | (firsts == CR)
    if dialect.blanks:
        hollow = [match.end() for match in _HOLLOW.finditer(data)]
        # The end of a line of blanks lies within the record only if it is the whole record.
        records = np.searchsorted(places.ends, hollow, side="right")
        for record, end in zip(records.tolist(), hollow, strict=True):
            record = min(record, blank.size - 1)
            blank[record] |= not data[places.starts[record] : end].strip(b" ")
    return blank


def _is_comment(codes: npt.NDArray[np.uint8], places: RecordPlaces, dialect: Dialect) -> npt.NDArray[np.bool_]:
    found = np.full(places.starts.size, bool(dialect.comment))
    for place, code in enumerate(dialect.comment.encode()):
        found &= codes.take(places.starts + place, mode="clip") == code
    return found


def _without(codes: npt.NDArray[np.uint8], places: RecordPlaces, records: Positions) -> npt.NDArray[np.bool_]:
    """Which bytes are left without these records."""
    bounds = np.zeros(codes.size + 1, np.int32)
    bounds[places.starts[records]] += 1
    bounds[places.ends[records]] -= 1
    left: npt.NDArray[np.bool_] = np.cumsum(bounds[:-1]) == 0
    return left


def _parse_filled(data: bytes, dialect: Dialect, width: int, *, fill: bool, unread: frozenset[int]) -> Parsed:
    """The same for records without blank lines and comments."""
    marks = read_marks(data, dialect)
    escapes = bool(dialect.escape) and dialect.escape.encode() in data
    if marks.regular and not marks.open and not escapes:
        return _parse_regular(data, dialect, width, fill=fill, unread=unread)
    frames = frame(data, dialect, final=True)
    starts, ends = np.concatenate(([0], frames.record_ends[:-1])), frames.record_ends
    rewritten = {*frames.literal, *_escaped(data, dialect, ends)}.difference(frames.refused)
    pieces: list[bytes] = []
    grammar = grammar_of(dialect)
    kept_from = 0
    for index in sorted({*frames.refused, *rewritten}):
        start, end = int(starts[index]), int(ends[index])
        if kept_from < start:
            pieces.append(data[kept_from:start])
        if index in rewritten:
            record = without_line_end(data[start:end])
            pieces.append(grammar.normal(record) + data[start + len(record) : end])
        elif pieces and pieces[-1].endswith(b"\r"):
            # The removed text may precede a line feed, which would join this carriage return.
            pieces.append(b"\n")
        kept_from = end
    pieces.append(data[kept_from:])
    parsed = _parse_regular(b"".join(pieces), replace(dialect, escape=""), width, fill=fill, unread=unread)
    kept = np.delete(np.arange(ends.size), list(frames.refused))
    misshapen = [Misshapen(index=int(kept[each.index]), columns=each.columns) for each in parsed.misshapen]
    return replace(parsed, misshapen=misshapen, refused=frames.refused, literal=frames.literal)


def _escaped(data: bytes, dialect: Dialect, ends: Positions) -> Iterable[int]:
    """The records with an escape character that has a meaning."""
    if not dialect.escape or dialect.escape.encode() not in data:
        return ()
    codes = np.frombuffer(data, np.uint8)
    places = np.flatnonzero(codes == ord(dialect.escape))
    followers = codes.take(places + 1, mode="clip")
    places = places[(followers == ord(dialect.escape)) | (followers == ord(dialect.quote))]
    found: list[int] = np.unique(np.searchsorted(ends, places, side="right")).tolist()
    return found


def _parse_regular(data: bytes, dialect: Dialect, width: int, *, fill: bool, unread: frozenset[int]) -> Parsed:
    if dialect.blanks:
        data = without_blanks(data, dialect)
    parsed = _parse_in_shape(data, dialect, width, unread)
    short = [each for each in parsed.misshapen if each.columns < width]
    if not (fill and short):
        return parsed
    ends = frame(data, dialect, final=True).record_ends
    starts = np.concatenate(([0], ends[:-1]))
    pieces: list[bytes] = []
    kept_from = 0
    for each in short:
        record = without_line_end(data[starts[each.index] : ends[each.index]])
        end = int(starts[each.index]) + len(record)
        pieces += (data[kept_from:end], dialect.delimiter.encode() * (width - each.columns))
        kept_from = end
    pieces.append(data[kept_from:])
    return _parse_in_shape(b"".join(pieces), dialect, width, unread)


def _parse_in_shape(data: bytes, dialect: Dialect, width: int, unread: frozenset[int]) -> Parsed:
    """Records with regular quotes."""
    if is_utf8(data):
        return _parse(data, dialect, width, pa.string(), unread)
    # pyarrow cannot report a misshapen record that is not UTF-8. An ASCII copy of the same shape shows such records,
    # and they are removed before the data is read.
    shape = np.frombuffer(data, np.uint8)
    letter = next(mark for mark in b"xyz" if chr(mark) not in (dialect.delimiter, dialect.quote))
    misshapen = _parse(np.where(shape < 128, shape, letter).tobytes(), dialect, width, pa.binary()).misshapen
    kept = data
    if misshapen:
        ends = frame(data, dialect, final=True).record_ends
        starts = np.concatenate(([0], ends[:-1]))
        good = np.delete(np.arange(ends.size), [each.index for each in misshapen])
        # Removing the text between a lone carriage return and a line feed would join them into one line end.
        kept = b"".join(without_line_end(data[starts[i] : ends[i]]) + b"\n" for i in good)
    return Parsed(columns=_parse(kept, dialect, width, pa.binary(), unread).columns, misshapen=misshapen)


def _parse(data: bytes, dialect: Dialect, width: int, kind: pa.DataType, unread: frozenset[int] = NOTHING) -> Parsed:
    misshapen: list[Misshapen] = []

    def leave_out(row: pacsv.InvalidRow) -> str:
        misshapen.append(Misshapen(index=row.number - 1, columns=row.actual_columns))
        return "skip"

    names = [str(index) for index in range(width)]
    # Without any column, pyarrow would not count the records.
    read = [name for index, name in enumerate(names) if index not in unread] or names[:1]
    if not data:
        return Parsed(columns=[pa.array([], kind) for _ in names], misshapen=[])
    if not data.endswith((b"\n", b"\r")):
        # pyarrow reads an empty last field after a quoted field as empty text, not as null.
        data += b"\n"
    if data.startswith(BOM):
        # pyarrow would skip it as a byte order mark. The real one precedes the first chunk.
        data = BOM + data
    table = pacsv.read_csv(
        pa.py_buffer(data),
        read_options=pacsv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1),
        parse_options=pacsv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote,
            newlines_in_values=True,
            ignore_empty_lines=False,
            invalid_row_handler=leave_out,
        ),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, kind),
            check_utf8=False,
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=["", *dialect.null_words],
            include_columns=read if unread else [],
        ),
    )
    columns = {name: in_one_piece(column) for name, column in zip(table.column_names, table.columns, strict=True)}
    nothing = pa.nulls(table.num_rows, kind) if unread else None
    return Parsed(columns=[columns.get(name, nothing) for name in names], misshapen=misshapen)


def record_places(data: bytes, dialect: Dialect, records: int | None = None) -> RecordPlaces:
    """Find the records of data that consists of whole records. Their number, if known, saves time."""
    frames = frame(data, dialect, final=True, records=records)
    ends = frames.record_ends
    return RecordPlaces(
        starts=np.concatenate((np.zeros(1, np.int64), ends))[:-1], ends=ends, line_ends=frames.line_ends
    )
