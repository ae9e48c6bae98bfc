"""Inserts a batch into its table. Records that the table rejects do not affect the others.

The batch is inserted as a whole. If the table rejects a record, DuckDB aborts the transaction. The caller then begins a
new one and first searches for the offenders (`violations.py`). Chunks near this one search at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import duckdb

from ladingd.core.errors import BillImbalance, TargetChanged, TargetRefused
from ladingd.data.databases.duckdb.sequences import move_past
from ladingd.data.databases.duckdb.session import BATCH, quoted
from ladingd.data.databases.duckdb.violations import Search
from ladingd.data.rejects.fault import Faults

if TYPE_CHECKING:
    from pathlib import Path

    from ladingd.data.databases.duckdb.catalog import TableShape
    from ladingd.data.databases.duckdb.session import Database
    from ladingd.data.mapping.batch import Batch

RECENT = 8
"""A rejected record makes rejects likely in this many chunks before and after."""

# Inserts the bound records.
_INSERT = "INSERT INTO {table} ({names}) SELECT {values} FROM {batch}"


class RecordRefused(Exception):
    """The table rejected a record, and DuckDB aborted the transaction."""


@dataclass(slots=True)
class Experience:
    """What this process has learned about the chunks of a job. It only saves time."""

    searched: int = -RECENT - 1
    """The last chunk with rejected records."""

    def is_likely(self, ordinal: int) -> bool:
        """Whether to search for offenders before the first insert."""
        return abs(ordinal - self.searched) <= RECENT


@lru_cache(maxsize=16)
def experience(path: Path, job_uid: str) -> Experience:
    """The experience of this process with a job."""
    return Experience()


def load(database: Database, shape: TableShape, batch: Batch, known: Experience) -> Faults:
    """Insert the records of a batch. Returns the faults of the records that the table rejects.

    Raises RecordRefused, TargetChanged.
    """
    gone = [name for name in batch.records.schema.names if shape.column(name) is None]
    if gone:
        raise TargetChanged(f"table {shape.name} has no column {gone[0]!r} to write into any more")
    likely = known.is_likely(batch.chunk.ordinal)
    search = Search.of(database, shape, batch.records)
    search.convert()
    if likely:
        search.refuse()
    if search.left.size:
        search.bind()
        try:
            inserted = database.write(_insertion(shape, batch))
        except duckdb.ConstraintException as error:
            if likely:
                raise TargetRefused(
                    f"table {shape.name} rejects records, and no query finds them: the constraint is of a kind that "
                    f"lading does not know"
                ) from error
            known.searched = batch.chunk.ordinal
            raise RecordRefused from error
        if inserted != search.left.size:
            raise BillImbalance(f"table {shape.name} took {inserted} of {search.left.size} records")
        move_past(database, shape, batch.records, search.left)
    if likely and any(verdict.code != "INVALID_VALUE" for verdict in search.verdicts):
        known.searched = batch.chunk.ordinal
    faults = Faults.of([])
    for verdict in search.verdicts:
        faults += verdict.faults(batch)
    return faults


def _insertion(shape: TableShape, batch: Batch) -> str:
    columns = [column for column in map(shape.column, batch.records.schema.names) if column is not None]
    return _INSERT.format(
        table=shape.identifier,
        names=", ".join(quoted(column.name) for column in columns),
        values=", ".join(column.type.value(column.name) for column in columns),
        batch=BATCH,
    )
