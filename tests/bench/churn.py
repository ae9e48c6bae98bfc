"""Clients that come and go while a daemon works: watchers, connections, files, jobs that fail or are deleted."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from lading.v1 import job_service_pb2
from lading_client.client import Client
from lading_client.errors import LadingError
from lading_client.model import AT_REST
from lading_client.spec import ExportSpec, File, ImportSpec, JobSpec, Table
from tests.bench.standstill import jobs_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.harness.daemon import DaemonProcess

_PATIENCE = 60.0
_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
_KILLED = """
import sys, grpc
from lading.v1 import job_service_pb2
from lading.v1.job_service_pb2_grpc import JobServiceStub
stream = JobServiceStub(grpc.insecure_channel(sys.argv[1])).WatchJobs(job_service_pb2.WatchJobsRequest())
next(stream)
print("watches", flush=True)
for event in stream:
    pass
"""


class Churn:
    """Does different things in turn until it is cancelled. ``done`` counts them."""

    def __init__(self, daemon: DaemonProcess, people: Path) -> None:
        self._daemon = daemon
        self._people = people
        self._bad = people.with_name("bad.csv")
        self._bad.write_text("id,name\n" + "".join(f"{n},person {n}{',x' * (n % 3)}\n" for n in range(60)))
        self.done: Counter[str] = Counter()

    async def run(self) -> None:
        """Do one thing after the other, each with its own connection."""
        turns: tuple[Callable[[], Awaitable[None]], ...] = (
            self._cancelled_watch,
            self._watch_with_a_deadline,
            self._slow_reader,
            self._killed_client,
            self._journals_and_rejects,
            self._files,
            self._failing_job,
            self._crowd,
        )
        while True:
            for turn in turns:
                await turn()
                self.done[turn.__name__.strip("_")] += 1
                await asyncio.sleep(0.5)

    async def _cancelled_watch(self) -> None:
        async with self._channel() as channel:
            stream: Any = jobs_of(channel).WatchJobs(job_service_pb2.WatchJobsRequest())
            for _ in range(20):
                await stream.read()
            stream.cancel()

    async def _watch_with_a_deadline(self) -> None:
        async with self._channel() as channel:
            stream: Any = jobs_of(channel).WatchJobs(job_service_pb2.WatchJobsRequest(), timeout=0.5)
            with suppress(grpc.aio.AioRpcError):
                async for _ in stream:
                    pass

    async def _slow_reader(self) -> None:
        async with self._channel() as channel:
            stream: Any = jobs_of(channel).WatchJobs(job_service_pb2.WatchJobsRequest())
            await stream.read()
            await asyncio.sleep(1)  # Does not read what arrives meanwhile.
            stream.cancel()

    async def _killed_client(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _KILLED, self._daemon.address, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(_PATIENCE):
                await process.stdout.readline()
        finally:
            process.kill()
            await process.wait()

    async def _journals_and_rejects(self) -> None:
        async with Client(self._daemon.address, timeout=_PATIENCE) as client:
            spec = ImportSpec(files=(File(path=str(self._bad).lstrip("/")),), target=Table(table="few"))
            job = await client.create_job(JobSpec(kind=spec))
            await client.start_job(job.name)
            async with asyncio.timeout(_PATIENCE):
                async for _ in client.watch_journal(job.name):
                    pass
                async for _ in client.watch_rejects(job.name):
                    pass
            await client.delete_job(job.name)

    async def _files(self) -> None:
        async with Client(self._daemon.address, timeout=_PATIENCE) as client:
            stored = await client.upload(self._people)
            to = self._people.with_name("people.out.csv")
            await client.download(stored.file, to, overwrite=True)
            await client.delete_upload(stored.name)

    async def _failing_job(self) -> None:
        async with Client(self._daemon.address, timeout=_PATIENCE) as client:
            to = self._people.with_name("gone")
            to.mkdir(exist_ok=True)
            file = File(path=str(to / "people.csv").lstrip("/"))
            with suppress(LadingError):  # The table may not exist yet.
                job = await client.create_job(JobSpec(kind=ExportSpec(table=Table(table="few"), file=file)))
                to.rmdir()
                await client.start_job(job.name)
                async with asyncio.timeout(_PATIENCE), aclosing(client.watch(job.name)) as events:
                    async for event in events:
                        if event.job is not None and event.job.state in AT_REST:
                            break

    async def _crowd(self) -> None:
        await asyncio.gather(*(self._cancelled_watch() for _ in range(10)))

    def _channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self._daemon.address, options=_OWN_CONNECTION)
