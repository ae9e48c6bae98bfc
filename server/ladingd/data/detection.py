"""What a delimited file is like: its delimiter, its quote, whether it has a header."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import Dialect
from ladingd.core.spec import CsvFormat, Header
from ladingd.data.framing import frame
from ladingd.data.parse import parse

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_DELIMITERS = ",;\t|"
_NUMBER_OR_DATE = re.compile(r"[+-]?[0-9.,]+|[0-9]{4}-[0-9]{2}-[0-9]{2}.*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """A dialect, and whether the first record names the columns."""

    dialect: Dialect
    header: bool
    doubt: str = ""
    """Why the header may be seen wrongly, and what to do then."""


def detect(head: bytes, wanted: CsvFormat) -> Layout:
    """The layout of a file by its head, which ends with a whole line. What the spec says is not questioned."""
    check_format(wanted)
    quote = wanted.quote or '"'
    if wanted.delimiter and wanted.header is not Header.DEFAULT:
        dialect = Dialect(delimiter=wanted.delimiter, quote=quote)
        return Layout(dialect=dialect, header=wanted.header is Header.PRESENT)
    delimiter, header = _sniff(head, wanted, quote) or _reason(head, wanted, quote)
    if wanted.header is not Header.DEFAULT:
        header = wanted.header is Header.PRESENT
    return Layout(dialect=Dialect(delimiter=delimiter, quote=quote), header=header)


def check_format(wanted: CsvFormat) -> None:
    """Raises InvalidSpec for a delimiter or a quote that cannot be one."""
    for field, mark in (("csv.delimiter", wanted.delimiter), ("csv.quote", wanted.quote)):
        if mark and (len(mark) != 1 or not mark.isascii() or mark in "\r\n\0"):
            raise InvalidSpec(field, f"{mark!r} is not one ASCII character that can stand within a line")
    if wanted.delimiter and wanted.delimiter == (wanted.quote or '"'):
        raise InvalidSpec("csv.delimiter", "must not be the quote")


def _sniff(head: bytes, wanted: CsvFormat, quote: str) -> tuple[str, bool] | None:
    """Delimiter and header as DuckDB sees them; None where it sees no more than one column, or nothing at all."""
    import duckdb  # costs 100 ms, and only a plan needs it

    # The file is never opened a second time by its name: DuckDB reads a copy of the head in memory.
    descriptor = os.memfd_create("head", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, head)
        options = ["ignore_errors = true", "skip = 0", "quote = ?"]
        values = [f"/proc/self/fd/{descriptor}", quote]
        if wanted.delimiter:
            options.append("delim = ?")
            values.append(wanted.delimiter)
        query = f"SELECT Delimiter, HasHeader, len(Columns) FROM sniff_csv(?, {', '.join(options)})"  # noqa: S608 - the options are ours
        found = _sniffer().execute(query, values).fetchone()
    except duckdb.Error:
        return None  # our own reasoning follows, which always comes to a result
    finally:
        os.close(descriptor)
    if found is None or len(found[0]) != 1 or (found[2] < 2 and not wanted.delimiter):
        return None
    return found[0], bool(found[1])


@cache
def _sniffer() -> DuckDBPyConnection:
    """Made once in a process: to make one takes ten times as long as to look at a file with it."""
    import duckdb

    return duckdb.connect(config={"threads": 1, "autoinstall_known_extensions": False})


def _reason(head: bytes, wanted: CsvFormat, quote: str) -> tuple[str, bool]:
    """The delimiter that parts the first record into the most fields, and a header if none of them is a number."""
    candidates = wanted.delimiter or "".join(mark for mark in _DELIMITERS if mark != quote)
    fields = {mark: first_record(head, Dialect(delimiter=mark, quote=quote)) for mark in candidates}
    delimiter = max(candidates, key=lambda mark: len(fields[mark]))
    header = not any(name is not None and _NUMBER_OR_DATE.fullmatch(name) for name in fields[delimiter])
    return delimiter, header


def first_record(head: bytes, dialect: Dialect) -> list[str | None]:
    """The fields of the first record."""
    ends = frame(head, dialect, final=True).record_ends
    record = head[: ends[0]] if ends.size else head
    width = 1
    while True:
        parsed = parse(record, dialect, width)
        if not parsed.misshapen:
            return [column[0].as_py() for column in parsed.columns]
        width = parsed.misshapen[0].columns
