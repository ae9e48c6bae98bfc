"""Writes columns of text as delimited records."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.plan import Dialect

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvWriter:
    """Quotes what needs it. Null is an unquoted nothing, empty text a quoted one.

    A null that is alone in its record is quoted as well: an empty line would be no record at all.
    """

    dialect: Dialect

    def header(self, names: Sequence[str]) -> bytes:
        """The record with the names of the columns."""
        return b"".join(self.records([pa.array([name]) for name in names]))

    def records(self, columns: Sequence[pa.Array]) -> list[bytes | memoryview]:
        """The records of some rows, in pieces."""
        fields = [self._fields(column, alone=len(columns) == 1) for column in columns]
        fields[-1] = pc.binary_join_element_wise(fields[-1], "\n", "")
        joined = pc.binary_join_element_wise(*fields, self.dialect.delimiter)
        _, offsets, values = joined.buffers()
        if values is None:
            return []
        bounds = memoryview(offsets).cast("i")
        return [memoryview(values)[bounds[joined.offset] : bounds[joined.offset + len(joined)]]]

    def _fields(self, column: pa.Array, *, alone: bool) -> pa.Array:
        quote, delimiter = self.dialect.quote, self.dialect.delimiter
        # U+FEFF at the beginning of a file would be taken for a byte order mark.
        special = f"^$|[{re.escape(delimiter)}{re.escape(quote)}\r\n\ufeff]"
        needy = pc.fill_null(pc.match_substring_regex(column, special), alone)
        plain = pc.fill_null(column, "")
        if not pc.any(needy, min_count=0).as_py():
            return plain
        inner = pc.replace_substring(plain, quote, quote * 2)
        return pc.if_else(needy, pc.binary_join_element_wise(quote, inner, quote, ""), plain)
