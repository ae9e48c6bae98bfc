"""The staging of a job whose records will be written one by one: each chunk is a row, in Arrow's own format.

That costs a fraction of a table row for each record. A slice is a range of the keys, so that it writes into a part of
the table. The bounds of the ranges are chosen when all records are staged, and are kept beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.spec import Doubles
from ladingd.data.databases.sqlite.keys import exact_columns, uniques
from ladingd.data.databases.sqlite.session import Session, statement
from ladingd.data.values.positions import Positions
from ladingd.data.values.types import Affinity, Kind, parse

if TYPE_CHECKING:
    from ladingd.core.plan import ImportPlan, Merge
    from ladingd.data.databases.sqlite.session import TableShape
    from ladingd.data.mapping.batch import Batch

_Mask = npt.NDArray[np.bool_]

_CREATE = """
CREATE TABLE IF NOT EXISTS main.{stage} (
    chunk INTEGER PRIMARY KEY, size INTEGER NOT NULL, keys BLOB NOT NULL, records BLOB NOT NULL
)
"""
_ADD = "INSERT INTO main.{stage} (chunk, size, keys, records) VALUES (?, ?, ?, ?)"
_SIZE = "SELECT coalesce(sum(size), 0) FROM main.{stage} WHERE chunk >= 0"
_CHUNKS = "SELECT chunk FROM main.{stage} WHERE chunk >= 0 ORDER BY 1"
_KEYS = "SELECT keys FROM main.{stage} WHERE chunk = ?"
_RECORDS = "SELECT records FROM main.{stage} WHERE chunk = ?"
INDEX = "lading index"
"""The column of the indexes of records in their chunk."""
_BOUNDS = -1
"""The row with the bounds of the ranges instead of a chunk."""
_RANGE = 48 << 20
"""The bytes of the records that are in memory at once, in Arrow's format."""
_SAMPLE = 100_000
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")
_KEPT = {(Affinity.INTEGER, Kind.INTEGER), (Affinity.TEXT, Kind.TEXT)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Some rows of a staged chunk, and their keys."""

    chunk: int
    rows: Positions
    keys: pa.RecordBatch

    def of(self, records: pa.RecordBatch) -> pa.RecordBatch:
        """These rows of the records of the chunk."""
        return records if self.rows.size == records.num_rows else records.take(pa.array(self.rows))


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """The packed staging of one job in one transaction."""

    session: Session
    name: str
    """Its table."""

    def create(self) -> None:
        """Create the table if it is missing."""
        self.session.run(statement(_CREATE, stage=self.name))

    def add(self, batch: Batch, merge: Merge) -> None:
        """Add the records of a batch, as the table will store them."""
        if batch.records.num_rows:
            numbered = batch.records.append_column(INDEX, pa.array(batch.indexes, pa.int64()))
            keys = batch.records.select(list(merge.key))
            values = batch.chunk.ordinal, numbered.nbytes, _packed(keys), _packed(numbered)
            self.session.run(statement(_ADD, stage=self.name), values)

    def divide(self, merge: Merge) -> None:
        """Choose the bounds of ranges of keys with about equally many records, unless they are chosen."""
        if self._blob(_KEYS, _BOUNDS) is not None:
            return
        size = int(self.session.rows(statement(_SIZE, stage=self.name))[0][0])
        number = merge.slices * (1 + size // (_RANGE * merge.slices))
        chunks = self._chunks()
        samples = [
            keys.take(pa.array(np.arange(0, keys.num_rows, 1 + keys.num_rows * len(chunks) // _SAMPLE)))
            for keys in map(self._keys, chunks)
        ]
        bounds = _packed(pa.RecordBatch.from_pydict({}))
        if samples:
            sample = pa.Table.from_batches(samples).sort_by([(name, "ascending") for name in merge.key])
            places = np.arange(1, number) * sample.num_rows // number
            bounds = _packed(
                sample.take(pa.array(places)).combine_chunks().to_batches()[0] if number > 1 else samples[0].slice(0, 0)
            )
        self.session.run(statement(_ADD, stage=self.name), (_BOUNDS, number, bounds, b""))

    def ranges(self, merge: Merge, number: int) -> list[list[Part]]:
        """The records of a slice: for each of its ranges of keys, the parts of chunks that are in it."""
        blob = self._blob(_KEYS, _BOUNDS)
        if blob is None:
            return []
        bounds = _unpacked(blob)
        last = bounds.num_rows
        share = -(-(last + 1) // merge.slices)
        ranges: dict[int, list[Part]] = {
            place: [] for place in range(number * share, min((number + 1) * share, last + 1))
        }
        for chunk in self._chunks():
            keys = self._keys(chunk)
            for place, parts in ranges.items():
                inside = np.ones(keys.num_rows, np.bool_)
                if place > 0:
                    inside &= ~_below(keys, bounds, place - 1)
                if place < last:
                    inside &= _below(keys, bounds, place)
                rows = np.flatnonzero(inside)
                if rows.size:
                    part = keys if rows.size == keys.num_rows else keys.take(pa.array(rows))
                    parts.append(Part(chunk=chunk, rows=rows, keys=part))
        return list(ranges.values())

    def records(self, chunk: int) -> pa.RecordBatch:
        """The records of a chunk, and their indexes in it as the last column."""
        blob = self._blob(_RECORDS, chunk)
        if blob is None:
            raise AssertionError(f"chunk {chunk} is not staged")
        return _unpacked(blob)

    def _chunks(self) -> list[int]:
        return [chunk for (chunk,) in self.session.rows(statement(_CHUNKS, stage=self.name))]

    def _keys(self, chunk: int) -> pa.RecordBatch:
        blob = self._blob(_KEYS, chunk)
        assert blob is not None
        return _unpacked(blob)

    def _blob(self, query: str, chunk: int) -> bytes | None:
        found = self.session.rows(statement(query, stage=self.name), (chunk,))
        return bytes(found[0][0]) if found else None


def is_packable(session: Session, shape: TableShape, plan: ImportPlan) -> bool:
    """Whether each record of a merge can be written on its own, by a unique key whose order Arrow knows."""
    merge = plan.merge
    if merge is None or not (merge.inserts and merge.updates) or merge.second_key or merge.replace:
        return False
    if merge.doubles not in (Doubles.UPDATE, Doubles.IGNORE) or shape.triggers or shape.is_strict:
        return False
    kinds = {column.target: parse(column.type).kind for column in plan.columns}
    columns = [shape.column(name) for name in merge.key]
    if not all(column is not None and (column.affinity, kinds[column.name]) in _KEPT for column in columns):
        return False
    found, _ = uniques(session, shape)
    return set(merge.key) in map(set, found) and exact_columns(session, shape) >= set(merge.key)


def _below(keys: pa.RecordBatch, bounds: pa.RecordBatch, place: int) -> _Mask:
    """Which keys are below a bound, column by column."""
    below, equal = np.zeros(keys.num_rows, np.bool_), np.ones(keys.num_rows, np.bool_)
    for values, limits in zip(keys.columns, bounds.columns, strict=True):
        below |= equal & pc.less(values, limits[place]).to_numpy(zero_copy_only=False)
        equal &= pc.equal(values, limits[place]).to_numpy(zero_copy_only=False)
    return below


def _packed(records: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, records.schema, options=_COMPRESSED) as writer:
        writer.write_batch(records)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def _unpacked(blob: bytes) -> pa.RecordBatch:
    return pa.ipc.open_stream(blob).read_next_batch()
