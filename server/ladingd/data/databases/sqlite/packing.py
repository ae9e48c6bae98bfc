"""The staging of a job whose records will be written one by one: each chunk is a file in Arrow's own format.

That costs a fraction of a table row for each record, needs no lock, and leaves no free pages in the database. A table
beside the ledger names the files of committed chunks. A slice is a range of the keys, so that it writes into a part of
the table. The bounds of the ranges are chosen when all records are staged, and are kept beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.errors import TargetChanged
from ladingd.core.spec import Doubles
from ladingd.data.databases.sqlite.bulk_load import storable
from ladingd.data.databases.sqlite.keys import exact_columns, uniques
from ladingd.data.databases.sqlite.session import Session, TableShape, statement
from ladingd.data.rejects.fault import Faults
from ladingd.data.storage.work_dir import write_durably, writing
from ladingd.data.values.positions import Positions
from ladingd.data.values.types import Affinity, Kind, parse

if TYPE_CHECKING:
    from ladingd.core.plan import ImportPlan, Merge
    from ladingd.data.mapping.batch import Batch

_Mask = npt.NDArray[np.bool_]

_CREATE = """
CREATE TABLE IF NOT EXISTS main.{stage} (chunk INTEGER PRIMARY KEY, size INTEGER NOT NULL, file TEXT NOT NULL)
"""
_ADD = "INSERT INTO main.{stage} (chunk, size, file) VALUES (?, ?, ?)"
_SIZE = "SELECT coalesce(sum(size), 0) FROM main.{stage} WHERE chunk >= 0"
_FILES = "SELECT chunk, file FROM main.{stage} WHERE chunk >= 0 ORDER BY 1"
_BOUNDS_FILE = "SELECT file FROM main.{stage} WHERE chunk = ?"
INDEX = "lading index"
"""The column of the indexes of records in their chunk."""
_BOUNDS = -1
"""The row with the file of the bounds of the ranges instead of a chunk."""
_RANGE = 48 << 20
"""The bytes of the records that are in memory at once, in Arrow's format."""
_SAMPLE = 100_000
_KEPT = {(Affinity.INTEGER, Kind.INTEGER), (Affinity.TEXT, Kind.TEXT)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Some rows of a staged chunk, and their keys."""

    chunk: int
    file: str
    rows: Positions
    keys: pa.RecordBatch

    def of(self, records: pa.RecordBatch) -> pa.RecordBatch:
        """These rows of the records of the chunk."""
        if not self.rows.size or self.rows[-1] - self.rows[0] + 1 == self.rows.size:  # They stay where they are.
            return records.slice(int(self.rows[0]) if self.rows.size else 0, self.rows.size)
        return records.take(pa.array(self.rows))


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """The durable file with the records of a batch, as a table of this shape will store them. It counts when the
    staging names it."""

    shape: TableShape
    chunk: int
    size: int
    file: str
    changed: Faults
    """The faults of records that the table would change."""

    @classmethod
    def of(cls, batch: Batch, shape: TableShape, directory: Path) -> Draft:
        """Write the file. Raises DestinationRefused, DiskFull."""
        chunk = batch.chunk.ordinal
        batch, changed = storable(batch, shape)
        numbered = batch.records.append_column(INDEX, pa.array(batch.indexes, pa.int64()))
        file = _written(numbered, directory, f"{chunk:06d}") if numbered.num_rows else ""
        return cls(shape=shape, chunk=chunk, size=numbered.nbytes, file=file, changed=changed)

    def remove(self, directory: Path) -> None:
        """Remove the file. Raises DestinationRefused."""
        if self.file:
            with writing(directory):
                (directory / self.file).unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """The packed staging of one job in one transaction."""

    session: Session
    name: str
    """Its table."""
    directory: Path
    """Where its files are."""

    def create(self) -> None:
        """Create the table if it is missing."""
        self.session.run(statement(_CREATE, stage=self.name))

    @property
    def is_whole(self) -> bool:
        """Whether all files are there."""
        return all((self.directory / file).exists() for _, file in self._files())

    def add(self, draft: Draft) -> None:
        """Add the records of a draft."""
        if draft.file:
            self.session.run(statement(_ADD, stage=self.name), (draft.chunk, draft.size, draft.file))

    def divide(self, merge: Merge) -> None:
        """Choose the bounds of ranges of keys with about equally many records, unless they are chosen."""
        if self._bounds() is not None:
            return
        size = int(self.session.rows(statement(_SIZE, stage=self.name))[0][0])
        number = merge.slices * (1 + size // (_RANGE * merge.slices))
        files = self._files()
        samples = [
            keys.take(pa.array(np.arange(0, keys.num_rows, 1 + keys.num_rows * len(files) // _SAMPLE)))
            for keys in (self._keys(file, merge) for _, file in files)
        ]
        bounds = pa.RecordBatch.from_pydict({})
        if samples:
            sample = pa.Table.from_batches(samples).sort_by([(name, "ascending") for name in merge.key])
            places = np.arange(1, number) * sample.num_rows // number
            chosen = sample.take(pa.array(places)).combine_chunks().to_batches()
            bounds = chosen[0] if number > 1 else samples[0].slice(0, 0)
        file = _written(bounds, self.directory, "bounds")
        self.session.run(statement(_ADD, stage=self.name), (_BOUNDS, number, file))

    def ranges(self, merge: Merge, number: int) -> list[list[Part]]:
        """The records of a slice: for each of its ranges of keys, the parts of chunks that are in it."""
        bounds = self._bounds()
        if bounds is None:
            return []
        last = bounds.num_rows
        share = -(-(last + 1) // merge.slices)
        ranges: dict[int, list[Part]] = {
            place: [] for place in range(number * share, min((number + 1) * share, last + 1))
        }
        for chunk, file in self._files():
            keys = self._keys(file, merge)
            for place, parts in ranges.items():
                rows = np.flatnonzero(_within(keys, bounds, place))
                if rows.size:
                    part = keys if rows.size == keys.num_rows else keys.take(pa.array(rows))
                    parts.append(Part(chunk=chunk, file=file, rows=rows, keys=part))
        return list(ranges.values())

    def records(self, file: str) -> pa.RecordBatch:
        """The records of a chunk, and their indexes in it as the last column. Raises TargetChanged."""
        try:
            return pa.ipc.open_file(pa.memory_map(str(self.directory / file))).get_batch(0)
        except (OSError, pa.ArrowInvalid) as error:
            raise TargetChanged(
                f"the daemon cannot read its file {self.directory / file} with staged records ({error}); "
                "to load all records again: lading clone"
            ) from error

    def _files(self) -> list[tuple[int, str]]:
        return [(chunk, file) for chunk, file in self.session.rows(statement(_FILES, stage=self.name))]

    def _keys(self, file: str, merge: Merge) -> pa.RecordBatch:
        return self.records(file).select(list(merge.key))

    def _bounds(self) -> pa.RecordBatch | None:
        found = self.session.rows(statement(_BOUNDS_FILE, stage=self.name), (_BOUNDS,))
        return self.records(str(found[0][0])) if found else None


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


def _within(keys: pa.RecordBatch, bounds: pa.RecordBatch, place: int) -> _Mask:
    """Which keys are in the range that ends with the bound at a place."""
    inside = np.ones(keys.num_rows, np.bool_)
    if place > 0:
        inside &= ~_below(keys, bounds, place - 1)
    if place < bounds.num_rows and inside.any():
        inside &= _below(keys, bounds, place)
    return inside


def _below(keys: pa.RecordBatch, bounds: pa.RecordBatch, place: int) -> _Mask:
    """Which keys are below a bound, column by column."""
    below, equal = np.zeros(keys.num_rows, np.bool_), np.ones(keys.num_rows, np.bool_)
    for values, limits in zip(keys.columns, bounds.columns, strict=True):
        below |= equal & pc.less(values, limits[place]).to_numpy(zero_copy_only=False)
        equal &= pc.equal(values, limits[place]).to_numpy(zero_copy_only=False)
    return below


def _written(records: pa.RecordBatch, directory: Path, name: str) -> str:
    """Write a file. Its name is new each time, because another try may write the same chunk at the same time."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, records.schema) as writer:
        writer.write_batch(records)
    file = f"{name}-{token_hex(8)}.arrow"
    write_durably(directory / file, [sink.getvalue()])
    return file
