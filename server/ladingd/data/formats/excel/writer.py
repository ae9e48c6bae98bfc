"""Writes rows into the only sheet of a workbook."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import pyarrow as pa

from ladingd.core.errors import SourceUnreadable
from ladingd.data.formats.columnar.writer import ColumnarWriter, batches
from ladingd.data.values.texts import as_text

if TYPE_CHECKING:
    from xlsxwriter.worksheet import Worksheet

_MOST_ROWS, _MOST_COLUMNS, _MOST_CHARACTERS = 1_048_576, 16_384, 32_767
_DIGITS = 15
_FIRST_YEAR = 1900
_PATTERNS = {date: "yyyy-mm-dd", datetime: "yyyy-mm-dd hh:mm:ss", time: "hh:mm:ss"}


@dataclass(frozen=True, kw_only=True)
class ExcelWriter(ColumnarWriter):
    """Writes values as Excel's own, or as text if Excel would change them."""

    title: ClassVar[str] = "Excel"

    def assemble(self, rows: BinaryIO, file: BinaryIO) -> None:
        import xlsxwriter  # Takes 23 ms, which only such an export pays.

        if len(self.columns) > _MOST_COLUMNS:
            raise SourceUnreadable(f"the table has {len(self.columns):,} columns; a sheet holds {_MOST_COLUMNS:,}")
        with xlsxwriter.Workbook(file, {"constant_memory": True}) as book:
            sheet = book.add_worksheet()
            formats = {kind: book.add_format({"num_format": pattern}) for kind, pattern in _PATTERNS.items()}
            for place, column in enumerate(self.columns):
                sheet.write_string(0, place, column.target)
            line = 0
            for batch in batches(rows):
                columns = [_texts(column) if _is_zoned(column) else column.to_pylist() for column in batch.columns]
                for row in zip(*columns, strict=True):
                    line += 1
                    if line >= _MOST_ROWS:
                        raise SourceUnreadable(
                            f"a sheet holds {_MOST_ROWS - 1:,} records and their header, and the table has more: "
                            "export to CSV or Parquet"
                        )
                    for place, value in enumerate(row):
                        _write(sheet, line, place, value, formats)


def _is_zoned(column: pa.Array) -> bool:
    return bool(pa.types.is_timestamp(column.type) and column.type.tz)


def _texts(column: pa.Array) -> list[str | None]:
    return as_text(column).to_pylist()  # type: ignore[no-any-return]


def _write(sheet: Worksheet, line: int, place: int, value: Any, formats: dict[type, Any]) -> None:
    match value:
        case None:
            return
        case bool():
            sheet.write_boolean(line, place, value)
        case int() | float() | Decimal() if _is_exact(value):
            sheet.write_number(line, place, float(value))
        case date() if value.year >= _FIRST_YEAR and not _has_micros(value):
            sheet.write_datetime(line, place, value, formats[type(value)])
        case time() if not _has_micros(value):
            sheet.write_datetime(line, place, value, formats[time])
        case _:
            text = value.isoformat(" ") if isinstance(value, datetime) else str(value)
            if len(text) > _MOST_CHARACTERS:
                raise SourceUnreadable(
                    f"a cell holds {_MOST_CHARACTERS:,} characters, and a value of record {line:,} has {len(text):,}: "
                    "export to CSV or Parquet"
                )
            sheet.write_string(line, place, text)


def _is_exact(value: float | Decimal) -> bool:
    """Whether Excel keeps a number. It has 15 digits."""
    if isinstance(value, float):
        return math.isfinite(value)
    return len(str(value).strip("-0").replace(".", "")) <= _DIGITS


def _has_micros(value: date | time) -> bool:
    """Whether Excel would round a time: it keeps milliseconds."""
    return isinstance(value, datetime | time) and value.microsecond % 1000 > 0
