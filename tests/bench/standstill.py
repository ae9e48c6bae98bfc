"""A daemon whose only slot is occupied permanently, so that jobs change their states only by commands."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from lading.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc, spec_pb2
from ladingd.core.spec import OnRestart
from ladingd.store.jobs import SqlJobStore
from tests.harness.daemon import DaemonProcess
from tests.harness.jobs import held, write_people
from tests.harness.waiting import PATIENCE, until_async

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FOREVER = 36_000.0


class Standstill:
    """The daemon and the names of its jobs. The first job occupies the slot."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.daemon = DaemonProcess(home, slots=1, workers=1, target_patience=_FOREVER, shutdown_grace=0.5)
        self.names: list[str] = []
        self._file = write_people(home / "people.csv", 3)

    @property
    def address(self) -> str:
        """The address for clients."""
        return self.daemon.address

    @property
    def pid(self) -> int:
        """The daemon's process."""
        assert self.daemon.process is not None
        return self.daemon.process.pid

    @property
    def store(self) -> Path:
        """The file of the daemon's store."""
        return self.daemon.state_dir / "store.db"

    def creation(self, label: str = "", *, detect: bool = True) -> job_service_pb2.CreateJobRequest:
        """The request that makes another job. The format of its file is detected or given."""
        spec = spec_pb2.ImportSpec(
            files=[spec_pb2.File(path=str(self._file).lstrip("/"))], target=spec_pb2.Table(table="people")
        )
        if not detect:
            spec.csv.CopyFrom(spec_pb2.CsvFormat(delimiter=",", quote='"', header=spec_pb2.HEADER_PRESENT))
        job = job_pb2.Job(label=label, spec=spec_pb2.JobSpec(import_spec=spec, on_restart=spec_pb2.ON_RESTART_STAY))
        return job_service_pb2.CreateJobRequest(job=job, request_id=str(uuid.uuid4()))

    async def make_first(self) -> None:
        """Make the job that all others copy."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            job = await jobs_of(channel).CreateJob(self.creation(), timeout=PATIENCE)
            self.names.append(job.name)

    async def fill(self, number: int) -> None:
        """Write ``number`` more jobs into the store while the daemon is not running."""
        store = await SqlJobStore.open(self.store)
        try:
            first = await store.get(self.names[0].removeprefix("jobs/"))
            for index in range(number):
                job = replace(
                    first,
                    id=f"j{index:06}",
                    uid=str(uuid.uuid4()),
                    label=f"job {index}",
                    revision=0,
                    spec=replace(first.spec, on_restart=OnRestart.STAY),
                )
                await store.create(job)
                self.names.append(f"jobs/{job.id}")
        finally:
            await store.close()

    async def take_slot(self) -> None:
        """Start the first job, which waits for its target."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            jobs = jobs_of(channel)
            await jobs.StartJob(job_service_pb2.StartJobRequest(name=self.names[0]), timeout=PATIENCE)

            async def runs() -> bool:
                request = job_service_pb2.GetJobRequest(name=self.names[0])
                job = await jobs.GetJob(request, timeout=PATIENCE)
                return bool(job.state == job_pb2.STATE_RUNNING)

            await until_async(runs, "the first job runs")


@contextmanager
def standstill(home: Path, *, jobs: int) -> Iterator[Standstill]:
    """A daemon with ``jobs`` jobs in EDITING and one job in the slot."""
    still = Standstill(home)
    daemon = still.daemon
    with closing(sqlite3.connect(daemon.target)) as target:
        target.execute("CREATE TABLE people (id INTEGER, name TEXT)")
    try:
        daemon.start()
        asyncio.run(still.make_first())
        daemon.stop()
        asyncio.run(still.fill(jobs))
        with held(daemon.target):
            daemon.start()
            asyncio.run(still.take_slot())
            yield still
    finally:
        daemon.clean_up()


def jobs_of(channel: Any) -> Any:
    """The stub of JobService on a channel."""
    return job_service_pb2_grpc.JobServiceStub(channel)  # type: ignore[no-untyped-call]


class Mover:
    """Moves jobs back and forth between QUEUED and PAUSED, in turn."""

    def __init__(self, channel: grpc.aio.Channel, names: list[str]) -> None:
        self._jobs = jobs_of(channel)
        self._names = names
        self._moves = 0

    async def move(self) -> job_pb2.Job:
        """Make the next change. Returns the job after it."""
        turn, index = divmod(self._moves, len(self._names))
        self._moves += 1
        request = {"name": self._names[index]}
        if turn % 2 == 0:
            answer = await self._jobs.StartJob(job_service_pb2.StartJobRequest(**request), timeout=PATIENCE)
        else:
            answer = await self._jobs.PauseJob(job_service_pb2.PauseJobRequest(**request), timeout=PATIENCE)
        job: job_pb2.Job = answer
        return job
