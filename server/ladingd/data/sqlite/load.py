"""Writes a batch into its table. A record that the table refuses costs no other record anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ladingd.core.errors import BillImbalance, TargetRefused
from ladingd.core.job import Connector
from ladingd.data import field_type
from ladingd.data.batch import Batch, Fault, leave_out
from ladingd.data.cast import VALUE_CAP, shorten
from ladingd.data.inference import WOULD_CHANGE
from ladingd.data.sqlite import ledger
from ladingd.data.sqlite.affinity import changed_texts, keepable, with_bytes
from ladingd.data.sqlite.database import Database, RecordRefused

if TYPE_CHECKING:
    from ladingd.data.sqlite.database import TableShape

_IGNORED = "IGNORED_BY_TRIGGER"
_NOT_BYTES = "NOT_BYTES"


def load(database: Database, job_uid: str, batch: Batch) -> list[Fault]:
    """Insert the records of a batch; return the faults of those that the table refused or would have changed.

    Raises TargetRefused where the table is gone, or where it took the whole transaction back.
    """
    table = batch.plan.target.table
    if not batch.records.num_rows:
        return []
    shape = database.shape(table)
    if shape is None:
        raise TargetRefused(f"there is no table {table} any more")
    batch, faults = _keepable(batch, shape)
    loader = _Loader(database=database, job_uid=job_uid, table=shape.name, batch=batch)
    if shape.triggers:
        return faults + loader.halve(0, batch.records.num_rows)
    return faults + loader.go_on()


def _keepable(batch: Batch, shape: TableShape) -> tuple[Batch, list[Fault]]:
    """The batch as the table will keep it, without the texts that it would make other numbers of."""
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
    return batch.with_records(columns, indexes), list(refused.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Loader:
    database: Database
    job_uid: str
    table: str
    batch: Batch

    def go_on(self) -> list[Fault]:
        """Insert up to a refused record and go on behind it.

        SQLite takes back only the statement that failed, which is one record; how many went before it is the number
        of changes. That is so as long as no trigger makes changes of its own.
        """
        faults: list[Fault] = []
        first, total = 0, self.batch.records.num_rows
        before = self._changes()
        while first < total:
            try:
                self.database.insert(self.table, self.batch.records.slice(first))
                first = total
            except RecordRefused as refusal:
                self._check_claim(refusal)
                first = self._changes() - before + len(faults)
                faults.append(self._refused(first, str(refusal)))
                first += 1
        written = self._changes() - before
        if written + len(faults) != total:
            raise BillImbalance(
                f"table {self.table} took {written} of {total - len(faults)} records without refusing any"
            )
        return faults

    def halve(self, first: int, length: int) -> list[Fault]:
        """Insert a range of a batch, or take it back and insert its halves, down to the single record."""
        if not length:
            return []
        self.database.run("SAVEPOINT lading_half")
        try:
            inserted = self.database.insert_telling(self.table, self.batch.records.slice(first, length))
        except RecordRefused as refusal:
            self._check_claim(refusal)
            self.database.run("ROLLBACK TO lading_half")
            self.database.run("RELEASE lading_half")
            if length == 1:
                return [self._refused(first, str(refusal))]
            half = length // 2
            return self.halve(first, half) + self.halve(first + half, length - half)
        self.database.run("RELEASE lading_half")
        ignored = sorted(set(range(length)).difference(inserted)) if len(inserted) < length else []
        message = f"a trigger of table {self.table} ignores this record"
        return [_fault(self.batch, first + row, _IGNORED, message) for row in ignored]

    def _changes(self) -> int:
        return int(self.database.rows("SELECT total_changes()")[0][0])

    def _check_claim(self, refusal: RecordRefused) -> None:
        """Raises TargetRefused where the transaction is over, and so whatever else was inserted would be committed at
        once and without its entry in the ledger."""
        if not ledger.claimed(self.database, self.job_uid, self.batch.chunk.ordinal):
            raise TargetRefused(f"table {self.table} takes back all of a transaction for one record: {refusal}")

    def _refused(self, row: int, text: str) -> Fault:
        code = "NOT_NULL" if text.startswith("NOT NULL constraint") else "CONSTRAINT"
        for place, column in enumerate(self.batch.plan.columns):
            name = f"{self.table}.{column.target}"
            if text in (f"UNIQUE constraint failed: {name}", f"NOT NULL constraint failed: {name}"):
                value = shorten(self.batch.text(row, place).encode(), VALUE_CAP)
                return _fault(self.batch, row, code, text, column.source, value)
        return _fault(self.batch, row, code, text)


def _fault(batch: Batch, row: int, code: str, message: str, column: str = "", value: str = "") -> Fault:
    return Fault(
        index=int(batch.indexes[row]),
        code=code,
        message=message,
        column=column,
        value=value,
        connector=Connector.DATABASE,
    )
