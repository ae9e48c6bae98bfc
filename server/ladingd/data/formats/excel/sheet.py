"""Reads a sheet of a workbook, whole: calamine has no other way."""

from __future__ import annotations

import gc
import io
import re
import zipfile
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.formats.columnar.rows import Damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from python_calamine import CalamineWorkbook

    Row = Sequence[Any]

UNPACKED_LIMIT = 2 << 30
"""The most bytes to which a workbook is unpacked."""

_RANGE = re.compile(r"\$?([A-Z]{1,3})\$?([0-9]{0,7}):\$?([A-Z]{1,3})\$?([0-9]{0,7})", re.IGNORECASE)
_EXACT = 1 << 53
_ERRORS = re.compile(rb'<c [^>]*t="e"')
_FORMULAS = re.compile(rb"(?:</f>|<f\b[^<>]*/>)(?:<v\s*/>|<v></v>|</c>)")
"""A formula without a stored value."""
_BEGINNING = 8 << 20
"""How much of a sheet is looked at for what calamine does not tell from empty cells."""


class Range(NamedTuple):
    """Cells of a sheet. Rows and columns count from 0; the ends are exclusive, and None is the end of the sheet."""

    top: int = 0
    left: int = 0
    bottom: int | None = None
    right: int | None = None

    @classmethod
    def parse(cls, text: str) -> Range:
        """A range such as ``B3:F200`` or ``B:F``. Raises ValueError."""
        if not text:
            return cls()
        match = _RANGE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is not a range of cells: write it like B3:F200 or B:F")
        left, top, right, bottom = match.groups()
        found = cls(int(top or 1) - 1, _column_number(left), int(bottom) if bottom else None, _column_number(right) + 1)
        if found.top < 0 or found.right <= found.left or (found.bottom is not None and found.bottom <= found.top):  # type: ignore[operator]
            raise ValueError(f"{text!r} has no cells: write it from the upper left to the lower right")
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """The filled cells of a sheet, without the rows before the first and the columns left of the first."""

    name: str
    others: Sequence[str]
    """The names of the other sheets."""
    rows: Sequence[Row]
    """All rows have the same length. An empty cell is an empty string, and so is an error."""
    first_line: int
    """The number of the first row in the sheet, counted from 1."""
    errors: int
    """How many cells near the beginning hold an error such as #N/A."""
    formulas: int
    """How many cells near the beginning hold a formula without its value."""


def read_sheet(data: bytes, wanted: str, cells: Range) -> Sheet:
    """Read a sheet by its name or its number from 1; without either, the first visible one. Raises Damaged."""
    import python_calamine as calamine  # Only jobs with workbooks need it.

    _check_size(data)
    try:
        with calamine.CalamineWorkbook.from_filelike(io.BytesIO(data)) as book:
            name = _chosen(book, wanted)
            sheet = book.get_sheet_by_name(name)
            rows = sheet.to_python()
            others = [other for other in book.sheet_names if other != name]
            number = book.sheet_names.index(name)
    except calamine.PasswordError as error:
        raise Damaged("is encrypted: save it without a password") from error
    except calamine.CalamineError as error:
        raise Damaged(f"cannot be read as an Excel workbook: {error}") from error
    top, left = sheet.start or (0, 0)
    upper, lefter = max(cells.top - top, 0), max(cells.left - left, 0)
    lower = None if cells.bottom is None else max(cells.bottom - top, 0)
    righter = None if cells.right is None else max(cells.right - left, 0)
    if (upper, lefter, lower, righter) != (0, 0, None, None):
        rows = [row[lefter:righter] for row in rows[upper:lower]]
    beginning = _beginning(data, number)
    return Sheet(
        name=name,
        others=others,
        rows=rows,
        first_line=1 + top + upper,
        errors=len(_ERRORS.findall(beginning)),
        formulas=len(_FORMULAS.findall(beginning)),
    )


@contextmanager
def without_collection() -> Iterator[None]:
    """Let the garbage collector rest while millions of cells are made, none of which it could free."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def column_of(values: Sequence[Any]) -> pa.Array:
    """The cells of a column, with the type that all of them have; text if they differ."""
    kinds = set(map(type, values))
    if kinds <= {str}:
        texts = pa.array(values, pa.string())
        return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
    cells = values
    if str in kinds:
        cells = [None if value == "" else value for value in values]
        kinds = set(map(type, cells)) - {type(None)}
    if kinds <= {int, float}:
        numbers = pa.array(cells, pa.float64())
        whole = pc.all(pc.and_(pc.equal(pc.floor(numbers), numbers), pc.less(pc.abs(numbers), _EXACT)), min_count=0)
        return numbers.cast(pa.int64()) if whole.as_py() is not False else numbers
    if kinds == {bool}:
        return pa.array(cells, pa.bool_())
    if kinds == {date}:
        return pa.array(cells, pa.date32())
    if kinds <= {date, datetime}:
        moments = [datetime.combine(value, time()) if type(value) is date else value for value in cells]
        return pa.array(moments, pa.timestamp("us"))
    if kinds == {time}:
        return pa.array(cells, pa.time64("us"))
    return pa.array([None if value is None else text_of(value) for value in cells], pa.string())


def text_of(cell: Any) -> str:
    """A cell as text."""
    match cell:
        case bool():
            return str(cell).lower()
        case float():
            return str(int(cell)) if cell.is_integer() and abs(cell) < _EXACT else str(cell)
        case datetime():
            return cell.isoformat(" ")
        case timedelta():
            seconds = cell // timedelta(seconds=1)
            return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        case date() | time():
            return cell.isoformat()
    return str(cell)


def _chosen(book: CalamineWorkbook, wanted: str) -> str:
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    names = book.sheet_names
    if wanted in names:
        return wanted
    listed = ", ".join(map(repr, names))
    if wanted.isdigit():
        if 1 <= int(wanted) <= len(names):
            return names[int(wanted) - 1]
        raise Damaged(f"has no sheet {wanted}; it has {len(names)}: {listed}")
    if wanted:
        raise Damaged(f"has no sheet {wanted!r}; it has {listed}")
    visible = [
        sheet.name
        for sheet in book.sheets_metadata
        if sheet.visible == SheetVisibleEnum.Visible and sheet.typ == SheetTypeEnum.WorkSheet
    ]
    if not names:
        raise Damaged("has no sheet")
    return (visible or names)[0]


def _check_size(data: bytes) -> None:
    if not data.startswith(b"PK"):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise Damaged(f"is a damaged Excel workbook: {error}") from error
    if size > UNPACKED_LIMIT:
        raise Damaged(f"unpacks to {size:,} bytes; at most {UNPACKED_LIMIT:,} can be read: save it as CSV")


def _beginning(data: bytes, number: int) -> bytes:
    """The beginning of a sheet as it is stored; empty if it is not XML in a ZIP archive."""
    if not data.startswith(b"PK"):
        return b""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = f"xl/worksheets/sheet{number + 1}.xml"
        if name not in archive.namelist():
            return b""
        with archive.open(name) as sheet:
            return sheet.read(_BEGINNING)


def _column_number(letters: str) -> int:
    number = 0
    for letter in letters.upper():
        number = 26 * number + ord(letter) - ord("A") + 1
    return number - 1
