"""Detects the dialect of a delimited file: its delimiter, and whether a backslash escapes quotes."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import cache
from itertools import islice, pairwise
from typing import TYPE_CHECKING

from ladingd.data.formats.csv.boundaries import frame
from ladingd.data.formats.csv.dialect import Dialect
from ladingd.data.formats.csv.quoting import grammar_of
from ladingd.data.formats.lines import without_line_end

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from ladingd.core.spec import CsvFormat

_DELIMITERS = ",;\t|"

_WIDEST_SNIFFED = 5000
"""A line with more delimiters is not given to DuckDB, which takes 15 KB for each column."""

_ESCAPE = "\\"

_RECORDS = 50
"""The number of records that decide on the delimiter."""


def detect(head: bytes, wanted: CsvFormat, *, final: bool) -> Dialect:
    """The dialect of a file, from its head. The spec takes precedence. ``final``: the head is the whole file."""
    quote = wanted.quote or '"'
    delimiter = wanted.delimiter or _sniff(head, quote) or _reason(head, quote, final=final)
    dialect = Dialect(delimiter=delimiter, quote=quote)
    return replace(dialect, escape=_find_escape(head, dialect, final=final))


def count_fields(record: bytes, dialect: Dialect, limit: int) -> int:
    """The number of fields of a record that is not refused, counted up to ``limit``."""
    return sum(1 for _ in islice(grammar_of(dialect).split(record), limit))


def _sniff(head: bytes, quote: str) -> str | None:
    """The delimiter that DuckDB detects; None if it finds one column or nothing."""
    first_line = _first_line(head)
    if max(first_line.count(mark.encode()) for mark in _DELIMITERS) > _WIDEST_SNIFFED:
        return None
    import duckdb  # The import takes 100 ms, and only a plan needs it.

    # DuckDB reads a copy of the head in memory: a second open by name could find another file.
    descriptor = os.memfd_create("head", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, head)
        query = "SELECT Delimiter, len(Columns) FROM sniff_csv(?, ignore_errors = true, skip = 0, quote = ?)"
        found = _sniffer().execute(query, [f"/proc/self/fd/{descriptor}", quote]).fetchone()
    except duckdb.Error:
        return None  # `_most_regular` follows, which always finds one.
    finally:
        os.close(descriptor)
    return found[0] if found is not None and len(found[0]) == 1 and found[1] > 1 else None


@cache
def _sniffer() -> DuckDBPyConnection:
    """One connection for the process: opening one takes ten times as long as a detection."""
    import duckdb

    return duckdb.connect(config={"threads": 1, "autoinstall_known_extensions": False})


def _reason(head: bytes, quote: str, *, final: bool) -> str:
    """The delimiter by which the most records have as many fields as the first record; among equals, the one with the
    most fields."""

    def score(mark: str) -> tuple[int, int]:
        dialect = Dialect(delimiter=mark, quote=quote)
        records = _records(head, dialect, final=final)
        first, *others = (count_fields(record, dialect, _WIDEST_SNIFFED) for record in records)
        return (1 + others.count(first), first) if first > 1 else (0, 0)

    return max((mark for mark in _DELIMITERS if mark != quote), key=score)


def _records(head: bytes, dialect: Dialect, *, final: bool) -> list[bytes]:
    """Some of the first records. A record that continues after the head counts with its first line."""
    frames = frame(head, dialect, final=final)
    ends = [0, *frames.record_ends[:_RECORDS].tolist()]
    records = [
        without_line_end(head[start:end])
        for index, (start, end) in enumerate(pairwise(ends))
        if index not in frames.refused
    ]
    return records or [_first_line(head).replace(dialect.quote.encode(), b"")]


def _first_line(head: bytes) -> bytes:
    return re.split(rb"[\r\n]", head, maxsplit=1)[0]


def _find_escape(head: bytes, dialect: Dialect, *, final: bool) -> str:
    """A backslash, where quoted fields are regular only if it escapes quotes; empty where the rule does without.

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
