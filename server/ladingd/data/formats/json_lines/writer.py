"""Writes rows as JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.plan import Column
from ladingd.data.formats.format import Writer
from ladingd.data.formats.json_lines.parser import NUMBER
from ladingd.data.rejects.lines import escaped
from ladingd.data.values import types as field_type
from ladingd.data.values.types import NUMBERS, Kind


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonLinesWriter(Writer):
    """Writes each row as an object. Numbers and booleans are written as such, all else as strings."""

    columns: Sequence[Column]

    def header(self) -> bytes:
        return b""

    def records(self, columns: Sequence[pa.Array]) -> list[bytes | memoryview]:
        parts: list[pa.Array | str] = []
        separator = "{"
        for column, values in zip(self.columns, columns, strict=True):
            parts += [f"{separator}{json.dumps(column.target, ensure_ascii=False)}:", self._values(column, values)]
            separator = ","
        joined = pc.binary_join_element_wise(*parts, "}\n", "")
        _, offsets, data = joined.buffers()
        if data is None:
            return []
        bounds = memoryview(offsets).cast("i")
        return [memoryview(data)[bounds[joined.offset] : bounds[joined.offset + len(joined)]]]

    @staticmethod
    def _values(column: Column, values: pa.Array) -> pa.Array:
        filled = pc.fill_null(values, "") if values.null_count else values
        quoted = pc.binary_join_element_wise('"', escaped(filled), '"', "")
        kind = field_type.parse(column.type).kind
        if kind in NUMBERS or kind is Kind.BOOLEAN:
            pattern = "^(?:true|false)$" if kind is Kind.BOOLEAN else NUMBER
            quoted = pc.if_else(pc.match_substring_regex(filled, pattern), filled, quoted)
        return pc.if_else(pc.is_null(values), "null", quoted) if values.null_count else quoted
