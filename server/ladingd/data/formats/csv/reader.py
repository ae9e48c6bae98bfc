"""Reads a chunk of a delimited file: columns of text, and the refused records."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.errors import BillImbalance
from ladingd.core.job import RejectType
from ladingd.core.plan import Chunk
from ladingd.data.formats.csv.dialect import FIELDS, FILL, RAGGED, Dialect
from ladingd.data.formats.csv.parser import parse, record_places
from ladingd.data.formats.csv.quoting import TEXT_AFTER_QUOTE, UNTERMINATED_QUOTE
from ladingd.data.formats.format import Origins, Piece
from ladingd.data.formats.lines import read_chunk, refused_record
from ladingd.data.rejects.fault import Fault
from ladingd.data.rejects.lines import content, texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.plan import ImportPlan
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.lines import RecordPlaces
    from ladingd.data.values.positions import Positions

_REFUSALS = {
    UNTERMINATED_QUOTE: "a quote is opened in this line, and none closes it at the end of a field",
    TEXT_AFTER_QUOTE: "text follows a closing quote before the next delimiter",
}
"""Why the first line of a record whose quotes are not regular is refused."""

QUOTE_KEPT = "QUOTE_KEPT"
_KEPT = "a value begins with a quote that does not enclose it; the value was kept verbatim, with its quotes"


def read_piece(source: Source, plan: ImportPlan, chunk: Chunk) -> Piece:
    """The records of a chunk. Raises SourceChanged, and BillImbalance if their number differs from the cut."""
    if chunk.refused is not None:
        return refused_record(source, plan, chunk, _REFUSALS)
    data = read_chunk(source, plan, chunk)
    dialect, width = Dialect.of(plan.file.layout), fields_of(plan)
    unread = frozenset(place for place, field in enumerate(plan.file_columns) if not field.used)
    parsed = parse(data, dialect, width, fill=plan.file.layout.details.get(RAGGED) == FILL, unread=unread)
    if parsed.records != chunk.records:
        raise BillImbalance(f"chunk {chunk.ordinal} was cut as {chunk.records} records and read as {parsed.records}")
    faults = {each.index: _misshapen(each.index, each.columns, width) for each in parsed.misshapen}
    # A literal quote is only believed if the record has the right number of fields with it.
    misread = faults.keys() & set(parsed.literal)
    for index, code in {**parsed.refused, **dict.fromkeys(misread, TEXT_AFTER_QUOTE)}.items():
        faults[index] = Fault(index=index, code=code, message=_REFUSALS[code])
    warnings = [
        Fault(index=index, code=QUOTE_KEPT, message=_KEPT, type=RejectType.WARNING)
        for index in parsed.literal
        if index not in misread
    ]
    indexes = np.arange(parsed.records, dtype=np.int64)
    if faults or parsed.skipped.size:
        indexes = np.delete(indexes, np.concatenate((np.array(list(faults), np.int64), parsed.skipped)))
    columns = parsed.columns[: len(plan.file_columns)]
    behind = _rows_with_values(parsed.columns[len(plan.file_columns) :])
    if behind.size:
        for index in indexes[behind].tolist():
            faults[index] = _misshapen(index, width, len(plan.file_columns))
        indexes = np.delete(indexes, behind)
        kept = pa.array(np.delete(np.arange(parsed.rows), behind))
        columns = [column.take(kept) for column in columns]
    return Piece(
        columns=columns,
        indexes=indexes,
        origins=CsvOrigins(data=data, dialect=dialect, width=width, chunk=chunk),
        faults=[*faults.values()],
        warnings=warnings,
        empty=int(parsed.skipped.size),
        nul=b"\0" in data,
        nulled=True,
    )


@dataclass(frozen=True, kw_only=True)
class CsvOrigins(Origins):
    """The records of a chunk in its bytes."""

    data: bytes
    dialect: Dialect
    width: int
    chunk: Chunk

    @cached_property
    def _places(self) -> RecordPlaces:
        return record_places(self.data, self.dialect, records=self.chunk.records)

    def lines(self, records: Positions) -> Positions:
        return self.chunk.first_line + self._places.lines(records)

    def raw(self, records: Positions) -> pa.Array:
        return texts(self._places.raw(self.data, records))

    def texts(self, records: Positions, column: int) -> pa.Array:
        raws = self._places.raw(self.data, records)
        data = content(pc.binary_join_element_wise(raws, b"\n", b"")).to_pybytes()
        fields = parse(data, self.dialect, self.width).columns[column]
        return texts(fields.fill_null(b"" if pa.types.is_binary(fields.type) else ""))


def fields_of(plan: ImportPlan) -> int:
    """How many fields the records have. The last ones may be empty in all records, and no columns."""
    return int(plan.file.layout.details.get(FIELDS, len(plan.file_columns)))


def _rows_with_values(columns: Sequence[pa.Array]) -> Positions:
    """The rows that have a value in any of these columns."""
    found = [np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False)) for column in columns]
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)


def _misshapen(index: int, columns: int, expected: int) -> Fault:
    code = "TOO_FEW_COLUMNS" if columns < expected else "TOO_MANY_COLUMNS"
    noun = "column" if columns == 1 else "columns"
    return Fault(index=index, code=code, message=f"{columns} {noun}, expected {expected}")
