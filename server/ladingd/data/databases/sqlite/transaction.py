"""The transactions that write a chunk or merge a slice into SQLite."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.core.errors import TargetChanged, TechnicalError
from ladingd.data.databases.commit import Merged, OutcomeUnknown, Transaction
from ladingd.data.databases.slice_rejects import SliceRejects
from ladingd.data.databases.sqlite import ledger
from ladingd.data.databases.sqlite.attempts import Attempts, attempting
from ladingd.data.databases.sqlite.bulk_load import Experience, OnlyTryingTells, load, load_each
from ladingd.data.databases.sqlite.courtesy import courteous
from ladingd.data.databases.sqlite.identity import keep, nothing_vanishing, recognise
from ladingd.data.databases.sqlite.keys import is_guarded
from ladingd.data.databases.sqlite.merge import SliceMerge
from ladingd.data.databases.sqlite.packing import Draft
from ladingd.data.databases.sqlite.session import Database, Session, connected, placed
from ladingd.data.databases.sqlite.staging import Staging
from ladingd.data.databases.sqlite.upsert import SliceUpsert
from ladingd.data.storage.work_dir import WorkDir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ladingd.core.bill import Counts
    from ladingd.core.plan import ImportPlan
    from ladingd.data.databases.sqlite.session import TableShape
    from ladingd.data.mapping.batch import Batch
    from ladingd.data.rejects.fault import Faults


def shape_of(database: Session, plan: ImportPlan) -> TableShape:
    """The shape of the existing table. Raises TargetChanged."""
    shape = database.shape(plan.target.table)
    if shape is None:
        raise TargetChanged(f"there is no table {plan.target.table} any more: it was dropped or renamed")
    return shape


def _is_plain(database: Database, shape: TableShape, plan: ImportPlan) -> bool:
    """Whether packed records can still be written one by one: the table may have changed since they were staged."""
    return plan.merge is not None and not shape.triggers and is_guarded(database, shape, plan.merge)


@dataclass(kw_only=True, slots=True)
class Beginning:
    """Begins the transactions of a chunk."""

    path: Path
    work_dir: WorkDir
    job_uid: str
    known: Experience
    ordinal: int
    merges: bool
    """Whether staged records are merged, which needs Python's own sqlite3."""
    each: bool
    """Whether to try records one by one, which needs it too."""
    draft: Draft | None = None
    """The records to stage, written before the lock if the last chunk tells how, and not yet staged."""

    @contextmanager
    def begin(self, batch: Batch | None) -> Iterator[SqliteTransaction]:
        if batch is not None and batch.plan.merge is not None and self.known.packed_for is not None:
            self.draft = Draft.of(batch, self.known.packed_for, self.directory)
        with self.work_dir.locked(str(self.path.resolve())), placed(self.path), courteous(self.path):
            merges = batch is None and self.merges and (self.each or not self._is_packed())
            try:
                if merges or (self.each and batch is not None and batch.plan.merge is None):
                    with attempting(self.path) as attempts:
                        yield SqliteTransaction(self, attempts, partial(load_each, attempts))
                else:
                    with connected(self.path) as database:
                        yield SqliteTransaction(self, database, partial(load, database, self.job_uid))
            except OnlyTryingTells:
                self.each = True
                raise
        if self.draft is not None:  # An earlier try has staged the chunk. What another error leaves goes with the job.
            self.draft.remove(self.directory)

    @property
    def directory(self) -> Path:
        """Where the files of staged records are."""
        return self.work_dir.staged(self.job_uid)

    def staging(self, session: Session) -> Staging:
        """The staging of the job."""
        return Staging(session=session, job_uid=self.job_uid, directory=self.directory)

    def _is_packed(self) -> bool:
        with connected(self.path, read_only=True) as database:
            return self.staging(database).packing is not None


class SqliteTransaction(Transaction):
    """A transaction of either driver. ``load`` inserts a batch."""

    def __init__(self, opening: Beginning, session: Session, load: Callable[[Batch, Experience], Faults]) -> None:
        self._opening = opening
        self._session = session
        self._load = load

    def claim(self, job_uid: str, attempt: int, chunk: int) -> bool:
        return ledger.claim(self._session, job_uid, attempt, chunk)

    def check_attempt(self, job_uid: str, attempt: int) -> None:
        ledger.check_attempt(self._session, job_uid, attempt)

    def entry(self, job_uid: str, chunk: int) -> Counts | None:
        return ledger.entry(self._session, job_uid, chunk)

    def insert(self, batch: Batch) -> Faults:
        path, job_uid = self._opening.path, self._opening.job_uid
        shape = shape_of(self._session, batch.plan)
        recognise(self._session, path, job_uid, shape)
        with nothing_vanishing(self._session, shape):
            faults = self._load(batch, self._opening.known)
        keep(self._session, path, job_uid, shape)
        return faults

    def stage(self, batch: Batch) -> Faults:
        merge, database, opening = batch.plan.merge, self._session, self._opening
        if merge is None or not isinstance(database, Database):
            raise AssertionError("the batch is not for the staging")
        shape = shape_of(database, batch.plan)
        recognise(database, opening.path, opening.job_uid, shape)
        staging, draft = opening.staging(database), opening.draft
        packing = staging.packing
        opening.known.packed_for = None if packing is None else shape
        if packing is None:
            return staging.append(database, shape, batch, merge)
        if draft is None or draft.shape != shape:
            draft = Draft.of(batch, shape, opening.directory)
        else:
            opening.draft = None
        packing.add(draft)
        return draft.changed

    def merge(self, plan: ImportPlan, number: int) -> Merged:
        opening, session = self._opening, self._session
        if plan.merge is None:
            raise AssertionError("the plan has no merge")
        shape = shape_of(session, plan)
        recognise(session, opening.path, opening.job_uid, shape)
        staging = opening.staging(session)
        if isinstance(session, Attempts):
            merged = self._merge(session, staging, shape, plan, number)
        elif (
            isinstance(session, Database)
            and (packing := staging.packing) is not None
            and _is_plain(session, shape, plan)
        ):
            upsert = SliceUpsert(
                path=opening.path,
                database=session,
                shape=shape,
                packing=packing,
                merge=plan.merge,
                columns=plan.columns,
            )
            merged = upsert.run(number)
        else:
            raise OnlyTryingTells
        if opening.each and len(merged.faults):
            opening.known.tried = opening.ordinal
        keep(session, opening.path, opening.job_uid, shape)
        return merged

    def _merge(self, attempts: Attempts, staging: Staging, shape: TableShape, plan: ImportPlan, number: int) -> Merged:
        if plan.merge is None:
            raise AssertionError("the plan has no merge")
        packed, each = staging.packing is not None, self._opening.each
        merge = SliceMerge(
            session=attempts,
            shape=shape,
            stage=staging.unpack(attempts, shape, plan, number) if packed else staging.table(number),
            merge=plan.merge,
            columns=plan.columns,
            careful=each,
            rejects=SliceRejects(columns=plan.columns),
        )
        with nullcontext() if plan.merge.deletes else nothing_vanishing(attempts, shape):
            return merge.run()

    def count(self, job_uid: str, chunk: int, counts: Counts) -> None:
        ledger.count(self._session, job_uid, chunk, counts)

    def commit(self) -> None:
        try:
            self._session.commit()
        except TechnicalError as error:
            raise OutcomeUnknown(error) from error
