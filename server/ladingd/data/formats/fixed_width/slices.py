"""Slices lines at the places of the columns. Places count characters: those of UTF-8 are found first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.formats.fixed_width.widths import Widths
from ladingd.data.values.positions import Positions

if TYPE_CHECKING:
    from ladingd.data.formats.lines import RecordPlaces

_ENDLESS = 1 << 30
_BLANKS = " \r\n"

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Slices:
    """The parts of some records: for each record as many as ``widths`` has, and the rest of its line."""

    data: bytes
    starts: Positions
    contents: Positions
    """The ends of the records, without their line ends."""
    widths: Widths

    @classmethod
    def of(cls, data: bytes, places: RecordPlaces, widths: Widths) -> Slices:
        """The records at these places."""
        codes = np.frombuffer(data, np.uint8)
        ends = places.ends
        for mark in b"\n\r":
            ends = ends - ((ends > places.starts) & (codes.take(ends - 1, mode="clip") == mark))
        return cls(data=data, starts=places.starts, contents=ends, widths=widths)

    @property
    def number(self) -> int:
        """How many parts each record has."""
        return len(self.widths.parts) + 1

    @cached_property
    def _reach(self) -> npt.NDArray[np.int32]:
        """Where each part would end if every line were long enough: a row for each record."""
        places = np.array([*self.widths.places, _ENDLESS if self.widths.is_open else self.widths.total], np.int32)
        reach: npt.NDArray[np.int32] = self.starts.astype(np.int32)[:, None] + places
        if not self.data.isascii():
            reach[:, 1:] += self._further_bytes(places)[:, 1:]
        return reach

    def _further_bytes(self, places: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """How many bytes before each part are not the first one of their character: a row for each record."""
        further = np.flatnonzero((np.frombuffer(self.data, np.uint8) & 0xC0) == 0x80)
        records = np.searchsorted(self.starts, further, side="right") - 1
        before = np.arange(further.size) - np.searchsorted(further, self.starts)[records]
        characters = further - self.starts[records] - before - 1
        followers = np.searchsorted(places, characters, side="right")
        within = followers < places.size
        parts = records[within] * places.size + followers[within]
        counts = np.bincount(parts, minlength=self.starts.size * places.size).reshape(-1, places.size)
        return np.cumsum(counts, axis=1, dtype=np.int32)

    @cached_property
    def short(self) -> Flags:
        """Which lines end before their last column does, or begins if it takes the rest."""
        column = -2 if self.widths.is_open else -1
        short: Flags = self._reach[:, column] > self.contents
        return short

    def fills(self, place: int) -> Flags:
        """Which lines have text at the last character of a part."""
        ends = self._reach[:, place + 1]
        codes = np.frombuffer(self.data, np.uint8).take(ends - 1, mode="clip")
        filled: Flags = (ends <= self.contents) & (codes != ord(" "))
        return filled

    @cached_property
    def parts(self) -> pa.Array:
        """All parts of all records, without the blanks around them."""
        bounds = np.minimum(self._reach, self.contents.astype(np.int32)[:, None])
        offsets = np.append(bounds.ravel(), np.int32(len(self.data)))
        pieces = pa.Array.from_buffers(
            pa.string(), offsets.size - 1, [None, pa.py_buffer(offsets), pa.py_buffer(self.data)]
        )
        return pc.ascii_trim(pieces, _BLANKS)  # Looks at bytes, which need not be UTF-8.

    @cached_property
    def lengths(self) -> Positions:
        """The length in bytes of each part: a row for each record."""
        offsets = np.frombuffer(self.parts.buffers()[1], np.int32)[: len(self.parts) + 1]
        return np.diff(offsets).reshape(-1, self.number)

    def part(self, place: int, records: Positions) -> pa.Array:
        """One part of these records."""
        return self.parts.take(pa.array(records * self.number + place))

    def column(self, number: int, records: Positions) -> pa.Array:
        """One column of these records. Null: blanks only."""
        place = self.widths.columns[number]
        values = self.part(place, records)
        filled = self.lengths[records, place] > 0
        if filled.all():
            return values
        bits = pa.py_buffer(np.packbits(filled, bitorder="little"))
        return pa.Array.from_buffers(values.type, len(values), [bits, *values.buffers()[1:]])

    def line(self, record: int) -> str:
        """One record without its line end."""
        return self.data[self.starts[record] : self.contents[record]].decode(errors="replace")
