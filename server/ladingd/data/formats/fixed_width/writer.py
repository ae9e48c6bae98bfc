"""Writes columns of text as lines of fixed width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.errors import InvalidSpec, SourceUnreadable
from ladingd.core.plan import Column
from ladingd.data.formats.fixed_width.widths import FIELD, REST, Part, Wanted, Widths
from ladingd.data.formats.format import Writer
from ladingd.data.values import types as field_type
from ladingd.data.values.names import fold
from ladingd.data.values.types import NUMBERS, Kind

_FORBIDDEN = ("\n", "\r", "\t", "\x0c", "\x1a", "\ufeff")
"""What a reader would take for the end of a line, a file or a column."""

_LENGTHS = {
    Kind.INTEGER: len(str(-(1 << 63))),
    Kind.REAL: 24,
    Kind.BOOLEAN: len("false"),
    Kind.DATE: len("2024-12-31"),
    Kind.TIME: len("12:30:59.123456"),
    Kind.TIMESTAMP: len("2024-12-31 12:30:59.123456"),
    Kind.TIMESTAMPTZ: len("2024-12-31 12:30:59.123456+00:00"),
    Kind.UUID: 36,
}
"""The longest usual value of each type. Text has none."""


def widths_for(columns: Sequence[Column], wanted: Wanted, *, header: bool) -> Widths:
    """The widths of an export. A column that the user gives no width gets one by its type, and a blank behind it.

    Raises InvalidSpec if the type does not tell.
    """
    given = _given(columns, wanted)
    gaps = [part for part in wanted.parts if part.is_gap]
    if gaps and wanted.names:
        raise InvalidSpec(
            FIELD, f"has {gaps[0]} between widths with names: give the widths of all columns, without names"
        )
    unknown = [column.target for column in columns if column.target not in given and not _length(column)]
    if unknown:
        example = [*(f"{name}={width or '*'}" for name, width in given.items()), *(f"{name}=40" for name in unknown)]
        raise InvalidSpec(
            FIELD,
            f"lacks a width for {_list(unknown)}, as text may have any length: --widths {','.join(example)}",
        )
    parts: list[Part] = []
    for place, column in enumerate(columns):
        is_last = place + 1 == len(columns)
        if column.target in given:
            _check(column, given[column.target], header=header, is_last=is_last)
            parts.append(Part(given[column.target]))
        else:
            parts.append(Part(max(_length(column), len(column.target) if header else 0)))
            parts += [] if is_last else [Part(1, is_gap=True)]
    return wanted.all if gaps else Widths(parts)


def _check(column: Column, width: int, *, header: bool, is_last: bool) -> None:
    """Raise InvalidSpec if the user gives a column a width that cannot be written."""
    if width == REST and not is_last:
        raise InvalidSpec(FIELD, f"has * for {column.target}, which is not the last column")
    if header and 0 < width < len(column.target):
        raise InvalidSpec(
            FIELD,
            f"gives {width} characters to {column.target}, whose name is longer: --no-header, or "
            f"{column.target}={len(column.target)}",
        )


def _given(columns: Sequence[Column], wanted: Wanted) -> dict[str, int]:
    """The widths that the user gives, by column."""
    if not wanted.names:
        if wanted.widths and len(wanted.widths) != len(columns):
            raise InvalidSpec(
                FIELD,
                f"has {len(wanted.widths)} widths, and the table has {len(columns)} columns: give one for each, "
                f"or name them, as in {columns[0].target}=10",
            )
        return {column.target: width for column, width in zip(columns, wanted.widths, strict=False)}
    known = {fold(column.target): column.target for column in columns}
    given = {}
    for name, width in zip(wanted.names, wanted.widths, strict=True):
        if fold(name) not in known:
            raise InvalidSpec(
                FIELD, f"names {name!r}, and the table has no such column; it has {_list([*known.values()])}"
            )
        given[known[fold(name)]] = width
    return given


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _length(column: Column) -> int:
    """The longest value of a column that is usual or declared; 0: it may have any length."""
    kind = field_type.parse(column.type)
    if kind.kind is Kind.DECIMAL:
        return kind.precision + len("-.")
    return column.length or _LENGTHS.get(kind.kind, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedWidthWriter(Writer):
    """Numbers stand on the right of their column, all else on the left. Null is blanks."""

    columns: Sequence[Column]
    widths: Widths
    named: bool
    """The first line has the names of the columns."""

    def header(self) -> bytes:
        if not self.named:
            return b""
        return b"".join(self.records([pa.array([column.target]) for column in self.columns]))

    def records(self, columns: Sequence[pa.Array]) -> list[bytes | memoryview]:
        places = iter(zip(self.columns, columns, strict=True))
        fields: list[pa.Array | str] = []
        for part in self.widths.parts:
            if part.is_gap:
                fields.append(" " * part.width)
            else:
                column, values = next(places)
                fields.append(_padded(column, values, part.width))
        joined = pc.binary_join_element_wise(*fields, "\n", "")
        _, offsets, data = joined.buffers()
        if data is None:
            return []
        bounds = memoryview(offsets).cast("i")
        return [memoryview(data)[bounds[joined.offset] : bounds[joined.offset + len(joined)]]]


def _padded(column: Column, values: pa.Array, width: int) -> pa.Array:
    """Values of the width of their column. Raises SourceUnreadable if one does not fit."""
    values = pc.fill_null(values, "") if values.null_count else values
    longest = pc.max(pc.utf8_length(values)).as_py() or 0
    if 0 < width < longest:
        raise SourceUnreadable(
            f"the column {column.target} is {width} characters wide, and a value has {longest:,}: "
            f"--widths {column.target}={longest}, or export to CSV"
        )
    data = values.buffers()[2]
    text = b"" if data is None else data.to_pybytes()
    for mark in _FORBIDDEN:
        if mark.encode() in text and pc.any(pc.match_substring(values, mark)).as_py():
            what = "U+FEFF" if mark == "\ufeff" else repr(mark)
            raise SourceUnreadable(
                f"a value of the column {column.target} holds {what}, which a line of fixed width cannot hold: export "
                "to CSV or JSON Lines"
            )
    if not width:
        return values
    is_number = field_type.parse(column.type).kind in NUMBERS
    return (pc.utf8_lpad if is_number else pc.utf8_rpad)(values, width, " ")
