"""The run with a real store, a transfer that moves nothing, and workers without processes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import RejectsLost
from ladingd.core.job import Connector, Job, Note, Reject
from ladingd.core.maintenance import JobFiles
from ladingd.core.plan import Chunk, CommittedChunk, Fingerprint, ImportPlan, Moment, Plan, PlannedFile
from ladingd.core.ports import Page, RejectReader, Transfer
from ladingd.core.preview import Preview
from ladingd.core.reject_group import ALL_REJECTS, RejectFilter, RejectGroup
from ladingd.core.report import Report, heard_by, report
from ladingd.core.spec import File, ImportSpec, Table
from ladingd.core.state import Event
from ladingd.data.formats.csv.dialect import Dialect
from ladingd.run.attempt.execution import Execution
from ladingd.run.attempt.timeouts import Timeouts
from ladingd.run.disk_space import DiskSpace
from ladingd.run.upkeep.cleanup import Cleanup
from ladingd.run.upkeep.settlement import Settlement
from ladingd.run.watch.notifier import Notifier
from ladingd.run.watch.watch import Watch
from ladingd.store.discards import SqlDiscardStore
from ladingd.store.holds import SqlHoldStore
from ladingd.store.jobs import SqlJobStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from ladingd.core.spec import JobSpec
    from ladingd.core.tables import Suggestion, TableDescription
    from ladingd.run.workers.pool import Workers

SPEC = ImportSpec(files=(File(path="a.csv"),), target=Table(table="t"))
RESERVE = 1_000
"""Bytes that must be free."""
RECORDS = 10
"""Records in each chunk."""


def plan_of(chunks: int) -> ImportPlan:
    """A plan for ``chunks`` chunks of 100 bytes."""
    return ImportPlan(
        files=(
            PlannedFile(
                name="in.csv",
                location=SPEC.files[0],
                fingerprint=Fingerprint(size=chunks * 100, head="", tail=""),
                layout=Dialect(delimiter=",", quote='"').layout(),
                start=0,
                end=chunks * 100,
                first_line=1,
            ),
        ),
        columns=(),
        target=SPEC.target,
        create_table=False,
        chunk_bytes=100,
    )


class FakeTransfer(Transfer):
    """Keeps a ledger in memory. ``errors`` has errors by method, each raised once."""

    def __init__(self) -> None:
        self.ledgers: dict[str, dict[int, Counts]] = {}
        self.attempts: list[int] = []
        self.errors: dict[str, list[Exception]] = {}
        self.finished = 0
        self.hooks: list[tuple[Moment, int]] = []
        """The hooks that have run."""
        self.steps: list[str] = []
        """What hooks, chunks and the end have done, in order."""
        self.discarded: list[str] = []
        self.abandoned: list[str] = []
        self.counts = Counts(read=RECORDS, inserted=RECORDS)

    def ledger(self, job_uid: str) -> dict[int, Counts]:
        """The committed chunks of a job."""
        return self.ledgers.setdefault(job_uid, {})

    def _raise(self, method: str) -> None:
        if self.errors.get(method):
            raise self.errors[method].pop(0)

    def plan(self, spec: JobSpec) -> Plan:
        self._raise("plan")
        return plan_of(2)

    def preview(self, spec: ImportSpec, records: int) -> Preview:
        self._raise("preview")
        return Preview(plan=plan_of(2), read=RECORDS)

    def suggest(self, spec: ImportSpec) -> Suggestion:
        raise NotImplementedError

    def tables(self, connection: str) -> tuple[Table, ...]:
        raise NotImplementedError

    def describe(self, table: Table) -> TableDescription:
        raise NotImplementedError

    def run_hook(self, job_uid: str, attempt: int, plan: Plan, moment: Moment, number: int) -> Note:
        self._raise("run_hook")
        if (moment, number) not in self.hooks:
            self.hooks.append((moment, number))
            self.steps.append(f"{moment} {number}")
        return Note(f"hook {moment} {number + 1}")

    def add_columns(self, job_uid: str, attempt: int, plan: Plan) -> tuple[Note, ...]:
        self._raise("add_columns")
        self.steps.append("add_columns")
        return (Note("columns added"),)

    def begin(self, job_uid: str, attempt: int, plan: Plan, phase: int = 0) -> tuple[CommittedChunk, ...]:
        self._raise("begin")
        return self.committed(job_uid, attempt, plan)

    def committed(self, job_uid: str, attempt: int, plan: Plan) -> tuple[CommittedChunk, ...]:
        self._raise("committed")
        self.attempts.append(attempt)
        return tuple(CommittedChunk(ordinal=one, counts=counts) for one, counts in self.ledger(job_uid).items())

    def extent(self, job_uid: str, plan: Plan, phase: int = 0) -> int:
        return plan.range(phase)[1]

    def cut(self, job_uid: str, plan: Plan, previous: Chunk | None, limit: int, phase: int = 0) -> tuple[Chunk, ...]:
        self._raise("cut")
        first = 0 if previous is None else previous.ordinal + 1
        return tuple(
            Chunk(ordinal=one, start=one * 100, end=one * 100 + 100, records=RECORDS)
            for one in range(first, min(plan.range(0)[1] // 100, first + limit))
        )

    def check_source(self, job_uid: str, plan: Plan, chunks: Sequence[Chunk]) -> None:
        self._raise("check_source")

    def process(self, job_uid: str, attempt: int, plan: Plan, chunk: Chunk) -> Counts:
        self._raise("process")
        report(RECORDS // 2, RECORDS)
        self.steps.append("process")
        return self.ledger(job_uid).setdefault(chunk.ordinal, self.counts)

    def advance(self, job_uid: str, attempt: int, plan: Plan, phase: int, chunks: Sequence[Chunk]) -> tuple[Note, ...]:
        self._raise("advance")
        return ()

    def finish(self, job_uid: str, plan: Plan, chunks: Sequence[Chunk]) -> tuple[Note, ...]:
        self._raise("finish")
        self.steps.append("finish")
        self.finished += 1
        return ()

    def abandon(self, job_uid: str, plan: Plan) -> None:
        self._raise("abandon")
        self.abandoned.append(job_uid)

    def discard(self, job_uid: str, plan: Plan) -> None:
        self._raise("discard")
        self.discarded.append(job_uid)


@dataclass
class FakeWorkers:
    """Calls at once, except methods that are held until their gate opens."""

    size: int = 2
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    reached: dict[str, asyncio.Event] = field(default_factory=dict)
    killed: int = 0
    """The number of cancelled calls, whose processes would be killed."""

    def hold(self, method: str) -> None:
        """Block calls of this method from now on."""
        self.gates[method] = asyncio.Event()
        self.reached[method] = asyncio.Event()

    async def follow(self, hear: Callable[[Report], None], function: Callable[..., Any], *args: object) -> Any:
        """Like Workers.follow; reports arrive at once."""
        with heard_by(hear):
            return await self.call(function, *args)

    async def call(self, function: Callable[..., Any], *args: object) -> Any:
        """Like Workers.call."""
        name = function.__name__
        if name in self.gates:
            self.reached[name].set()
            try:
                await self.gates[name].wait()
            except asyncio.CancelledError:
                self.killed += 1
                raise
        await asyncio.sleep(0)
        return function(*args)


@dataclass
class Rig:
    """Everything that an execution needs."""

    store: SqlJobStore
    transfer: FakeTransfer
    workers: FakeWorkers
    notifier: Notifier
    watch: Watch
    rejects: FakeRejects
    disk_space: DiskSpace
    disk: FakeDisk
    cleanup: Cleanup
    files: FakeFiles

    async def queued(self, chunks: int, spec: ImportSpec = SPEC, **planned: Any) -> Job:
        """A job with ``chunks`` chunks that waits for its slot. ``planned``: other fields of its plan."""
        now = datetime.now(UTC)
        plan = replace(plan_of(chunks), **planned)
        job = Job(id=f"job{chunks}", uid=f"job{chunks}", spec=spec, plan=plan, create_time=now, update_time=now)
        await self.store.create(job)
        return await self.store.command(job.id, Event.START)

    async def execution(
        self, job_id: str, *, pause_grace: float = 60.0, cancel_grace: float = 60.0, target: float = 0.0
    ) -> Execution:
        """The next attempt of a queued job."""
        job = await self.store.move(job_id, Event.SLOT_FREE)
        assert job is not None
        return Execution(
            job,
            jobs=self.store,
            chunks=self.store,
            journal=self.store,
            transfer=self.transfer,
            workers=cast("Workers", self.workers),
            notifier=self.notifier,
            watch=self.watch,
            timeouts=Timeouts(pause_grace=pause_grace, cancel_grace=cancel_grace, target=target),
            disk_space=self.disk_space,
        )

    def settlement(self) -> Settlement:
        """A settlement with the same workers as the chunks."""
        workers = cast("Workers", self.workers)
        return Settlement(
            jobs=self.store,
            chunks=self.store,
            journal=self.store,
            transfer=self.transfer,
            workers=workers,
            notifier=self.notifier,
        )

    async def command(self, job_id: str, command: Event) -> Job:
        """Apply a command like a user."""
        job = await self.store.command(job_id, command)
        self.notifier.notify(job_id)
        return job

    async def codes(self, job_id: str) -> list[str]:
        """The codes of the job's journal."""
        return [entry.code for entry in await self.store.journal(job_id, limit=1000)]


@dataclass
class FakeDisk:
    """A disk with ``free`` bytes, and other values for some directories."""

    free: int = 10 * RESERVE
    apart: dict[Path, int] = field(default_factory=dict)
    refilled: int = 0

    def free_at(self, directory: Path) -> int:
        """The free bytes, as reported by statvfs."""
        return self.apart.get(directory, self.free)

    def refill(self) -> bool:
        """Like ``Ballast.restore``."""
        self.refilled += 1
        return True


class FakeFiles(JobFiles):
    """The files of jobs, by their sizes."""

    def __init__(self) -> None:
        self.there: dict[str, int] = {}
        self.aside: dict[str, int] = {}

    async def sizes(self) -> Mapping[str, int]:
        return dict(self.there)

    async def forget(self, uid: str) -> None:
        self.there.pop(uid, None)

    async def set_aside(self, uid: str) -> None:
        self.aside[uid] = self.there.pop(uid)

    async def forget_orphans(self, before: datetime) -> None:
        """Does nothing: no orphan is so old."""


class FakeRejects(RejectReader):
    """The given number of rejects for each chunk, two per page."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self.lost: set[int] = set()

    async def groups(self, job_uid: str, chunks: Sequence[int]) -> tuple[RejectGroup, ...]:
        raise AssertionError("a watch needs no groups")

    async def read(
        self, job_uid: str, chunks: Sequence[int], *, size: int, token: str = "", wanted: RejectFilter = ALL_REJECTS
    ) -> Page[Reject]:
        (ordinal,) = chunks
        if ordinal in self.lost:
            raise RejectsLost(f"{ordinal}.jsonl", 1)
        first = int(token or "0")
        every = [a_reject(ordinal, place) for place in range(self.numbers[ordinal])]
        more = first + 2 < len(every)
        return Page(items=tuple(every[first : first + 2]), next_token=str(first + 2) if more else "")


def a_reject(ordinal: int, place: int) -> Reject:
    """The reject at a position in a chunk, from 0 on."""
    return Reject(
        time=datetime(2026, 1, 1, tzinfo=UTC),
        file="a.csv",
        line=ordinal,
        record=place,
        raw="x",
        connector=Connector.TEXT,
        code="NOT_A_DATE",
        message="no date",
    )


def watch_of(store: SqlJobStore, notifier: Notifier, rejects: RejectReader) -> Watch:
    """A watch over one store."""
    return Watch(jobs=store, changes=store, chunks=store, journal=store, rejects=rejects, notifier=notifier)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    store = await SqlJobStore.open(tmp_path / "store.db")
    notifier, rejects = Notifier(), FakeRejects()
    database, disk, files = store._database, FakeDisk(), FakeFiles()
    disk_space = DiskSpace(
        SqlHoldStore(database), notifier, directory=tmp_path, reserve=RESERVE, free=disk.free_at, refill=disk.refill
    )
    transfer, workers = FakeTransfer(), FakeWorkers()
    cleanup = Cleanup(
        SqlDiscardStore(database),
        files,
        journal=store,
        transfer=transfer,
        workers=cast("Workers", workers),
        notifier=notifier,
    )
    watch = watch_of(store, notifier, rejects)
    yield Rig(store, transfer, workers, notifier, watch, rejects, disk_space, disk, cleanup, files)
    await store.close()
