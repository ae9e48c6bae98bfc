"""Delimiters of several bytes, such as ``@@@`` or ``¦``.

Everything that reads delimited text works with one byte as the delimiter. Text with another delimiter is copied with a
byte that does not occur in it, and positions in the copy are translated back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.errors import SourceUnreadable
from ladingd.data.formats.csv.dialect import Dialect

if TYPE_CHECKING:
    from ladingd.data.values.positions import Positions

_SUBSTITUTES = bytes([0x1F, 0x1E, 0x1D, 0x1C, *range(1, 9), *range(0x0E, 0x1C), 0x7F])


@dataclass(frozen=True, kw_only=True, slots=True)
class Narrowed:
    """The copy of a text, in which the delimiter is one byte."""

    data: bytes
    dialect: Dialect
    wide: str
    """The delimiter of the original."""

    def original(self, positions: Positions) -> Positions:
        """Positions of the original for positions in the copy. Each delimiter in the original is longer."""
        places = np.flatnonzero(np.frombuffer(self.data, np.uint8) == ord(self.dialect.delimiter))
        longer = len(self.wide.encode()) - 1
        moved: Positions = positions + longer * np.searchsorted(places, positions, side="left")
        return moved

    def restored(self, column: pa.Array) -> pa.Array:
        """A column of values, with the delimiters that stand in quoted values as the original has them."""
        mark = self.dialect.delimiter
        if pa.types.is_binary(column.type):
            return pc.replace_substring(column, mark.encode(), self.wide.encode())
        return pc.replace_substring(column, mark, self.wide)


def is_wide(dialect: Dialect) -> bool:
    """Whether the delimiter has several bytes."""
    return len(dialect.delimiter.encode()) > 1


def narrow(data: bytes, dialect: Dialect) -> Narrowed:
    """The copy of a text. Raises SourceUnreadable if the text has all bytes that could stand for the delimiter."""
    free = next((code for code in _SUBSTITUTES if bytes([code]) not in data and chr(code) != dialect.quote), None)
    if free is None:
        raise SourceUnreadable(
            f"the text around its delimiter {dialect.delimiter!r} uses every control character: it may be binary"
        )
    mark = chr(free)
    copy = data.replace(dialect.delimiter.encode(), mark.encode())
    return Narrowed(data=copy, dialect=replace(dialect, delimiter=mark), wide=dialect.delimiter)


def with_narrow(data: bytes, dialect: Dialect) -> tuple[bytes, Dialect]:
    """A text and its dialect, with a delimiter of one byte. Raises what `narrow` raises."""
    if not is_wide(dialect):
        return data, dialect
    narrowed = narrow(data, dialect)
    return narrowed.data, narrowed.dialect
