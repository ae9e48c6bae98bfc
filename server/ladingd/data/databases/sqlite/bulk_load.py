"""Inserts a batch into its table. Records that the table refuses do not affect the others.

A batch is inserted as a whole, which SQLite does record by record. If SQLite refuses a record, one query for each
unique key finds the taken keys, and the other records are inserted as before. This happens under the write lock; if a
transaction is larger than SQLite's cache, nobody can read meanwhile. Violations that no query finds (triggers, CHECKs,
partial indexes and indexes over expressions) are found by trying records one by one (`attempts.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ladingd.core.errors import BillImbalance, TargetRefused
from ladingd.core.job import Connector
from ladingd.data.databases.commit import Conflict
from ladingd.data.databases.sqlite import ledger
from ladingd.data.databases.sqlite.affinity import changed_texts, keepable, with_bytes
from ladingd.data.databases.sqlite.session import Database, RecordRefused, TableShape
from ladingd.data.databases.sqlite.uniques import read_uniques
from ladingd.data.databases.sqlite.verdict import Verdict, faults
from ladingd.data.mapping.batch import Batch, leave_out
from ladingd.data.rejects.fault import Fault, Faults
from ladingd.data.values import types as field_type
from ladingd.data.values.alteration import WOULD_CHANGE
from ladingd.data.values.casting import VALUE_CAP, shorten

if TYPE_CHECKING:
    from pathlib import Path

    from ladingd.data.databases.sqlite.attempts import Attempts
    from ladingd.data.databases.sqlite.session import Session
    from ladingd.data.databases.sqlite.uniques import Unique
    from ladingd.data.values.positions import Positions

_NOT_BYTES = "NOT_BYTES"

PROBES = 3
"""How often a batch is searched for taken keys."""
RECENT = 8
"""A refused record makes refusals likely in this many chunks before and after."""


class OnlyTryingTells(Conflict):
    """No query finds the records that the table refuses. The chunk is written again, record by record."""

    def __init__(self) -> None:
        super().__init__("only trying tells which records the table refuses")


@dataclass(slots=True)
class Experience:
    """What this process has learned about the chunks of a job. It only saves time."""

    probed: int = -RECENT - 1
    """The last chunk with taken keys."""
    tried: int = -RECENT - 1
    """The last chunk whose records had to be tried one by one."""
    packed_for: TableShape | None = None
    """The shape of the table for which the last chunk was packed."""

    def probe(self, ordinal: int) -> bool:
        """Whether to search for taken keys before the first insert."""
        return abs(ordinal - self.probed) <= RECENT

    def attempt(self, ordinal: int) -> bool:
        """Whether to try records one by one at once."""
        return abs(ordinal - self.tried) <= RECENT


@lru_cache(maxsize=16)
def experience(path: Path, job_uid: str) -> Experience:
    """The experience of this process with a job."""
    return Experience()


def load(database: Database, job_uid: str, batch: Batch, known: Experience) -> Faults:
    """Insert the records of a batch. Returns the faults of records that the table refused or would have changed.

    Raises OnlyTryingTells, and TargetRefused if the table is gone or rolled the whole transaction back.
    """
    if not batch.records.num_rows:
        return Faults.of([])
    shape = _shape(database, batch)
    if shape.triggers:
        raise OnlyTryingTells
    batch, changed = storable(batch, shape)
    loading = _Loading(database=database, job_uid=job_uid, shape=shape, batch=batch)
    verdicts = loading.run(probed=known.probe(batch.chunk.ordinal))
    if verdicts:
        known.probed = batch.chunk.ordinal
    return changed + faults(batch, shape.name, verdicts)


def load_each(attempts: Attempts, batch: Batch, known: Experience) -> Faults:
    """Like ``load``, but records are tried one by one."""
    if not batch.records.num_rows:
        return Faults.of([])
    shape = _shape(attempts, batch)
    batch, changed = storable(batch, shape)
    verdicts = attempts.insert_each(shape, batch.records)
    if verdicts or shape.triggers:
        known.tried = batch.chunk.ordinal
    return changed + faults(batch, shape.name, verdicts)


def _shape(transaction: Session, batch: Batch) -> TableShape:
    table = batch.plan.target.table
    shape = transaction.shape(table)
    if shape is None:
        raise TargetRefused(f"there is no table {table} any more")
    return shape


def storable(batch: Batch, shape: TableShape) -> tuple[Batch, Faults]:
    """The batch as the table will store it, without texts that the table would change to other numbers."""
    by_name = {column.name: column for column in shape.columns}
    columns = list(batch.records.columns)
    refused: dict[int, Fault] = {}
    for place, planned in enumerate(batch.plan.columns):
        column = by_name.get(planned.target)
        if column is None:
            raise TargetRefused(f"table {shape.name} has no column {planned.target} any more")
        kind = field_type.parse(planned.type)
        if kind.kind is field_type.Kind.TEXT:
            for row in changed_texts(columns[place], column.affinity):
                value = shorten(columns[place][row].as_py().encode(), VALUE_CAP)
                message = f"'{value}' would become another number in column {column.name}, declared {column.declared}"
                refused.setdefault(row, _fault(batch, row, WOULD_CHANGE, message, planned.source, value))
            texts = columns[place]
            columns[place], broken = with_bytes(texts, column.affinity, column.declared)
            for row in broken:
                value = shorten(texts[row].as_py().encode(), VALUE_CAP)
                message = f"'{value}' begins as bytes do, but pairs of hexadecimal digits do not follow"
                refused.setdefault(row, _fault(batch, row, _NOT_BYTES, message, planned.source, value))
        columns[place] = keepable(columns[place], kind, column.affinity)
    indexes = batch.indexes
    if refused:
        columns, indexes = leave_out(columns, indexes, np.array(sorted(refused), np.int64))
    return batch.with_records(columns, indexes), Faults.of(list(refused.values()))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Loading:
    """A batch on its way into a table without triggers."""

    database: Database
    job_uid: str
    shape: TableShape
    batch: Batch

    def run(self, *, probed: bool) -> list[Verdict]:
        """Insert all records except those with taken keys. Returns the reasons for these. Raises OnlyTryingTells."""
        left = np.arange(self.batch.records.num_rows)
        inserted = left[:0]
        if not probed:
            inserted, left = self._insert(left)
            if not left.size:
                return []
        verdicts: list[Verdict] = []
        # A column of text and bytes is a union, which Arrow cannot compare.
        plain = [part.name for part in self.batch.records.schema if not pa.types.is_union(part.type)]
        uniques = read_uniques(self.database, self.shape, plain)
        for _ in range(PROBES):
            found = self._taken(uniques, inserted, left)
            verdicts += found
            for verdict in found:
                left = np.setdiff1d(left, verdict.rows, assume_unique=True)
            more, left = self._insert(left)
            if not left.size:
                return verdicts
            inserted = np.union1d(inserted, more)
            if not found and not probed:
                break
            probed = False
        raise OnlyTryingTells

    def _insert(self, rows: Positions) -> tuple[Positions, Positions]:
        """Insert rows up to the first refused one. Returns the inserted rows and the rest.

        SQLite rolls back only the failed statement, which is one record. Without triggers, the number of changes shows
        how many records were inserted before it.
        """
        if not rows.size:
            return rows, rows
        records = self.batch.records
        whole = rows.size == records.num_rows
        before = self._changes()
        try:
            self.database.insert(self.shape.name, records if whole else records.take(pa.array(rows)))
        except RecordRefused as refusal:
            if not ledger.claimed(self.database, self.job_uid, self.batch.chunk.ordinal):
                # Further inserts would be committed at once and without their entry in the ledger.
                raise TargetRefused(
                    f"table {self.shape.name} rolls back the whole transaction for one record: {refusal}"
                ) from refusal
            written = self._changes() - before
            return rows[:written], rows[written:]
        written = self._changes() - before
        if written != rows.size:
            raise BillImbalance(f"table {self.shape.name} took {written} of {rows.size} records without refusing any")
        return rows, rows[:0]

    def _taken(self, uniques: list[Unique], inserted: Positions, rows: Positions) -> list[Verdict]:
        """The rows whose keys are in the table, or in an earlier row of the batch that is not refused itself."""
        records, table = self.batch.records, self.shape.name
        every = np.sort(np.concatenate((inserted, rows)), kind="stable")
        firsts = {unique.index: unique.firsts(records, every) for unique in uniques}
        found: list[Verdict] = []
        holders: dict[tuple[str, int | None], int] = {}
        there = set(inserted.tolist())
        for index, group in firsts.items():
            holders.update(((index, first), row) for row, first in group.items() if row in there)
        doubled = set().union(*firsts.values()) - there
        doubles: dict[str, dict[int, int]] = {}
        for unique in uniques:
            message, group = unique.message(table), firsts[unique.index]
            taken = unique.taken(self.database, table, records, rows)
            rows = np.setdiff1d(rows, taken, assume_unique=True)
            if doubled:
                doubled.difference_update(taken.tolist())
            if group:
                held = {row: holders.get((unique.index, group.get(row)), -1) for row in taken.tolist()}
                doubles.setdefault(message, {}).update({row: holder for row, holder in held.items() if holder >= 0})
                taken = np.array([row for row, holder in held.items() if holder < 0], np.int64)
            if taken.size:
                found.append(Verdict(rows=np.sort(taken), message=message))
        for row in sorted(doubled):
            member = [(unique, firsts[unique.index][row]) for unique in uniques if row in firsts[unique.index]]
            broken = next((unique for unique, first in member if (unique.index, first) in holders), None)
            if broken is None:
                holders.update(((unique.index, first), row) for unique, first in member)
            else:
                holder = holders[broken.index, firsts[broken.index][row]]
                doubles.setdefault(broken.message(table), {})[row] = holder
        for message, group in doubles.items():
            if group:
                lines = np.array(sorted(group.items()), np.int64)
                found.append(Verdict(rows=lines[:, 0], message=message, holders=lines[:, 1]))
        return found

    def _changes(self) -> int:
        return int(self.database.rows("SELECT total_changes()")[0][0])


def _fault(batch: Batch, row: int, code: str, message: str, column: str = "", value: str = "") -> Fault:
    return Fault(
        index=int(batch.indexes[row]),
        code=code,
        message=message,
        column=column,
        value=value,
        connector=Connector.DATABASE,
    )
