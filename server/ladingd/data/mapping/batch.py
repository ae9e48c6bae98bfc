"""A chunk of a file as a batch of typed columns, with the records that were refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.bill import Counts
from ladingd.core.clock import utc_now
from ladingd.core.errors import BillImbalance
from ladingd.core.plan import Chunk, ImportPlan
from ladingd.data.formats.format import Origins
from ladingd.data.rejects.fault import Fault, Faults
from ladingd.data.rejects.lines import BLOCK
from ladingd.data.values.names import fold
from ladingd.data.values.positions import Positions
from ladingd.data.values.texts import as_text

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The good records of a chunk as a record batch with the target's columns, and the fate of all other records."""

    plan: ImportPlan
    chunk: Chunk
    records: pa.RecordBatch
    indexes: Positions
    """The record of the chunk that each row is, counted from 0."""
    origins: Origins
    faults: Sequence[Fault] = ()
    warnings: Sequence[Fault] = ()
    """Warnings about records that are not refused."""
    empty: int = 0
    filtered: int = 0
    """How many records were left out on purpose."""
    nulls: Mapping[str, int] = field(default_factory=dict)
    """How many values of each source column were read as null."""

    def with_records(self, columns: list[pa.Array], indexes: Positions) -> Batch:
        """The same batch with other good records."""
        records = pa.RecordBatch.from_arrays(columns, names=self.records.schema.names)
        return replace(self, records=records, indexes=indexes)

    def texts(self, rows: Positions, place: int) -> pa.Array:
        """The values of a column in these good records as the file spells them; empty if they are missing. ``rows`` are
        in order."""
        column = self.plan.columns[place]
        if not column.from_file:
            return as_text(self.records.column(place).take(pa.array(rows))).cast(pa.string()).fill_null("")
        names = [each.name for each in self.plan.file_columns]
        return self.origins.texts(self.indexes[rows], names.index(column.source))

    def lines(self, rows: Positions) -> Positions:
        """The lines of the file in which these good records begin."""
        return self.origins.lines(self.indexes[rows])

    def counts(self, faults: Faults) -> Counts:
        """The counts of the chunk, with all records that have faults rejected. Raises BillImbalance."""
        chunk, rejected = self.chunk, len(faults)
        good, staged = self.records.num_rows + len(self.faults) - rejected, self.plan.merge is not None
        counts = Counts(
            read=chunk.records or 0,
            inserted=0 if staged else good,
            pending=good if staged else 0,
            rejected=rejected,
            errors=rejected,
            warnings=len(self._warnings_beside(faults)),
            empty=self.empty,
            filtered=self.filtered,
            nulls=self.nulls,
        )
        if not counts.balances:
            raise BillImbalance(
                f"chunk {chunk.ordinal}: {counts.read} records were read, {counts.accounted} accounted for"
            )
        return counts

    def rejects(self, faults: Faults) -> Iterator[pa.RecordBatch]:
        """The rejects of these faults, and the warnings, see `rejects_of`."""
        return rejects_of(self.plan, self.chunk, self.origins, faults + Faults.of(self._warnings_beside(faults)))

    def _warnings_beside(self, faults: Faults) -> list[Fault]:
        """The warnings of records that were not refused. A warning says how a record was stored."""
        if not self.warnings:
            return []
        refused = set(faults.indexes.tolist())
        return [warning for warning in self.warnings if warning.index not in refused]


def rejects_of(plan: ImportPlan, chunk: Chunk, origins: Origins, faults: Faults) -> Iterator[pa.RecordBatch]:
    """The rejects of the faults of a chunk in the order of the source: the fields of `Reject` as columns.

    They come in blocks, because every record may be rejected.
    """
    ordered = faults.in_order()
    now = utc_now().isoformat()
    for first in range(0, len(ordered), BLOCK):
        block = ordered.slice(first, BLOCK)
        count, indexes = len(block), block.indexes
        columns = {
            "type": block.field("type"),
            "time": pa.repeat(now, count),
            "file": pa.repeat(plan.file.path, count),
            "line": pa.array(origins.lines(indexes)),
            "record": pa.array(chunk.first_record + indexes),
            "raw": origins.raw(indexes),
            **{name: block.field(name) for name in ("column", "value", "connector", "code")},
            "message": _with_targets(plan, block),
        }
        yield pa.RecordBatch.from_pydict(columns)


def _with_targets(plan: ImportPlan, faults: Faults) -> pa.Array:
    """The messages of faults. Those of a column with another name in the table say which."""
    targets: dict[str, list[str]] = {}
    for column in plan.columns:
        if column.from_file and fold(column.source) != fold(column.target):
            targets.setdefault(column.source, []).append(column.target)
    messages = faults.field("message")
    if not targets:
        return messages
    told = [f" ({source} goes to {' and '.join(names)})" for source, names in targets.items()]
    places = pc.index_in(faults.field("column"), value_set=pa.array(targets.keys(), pa.string()))
    ends = pa.array(told, pa.string()).take(places).fill_null("")
    return pc.binary_join_element_wise(messages, ends, "")


def leave_out(columns: list[pa.Array], indexes: Positions, rows: Positions) -> tuple[list[pa.Array], Positions]:
    """Columns, and the indexes of their records, without some rows."""
    kept = np.ones(indexes.size, np.bool_)
    kept[rows] = False
    mask = pa.array(kept)
    return [column.filter(mask) for column in columns], indexes[kept]
