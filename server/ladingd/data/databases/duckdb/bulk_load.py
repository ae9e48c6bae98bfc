"""Inserts a batch into its table. A record that the table refuses costs no other record anything.

The batch is inserted whole. If the table refuses a record, DuckDB has aborted the transaction. The caller begins it
again, and the offenders are looked for first (`violations.py`), which also happens at once in chunks near this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import duckdb

from ladingd.core.errors import BillImbalance, TargetChanged, TargetRefused
from ladingd.data.databases.duckdb.session import BATCH, quoted
from ladingd.data.databases.duckdb.violations import Search
from ladingd.data.rejects.fault import Faults

if TYPE_CHECKING:
    from pathlib import Path

    from ladingd.data.databases.duckdb.catalog import TableShape
    from ladingd.data.databases.duckdb.session import Database
    from ladingd.data.mapping.batch import Batch

RECENT = 8
"""Refusals in one of so many chunks before make them likely in a chunk."""

# The bound records into their table.
_INSERT = "INSERT INTO {table} ({names}) SELECT {values} FROM {batch}"


class RecordRefused(Exception):
    """The table refused a record, and DuckDB aborted the transaction."""


@dataclass(slots=True)
class Experience:
    """What this process has found out about the chunks of a job. It only saves time."""

    searched: int = -RECENT - 1
    """The last chunk with refused records."""

    def is_likely(self, ordinal: int) -> bool:
        """Whether to look for offenders before the first insert."""
        return abs(ordinal - self.searched) <= RECENT


@lru_cache(maxsize=16)
def experience(path: Path, job_uid: str) -> Experience:
    """Of this process with a job."""
    return Experience()


def load(database: Database, shape: TableShape, batch: Batch, known: Experience) -> Faults:
    """Insert the records of a batch; return the faults of those that the table refuses.

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
            inserted = database.insert(_insertion(shape, batch))
        except duckdb.ConstraintException as error:
            if likely:
                raise TargetRefused(
                    f"table {shape.name} refuses records, and no query tells which: the constraint is of a kind that "
                    f"lading does not know"
                ) from error
            known.searched = batch.chunk.ordinal
            raise RecordRefused from error
        if inserted != search.left.size:
            raise BillImbalance(f"table {shape.name} took {inserted} of {search.left.size} records")
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
