"""The daemon as its service manager sees it: the time to start and to stop, and its cost when idle."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from lading.v1 import job_pb2, job_service_pb2, spec_pb2
from tests.bench import records
from tests.bench.errors import expect
from tests.bench.measure import Memory
from tests.bench.result import Figure, spread
from tests.bench.standstill import Standstill, jobs_of
from tests.harness.daemon import DaemonProcess, descendants
from tests.harness.waiting import PATIENCE, until, until_async

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.workbench import Workbench

_STORED = 10_000
_JOBS = 50
_WATCHERS = 200
_IDLE_SECONDS = 60.0
_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


def ready(bench: Workbench) -> Iterator[Figure]:
    """The time from the start of the process until health is SERVING, with 10,000 jobs in the store."""
    still = Standstill(bench.work / "ready-many")
    daemon = still.daemon
    seconds = []
    try:
        daemon.start()
        asyncio.run(still.make_first())
        daemon.stop()
        asyncio.run(still.fill(_STORED))
        for _ in range(max(bench.rounds, 9)):
            begin = time.perf_counter()
            daemon.process = daemon.spawn()
            with grpc.insecure_channel(daemon.address) as channel:
                # A channel that has failed once would retry only after a second.
                until(daemon.accepts, "the daemon listens")
                answer = HealthStub(channel).Check(HealthCheckRequest(), wait_for_ready=True, timeout=PATIENCE)
            seconds.append(time.perf_counter() - begin)
            expect("health", answer.status, HealthCheckResponse.SERVING)
            daemon.stop()
    finally:
        daemon.clean_up()
    yield Figure(
        case="ready-many",
        what=f"daemon ready, {_STORED:,} jobs",
        ours=spread(seconds),
        other="",
        value=statistics.median(seconds),
        unit="s",
        goal=1.0,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """Seconds from SIGTERM until the last watcher knew the state of all jobs, and until the process was gone."""

    known: float
    gone: float


def shutdown(bench: Workbench) -> Iterator[Figure]:
    """SIGTERM with 50 running imports into PostgreSQL and 200 watchers, each with its own connection."""
    file = bench.clean_file(bench.records)
    ends = asyncio.run(_ends(bench, file))
    cases: list[tuple[str, list[float], float]] = [
        ("all watchers know of all jobs", [end.known for end in ends], 1.0),
        ("SIGTERM to exit", [end.gone for end in ends], 2.0),
    ]
    for what, seconds, goal in cases:
        value = statistics.median(seconds)
        yield Figure(case="shutdown", what=what, ours=spread(seconds), other="", value=value, unit="s", goal=goal)


async def _ends(bench: Workbench, file: Path) -> list[End]:
    return [await _end(bench, file, number) for number in range(bench.rounds)]


async def _end(bench: Workbench, file: Path, number: int) -> End:
    home = bench.work / f"shutdown-{number}"
    home.mkdir()
    daemon = DaemonProcess(home, connections={"warehouse": bench.postgres.url}, slots=_JOBS)
    names = [f"end_{index}" for index in range(_JOBS)]
    for name in names:
        bench.postgres.renew(name, records.COLUMNS)
    try:
        await asyncio.to_thread(daemon.start)
        channels = [grpc.aio.insecure_channel(daemon.address, options=_OWN_CONNECTION) for _ in range(_WATCHERS + 1)]
        control = jobs_of(channels.pop())
        made = [(await control.CreateJob(_creation(file, name), timeout=PATIENCE)).name for name in names]
        for name in made:
            await control.StartJob(job_service_pb2.StartJobRequest(name=name), timeout=PATIENCE)
        watchers = [asyncio.create_task(_know(channel)) for channel in channels]

        async def all_run() -> bool:
            page = await control.ListJobs(job_service_pb2.ListJobsRequest(page_size=_JOBS), timeout=PATIENCE)
            states = [job.state for job in page.jobs]
            expect("jobs that are done before the end", states.count(job_pb2.STATE_FINISHED), 0)
            return states.count(job_pb2.STATE_RUNNING) == _JOBS

        await until_async(all_run, "all jobs run")
        await asyncio.sleep(0.5)  # Chunks of many jobs are in flight then.
        begin = time.perf_counter()
        daemon.terminate()
        status = asyncio.create_task(asyncio.to_thread(daemon.wait))
        status.add_done_callback(lambda _: ended.append(time.perf_counter() - begin))
        ended: list[float] = []
        known = max(await asyncio.gather(*watchers)) - begin
        expect("exit status", await status, 0)
        for channel in channels:
            await channel.close()
    finally:
        daemon.clean_up()
    return End(known=known, gone=ended[0])


def _creation(file: Path, table: str) -> job_service_pb2.CreateJobRequest:
    spec = spec_pb2.ImportSpec(
        files=[spec_pb2.File(path=str(file).lstrip("/"))],
        target=spec_pb2.Table(connection="warehouse", table=table),
        chunk_bytes=1 << 20,
    )
    return job_service_pb2.CreateJobRequest(job=job_pb2.Job(spec=spec_pb2.JobSpec(import_spec=spec)))


async def _know(channel: grpc.aio.Channel) -> float:
    """Watch all jobs. Returns the time at which all were known to be interrupted."""
    interrupted: set[str] = set()
    stream: Any = jobs_of(channel).WatchJobs(job_service_pb2.WatchJobsRequest(), timeout=120.0)
    try:
        async for event in stream:
            if event.job.state == job_pb2.STATE_INTERRUPTED:
                interrupted.add(event.job.name)
                if len(interrupted) == _JOBS:
                    known = time.perf_counter()
    except grpc.aio.AioRpcError as error:
        expect("end of a watch", error.code(), grpc.StatusCode.UNAVAILABLE)
    expect("interrupted jobs that a watcher was told of", len(interrupted), _JOBS)
    return known


def idle(bench: Workbench) -> Iterator[Figure]:
    """The memory of all processes and the processor time of a daemon that has been idle for a minute."""
    home = bench.work / "idle-service"
    home.mkdir()
    daemon = DaemonProcess(home)
    try:
        daemon.start()
        process = daemon.process
        assert process is not None
        until(lambda: not descendants(process.pid), "the workers have ended", patience=180.0)
        with Memory(process.pid) as memory:
            before = _processor_seconds(process.pid)
            time.sleep(_IDLE_SECONDS)
            share = 100 * (_processor_seconds(process.pid) - before) / _IDLE_SECONDS
        daemon.stop()
    finally:
        daemon.clean_up()
    megabytes = memory.peak / 1e6
    for what, value, unit, goal in (("memory (PSS)", megabytes, "MB", 120.0), ("share of a core", share, "%", 0.2)):
        ours = f"{value:.2f} {unit} over {_IDLE_SECONDS:g} s"
        yield Figure(case="idle", what=what, ours=ours, other="", value=value, unit=unit, goal=goal)


def _processor_seconds(pid: int) -> float:
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
