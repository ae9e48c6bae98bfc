"""A chunk of a file as a batch of typed columns, and the records that are not in it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.bill import Counts
from ladingd.core.errors import BillImbalance
from ladingd.core.job import Connector, RejectType
from ladingd.core.plan import Chunk, ImportPlan
from ladingd.data.formats.csv.chunker import RECORD_LIMIT
from ladingd.data.formats.csv.marks import Positions
from ladingd.data.formats.csv.parser import RecordPlaces, parse, without_line_end
from ladingd.data.formats.csv.quoting import TEXT_AFTER_QUOTE, UNTERMINATED_QUOTE
from ladingd.data.rejects.fault import Fault, Faults
from ladingd.data.rejects.lines import BLOCK, content, texts
from ladingd.data.values.casting import Known, cast, shorten
from ladingd.data.values.inference import altered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ladingd.data.values.converters import Reading

RAW_CAP = 64 << 10
"""How many bytes a reject shows of what is longer than any record may be. All other rejects are whole."""


_REFUSALS = {
    UNTERMINATED_QUOTE: "a quote is opened in this line, and none closes it at the end of a field",
    TEXT_AFTER_QUOTE: "text follows a closing quote before the next delimiter",
}
"""Why the first line of a record whose quotes are not regular is refused."""

QUOTE_KEPT = "QUOTE_KEPT"
_KEPT = "a value begins with a quote that does not enclose it; it was kept as it stands, with its quotes"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The good records of a chunk as a record batch with the target's columns, and what became of the others."""

    plan: ImportPlan
    chunk: Chunk
    data: bytes
    records: pa.RecordBatch
    indexes: Positions
    """Which record of the chunk each row is."""
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    """What people should know of records that are not refused for it."""
    empty: int = 0

    @cached_property
    def places(self) -> RecordPlaces:
        """Where the records stand; found only where somebody asks."""
        if self.chunk.refused:
            return RecordPlaces.of_one(self.data)
        return RecordPlaces.of(self.data, self.plan.dialect, records=self.chunk.records)

    def with_records(self, columns: list[pa.Array], indexes: Positions) -> Batch:
        """The batch with other good records."""
        records = pa.RecordBatch.from_arrays(columns, names=self.records.schema.names)
        return replace(self, records=records, indexes=indexes)

    def texts(self, rows: Positions, place: int) -> pa.Array:
        """A field of these good records, which are in order, as the file has it; empty for nothing."""
        raws = self.places.raw(self.data, self.indexes[rows])
        data = content(pc.binary_join_element_wise(raws, b"\n", b"")).to_pybytes()
        fields = parse(data, self.plan.dialect, len(self.plan.columns)).columns[place]
        return texts(fields.fill_null(b"" if pa.types.is_binary(fields.type) else ""))

    def lines(self, rows: Positions) -> Positions:
        """The lines of the file that these good records begin at."""
        return self.chunk.first_line + self.places.lines(self.indexes[rows])

    def counts(self, faults: Faults) -> Counts:
        """What became of the chunk's records, those with faults refused in the end. Raises BillImbalance."""
        chunk, rejected = self.chunk, len(faults)
        counts = Counts(
            read=chunk.records or 0,
            inserted=self.records.num_rows + len(self.faults) - rejected,
            rejected=rejected,
            errors=rejected,
            warnings=len(self._warnings_beside(faults)),
            empty=self.empty,
        )
        if not counts.balances:
            raise BillImbalance(
                f"chunk {chunk.ordinal}: {counts.read} records were read, {counts.accounted} accounted for"
            )
        return counts

    def rejects(self, faults: Faults) -> Iterator[pa.RecordBatch]:
        """The rejects of these faults, and the warnings, in the order of the source: fields of `Reject` as columns.

        They come in blocks: there may be as many as records.
        """
        ordered = (faults + Faults.of(self._warnings_beside(faults))).in_order()
        now = datetime.now(UTC).isoformat()
        for first in range(0, len(ordered), BLOCK):
            block = ordered.slice(first, BLOCK)
            count, indexes = len(block), block.indexes
            if self.chunk.refused:
                # Its record may be longer than any other, and is the only one.
                raw = without_line_end(self.data)
                raws = pa.array([shorten(raw, RAW_CAP if len(raw) > RECORD_LIMIT else len(raw))])
            else:
                raws = texts(self.places.raw(self.data, indexes))
            columns = {
                "type": block.field("type"),
                "time": pa.repeat(now, count),
                "file": pa.repeat(self.plan.file.path, count),
                "line": pa.array(self.chunk.first_line + self.places.lines(indexes)),
                "record": pa.array(self.chunk.first_record + indexes),
                "raw": raws,
                **{name: block.field(name) for name in ("column", "value", "connector", "code", "message")},
            }
            yield pa.RecordBatch.from_pydict(columns)

    def _warnings_beside(self, faults: Faults) -> list[Fault]:
        """The warnings of records that were not refused: what they say of a record is untrue of a refused one."""
        if not self.warnings:
            return []
        refused = set(faults.indexes.tolist())
        return [warning for warning in self.warnings if warning.index not in refused]


def read_batch(
    data: bytes, plan: ImportPlan, chunk: Chunk, readings: Sequence[Reading], known: Sequence[Known] | None = None
) -> Batch:
    """Parse and cast the records of a chunk, with a reading for each column of the plan and what is known of it.

    Raises BillImbalance where they are not as many as were cut.
    """
    parsed = parse(data, plan.dialect, len(plan.columns))
    if parsed.records != chunk.records:
        raise BillImbalance(f"chunk {chunk.ordinal} was cut as {chunk.records} records and read as {parsed.records}")
    faults = {each.index: _misshapen(each.index, each.columns, len(plan.columns)) for each in parsed.misshapen}
    # Read literally, a record with such a quote must have as many fields as the others, or the quote is not literal.
    misread = faults.keys() & set(parsed.literal)
    for index, code in {**parsed.refused, **dict.fromkeys(misread, TEXT_AFTER_QUOTE)}.items():
        faults[index] = Fault(index=index, code=code, message=_REFUSALS[code])
    warnings = [
        Fault(index=index, code=QUOTE_KEPT, message=_KEPT, type=RejectType.WARNING)
        for index in parsed.literal
        if index not in misread
    ]
    indexes = np.arange(parsed.records, dtype=np.int64)
    if faults or parsed.blank.size:
        indexes = np.delete(indexes, np.concatenate((np.array(list(faults), np.int64), parsed.blank)))
    columns = parsed.columns
    typed = []
    refused: dict[int, Fault] = {}
    nul = b"\0" in data
    known = known or [Known() for _ in columns]
    for column, reading, values, seen in zip(plan.columns, readings, columns, known, strict=True):
        outcome = cast(values, reading, seen, nul=nul)
        misfits = outcome.misfits
        if column.inferred:
            misfits = {**altered(values, outcome.values, reading.kind, column.source), **misfits}
        typed.append(outcome.values)
        for row, misfit in misfits.items():
            refused.setdefault(
                row,
                Fault(
                    index=int(indexes[row]),
                    code=misfit.code,
                    message=misfit.message,
                    column=column.source,
                    value=misfit.value,
                ),
            )
        if not column.nullable and outcome.values.null_count:
            message = f"the target's column {column.target} may not be empty"
            for row in pc.indices_nonzero(pc.is_null(outcome.values)).to_pylist():
                fault = Fault(
                    index=int(indexes[row]),
                    code="NOT_NULL",
                    message=message,
                    column=column.source,
                    connector=Connector.DATABASE,
                )
                refused.setdefault(row, fault)
    if refused:
        typed, indexes = leave_out(typed, indexes, np.array(sorted(refused), np.int64))
    return Batch(
        plan=plan,
        chunk=chunk,
        data=data,
        records=pa.RecordBatch.from_arrays(typed, names=[column.target for column in plan.columns]),
        indexes=indexes,
        faults=[*faults.values(), *refused.values()],
        warnings=warnings,
        empty=int(parsed.blank.size),
    )


def refused_batch(data: bytes, plan: ImportPlan, chunk: Chunk) -> Batch:
    """The batch of a chunk that was cut as one refused record. ``data`` is the record, or more than its limit of it."""
    message = {
        **_REFUSALS,
        "RECORD_TOO_LONG": f"the record has {chunk.end - chunk.start:,} bytes, and may have {RECORD_LIMIT:,}",
    }[chunk.refused or ""]
    if len(without_line_end(data)) > RECORD_LIMIT:
        message += f"; of its text the first {RAW_CAP:,} bytes are kept"
    return Batch(
        plan=plan,
        chunk=chunk,
        data=data,
        records=pa.RecordBatch.from_arrays([], names=[]),
        indexes=np.empty(0, np.int64),
        faults=[Fault(index=0, code=chunk.refused or "", message=message)],
    )


def _misshapen(index: int, columns: int, expected: int) -> Fault:
    code = "TOO_FEW_COLUMNS" if columns < expected else "TOO_MANY_COLUMNS"
    noun = "column" if columns == 1 else "columns"
    return Fault(index=index, code=code, message=f"{columns} {noun}, expected {expected}")


def leave_out(columns: list[pa.Array], indexes: Positions, rows: Positions) -> tuple[list[pa.Array], Positions]:
    """Columns and the indexes of their records without some rows."""
    kept = np.ones(indexes.size, np.bool_)
    kept[rows] = False
    mask = pa.array(kept)
    return [column.filter(mask) for column in columns], indexes[kept]
