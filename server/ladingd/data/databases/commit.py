"""The exactly-once protocol: how the records of a chunk get into a target.

The ledger entry of a chunk and its rows are written in one transaction, in this order:

1. Claim the chunk: insert its ledger entry. An entry that is already there says that the chunk is committed.
2. Check that the attempt is the job's current one.
3. Insert or stage the rows, or merge a slice of the staged ones, and find the records that the table rejects.
4. Make the rejects of the chunk durable.
5. Write the counts into the ledger entry.
6. Commit.

After a crash at any point, either the entry, the rows and the rejects are all there, or the chunk is processed again
and replaces its rejects. If the outcome of the commit is unknown, the ledger decides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ladingd.core.bill import Counts
from ladingd.core.errors import BillImbalance, TargetUnavailable, TechnicalError
from ladingd.core.plan import Chunk, ImportPlan
from ladingd.data.mapping.batch import Batch
from ladingd.data.rejects.fault import Faults

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


CONFLICT_TRIES = 5
"""How often a chunk is tried if the database keeps rolling back its transaction because of conflicts."""


class Conflict(TargetUnavailable):
    """The database rolled the transaction back because of a conflict. The chunk can be written again at once."""

    def __reduce__(self) -> tuple[Any, ...]:
        return TargetUnavailable, self.args  # The daemon does not load this module.


class OutcomeUnknown(TargetUnavailable):
    """A commit failed with an unknown outcome, which only the ledger knows. ``trouble`` is the error to raise if
    nothing was committed."""

    def __init__(self, trouble: TechnicalError) -> None:
        self.trouble = trouble
        super().__init__(trouble.message)

    def __reduce__(self) -> tuple[Any, ...]:
        return TargetUnavailable, self.args


class Transaction(ABC):
    """One transaction in a target, for one chunk.

    All methods raise TargetUnavailable, TargetRefused or DiskFull if the database fails, and Conflict if it rolled the
    transaction back because of another one.
    """

    @abstractmethod
    def claim(self, job_uid: str, attempt: int, chunk: int) -> bool:
        """Insert the ledger entry of a chunk as the first write; False if the chunk is committed already.

        If another transaction has inserted the same entry, this call waits for its end.
        """

    @abstractmethod
    def check_attempt(self, job_uid: str, attempt: int) -> None:
        """Block later attempts of the job until this transaction ends. Raises AttemptSuperseded if a later attempt has
        begun."""

    @abstractmethod
    def entry(self, job_uid: str, chunk: int) -> Counts | None:
        """The counts of a committed chunk."""

    @abstractmethod
    def insert(self, batch: Batch) -> Faults:
        """Insert the records of a batch. Returns a fault for each record that the table rejected.

        All other records are inserted. Raises TargetChanged if the table is not the one that the job began with.
        """

    @abstractmethod
    def stage(self, batch: Batch) -> Faults:
        """Add the records of a batch to the staging of the job. Returns a fault for each record that does not fit into
        the table's columns. Raises TargetChanged like ``insert``."""

    def lost(self, number: int) -> Sequence[int]:
        """The chunks whose records of a slice a crash of the database took out of the staging, in order."""
        return ()

    def stage_again(self, batch: Batch, number: int) -> None:
        """Add the records of a lost chunk that are in a slice. Those that do not fit were rejected the first time."""
        raise AssertionError("this staging loses nothing")

    @abstractmethod
    def merge(self, plan: ImportPlan, number: int) -> Merged:
        """Carry out the merge of a plan for the staged records of one slice, which leave the staging. Raises
        TargetChanged like ``insert``."""

    @abstractmethod
    def count(self, job_uid: str, chunk: int, counts: Counts) -> None:
        """Write counts into the ledger entry of a claimed chunk."""

    @abstractmethod
    def commit(self) -> None:
        """Make everything durable. Raises OutcomeUnknown if the outcome is unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """What a merge did with the staged records of a slice."""

    counts: Counts
    """``pending`` is minus the number of staged records, ``read`` is 0."""
    faults: Faults
    """The rejected records. Their ``index`` is a place, see `staging.places`."""


Opening = Callable[["Batch | None"], "AbstractContextManager[Transaction]"]
"""Begins a transaction, which is rolled back at the end of the ``with`` unless it was committed.

The argument is the batch to insert, so that work without a transaction can be done before. It is None for a merge, and
if only the ledger will be read.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkCommit(ABC):
    """A chunk on its way into a target, by the protocol of this module."""

    job_uid: str
    attempt: int
    chunk: Chunk
    keep_rejects: Callable[[Faults], None]
    """Makes the faults of the chunk durable as its rejects."""

    def run(self, opening: Opening) -> Counts:
        """Commit the chunk unless it is committed already. Returns its counts.

        Raises AttemptSuperseded, TargetChanged, TargetUnavailable, TargetRefused, DiskFull, BillImbalance.
        """
        for _ in range(CONFLICT_TRIES):
            try:
                with opening(self._batch) as transaction:
                    if not self._claim(transaction):
                        return self._entry(transaction)
                    transaction.check_attempt(self.job_uid, self.attempt)
                    counts = self._carry_out(transaction)
                    transaction.commit()
                return counts
            except Conflict:
                continue
            except OutcomeUnknown as unknown:
                committed = self._look_up(opening)
                if committed is None:
                    raise unknown.trouble from unknown
                return committed
        raise TargetUnavailable(
            f"chunk {self._ordinal} was rolled back {CONFLICT_TRIES} times because of conflicts with other sessions"
        )

    def _carry_out(self, transaction: Transaction) -> Counts:
        counts = self._write(transaction)
        transaction.count(self.job_uid, self._ordinal, counts)
        return counts

    @property
    def _batch(self) -> Batch | None:
        """The batch to prepare before a transaction."""
        return None

    @abstractmethod
    def _write(self, transaction: Transaction) -> Counts:
        """Write the rows, then the rejects. Returns the balanced counts."""

    @property
    def _ordinal(self) -> int:
        return self.chunk.ordinal

    def _claim(self, transaction: Transaction) -> bool:
        return transaction.claim(self.job_uid, self.attempt, self._ordinal)

    def _look_up(self, opening: Opening) -> Counts | None:
        """The counts of a chunk whose commit had an unknown outcome; None if the chunk is not and can no longer be
        committed."""
        with opening(None) as transaction:
            return None if self._claim(transaction) else self._entry(transaction)

    def _entry(self, transaction: Transaction) -> Counts:
        counts = transaction.entry(self.job_uid, self._ordinal)
        if counts is None:
            raise BillImbalance(f"the ledger lost chunk {self._ordinal} while it was read")
        return counts


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchCommit(ChunkCommit):
    """A batch on its way into a table, or into the staging of its job."""

    batch: Batch

    @property
    def _batch(self) -> Batch | None:
        return self.batch

    def _write(self, transaction: Transaction) -> Counts:
        faults = Faults.of(self.batch.faults)
        if self.batch.records.num_rows:
            faults += self._insert(transaction)
        counts = self.batch.counts(faults)
        self.keep_rejects(faults)
        return counts

    def _insert(self, transaction: Transaction) -> Faults:
        return transaction.stage(self.batch) if self.batch.plan.merge else transaction.insert(self.batch)


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceCommit(ChunkCommit):
    """A slice of the staged records on its way into the table. The faults that are kept name records by their place
    in all of the job's sources, see `staging.places`."""

    plan: ImportPlan
    read_again: Callable[[int], Batch]
    """Reads a chunk that was staged."""

    def _write(self, transaction: Transaction) -> Counts:
        for ordinal in transaction.lost(self.chunk.start):
            transaction.stage_again(self.read_again(ordinal), self.chunk.start)
        merged = transaction.merge(self.plan, self.chunk.start)
        if not merged.counts.balances:
            raise BillImbalance(
                f"slice {self.chunk.start}: {-merged.counts.pending} records were staged, "
                f"{merged.counts.accounted - merged.counts.pending} accounted for"
            )
        self.keep_rejects(merged.faults)
        return merged.counts
