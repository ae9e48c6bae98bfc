"""Writes columns of text as delimited records."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.formats.csv.dialect import Dialect
from ladingd.data.formats.format import Writer

# A constant: creating a scalar takes longer than its use.
_NOTHING, _NEWLINE = pa.scalar(""), pa.scalar("\n")


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvWriter(Writer):
    """Quotes only the values that need it. Null is an empty field without quotes, empty text one with quotes.

    A null that is the only value of its record is quoted as well: an empty line would not be a record.
    """

    delimited: ClassVar[bool] = True
    dialect: Dialect
    names: Sequence[str] = ()
    """The names in the header; empty: the file has no header."""

    def header(self) -> bytes:
        """The record with the names of the columns."""
        return b"".join(self.records([pa.array([name]) for name in self.names])) if self.names else b""

    def records(self, columns: Sequence[pa.Array]) -> list[bytes | memoryview]:
        fields = [self._fields(column, alone=len(columns) == 1) for column in columns]
        fields[-1] = pc.binary_join_element_wise(fields[-1], _NEWLINE, _NOTHING)
        joined = pc.binary_join_element_wise(*fields, self.dialect.delimiter)
        _, offsets, values = joined.buffers()
        if values is None:
            return []
        bounds = memoryview(offsets).cast("i")
        return [memoryview(values)[bounds[joined.offset] : bounds[joined.offset + len(joined)]]]

    def _fields(self, column: pa.Array, *, alone: bool) -> pa.Array:
        nulls_are_quoted = alone and column.null_count > 0
        plain = pc.fill_null(column, _NOTHING) if column.null_count else column
        if not nulls_are_quoted and not self._may_need_quotes(column):
            return plain
        quote, mark = self.dialect.quote, pa.scalar(self.dialect.quote)
        special = f"^$|[{''.join(re.escape(text) for text in self._specials)}]"
        needy = pc.fill_null(pc.match_substring_regex(column, special), nulls_are_quoted)
        inner = pc.replace_substring(plain, quote, quote * 2)
        return pc.if_else(needy, pc.binary_join_element_wise(mark, inner, mark, _NOTHING), plain)

    @property
    def _specials(self) -> tuple[str, ...]:
        # A reader would take U+FEFF at the beginning of a file for a byte order mark.
        return self.dialect.delimiter, self.dialect.quote, "\r", "\n", "\ufeff"

    def _may_need_quotes(self, column: pa.Array) -> bool:
        """Quotes the values of a column. Most columns have none that needs quotes, which one look at all values
        shows."""
        if pc.min(pc.binary_length(column)).as_py() == 0:
            return True
        values = column.buffers()[2]
        data = b"" if values is None else values.to_pybytes()
        return any(text.encode() in data for text in self._specials)
