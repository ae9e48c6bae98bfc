"""Reads the beginning of a file of JSON Lines: the columns, their types, and a sample of the records."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.errors import InvalidSpec
from ladingd.data.formats.format import UNKNOWN_LINE
from ladingd.data.formats.json_lines.parser import ABSENT, BLANK, NUMBER, NotARecord, Record, fields_of, prefixes_of
from ladingd.data.formats.lines import FILE_FIELD, RECORD_LIMIT, decodable, unique_names
from ladingd.data.formats.options import is_flattened
from ladingd.data.values import types as field_type
from ladingd.data.values.inference import infer
from ladingd.data.values.types import EXACT_DIGITS, NUMBERS, FieldType, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ladingd.data.files.roots import Source
    from ladingd.data.formats.format import Outline
    from ladingd.data.formats.json_lines.parser import Value
    from ladingd.data.formats.lines import Beginning

_NUMBER = re.compile(NUMBER)

HEAD = 1 << 20
"""The columns and their types are taken from this many bytes at the beginning of a file."""

SAMPLED = 2_000
"""The most records of the head that are parsed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The columns of the first records, with their values as text."""

    names: list[str]
    columns: list[pa.Array]
    lines: list[int]
    """The line of each record."""
    types: dict[str, FieldType]
    """The types of the columns for which JSON itself decides them."""
    raw: list[bytes]
    """The records as the file has them."""
    whole: bool
    """The file has no other records."""


def read_head(source: Source, beginning: Beginning, size: int, column_limit: int, *, flatten: bool) -> Head:
    """Read the first records. Raises InvalidSpec if they name no columns."""
    first_line = 1 + beginning.lines
    head, whole = _head(source, beginning.start, size)
    lines = decodable(head, source.path, beginning, whole=whole).splitlines() if head else []
    numbered = ((first_line + number, line) for number, line in enumerate(lines[:SAMPLED]) if line.strip(BLANK))
    return head_of(numbered, source.path, column_limit, whole=whole and len(lines) <= SAMPLED, flatten=flatten)


def head_of(texts: Iterable[tuple[int, bytes]], path: str, column_limit: int, *, whole: bool, flatten: bool) -> Head:
    """The head that these records are, each with its line. ``whole``: the file has no others. ``flatten``: the fields
    of nested objects are columns.

    Raises InvalidSpec if none is a record, or if they name no columns.
    """
    names: dict[str, None] = {}
    records: list[tuple[int, Record]] = []
    raw: list[bytes] = []
    problem = ""
    for number, text in texts:
        try:
            fields = fields_of(text, flatten=flatten)
        except NotARecord as error:
            problem = problem or f"{path}, line {number:,}: {error}"
            continue
        names.update(dict.fromkeys(fields))
        records.append((number, fields))
        raw.append(text)
    if problem and not records:
        raise InvalidSpec(FILE_FIELD, problem)
    if flatten:
        # An object that is null in some records is no column.
        filled = {name for _, fields in records for name, value in fields.items() if value[0] is not None}
        for name in prefixes_of(names) - filled:
            names.pop(name, None)
    if len(names) > column_limit:
        raise InvalidSpec(FILE_FIELD, f"{path} has {len(names):,} columns; at most {column_limit:,} can be imported")
    if records and not names:
        raise InvalidSpec(FILE_FIELD, f"{path}: the first records have no keys, so there are no columns")
    columns = [[fields.get(name, ABSENT) for _, fields in records] for name in names]
    arrays = [pa.array([text for text, _ in column], pa.string()) for column in columns]
    types = {
        name: _type_of(values, [text for text, quoted in column if quoted], column)
        for name, values, column in zip(names, arrays, columns, strict=True)
    }
    return Head(
        names=unique_names(list(names), path),
        columns=arrays,
        lines=[line for line, _ in records],
        types={name: kind for name, kind in types.items() if kind is not None},
        raw=raw,
        whole=whole,
    )


def learned(outline: Outline, records: Sequence[bytes], path: str, column_limit: int) -> Outline:
    """The outline with the columns and types of further records. Raises InvalidSpec."""
    lines = [*outline.lines, *[UNKNOWN_LINE] * len(records)]
    texts = zip(lines, [*outline.raw, *records], strict=True)
    head = head_of(texts, path, column_limit, whole=False, flatten=is_flattened(outline.layout))
    return replace(outline, names=head.names, columns=head.columns, lines=head.lines, types=head.types, raw=head.raw)


def _head(source: Source, start: int, size: int) -> tuple[bytes, bool]:
    """The whole lines at the beginning, at least one, and whether they are the whole file."""
    end = min(start + HEAD, size)
    text = source.read(start, end)
    if end < size and b"\n" not in text:
        end = min(start + RECORD_LIMIT + 1, size)
        text = source.read(start, end)
    if end == size:
        return text, True
    if b"\n" not in text:
        raise InvalidSpec(FILE_FIELD, f"{source.path}: the first record has more than {RECORD_LIMIT:,} bytes")
    return text[: text.rindex(b"\n") + 1], False


def _type_of(values: pa.Array, strings: list[str | None], column: Sequence[Value]) -> FieldType | None:
    """The type of a column if JSON decides it: strings are text, numbers are numbers. None: its text decides."""
    present = sum(text is not None for text, _ in column)
    kind = infer(values)
    is_plain = kind.kind in NUMBERS or kind.kind is Kind.BOOLEAN
    if strings:
        return field_type.TEXT if is_plain or len(strings) < present else None
    numbers = values.drop_null()
    if is_plain and (kind.kind is not Kind.DECIMAL or _have_scale(numbers, kind.scale)):
        return kind
    if is_plain or kind.kind is Kind.TEXT:
        if len(numbers) and all(map(_is_kept_by_double, numbers.to_pylist())):
            return FieldType(kind=Kind.REAL)
        return field_type.TEXT if is_plain else None
    return None


def _is_kept_by_double(text: str) -> bool:
    """Whether a text is a JSON number all of whose digits a double keeps. Some programs write 17 for every double."""
    if _NUMBER.match(text) is None:
        return False
    if len(text) <= EXACT_DIGITS and isfinite(float(text)):
        return True
    number = Decimal(text)
    digits = len(number.as_tuple().digits)
    return Decimal(f"{float(text):.{digits - 1}e}") == number


def _have_scale(numbers: pa.Array, scale: int) -> bool:
    """Whether all numbers have as many places. JSON writes others as reals."""
    return bool(pc.all(pc.match_substring_regex(numbers, rf"\.[0-9]{{{scale}}}$")).as_py())
