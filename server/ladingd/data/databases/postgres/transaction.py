"""The transaction of a chunk in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import psycopg

from ladingd.core.errors import TargetChanged
from ladingd.core.plan import Chunk
from ladingd.data.databases.commit import Merged, Transaction
from ladingd.data.databases.postgres.bulk_load import Load
from ladingd.data.databases.postgres.catalog import (
    TableShape,
    is_unchanged,
    read_uniques,
)
from ladingd.data.databases.postgres.characters import keepable
from ladingd.data.databases.postgres.key_locks import RECENT, Common, InFlight
from ladingd.data.databases.postgres.ledger import Ledger
from ladingd.data.databases.postgres.merge import SliceMerge
from ladingd.data.databases.postgres.recognition import gone, recognise
from ladingd.data.databases.postgres.refusal import faults_of
from ladingd.data.databases.postgres.sequences import move_past
from ladingd.data.databases.postgres.session import Address, Session
from ladingd.data.databases.postgres.staging import Staging
from ladingd.data.mapping.batch import Batch
from ladingd.data.rejects.fault import Fault, Faults

if TYPE_CHECKING:
    import pyarrow as pa

    from ladingd.core.bill import Counts
    from ladingd.core.plan import ImportPlan, Merge


@dataclass(slots=True)
class Experience:
    """What this process has learned about the chunks of a job. It only saves time."""

    tried: int = -RECENT - 1
    """The last chunk with records that had to be tried by `Attempts`."""


@lru_cache(maxsize=16)
def experience(address: Address, job_uid: str) -> Experience:
    """The experience of this process with a job."""
    return Experience()


class ShapeOutdated(TargetChanged):
    """The table has changed since this process read its shape."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loading:
    """A batch that is ready for its table."""

    job_uid: str
    chunk: Chunk
    batch: Batch
    faults: Sequence[Fault]
    """The faults of records that are not in ``batch``, because the encoding lacks one of their characters."""
    load: Load | None
    """None if no record is left."""
    in_flight: InFlight
    known: Experience


@dataclass(frozen=True, kw_only=True, slots=True)
class PostgresTransaction(Transaction):
    """A transaction of a session."""

    session: Session
    ledger: Ledger
    loading: Loading | None
    refusing: TableShape | None
    """The table whose types fit no record of the batch, or that the staged records are for. Another one might accept
    some."""
    staging: Staging
    until_committed: ExitStack
    """Ends when the transaction has ended."""

    def claim(self, job_uid: str, attempt: int, chunk: int) -> bool:
        return self.ledger.claim(job_uid, attempt, chunk)

    def check_attempt(self, job_uid: str, attempt: int) -> None:
        self.ledger.check_attempt(job_uid, attempt)

    def entry(self, job_uid: str, chunk: int) -> Counts | None:
        return self.ledger.entry(job_uid, chunk)

    def insert(self, batch: Batch) -> Faults:
        loading = self.loading
        if loading is None:
            return Faults.of([])
        faults, load, chunk, kept = Faults.of(loading.faults), loading.load, loading.chunk, loading.batch
        if load is None:
            return faults
        lock(self.session, load.shape)
        recognise(self.session, self.ledger, loading.job_uid, load.shape)

        def enter(keys: pa.Table | None) -> Common:
            return self.until_committed.enter_context(loading.in_flight.entered(self.session, chunk.ordinal, keys))

        refusals = load.run(self.session, enter, loading.in_flight.wait)
        places = {column.target: place for place, column in enumerate(kept.plan.columns)}
        if refusals:
            loading.in_flight.remember(chunk.ordinal)
            if load.attempts:
                loading.known.tried = chunk.ordinal
        move_past(self.session, load.shape, load.columns, kept.records, [refusal.row for refusal in refusals])
        return faults + faults_of(refusals, kept, places)

    def stage(self, batch: Batch) -> Faults:
        return self._staged(batch)

    def lost(self, number: int) -> Sequence[int]:
        return self.staging.lost(number)

    def stage_again(self, batch: Batch, number: int) -> None:
        self._staged(batch, only=number)

    def _staged(self, batch: Batch, only: int | None = None) -> Faults:
        if batch.plan.merge is None or self.refusing is None:
            raise AssertionError("the batch is not for the staging")
        kept = keepable(batch, self.refusing.encoding)
        faults = Faults.of(kept.faults[len(batch.faults) :])
        return faults + self.staging.append(kept, batch.plan.merge, only=only)

    def merge(self, plan: ImportPlan, number: int) -> Merged:
        if plan.merge is None or self.refusing is None:
            raise AssertionError("the plan has no merge")
        shape = self.refusing
        lock(self.session, shape)
        recognise(self.session, self.ledger, self.staging.job_uid, shape)
        merge = SliceMerge(
            session=self.session,
            shape=shape,
            stage=self.staging.table(number),
            number=number,
            merge=plan.merge,
            columns=plan.columns,
            indexed=is_guarded(self.session, shape, plan.merge),
        )
        return merge.run()

    def count(self, job_uid: str, chunk: int, counts: Counts) -> None:
        if self.refusing is not None:
            lock(self.session, self.refusing)
        self.ledger.count(job_uid, chunk, counts)

    def commit(self) -> None:
        self.session.commit()


def is_guarded(session: Session, shape: TableShape, merge: Merge) -> bool:
    """Whether unique indexes guarantee that no two rows have one of the keys of a merge."""
    uniques = [set(unique) for unique in read_uniques(session, shape)]
    return all(any(unique <= set(key) for unique in uniques) for key in (merge.key, merge.second_key) if key)


def lock(session: Session, shape: TableShape) -> None:
    """Lock the table's definition until the end of the transaction, and make all constraints immediate."""
    try:
        session.lock(shape.identifier)
    except psycopg.errors.UndefinedTable as error:
        raise ShapeOutdated(gone(shape.name)) from error
    if not is_unchanged(session, shape):
        raise ShapeOutdated(f"table {shape.name} has changed")
    session.run("SET CONSTRAINTS ALL IMMEDIATE")
