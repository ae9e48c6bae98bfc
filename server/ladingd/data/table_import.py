"""One import: a delimited file into a table of SQLite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.core.errors import BillImbalance, SourceChanged, TargetChanged, TechnicalError
from ladingd.data import cut, fingerprint
from ladingd.data.batch import RAW_CAP, read_batch, refused_batch
from ladingd.data.connection import Connection, database_path, find_connection
from ladingd.data.field_type import parse
from ladingd.data.files import Source, reopen_source
from ladingd.data.rejects import write_rejects
from ladingd.data.sqlite import ledger
from ladingd.data.sqlite.database import Database, connected, quoted, statement
from ladingd.data.sqlite.load import load
from ladingd.data.target_columns import outdated, unlike
from ladingd.data.workplace import Workplace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.bill import Counts
    from ladingd.core.plan import Chunk, CommittedChunk, ImportPlan
    from ladingd.data.batch import Batch


@dataclass(frozen=True, kw_only=True, slots=True)
class TableImport:
    """The methods of ``Transfer`` for imports, but for plan."""

    connections: Mapping[str, Connection]
    roots: Mapping[str, Path]
    workplace: Workplace

    def begin(self, job_uid: str, attempt: int, plan: ImportPlan) -> tuple[CommittedChunk, ...]:
        """Check the source and the table, make what is not there, shut out earlier attempts."""
        with reopen_source(self.roots, plan.file) as source:
            fingerprint.check(source, plan.fingerprint)
        path = self._database(plan)
        with self.workplace.locked(str(path.resolve())), connected(path, create=True) as database:
            database.begin_writing()
            ledger.create(database)
            ledger.raise_attempt(database, job_uid, attempt)
            entries = ledger.entries(database, job_uid)
            _prepare_table(database, plan, used=bool(entries))
            database.commit()
        return entries

    def committed(self, job_uid: str, attempt: int, plan: ImportPlan) -> tuple[CommittedChunk, ...]:
        """Shut out earlier attempts and read the ledger, where there is one."""
        path = self._database(plan)
        if not path.exists():
            return ()
        with self.workplace.locked(str(path.resolve())), connected(path) as database:
            database.begin_writing()
            if not ledger.exists(database):
                return ()
            ledger.raise_attempt(database, job_uid, attempt)
            entries = ledger.entries(database, job_uid)
            database.commit()
        return entries

    def cut(self, plan: ImportPlan, previous: Chunk | None, limit: int) -> tuple[Chunk, ...]:
        """The next record-aligned chunks."""
        with reopen_source(self.roots, plan.file) as source:
            return cut.cut(source, plan, previous, limit)

    def process(self, job_uid: str, attempt: int, plan: ImportPlan, chunk: Chunk) -> Counts:
        """Do all that needs no lock first: the writer's lock of SQLite is what workers wait for."""
        with reopen_source(self.roots, plan.file) as source:
            batch = _read(source, plan, chunk)
        path = self._database(plan)
        with self.workplace.locked(str(path.resolve())):
            with connected(path) as database:
                if not ledger.claim(database, job_uid, attempt, chunk.ordinal):
                    return _entry(database, job_uid, chunk)
                ledger.check_attempt(database, job_uid, attempt)
                faults = batch.faults + load(database, job_uid, batch)
                counts = batch.counts(len(faults))
                # Before the commit, and only while nobody else can be at this chunk: after a crash there may be
                # rejects of a chunk that is not committed, but never the other way round.
                write_rejects(self.workplace.rejects(job_uid, chunk.ordinal), batch.rejects(faults))
                ledger.count(database, job_uid, chunk.ordinal, counts)
                failure = _commit(database)
            if failure is not None:
                # Nobody knows whether a commit that failed has happened. The ledger does.
                with connected(path) as database:
                    kept = ledger.entry(database, job_uid, chunk.ordinal)
                if kept is None:
                    raise failure
                return kept
        return counts

    def finish(self, job_uid: str, plan: ImportPlan, chunks: Sequence[Chunk]) -> None:
        """Every chunk was put in its place when it was committed. What is left is to see that all were of one file."""
        with reopen_source(self.roots, plan.file) as source:
            fingerprint.check(source, plan.fingerprint)

    def discard(self, job_uid: str, plan: ImportPlan) -> None:
        """Forget the job in the target's ledger and remove its rejects."""
        path = self._database(plan)
        if path.exists():
            with self.workplace.locked(str(path.resolve())), connected(path) as database:
                database.begin_writing()
                if ledger.exists(database):
                    ledger.forget(database, job_uid)
                    database.commit()
        self.workplace.forget(job_uid)

    def _database(self, plan: ImportPlan) -> Path:
        connection = find_connection(self.connections, plan.target.connection, "target.connection")
        return database_path(connection, "target.connection")


def _prepare_table(database: Database, plan: ImportPlan, *, used: bool) -> None:
    """See that the table is the planned one, or make it. ``used``: records of the job are in it.

    Raises TargetChanged.
    """
    if not plan.columns:  # the file is empty
        return
    table = plan.target.table
    shape = database.shape(table)
    if shape is None:
        if used or not plan.create_table:
            raise TargetChanged(f"table {table} is gone")
        columns = ", ".join(f"{quoted(column.target)} {parse(column.type).declaration}" for column in plan.columns)
        database.run(statement("CREATE TABLE {table}", table=table) + f" ({columns})")
        return
    made_by_us = plan.create_table and not used
    problem = unlike(plan.columns, shape) if made_by_us else outdated(plan.columns, shape)
    if problem is not None:
        raise TargetChanged(problem)


def _read(source: Source, plan: ImportPlan, chunk: Chunk) -> Batch:
    if source.size < plan.end:
        raise SourceChanged(f"{source.path} has become shorter: {plan.end - source.size} bytes are gone")
    if chunk.refused is None:
        return read_batch(source.read(chunk.start, chunk.end), plan, chunk)
    return refused_batch(source.read(chunk.start, min(chunk.end, chunk.start + RAW_CAP + 2)), plan, chunk)


def _entry(database: Database, job_uid: str, chunk: Chunk) -> Counts:
    counts = ledger.entry(database, job_uid, chunk.ordinal)
    if counts is None:
        raise BillImbalance(f"the ledger has lost chunk {chunk.ordinal} while it was looked at")
    return counts


def _commit(database: Database) -> TechnicalError | None:
    try:
        database.commit()
    except TechnicalError as error:
        return error
    return None
