"""The staging of a job: a table for each slice, beside the ledger, or packed. It outlives a crash of the daemon."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.errors import TargetChanged
from ladingd.data.databases.sqlite.bulk_load import storable
from ladingd.data.databases.sqlite.collations import collations
from ladingd.data.databases.sqlite.packing import INDEX, Packing, is_packable
from ladingd.data.databases.sqlite.session import Database, RecordRefused, Session, TableShape, quoted, statement
from ladingd.data.databases.sqlite.verdict import Verdict, faults
from ladingd.data.databases.staging import PLACE, places, slices
from ladingd.data.values.types import Affinity, Kind, parse

if TYPE_CHECKING:
    from ladingd.core.plan import ImportPlan, Merge
    from ladingd.data.databases.sqlite.attempts import Attempts
    from ladingd.data.mapping.batch import Batch
    from ladingd.data.rejects.fault import Faults

# The tables of a job's staging.
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, length(?1)) = ?1"
# Records come in the order of their places, so that SQLite appends them.
_CREATE = "CREATE TABLE IF NOT EXISTS main.{stage} ({place} INTEGER PRIMARY KEY, "
_UNPACKED = "CREATE TEMP TABLE {stage} ({place} INTEGER PRIMARY KEY, "
_STAGE = "lading stage"
_DROP = "DROP TABLE main.{stage}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Staging:
    """The staging of one job in one transaction."""

    session: Session
    job_uid: str
    directory: Path
    """Where the files of packed records are."""

    @property
    def exists(self) -> bool:
        """Whether there are tables, and the files that they name. Older versions pack records into another table."""
        packing = self.packing
        return self._name(0) in self._names() if packing is None else packing.is_whole

    def create(self, shape: TableShape, plan: ImportPlan) -> None:
        """Create the tables with the columns of the target's table. They replace those of an earlier plan."""
        self.drop()
        if is_packable(self.session, shape, plan):
            Packing(session=self.session, name=self._packed, directory=self.directory).create()
            return
        known = collations(self.session, shape)
        definitions = [_definition(shape, column.target, known) for column in plan.columns]
        ending = ", ".join(definitions) + (") STRICT" if shape.is_strict else ")")
        for number in range(plan.merge.slices if plan.merge else 0):
            self.session.run(statement(_CREATE, stage=self._name(number), place=PLACE) + ending)

    def append(self, database: Database, shape: TableShape, batch: Batch, merge: Merge) -> Faults:
        """Add the records of a batch. Returns the faults of those that the columns refuse or would change."""
        batch, changed = storable(batch, shape)
        verdicts: list[Verdict] = []
        for number, rows in slices(_comparable(batch, shape, merge), merge):
            records = batch.records.take(pa.array(rows)) if rows.size < batch.records.num_rows else batch.records
            numbers = pa.array(places(batch.chunk.ordinal, batch.indexes[rows]))
            staged = pa.RecordBatch.from_arrays([numbers, *records.columns], names=[PLACE, *records.schema.names])
            for row, message in self._insert(database, self._name(number), staged):
                told = message.replace(f" {self._name(number)}.", f" {shape.name}.")
                verdicts.append(Verdict(rows=rows[row : row + 1], message=told))
        return changed + faults(batch, shape.name, verdicts)

    def drop(self) -> None:
        """Drop the tables that exist."""
        for name in self._names():
            self.session.run(statement(_DROP, stage=name))

    def table(self, number: int) -> str:
        """The table of a slice in SQL."""
        return f"main.{quoted(self._name(number))}"

    @property
    def packing(self) -> Packing | None:
        """The packed records; None if they are in tables."""
        packed = self._packed in self._names()
        return Packing(session=self.session, name=self._packed, directory=self.directory) if packed else None

    def unpack(self, attempts: Attempts, shape: TableShape, plan: ImportPlan, number: int) -> str:
        """Put the packed records of a slice into a temporary table. Returns its name in SQL."""
        merge, packing = plan.merge, self.packing
        if merge is None or packing is None:
            raise AssertionError("the staging is not packed")
        known = collations(attempts, shape)
        columns = ", ".join(_definition(shape, column.target, known) for column in plan.columns)
        attempts.run(statement(_UNPACKED, place=PLACE, stage=_STAGE) + columns + ")")
        for parts in packing.ranges(merge, number):
            for part in parts:
                records = part.of(packing.records(part.file))
                numbers = pa.array(places(part.chunk, records.column(INDEX).to_numpy()))
                fields = records.select([column.target for column in plan.columns])
                names = [PLACE, *fields.schema.names]
                attempts.insert(_STAGE, pa.RecordBatch.from_arrays([numbers, *fields.columns], names=names))
        return f"temp.{quoted(_STAGE)}"

    @property
    def _packed(self) -> str:
        return f"{self._prefix}files"

    def _names(self) -> list[str]:
        return [name for (name,) in self.session.rows(_TABLES, (self._prefix,))]

    @property
    def _prefix(self) -> str:
        return f"lading_stage_{self.job_uid}_"

    def _name(self, number: int) -> str:
        return f"{self._prefix}{number}"

    def _insert(self, database: Database, name: str, staged: pa.RecordBatch) -> list[tuple[int, str]]:
        """Insert all records that the columns take. Returns the rows of the others, and SQLite's messages."""
        refused: list[tuple[int, str]] = []
        start = 0
        while start < staged.num_rows:
            before = _changes(database)
            try:
                database.insert(name, staged.slice(start))
            except RecordRefused as refusal:
                start += _changes(database) - before
                refused.append((start, str(refusal)))
                start += 1
            else:
                break
        return refused


def _changes(database: Database) -> int:
    return int(database.rows("SELECT total_changes()")[0][0])


def _definition(shape: TableShape, name: str, known: dict[str, str]) -> str:
    column = shape.column(name)
    if column is None:
        raise TargetChanged(f"table {shape.name} has no column {name!r} to write into any more")
    return f"{quoted(name)} {column.declared} COLLATE {known[name]}"


def _comparable(batch: Batch, shape: TableShape, merge: Merge) -> Batch:
    """The batch with columns whose equal values have equal types, where slices are made by them. An integer column
    may get numbers that chunks hold as texts, integers or reals."""
    columns = list(batch.records.columns)
    for place, planned in enumerate(batch.plan.columns):
        column = shape.column(planned.target)
        mixed = column is not None and column.affinity is Affinity.INTEGER and parse(planned.type).kind != Kind.INTEGER
        if planned.target in merge.sliced_by and mixed:
            columns[place] = _digits(columns[place])
    return batch.with_records(columns, batch.indexes)


def _digits(values: pa.Array) -> pa.Array:
    if pa.types.is_floating(values.type):
        numbers = values.to_numpy(zero_copy_only=False)
        whole = np.isfinite(numbers) & (np.floor(numbers) == numbers) & (np.abs(numbers) < 2.0**63)
        integers = pa.array(np.where(whole, numbers, 0).astype(np.int64)).cast(pa.string())
        return pc.if_else(pa.array(whole), integers, values.cast(pa.string()))
    return values.cast(pa.string())
