"""Reads a chunk of a file of fixed width into columns of text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.errors import BillImbalance
from ladingd.data.formats.fixed_width.records import LINELESS, places_of
from ladingd.data.formats.fixed_width.slices import Slices
from ladingd.data.formats.fixed_width.widths import Widths
from ladingd.data.formats.format import Origins, Piece
from ladingd.data.formats.lines import RecordPlaces, is_utf8, read_chunk, refused_record
from ladingd.data.rejects.fault import Fault
from ladingd.data.rejects.lines import texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.plan import Chunk, ImportPlan, Layout
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.fixed_width.slices import Flags
    from ladingd.data.values.positions import Positions

WIDTHS, COMMENT, SHORT, FILLED, RULED, BARS = "widths", "comment", "short", "filled", "ruled", "bars"
"""Details of a layout: the widths; how lines begin that are no records; whether blanks complete a short line; whether a
line of dashes gave the widths, and what may stand in the gaps then."""

TAB_IN_RECORD = "TAB_IN_RECORD"
TEXT_BEHIND_COLUMNS = "TEXT_BEHIND_COLUMNS"
TEXT_BETWEEN_COLUMNS = "TEXT_BETWEEN_COLUMNS"
LINE_TOO_SHORT = "LINE_TOO_SHORT"
BROKEN_VALUE = "BROKEN_VALUE"

_SIGNS_OF_END = re.compile(rb"[\x0c\x1a]")
HOLLOW = b" \r\n\x0c\x1a"
"""What a line may consist of that holds no record: printers need a form feed, and old systems end files with Ctrl-Z."""
_FOOTER = re.compile(
    rb"^(?:\([0-9,]+ rows?(?: affected)?\)|[0-9,]+ rows? selected\.| *[0-9]+ record\(s\) selected\.) *\r?$",
    re.MULTILINE,
)
"""The last lines of tables that psql, sqlcmd, db2 and sqlplus write."""


def read_piece(source: Source, plan: ImportPlan, chunk: Chunk) -> Piece:
    """The records of a chunk. Raises SourceChanged, and BillImbalance if their number differs from the cut."""
    if chunk.refused is not None:
        return refused_record(source, plan, chunk, {})
    data = read_chunk(source, plan, chunk)
    places = places_of(data, plan.file.layout)
    if places.ends.size != chunk.records:
        raise BillImbalance(f"chunk {chunk.ordinal} was cut as {chunk.records} records and read as {places.ends.size}")
    return piece_of(data, places, plan.file.layout, [field.name for field in plan.file_columns], chunk.first_line)


def piece_of(data: bytes, places: RecordPlaces, layout: Layout, names: Sequence[str], first_line: int) -> Piece:
    """The records at these places."""
    slices = Slices.of(data, places, Widths.of(layout.details[WIDTHS]))
    empty = _empty(slices, layout)
    faults = _faults(slices, layout, empty, names)
    left_out = empty.copy()
    left_out[list(faults)] = True
    indexes = np.flatnonzero(~left_out)
    columns = [slices.column(number, indexes) for number in range(len(names))]
    if not is_utf8(data):
        columns = [column.view(pa.binary()) for column in columns]
    return Piece(
        columns=columns,
        indexes=indexes,
        origins=FixedOrigins(slices=slices, places=places, first_line=0 if LINELESS in layout.details else first_line),
        faults=[*faults.values()],
        empty=int(empty.sum()),
        nul=b"\0" in data,
    )


@dataclass(frozen=True, kw_only=True)
class FixedOrigins(Origins):
    """The records of a chunk in its bytes."""

    slices: Slices
    places: RecordPlaces
    first_line: int
    """0: the records are no lines."""

    def lines(self, records: Positions) -> Positions:
        return self.first_line + self.places.lines(records) if self.first_line else np.zeros(records.size, np.int64)

    def raw(self, records: Positions) -> pa.Array:
        return texts(self.places.raw(self.slices.data, records))

    def texts(self, records: Positions, column: int) -> pa.Array:
        return texts(self.slices.part(self.slices.widths.columns[column], records).view(pa.binary()))


def _empty(slices: Slices, layout: Layout) -> Flags:
    """Which lines hold no record: blank lines, comments, and the last line of a table that a program has written."""
    data, starts = slices.data, slices.starts
    empty: Flags = np.asarray(slices.lengths.max(axis=1) == 0)
    if b"\x0c" in data or b"\x1a" in data:
        for record in _with(slices, [match.start() for match in _SIGNS_OF_END.finditer(data)]).tolist():
            empty[record] |= not data[starts[record] : slices.contents[record]].strip(HOLLOW)
    codes, comment = np.frombuffer(data, np.uint8), layout.details.get(COMMENT, "").encode()
    if comment and comment in data:
        found: Flags = np.less_equal(starts + len(comment), slices.contents)
        for place, code in enumerate(comment):
            found &= codes.take(starts + place, mode="clip") == code
        empty |= found
    if RULED in layout.details and (b" row" in data or b"record(s)" in data):
        empty[_with(slices, [match.start() for match in _FOOTER.finditer(data)])] = True
    return empty


def _with(slices: Slices, places: list[int]) -> Positions:
    """The records that hold these bytes."""
    return np.unique(np.searchsorted(slices.starts, np.array(places, np.int64), side="right") - 1)


def _faults(slices: Slices, layout: Layout, empty: Flags, names: Sequence[str]) -> dict[int, Fault]:
    """Why records are refused, by their index."""
    widths, lengths = slices.widths, slices.lengths
    faults: dict[int, Fault] = {}
    if b"\t" in slices.data:
        tabs = [match.start() for match in re.finditer(b"\t", slices.data)]
        for record in _with(slices, tabs).tolist():
            if not empty[record]:
                place = slices.line(record).index("\t") + 1
                message = (
                    f"a tab at character {place} has no certain width: replace tabs first, for example with expand"
                )
                faults[record] = Fault(index=record, code=TAB_IN_RECORD, message=message)
    if BARS in layout.details:
        # psql leaves the last character of a column blank, unless a line end in the value breaks it.
        broken = np.logical_or.reduce([slices.fills(part) for part in widths.columns])
        for record in np.flatnonzero((broken | np.append(False, broken[:-1])) & ~empty).tolist():
            message = "a value continues in another line, as psql prints a line end: export the table with psql --csv"
            faults.setdefault(record, Fault(index=record, code=BROKEN_VALUE, message=message))
    for record in np.flatnonzero((lengths[:, -1] > 0) & ~empty).tolist():
        place = _place_of_text(slices.line(record), widths.total)
        message = f"text stands at character {place}, and the last column ends at character {widths.total}"
        faults.setdefault(record, Fault(index=record, code=TEXT_BEHIND_COLUMNS, message=message))
    for gap in widths.gaps:
        filled = np.flatnonzero((lengths[:, gap] > 0) & ~empty)
        if filled.size and BARS in layout.details:
            filled = filled[
                pc.not_equal(slices.part(gap, filled).view(pa.binary()), b"|").to_numpy(zero_copy_only=False)
            ]
        for record in filled.tolist():
            place = _place_of_text(slices.line(record), widths.places[gap])
            column = widths.columns.index(gap - 1) if gap - 1 in widths.columns else 0
            around = " and ".join(names[column : column + 2])
            message = f"text stands at character {place}, between the columns {around}; --widths sets other widths"
            fault = Fault(index=record, code=TEXT_BETWEEN_COLUMNS, message=message, column=names[column])
            faults.setdefault(record, fault)
    if layout.details.get(SHORT) != FILLED:
        for record in np.flatnonzero(slices.short & ~empty).tolist():
            length = len(slices.line(record))
            column = max(n for n, part in enumerate(widths.columns) if n == 0 or widths.places[part] < length)
            last = f"begins behind {widths.total}" if widths.is_open else f"ends at {widths.total}"
            message = (
                f"the line ends at character {length}, and the last column {last}; "
                "if lines may end without their blanks: --ragged fill"
            )
            fault = Fault(index=record, code=LINE_TOO_SHORT, message=message, column=names[column])
            faults.setdefault(record, fault)
    return faults


def _place_of_text(line: str, start: int) -> int:
    """The place of the first character behind ``start`` that is not a blank, counted from 1."""
    return len(line) - len(line[start:].lstrip(" ")) + 1
