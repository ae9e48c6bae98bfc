"""What the daemon counts and measures for Prometheus.

This module is loaded only if metrics are on. The other packages do not know it: they call the observers that they were
given, or a scrape reads their state. OBSERVING.md explains the metrics.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol, final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ladingd.core.access import CallClass
from ladingd.core.bill import OUTCOMES
from ladingd.core.job import EDITS, ChangeKind
from ladingd.core.state import Event, State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from ladingd.core.job import Change, Job

_log = logging.getLogger(__name__)

LAG_SECONDS = 0.5
"""Seconds between two measurements of the event loop's lag."""
STORE_TIMEOUT = 2.0
"""Seconds in which the store must return the numbers of jobs."""

_SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_MIDDLE = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LONG = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0)


class Pool(Protocol):
    """The numbers of worker processes."""

    @property
    def busy(self) -> int:
        """How many workers are working on a call."""

    @property
    def idle(self) -> int:
        """How many workers have started and have no call."""

    @property
    def deaths(self) -> int:
        """How many workers have ended unexpectedly since the daemon started."""


@final
class Metrics:
    """All metrics. The methods in the past tense are the observers that other packages call."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        self._registry = registry
        ProcessCollector(registry=registry)
        build = Gauge("lading_build_info", "1; the labels are versions.", ("version", "python"), registry=registry)
        build.labels(version("lading"), platform.python_version()).set(1)

        self._jobs = Gauge("lading_jobs", "Jobs by state.", ("state",), registry=registry)
        self._changes = Counter(
            "lading_job_changes",
            "Jobs that entered a state, since the daemon's start.",
            ("state",),
            registry=registry,
        )
        self._queue = Histogram(
            "lading_queue_wait_seconds", "From QUEUED to RUNNING.", buckets=_LONG, registry=registry
        )
        self._records = Counter(
            "lading_records", "Committed records, by outcome.", ("type", "outcome"), registry=registry
        )
        self._rejects = Counter(
            "lading_rejects",
            "Rejects: an error rejects a record or a field of it, a warning leaves a field out.",
            ("severity",),
            registry=registry,
        )
        self._bytes = Counter("lading_source_bytes", "Bytes of files that imports committed.", registry=registry)
        self._chunks = Histogram(
            "lading_chunk_seconds",
            "Time of a worker process for a chunk, including the transaction in the target.",
            buckets=_MIDDLE,
            registry=registry,
        )
        self._steps = Counter(
            "lading_worker_seconds", "Seconds that worker processes worked, by kind.", ("work",), registry=registry
        )
        self._workers = Gauge("lading_workers", "Worker processes for chunks.", ("state",), registry=registry)
        self._rpcs = Counter(
            "lading_rpcs", "Finished calls, by outcome.", ("service", "method", "code"), registry=registry
        )
        self._rpc_seconds = Histogram(
            "lading_rpc_seconds",
            "From the arrival of a call to its end; a watch lasts until the client ends it.",
            ("service", "method"),
            buckets=_MIDDLE,
            registry=registry,
        )
        self._rpcs_running = Gauge("lading_rpcs_running", "Running calls, by class.", ("class",), registry=registry)
        self._watchers = Gauge("lading_watchers", "Watches of jobs, journals and rejects.", registry=registry)
        self._lag = Histogram(
            "lading_event_loop_lag_seconds", "How late the event loop is.", buckets=_SHORT, registry=registry
        )
        self._commits = Histogram(
            "lading_store_commit_seconds", "Transactions that write to the store.", buckets=_SHORT, registry=registry
        )
        self._readable = Gauge(
            "lading_store_readable", "1 if the store answered this scrape in time.", registry=registry
        )
        self._writable = Gauge(
            "lading_store_writable",
            "0 if writes to the store wait: another process has locked it, or its disk is full.",
            registry=registry,
        )
        self._queued: dict[str, float] = {}
        self._begin_at_nought()

    def _begin_at_nought(self) -> None:
        # An alert rule cannot see the first increase of a series that appears with its first event.
        for state in State:
            self._changes.labels(state)
        for kind in ("import", "export"):
            for outcome in OUTCOMES:
                self._records.labels(kind, outcome)
        for severity in ("error", "warning"):
            self._rejects.labels(severity)

    # Observers

    def changed(self, change: Change) -> None:
        """A job was created, moved, edited or deleted."""
        job = change.job
        if change.kind not in EDITS:  # An edit does not change the wait.
            self._waited(change)
        if change.from_state is not job.state and change.cause is not None:
            self._changes.labels(job.state).inc()

    def _waited(self, change: Change) -> None:
        since = self._queued.pop(change.job.id, None)
        if change.cause is Event.SLOT_FREE and since is not None:
            self._queue.observe(max(change.time.timestamp() - since, 0.0))
        if change.job.state is State.QUEUED and change.kind is not ChangeKind.DELETED:
            self._queued[change.job.id] = change.time.timestamp()

    def counted(self, before: Job, after: Job, extent: int) -> None:
        """The counts of a job were written. A counter never decreases, even if a replay lowers the counts."""
        kind, old, new = after.spec.kind, before.counts, after.counts
        for outcome in OUTCOMES:
            self._records.labels(kind, outcome).inc(max(getattr(new, outcome) - getattr(old, outcome), 0))
        self._rejects.labels("error").inc(max(new.errors - old.errors, 0))
        self._rejects.labels("warning").inc(max(new.warnings - old.warnings, 0))
        if kind == "import":
            self._bytes.inc(extent)

    def worked(self, function: str, seconds: float) -> None:
        """A worker process finished a call."""
        self._steps.labels(function.strip("_")).inc(seconds)
        if function == "process":
            self._chunks.observe(seconds)

    def begun(self, method: str) -> Callable[[str], None]:
        """A call begins. Call the returned function with the outcome of the call."""
        service, _, name = method.removeprefix("/").partition("/")
        begin = time.perf_counter()

        def over(code: str) -> None:
            self._rpcs.labels(service, name, code).inc()
            self._rpc_seconds.labels(service, name).observe(time.perf_counter() - begin)

        return over

    def committed(self, seconds: float) -> None:
        """The store committed a transaction."""
        self._commits.observe(seconds)

    # State that a scrape reads

    def look_at(
        self,
        *,
        jobs: Callable[[], Awaitable[Mapping[State, int]]],
        calls: Callable[[], Mapping[CallClass, int]],
        workers: Pool,
        waits: Callable[[], str] = str,
    ) -> None:
        """Read these at each scrape: the number of jobs in each state, the running calls of each class, and what the
        store waits for."""
        self._read_jobs = jobs
        self._read_calls = calls
        self._read_workers = workers
        self._read_waits = waits
        self._registry.register(_Deaths(workers))

    async def render(self, accept: str = "") -> tuple[bytes, str]:
        """The present metrics, and their content type."""
        calls = self._read_calls()
        for call_class, number in calls.items():
            self._rpcs_running.labels(call_class).set(number)
        self._watchers.set(calls[CallClass.WATCHES])
        self._workers.labels("busy").set(self._read_workers.busy)
        self._workers.labels("idle").set(self._read_workers.idle)
        self._writable.set(0 if self._read_waits() else 1)
        try:
            async with asyncio.timeout(STORE_TIMEOUT):
                numbers = await self._read_jobs()
        except Exception as error:
            # This scrape must report that the store does not answer.
            _log.warning("the store does not return the numbers of jobs: %r", error)
            self._readable.set(0)
            self._jobs.clear()
        else:
            self._readable.set(1)
            for job_state, number in numbers.items():
                self._jobs.labels(job_state).set(number)
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    async def measure_lag(self) -> None:
        """Measure the lag of the event loop repeatedly until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            self._lag.observe(max(loop.time() - due, 0.0))


class _Deaths(Collector):
    def __init__(self, workers: Pool) -> None:
        self._workers = workers

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(
            "lading_worker_deaths",
            "Worker processes that ended unexpectedly.",
            value=self._workers.deaths,
        )
