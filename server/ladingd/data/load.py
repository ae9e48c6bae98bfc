"""Writes a batch into its table. A record that the table refuses costs no other record anything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ladingd.core.errors import BillImbalance, TargetRefused
from ladingd.core.job import Connector
from ladingd.data.batch import Fault
from ladingd.data.cast import VALUE_CAP, shorten
from ladingd.data.sqlite import RecordRefused

if TYPE_CHECKING:
    from ladingd.data.batch import Batch
    from ladingd.data.sqlite import Database


def load(database: Database, table: str, batch: Batch) -> list[Fault]:
    """Insert the records of a batch; return the faults of those that the table refused.

    Raises TargetRefused where the table is gone.
    """
    if not batch.records.num_rows:
        return []
    shape = database.shape(table)
    if shape is None:
        raise TargetRefused(f"there is no table {table} any more")
    if shape.has_triggers:
        return _halve(database, shape.name, batch, 0, batch.records.num_rows)
    return _go_on(database, shape.name, batch)


def _go_on(database: Database, table: str, batch: Batch) -> list[Fault]:
    """Insert up to a refused record and go on behind it.

    SQLite takes back only the statement that failed, which is one record; how many went before it is the number of
    changes. That is so as long as no trigger makes changes of its own.
    """
    faults: list[Fault] = []
    first, total = 0, batch.records.num_rows
    before = _changes(database)
    while first < total:
        try:
            database.insert(table, batch.records.slice(first), triggers=False)
            first = total
        except RecordRefused as refusal:
            first = _changes(database) - before + len(faults)
            faults.append(_fault(batch, first, str(refusal)))
            first += 1
    written = _changes(database) - before
    if written + len(faults) != total:
        raise BillImbalance(f"table {table} took {written} of {total - len(faults)} records without refusing any")
    return faults


def _changes(database: Database) -> int:
    return int(database.rows("SELECT total_changes()")[0][0])


def _halve(database: Database, table: str, batch: Batch, first: int, length: int) -> list[Fault]:
    """Insert a range of a batch, or take it back and insert its halves, down to the single record."""
    database.run("SAVEPOINT lading_half")
    try:
        database.insert(table, batch.records.slice(first, length), triggers=True)
    except RecordRefused as refusal:
        database.run("ROLLBACK TO lading_half")
        database.run("RELEASE lading_half")
        if length == 1:
            return [_fault(batch, first, str(refusal))]
        half = length // 2
        return _halve(database, table, batch, first, half) + _halve(database, table, batch, first + half, length - half)
    database.run("RELEASE lading_half")
    return []


def _fault(batch: Batch, row: int, text: str) -> Fault:
    column, value = _at_fault(batch, row, text)
    return Fault(
        index=int(batch.indexes[row]),
        code="NOT_NULL" if text.startswith("NOT NULL constraint") else "CONSTRAINT",
        message=text,
        column=column,
        value=value,
        connector=Connector.DATABASE,
    )


def _at_fault(batch: Batch, row: int, text: str) -> tuple[str, str]:
    """The source column and its value, where the message names one column alone, as in ``UNIQUE … failed: t.id``."""
    named = re.search(r"(?:UNIQUE|NOT NULL) constraint failed: ([^,]+)$", text)
    if named is None:
        return "", ""
    for place, column in enumerate(batch.plan.columns):
        if named[1].endswith(f".{column.target}"):
            value = batch.records.column(place)[row].as_py()
            return column.source, "" if value is None else shorten(str(value).encode(), VALUE_CAP)
    return "", ""
