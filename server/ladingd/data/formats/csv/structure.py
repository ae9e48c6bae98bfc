"""Finds the structure of a delimited file from a sample: its marks, where the table begins, and how many fields it has.

The records decide, not the first line. Every possible delimiter is tried; the one by which most records have the same
number of fields, more than one, is the delimiter. What stands before the first such record is a preamble.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import TYPE_CHECKING, NamedTuple

from ladingd.core.spec import CsvFormat
from ladingd.data.formats.csv.boundaries import frame
from ladingd.data.formats.csv.dialect import NO_DELIMITER, Dialect
from ladingd.data.formats.csv.quoting import Kind, grammar_of
from ladingd.data.formats.csv.wide_delimiter import with_narrow
from ladingd.data.formats.header import judge
from ladingd.data.formats.lines import without_line_end

if TYPE_CHECKING:
    from collections.abc import Sequence


_SAMPLE = 256 << 10
"""The bytes of the head that decide on the delimiter."""
_RECORDS = 400
"""The number of records that decide on the delimiter."""
_WIDEST = 5000
"""The fields of a record are counted up to this number."""

_USUAL = (",", ";", "\t", "|")
_UNUSUAL = ("\x01", "\x1f", "\x1e", "~", "^", "\u00a6", "\u00a7", "\u2020", "\u00b6", "\u00fe")
"""Marks that are delimiters only if no usual one is."""
WEAK = (":", " ")
"""Marks that also stand in plain text and in times. They are delimiters only if the records look like a table."""
_REPEATABLE = frozenset("|;:~^")
"""Usual marks that a delimiter may consist of, as in ``||``."""
_RUN = re.compile(rb"""[^\w\s"'.,()\[\]{}\\/+-]{2,5}""")
"""What may be a delimiter of several characters."""

_MAJORITY = 0.75
_UNUSUAL_MAJORITY = 0.95
"""The share of the records that must have the same number of fields."""
_MOSTLY = 9
"""The tenths of the records that must have regular quotes, or unusual delimiters are tried as well."""
_PREAMBLE = 50
"""The most records before the table."""

_COMMENT = re.compile(rb"#|--|//|[;%!](?=[ \t])")
"""How comments before the table begin."""
_SPACED_COMMENT = re.compile(rb"(?:#|--|//|[;%!])[ \t]")
_ESCAPE = "\\"

_SEPARATOR = re.compile(rb'"?sep=(?P<mark>[^\r\n"])"?[ \t;,]*(?:\r\n|\r|\n|\Z)', re.IGNORECASE)
"""The line with which Excel names the delimiter of a file."""
_LINE = re.compile(rb"[^\r\n]*+(?:\r\n|\r|\n|\Z)")
_NUMBER = re.compile(rb"\s*[+-]?[0-9][0-9.,:/-]*\s*")
_DECIMAL_COMMA = re.compile(rb"(?<=[0-9]),(?=[0-9])")


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """What the head of a file shows."""

    dialect: Dialect
    start: int = 0
    """The length in bytes of what stands before the table."""
    fields: int = 1
    """How many fields most records have; 1: no delimiter was found."""
    named: bool = False
    """The file itself names its delimiter in its first line, as Excel writes it."""
    doubt: str = ""
    """Why the decision on the delimiter is uncertain, and which option overrides it; empty: it is certain."""


def find_structure(head: bytes, wanted: CsvFormat, *, final: bool) -> Structure:
    """The structure of a file, from its head. The spec takes precedence. ``final``: the head is the whole file."""
    separator = _SEPARATOR.match(head)
    delimiter = wanted.delimiter
    if wanted.skip_lines is not None:
        start = _after_lines(head, wanted.skip_lines)
    elif separator is not None and delimiter in ("", separator["mark"].decode("latin-1")):
        start, delimiter = separator.end(), separator["mark"].decode("latin-1")
    else:
        start = 0
    named = start > 0 and wanted.skip_lines is None
    comments: list[int] = []
    if wanted.skip_lines is None and not wanted.comment:
        comments, start = _leading_comments(head, start)
    text = head[start : start + _SAMPLE]
    looker = _Looker(
        text=text, final=final and start + _SAMPLE >= len(head), wanted=wanted, fixed=wanted.skip_lines is not None
    )
    found = looker.find(delimiter)
    record = looker.first_record([_line(head, comment) for comment in comments], found)
    if record is not None:
        return replace(found, start=comments[record], named=named)
    return replace(found, start=start + found.start, named=named)


def count_fields(record: bytes, dialect: Dialect, limit: int) -> int:
    """The number of fields of a record that is not refused, counted up to ``limit``."""
    record, dialect = with_narrow(record, dialect)
    if dialect.quote.encode() not in record and not dialect.escape:
        return min(record.count(dialect.delimiter.encode()) + 1, limit)
    return sum(1 for _ in islice(grammar_of(dialect).split(record), limit))


class _Record(NamedTuple):
    start: int
    text: bytes
    fields: int
    regular: bool = True


class _Candidate(NamedTuple):
    """A delimiter, and what the records look like with it. The fields down to ``rank`` say which one is better."""

    regular: int
    """How many tenths of the records have regular quotes."""
    certain: bool
    """False: the mark stands between digits only, as a decimal comma does."""
    whole: bool
    """The table begins with the first record."""
    share: float
    """The share of the records that have as many fields as most."""
    fields: int
    rank: int
    start: int
    dialect: Dialect


def _merits(candidate: _Candidate) -> tuple[object, ...]:
    return candidate[:6]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Looker:
    """Looks at a sample of a file."""

    text: bytes
    final: bool
    wanted: CsvFormat
    fixed: bool
    """The table begins with the sample."""

    def find(self, delimiter: str) -> Structure:
        """The structure with a delimiter; empty: with the best one."""
        base = Dialect.wanted(self.wanted)
        if delimiter:
            dialect = self._with(base, delimiter)
            candidate = self._candidate(dialect, 0, 0.0)
            return Structure(dialect=dialect) if candidate is None else self._structure(candidate, ())
        candidates = self._candidates(base, _USUAL, _MAJORITY)
        if not candidates or max(candidates, key=_merits).regular < _MOSTLY:
            candidates += self._candidates(base, [*self._runs(), *_UNUSUAL], _UNUSUAL_MAJORITY)
        if not candidates:
            candidates = [each for each in self._candidates(base, WEAK, 1.0) if self._is_table(each)]
        if candidates:
            best = max(candidates, key=_merits)
            return self._structure(best, [each for each in candidates if each is not best])
        by_header = [each for each in (self._by_header(self._with(base, delimiter)) for delimiter in _USUAL) if each]
        if by_header:
            return max(by_header, key=lambda each: each[0])[1]
        return Structure(dialect=self._with(base, NO_DELIMITER))

    def _by_header(self, dialect: Dialect) -> tuple[tuple[int, int], Structure] | None:
        """A delimiter for records that disagree, if the first one names columns with it, and how well it fits."""
        if dialect.delimiter == dialect.quote or dialect.delimiter.encode() not in self.text:
            return None
        first, *others = self._records(dialect)
        names = [_value(field, dialect) for field in _split(first.text, dialect)]
        if len(names) < 2 or not judge(names, [[] for _ in names]).header:
            return None
        fitting = [each.fields for each in others].count(first.fields)
        return (fitting, first.fields), Structure(dialect=dialect)

    def first_record(self, comments: Sequence[bytes], found: Structure) -> int | None:
        """Which of the lines that begin like comments is the first one of the table, as ``#id,name`` and
        ``#5 Elm Street,7`` are.

        A line belongs to the table if it has as many fields as the records, and no header follows. In doubt it does.
        """
        if found.start or not comments:
            return None
        if found.fields == 1:
            return next((place for place, line in enumerate(comments) if not _SPACED_COMMENT.match(line)), None)
        fitting = (place for place, line in enumerate(comments) if len(_split(line, found.dialect)) == found.fields)
        place = next(fitting, None)
        if place is None:
            return None
        first, *below = self._records(found.dialect)
        return None if _names_columns(first, below, found.dialect, found.fields) else place

    def _candidates(self, base: Dialect, delimiters: Sequence[str], majority: float) -> list[_Candidate]:
        found = (self._candidate(self._with(base, each), -rank, majority) for rank, each in enumerate(delimiters))
        return [each for each in found if each is not None]

    def _with(self, base: Dialect, delimiter: str) -> Dialect:
        dialect = replace(base, delimiter=delimiter, quote=self._quote(delimiter))
        if not self.wanted.escape:
            dialect = replace(dialect, escape=_find_escape(self.text, dialect, final=self.final))
        return replace(dialect, blanks=_has_blanks(self.text, dialect))

    def _structure(self, best: _Candidate, others: Sequence[_Candidate]) -> Structure:
        rivals = [each.dialect.delimiter for each in others if each[:4] == best[:4]]
        doubt = f"{' and '.join(map(repr, rivals))} would fit as well; --delimiter to override" if rivals else ""
        delimiter, fields = self._repeated(best)
        dialect = replace(best.dialect, delimiter=delimiter)
        if not (self.final or b"\n" in self.text or b"\r" in self.text):
            return Structure(dialect=dialect)  # The first record is longer than the sample.
        return Structure(dialect=dialect, start=best.start, fields=fields, doubt=doubt)

    def _repeated(self, best: _Candidate) -> tuple[str, int]:
        """The delimiter and the number of fields. A mark that always stands twice is half of a delimiter."""
        mark, records = best.dialect.delimiter, self._records(best.dialect)
        for times in (3, 2) if mark in _REPEATABLE and len(records) > 1 else ():
            run = (mark * times).encode()
            if all(each.text.count(mark.encode()) == times * each.text.count(run) for each in records):
                return mark * times, (best.fields - 1) // times + 1
        return mark, best.fields

    def _candidate(self, dialect: Dialect, rank: int, majority: float) -> _Candidate | None:
        """A delimiter, unless the records have one field or too many different numbers of fields with it."""
        if dialect.delimiter == dialect.quote or dialect.delimiter.encode() not in self.text:
            return None
        records = self._records(dialect)
        widths = [each.fields for each in records]
        fields = _usual_number(widths)
        if fields < 2:
            return None
        first = 0 if self.fixed else self._first(records, fields, dialect)
        table = widths[first:]
        # The first record may be a header that is shorter or longer than the records.
        counted = table[1:] if len(table) > 1 and table[0] != fields else table
        share = counted.count(fields) / len(counted)
        if share < majority:
            return None
        text = self.text[records[first].start :]
        certain = dialect.delimiter != "," or text.count(b",") > len(_DECIMAL_COMMA.findall(text))
        regular = sum(each.regular for each in records[first:]) * 10 // len(table)
        above = self.wanted.header_lines - 1
        if 0 < above <= first and _names_columns(records[first], records[first + 1 :], dialect, fields):
            first -= above  # What looks like a title is part of the header.
        return _Candidate(
            regular, certain, first == 0, share, fields, rank, records[first].start if first else 0, dialect
        )

    def _first(self, records: list[_Record], fields: int, dialect: Dialect) -> int:
        """Which record is the first one of the table. What stands before it is a title or the like."""
        widths = [each.fields for each in records]
        found = next((place for place in range(len(widths) - 1) if widths[place : place + 2] == [fields] * 2), 0)
        before = records[:found]
        hollow = [place for place, each in enumerate(records[: found + _PREAMBLE]) if _is_hollow(each, dialect)]
        if fields > 2 and hollow[: found + 1] == list(range(found + 1)):
            # Spreadsheets write as many delimiters behind a title as behind a record.
            found = next((place for place in range(found, len(records)) if place not in hollow), found)
            before = records[:found]
        if not 0 < found <= _PREAMBLE:
            return 0
        if all(each.fields == 1 for each in before):
            return found
        below = records[found + 1 : found + 1 + _RECORDS]
        if _names_columns(records[found], below, dialect, fields):
            return found
        return found - 1 if all(each.fields == 1 for each in before[:-1]) else 0

    def _is_table(self, candidate: _Candidate) -> bool:
        """Whether the records are a table beyond doubt: numbers in one column, words in another."""
        records = [each for each in self._records(candidate.dialect) if each.start >= candidate.start]
        if candidate.fields < 3 or len(records) < 3:
            return False
        columns = zip(*(_split(each.text, candidate.dialect) for each in records[1:]), strict=True)
        numeric = [all(map(_NUMBER.fullmatch, column)) for column in columns]
        return any(numeric) and not all(numeric)

    def _runs(self) -> list[str]:
        """The runs of marks that occur in each of the first records."""
        lines = [line for line in self.text[: _SAMPLE >> 3].splitlines() if line.strip()][:20]
        if len(lines) < 2:
            return []
        common = set(_RUN.findall(lines[-1])).intersection(*(_RUN.findall(line) for line in lines[len(lines) // 2 :]))
        texts = (each.decode(errors="ignore") for each in common)
        marks = (each for each in texts if each and not any(map(str.isalnum, each)))
        return sorted(marks, key=len, reverse=True)[:5]

    def _records(self, dialect: Dialect) -> list[_Record]:
        """Some of the first records that are not blank."""
        frames = frame(self.text, dialect, final=self.final)
        ends, literal = [0, *frames.record_ends[:_RECORDS].tolist()], frozenset(frames.literal)
        records = []
        for index, (start, end) in enumerate(pairwise(ends)):
            text = without_line_end(self.text[start:end])
            is_comment = dialect.comment and text.startswith(dialect.comment.encode())
            regular = index not in frames.refused and index not in literal
            if index in frames.refused and not index:
                text = text.replace(dialect.quote.encode(), b"")  # It may be the header all the same.
            elif index in frames.refused:
                continue
            if text.strip() and not is_comment:
                records.append(_Record(start, text, count_fields(text, dialect, _WIDEST), regular))
        if not records:
            text = _LINE.match(self.text)[0].replace(dialect.quote.encode(), b"")  # type: ignore[index]
            records.append(_Record(0, text, count_fields(text, dialect, _WIDEST)))
        return records

    def _quote(self, delimiter: str) -> str:
        """The quote of the spec, else an apostrophe if all apostrophes enclose fields, else a double quote."""
        if self.wanted.quote:
            return self.wanted.quote
        apostrophes = self.text.count(b"'")
        if not apostrophes or delimiter == "'":
            return '"'
        mark = delimiter.encode()
        first = self.text.index(b"'")
        if first and not self.text[:first].endswith((b"\n", b"\r", mark)):
            return '"'  # The first apostrophe encloses no field, so not all of them do.
        limit = re.escape(mark)
        field = rb"(?:\A|(?<=[\r\n])|(?<=%b))'(?:[^'\\]|''|\\.)*+'(?=%b|[\r\n]|\Z)" % (limit, limit)
        enclosed = re.findall(field, self.text, re.DOTALL)
        inside = sum(each.count(b"'") for each in enclosed)
        certain = len(enclosed) > 1 or any(mark in each for each in enclosed)
        return "'" if certain and inside == apostrophes else '"'


def _usual_number(widths: Sequence[int]) -> int:
    """The number of fields that most records have. One field does not count if others stand together."""
    together = Counter(width for width, other in pairwise(widths) if width == other > 1)
    if together:
        most = max(together.values())
        return max(width for width, times in together.items() if times == most)
    # A header and one record, or a record alone.
    return widths[-1] if len(widths) <= 2 and min(widths) > 1 else 1


def _split(record: bytes, dialect: Dialect) -> list[bytes]:
    """The fields of a record, as they stand there."""
    record, dialect = with_narrow(record, dialect)
    grammar = grammar_of(dialect)
    if grammar.read(record, 0, len(record), final=True).kind is Kind.REFUSED:
        return record.split(dialect.delimiter.encode())
    return [match[0] for match in grammar.split(record)]


def _is_hollow(record: _Record, dialect: Dialect) -> bool:
    """Whether only the first field has a value."""
    first, *others = _split(record.text, dialect)
    return bool(first.strip()) and bool(others) and not any(field.strip() for field in others)


def _names_columns(record: _Record, below: Sequence[_Record], dialect: Dialect, fields: int) -> bool:
    """Whether a record is a header beyond doubt."""
    first = [_value(field, dialect) for field in _split(record.text, dialect)]
    rows = [_split(each.text, dialect) for each in below if each.fields == fields]
    columns = [[_value(field, dialect) for field in column] for column in zip(*rows, strict=True)]
    if len(columns) != len(first):
        return False
    judgement = judge(first, columns)
    return judgement.header and not judgement.doubt


def _value(field: bytes, dialect: Dialect) -> str:
    return field.decode(errors="replace").strip().strip(dialect.quote)


def _after_lines(head: bytes, number: int, position: int = 0) -> int:
    """Where the line after so many lines begins."""
    for _ in range(number):
        line = _LINE.match(head, position)
        if line is None or not line[0]:
            break
        position = line.end()
    return position


def _leading_comments(head: bytes, start: int) -> tuple[list[int], int]:
    """Where the lines before the table that begin like comments begin, and where the table begins. There are none if
    the head has nothing else."""
    comments: list[int] = []
    position = start
    while position < len(head):
        line = _line(head, position)
        if _COMMENT.match(line):
            comments.append(position)
        elif line.strip():
            return comments, position if comments else start
        position = _after_lines(head, 1, position)
    return [], start


def _line(head: bytes, start: int) -> bytes:
    line = _LINE.match(head, start)
    return without_line_end(line[0]) if line is not None else b""


def _has_blanks(text: bytes, dialect: Dialect) -> bool:
    """Whether blanks stand between a delimiter and a quoted field, or one follows each delimiter."""
    delimiter, quote = re.escape(dialect.delimiter.encode()), re.escape(dialect.quote.encode())
    if dialect.delimiter.isspace():
        return False
    if re.search(rb"%b +%b[^\r\n]*?%b *(?:%b|[\r\n]|\Z)" % (delimiter, quote, quote, delimiter), text):
        return True
    mark = dialect.delimiter.encode()
    if dialect.quote.encode() in text or mark + b" " not in text:
        return False
    return text.count(mark) == len(re.findall(rb"%b(?:[ ]|(?=[\r\n]|\Z))" % delimiter, text))


def _find_escape(head: bytes, dialect: Dialect, *, final: bool) -> str:
    """A backslash, if quoted fields are regular only when it escapes quotes; empty if they are regular without.

    A backslash before a closing quote, as in ``"C:\\dir\\"``, escapes nothing; text behind that quote says it does.
    """
    if f"{_ESCAPE}{dialect.quote}".encode() not in head or _ESCAPE in (dialect.delimiter, dialect.quote):
        return ""
    escaped = replace(dialect, escape=_ESCAPE)
    without, within = _irregular(head, dialect, final=final), _irregular(head, escaped, final=final)
    return _ESCAPE if without and not within else ""


def _irregular(head: bytes, dialect: Dialect, *, final: bool) -> int:
    """The number of records with a backslash before a quote that are not regular or do not end."""
    frames = frame(head, dialect, final=final)
    mark = f"{_ESCAPE}{dialect.quote}".encode()
    ends = [0, *frames.record_ends.tolist()]
    irregular = sum(mark in head[ends[index] : ends[index + 1]] for index in (*frames.refused, *frames.literal))
    return irregular + (frames.open and mark in head[ends[-1] :])
