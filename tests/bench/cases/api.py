"""The API under load: watches, commands and lists. Some cases compare with a bare server of grpc.aio.

Client and server share the machine. The latency of a change starts at its own time, which is before its commit.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from lading.v1 import job_service_pb2
from tests.bench import hardship as hard
from tests.bench.errors import expect
from tests.bench.measure import Memory, in_turn, percentile
from tests.bench.peers import BARE_METHOD
from tests.bench.result import Figure, speed, spread
from tests.bench.standstill import Mover, jobs_of, standstill
from tests.harness.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from tests.bench.standstill import Standstill
    from tests.bench.workbench import Workbench

_CHANGES = 4_500
"""Changes of one stream, fewer than the daemon keeps in memory."""
_WATCHERS = 1_000
_CONNECTIONS = 20
_JOBS = 50
_TRANSITIONS = 120
_PER_SECOND = 4
_STALLED = 200
_IDLE = 300
_MANY = 10_000
_PAGE = 100
_CREATIONS = 1_000
_CREATORS = 16
_LONG = 120.0
# The most bytes sent to a client that does not read. By default gRPC lets the window grow to megabytes.
_SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1 << 16))
_OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)


def throughput(bench: Workbench) -> Iterator[Figure]:
    """Changes on one stream, compared with a bare grpc.aio stream of the same message."""
    with standstill(bench.work / "throughput", jobs=_JOBS) as still:
        last = asyncio.run(_change(still, _CHANGES))
        message = bench.work / "message"
        message.write_bytes(last.SerializeToString())
        with _bare(bench, message) as socket:
            ours, theirs = in_turn(
                bench.rounds,
                lambda: asyncio.run(_drained(_watch_after(still.address, last.revision - _CHANGES))),
                lambda: asyncio.run(_drained(_bare_stream(socket))),
            )
    rates = [_CHANGES / statistics.median(each) for each in (ours, theirs)]
    print(f"  {rates[0]:,.0f} messages a second, bare {rates[1]:,.0f}", flush=True)
    yield speed("watch-throughput", ours, "bare grpc.aio", theirs, goal=0.5, aim=0.8)


async def _change(still: Standstill, number: int) -> job_service_pb2.WatchJobsResponse:
    """Make ``number`` changes. Returns the last one, as a watch shows it."""
    async with grpc.aio.insecure_channel(still.address) as channel:
        mover = Mover(channel, still.names[1:])
        for _ in range(number):
            job = await mover.move()
        stream = jobs_of(channel).WatchJobs(job_service_pb2.WatchJobsRequest(revision=job.revision - 1))
        event: job_service_pb2.WatchJobsResponse = await stream.read()
        stream.cancel()
    return event


async def _drained(messages: AsyncIterator[Any]) -> float:
    """The seconds until all changes have arrived."""
    begin = time.perf_counter()
    number = 0
    async for _ in messages:
        number += 1
        if number == _CHANGES:
            break
    expect("messages", number, _CHANGES)
    return time.perf_counter() - begin


async def _watch_after(address: str, revision: int) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address, options=[_OWN_CONNECTION]) as channel:
        call = jobs_of(channel).WatchJobs(job_service_pb2.WatchJobsRequest(revision=revision), timeout=_LONG)
        async for message in call:
            yield message


async def _bare_stream(address: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address, options=[_OWN_CONNECTION]) as channel:
        stream: Any = channel.unary_stream(
            BARE_METHOD, response_deserializer=job_service_pb2.WatchJobsResponse.FromString
        )
        call = stream(str(_CHANGES).encode(), timeout=_LONG)
        async for message in call:
            yield message


@contextmanager
def _bare(bench: Workbench, message: Any) -> Iterator[str]:
    socket = bench.work / "bare"
    with _peer("bare", str(socket), str(message)):
        until(socket.exists, "the bare server answers")
        yield f"unix:{socket}"


@contextmanager
def _peer(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of `tests.bench.peers`, which ends when its input ends."""
    command = [sys.executable, "-m", "tests.bench.peers", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            if process.poll() is None and process.stdin is not None and not process.stdin.closed:
                process.stdin.close()
            try:
                process.wait(_LONG)
            except subprocess.TimeoutExpired:
                process.kill()


def crowd(bench: Workbench) -> Iterator[Figure]:
    """1,000 watchers of 50 jobs: the latency of changes at each watcher, and of unary calls meanwhile."""
    with standstill(bench.work / "crowd", jobs=_JOBS) as still:
        with _peer("calls", still.address, still.names[0]) as calls:
            latencies = asyncio.run(_crowd(still))
            said, _ = calls.communicate(timeout=_LONG)
        yield _milliseconds("watch-crowd", f"p99 from change to each of {_WATCHERS:,} watchers", latencies, goal=250)
        yield _milliseconds("watch-crowd", "p99 of unary calls meanwhile", json.loads(said), goal=100)


async def _crowd(still: Standstill) -> list[float]:
    async with _channels(still.address, _CONNECTIONS) as channels:
        mover = Mover(channels[0], still.names[1:])
        revision = (await mover.move()).revision
        request = job_service_pb2.WatchJobsRequest(revision=revision - 1)
        streams = [jobs_of(channels[n % _CONNECTIONS]).WatchJobs(request) for n in range(_WATCHERS)]
        async with asyncio.timeout(_LONG):
            await asyncio.gather(*(stream.read() for stream in streams))
        async with asyncio.timeout(_LONG), asyncio.TaskGroup() as tasks:
            watchers = [tasks.create_task(_follow(stream, _TRANSITIONS)) for stream in streams]
            due = time.perf_counter()
            moved = []
            for _ in range(_TRANSITIONS):
                moved.append((await mover.move()).revision)
                due += 1 / _PER_SECOND
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
        for stream in streams:
            stream.cancel()
    latencies: list[float] = []
    for watcher in watchers:
        expect("revisions that a watcher saw", [revision for revision, _ in watcher.result()], moved)
        latencies.extend(latency for _, latency in watcher.result())
    return latencies


async def _follow(stream: Any, number: int) -> list[tuple[int, float]]:
    """The next changes: the revision and the seconds since the change."""
    seen: list[tuple[int, float]] = []
    while len(seen) < number:
        event = await stream.read()
        if event.kind == job_service_pb2.WatchJobsResponse.KIND_CHANGED:
            seen.append((event.revision, time.time() - event.time.ToNanoseconds() / 1e9))
    return seen


def stalled(bench: Workbench) -> Iterator[Figure]:
    """Memory of the daemon for each watcher that has its own connection and does not read."""
    with standstill(bench.work / "stalled", jobs=_JOBS) as still:
        kilobytes = asyncio.run(_stalled(still))
    yield Figure(
        case="watch-stalled",
        what="memory of the daemon for each stalled watcher",
        ours=f"{_STALLED} watchers",
        other="",
        value=kilobytes,
        unit="KB",
        goal=100,
    )


async def _stalled(still: Standstill) -> float:
    async with grpc.aio.insecure_channel(still.address) as channel:
        mover = Mover(channel, still.names[1:])
        # Fill the daemon's shared cache of changes first.
        for _ in range(500):
            revision = (await mover.move()).revision
        before = await asyncio.to_thread(_memory, still.pid)
        async with _channels(still.address, _STALLED) as channels:
            request = job_service_pb2.WatchJobsRequest(revision=revision - 1)
            streams = [jobs_of(each).WatchJobs(request) for each in channels]
            async with asyncio.timeout(_LONG):
                await asyncio.gather(*(stream.read() for stream in streams))
            for _ in range(1_000):
                await mover.move()
            after = await asyncio.to_thread(_memory, still.pid)
            for stream in streams:
                stream.cancel()
    return (after - before) / _STALLED / 1000


def _memory(pid: int) -> int:
    with Memory(pid) as memory:
        time.sleep(1.0)
    return memory.peak


def idle(bench: Workbench) -> Iterator[Figure]:
    """The latency of a change at a single watcher, on a Unix socket."""
    with standstill(bench.work / "idle", jobs=_JOBS) as still:
        latencies = asyncio.run(_idle(still))
    yield _milliseconds("watch-idle", "p99 from change to arrival", latencies, goal=10)


async def _idle(still: Standstill) -> list[float]:
    async with _channels(still.address, 2) as (channel, other):
        mover = Mover(channel, still.names[1:])
        revision = (await mover.move()).revision
        stream = jobs_of(other).WatchJobs(job_service_pb2.WatchJobsRequest(revision=revision))
        latencies = []
        async with asyncio.timeout(_LONG):
            for number in range(_IDLE + 20):
                following = asyncio.create_task(_follow(stream, 1))
                await mover.move()
                ((_, latency),) = await following
                if number >= 20:
                    latencies.append(latency)
                await asyncio.sleep(0.01)
        stream.cancel()
    return latencies


def many(bench: Workbench) -> Iterator[Figure]:
    """10,000 jobs in the store: pages of 100, and creations by 16 callers, all of which survive a kill of the
    daemon."""
    with standstill(bench.work / "many", jobs=_MANY) as still:
        latencies = asyncio.run(_list(still))
        yield _milliseconds("many-jobs", f"p99 of ListJobs, pages of {_PAGE} of {_MANY:,}", latencies, goal=20)
        made: set[str] = set()
        for detect, what in ((False, "stated"), (True, "detected")):
            seconds, names = asyncio.run(_create(still, detect=detect))
            made |= names
            yield Figure(
                case="many-jobs",
                what=f"creations a second, dialect {what}",
                ours=f"{len(names):,} in {spread([seconds])}",
                other="",
                value=len(names) / seconds,
                unit="1/s",
                goal=100,
                is_speed=True,
            )
        still.daemon.kill()
        still.daemon.start()
        expect("jobs that were made and are lost", len(made - asyncio.run(_names(still))), 0)


async def _list(still: Standstill) -> list[float]:
    seconds: list[float] = []
    async with grpc.aio.insecure_channel(still.address, options=_LARGE) as channel:
        request = job_service_pb2.ListJobsRequest(page_size=_PAGE)
        await jobs_of(channel).ListJobs(request, timeout=PATIENCE)
        for _ in range(2):
            request.page_token = ""
            while True:
                begin = time.perf_counter()
                page = await jobs_of(channel).ListJobs(request, timeout=PATIENCE)
                seconds.append(time.perf_counter() - begin)
                request.page_token = page.next_page_token
                if not request.page_token:
                    break
    return seconds


async def _create(still: Standstill, *, detect: bool) -> tuple[float, set[str]]:
    names: set[str] = set()
    async with grpc.aio.insecure_channel(still.address) as channel:
        left = iter(range(_CREATIONS))

        async def create() -> None:
            for number in left:
                job = await jobs_of(channel).CreateJob(still.creation(f"new {number}", detect=detect), timeout=PATIENCE)
                names.add(job.name)

        begin = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_CREATORS):
                tasks.create_task(create())
        return time.perf_counter() - begin, names


async def _names(still: Standstill) -> set[str]:
    names: set[str] = set()
    async with grpc.aio.insecure_channel(still.address, options=_LARGE) as channel:
        request = job_service_pb2.ListJobsRequest(page_size=1000)
        while True:
            page = await jobs_of(channel).ListJobs(request, timeout=PATIENCE, wait_for_ready=True)
            names.update(job.name for job in page.jobs)
            request.page_token = page.next_page_token
            if not request.page_token:
                return names


_LARGE = (("grpc.max_receive_message_length", 64 << 20), _OWN_CONNECTION)


def hardship(bench: Workbench) -> Iterator[Figure]:
    """50 watchers over 10,000 transitions, with breaks, stalls and compactions: the numbers of missed or wrong
    changes."""
    outcome = hard.hardship(bench.work / "hardship")
    for what, number in outcome.faults.items():
        yield Figure(case="watch-hardship", what=what, ours=outcome.text, other="", value=number, unit="", goal=0)


def _milliseconds(case: str, what: str, seconds: Sequence[float], *, goal: float) -> Figure:
    values = [1000 * each for each in seconds]
    p50, p99 = percentile(values, 50), percentile(values, 99)
    return Figure(
        case=case,
        what=what,
        ours=f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, maximum {max(values):.0f} ms, {len(values):,} in all",
        other="",
        value=p99,
        unit="ms",
        goal=goal,
    )


@asynccontextmanager
async def _channels(address: str, number: int) -> AsyncIterator[list[grpc.aio.Channel]]:
    """``number`` channels, each with its own connection."""
    async with AsyncExitStack() as stack:
        options = [_OWN_CONNECTION, *_SMALL_WINDOW]
        made = [grpc.aio.insecure_channel(address, options=options) for _ in range(number)]
        for channel in made:
            await stack.enter_async_context(channel)
        yield made
