"""Writes rows as elements."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.errors import SourceUnreadable
from ladingd.core.plan import Column
from ladingd.data.formats.format import Writer
from ladingd.data.formats.xml.names import SCHEMA_INSTANCE, tags_of
from ladingd.data.rejects.lines import content

_ROOT, _RECORD = "records", "record"
_ESCAPES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\r", "&#13;"))
_IMPOSSIBLE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_MAY_BE_IMPOSSIBLE = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]")


@dataclass(frozen=True, kw_only=True, slots=True)
class XmlWriter(Writer):
    """Writes each row as an element with a child for each column. Null is ``xsi:nil``, empty text an empty element."""

    columns: Sequence[Column]

    def header(self) -> bytes:
        for column in self.columns:
            _check(column.target, f"the name of the column {column.target!r}")
        namespace = SCHEMA_INSTANCE.strip("{}")
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<{_ROOT} xmlns:xsi="{namespace}">\n'.encode()

    def footer(self) -> bytes:
        return f"</{_ROOT}>\n".encode()

    def records(self, columns: Sequence[pa.Array]) -> list[bytes | memoryview]:
        parts: list[pa.Array | str] = []
        before = f"<{_RECORD}>"
        for column, values in zip(self.columns, columns, strict=True):
            start, end = tags_of(column.target, _RECORD)
            escaped = _escaped(column, values)
            element = pc.binary_join_element_wise(f"<{start}>", escaped, f"</{end}>", "")
            if values.null_count:
                element = pc.if_else(pc.is_null(values), f'<{start} xsi:nil="true"/>', element)
            parts += [before, element]
            before = ""
        joined = pc.binary_join_element_wise(*parts, f"</{_RECORD}>\n", "")
        return [memoryview(content(joined))]


def _escaped(column: Column, values: pa.Array) -> pa.Array:
    filled = pc.fill_null(values, "") if values.null_count else values
    data = content(filled).to_pybytes()
    if _MAY_BE_IMPOSSIBLE.search(data):
        for text in filled.to_pylist():
            _check(text, f"a value of column {column.target}")
    for mark, escape in _ESCAPES:
        if mark.encode() in data:
            filled = pc.replace_substring(filled, mark, escape)
    return filled


def _check(text: str, what: str) -> None:
    """Raise SourceUnreadable if XML cannot hold a text."""
    if found := _IMPOSSIBLE.search(text):
        raise SourceUnreadable(
            f"{what} contains the character U+{ord(found[0]):04X}, which XML cannot hold: export to CSV or JSON Lines"
        )
