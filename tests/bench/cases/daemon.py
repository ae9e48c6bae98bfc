"""The daemon as its callers see it: the time until it is ready, and its latency under load."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from lading.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc
from tests.bench import records
from tests.bench.errors import expect
from tests.bench.measure import percentile
from tests.bench.result import Figure, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.workbench import Workbench

_CALLS_PER_SECOND = 50
_PAGE = 50
_PATIENCE = 20.0
_ENDED = (job_pb2.STATE_FINISHED, job_pb2.STATE_FAILED, job_pb2.STATE_CANCELED)


def ready(bench: Workbench) -> Iterator[Figure]:
    """The time from the start of the daemon's process until its health is SERVING."""
    seconds = []
    for _ in range(max(bench.rounds, 9)):
        begin = time.perf_counter()
        with bench.serving():
            with grpc.insecure_channel(bench.daemon.address) as channel:
                health = HealthStub(channel)
                answer = health.Check(HealthCheckRequest(), wait_for_ready=True, timeout=_PATIENCE)
            seconds.append(time.perf_counter() - begin)
            expect("health", answer.status, HealthCheckResponse.SERVING)
    yield Figure(
        case="ready",
        what="daemon ready",
        ours=spread(seconds),
        other="",
        value=statistics.median(seconds),
        unit="s",
        goal=1.5,
    )


def responsive(bench: Workbench) -> Iterator[Figure]:
    """GetJob and ListJobs (a page of 50) alternately, 50 calls a second, during an import into PostgreSQL."""
    bench.clean_file(bench.records)
    with bench.serving():
        # The first import warms up. The jobs of the page have its spec.
        template = _detached(bench)
        asyncio.run(_under_load(bench, template))
        asyncio.run(_fill_page(bench, template))
        loads = [asyncio.run(_under_load(bench, _detached(bench))) for _ in range(bench.rounds)]
    bench.drop_tables()
    # The delay of the client's own wake-ups shows how much of a latency is due to too few cores.
    late = 1000 * percentile([each for load in loads for each in load.late], 99)
    for method in loads[0].latencies:
        yield _latency(method, [1000 * each for load in loads for each in load.latencies[method]], late)


def _latency(method: str, milliseconds: list[float], late: float) -> Figure:
    p50, p99, most = percentile(milliseconds, 50), percentile(milliseconds, 99), max(milliseconds)
    return Figure(
        case="responsive",
        what=f"p99 of {method}",
        ours=f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, maximum {most:.0f} ms, {len(milliseconds):,} calls",
        other=f"the client itself wakes up late: p99 {late:.1f} ms",
        value=p99,
        unit="ms",
        goal=50,
    )


def _detached(bench: Workbench) -> str:
    """Start an import without waiting for it. Returns the job's name."""
    bench.postgres.renew("ours", records.COLUMNS)
    file = bench.clean_file(bench.records)
    job = json.loads(bench.lading("import", str(file), "--into", "warehouse.ours", "--detach"))
    return str(job["name"])


async def _fill_page(bench: Workbench, template: str) -> None:
    async with grpc.aio.insecure_channel(bench.daemon.address) as channel:
        jobs: Any = job_service_pb2_grpc.JobServiceStub(channel)  # type: ignore[no-untyped-call]
        found = await jobs.GetJob(job_service_pb2.GetJobRequest(name=template), timeout=_PATIENCE)
        for _ in range(_PAGE):
            request = job_service_pb2.CreateJobRequest(job=job_pb2.Job(label=found.label, spec=found.spec))
            await jobs.CreateJob(request, timeout=_PATIENCE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """A client's measurements during a job, in seconds: the duration of each call by method, and the delay of
    wake-ups."""

    latencies: dict[str, list[float]]
    late: list[float]


async def _under_load(bench: Workbench, name: str) -> Load:
    """Make calls until the job has ended."""
    latencies: dict[str, list[float]] = {"GetJob": [], "ListJobs": []}
    late: list[float] = []
    last: Any = None

    async with grpc.aio.insecure_channel(bench.daemon.address) as channel, asyncio.TaskGroup() as calls:
        jobs: Any = job_service_pb2_grpc.JobServiceStub(channel)  # type: ignore[no-untyped-call]

        async def get() -> None:
            nonlocal last
            begin = time.perf_counter()
            last = await jobs.GetJob(job_service_pb2.GetJobRequest(name=name), timeout=_PATIENCE)
            latencies["GetJob"].append(time.perf_counter() - begin)

        async def list_page() -> None:
            begin = time.perf_counter()
            await jobs.ListJobs(job_service_pb2.ListJobsRequest(page_size=_PAGE), timeout=_PATIENCE)
            latencies["ListJobs"].append(time.perf_counter() - begin)

        due = time.perf_counter()
        for call in itertools.cycle((get, list_page)):
            if last is not None and last.state in _ENDED:
                break
            # Make each call at its time, even if the previous one has no answer yet: a hanging daemon gets as many
            # calls.
            calls.create_task(call())
            due += 1 / _CALLS_PER_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            late.append(max(0.0, time.perf_counter() - due))
    expect(f"state of {name}", last.state, job_pb2.STATE_FINISHED)
    expect("rows that we wrote", bench.postgres.count("ours"), bench.records)
    return Load(latencies=latencies, late=late)
