"""The pool of worker processes. Only they process records."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ladingd.core.errors import ShuttingDown, WorkerLost
from ladingd.core.origin import current
from ladingd.run.workers.forkserver import FORKSERVER
from ladingd.run.workers.worker import DiedIdle, NotStarted, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ladingd.core.report import Report

P = ParamSpec("P")
T = TypeVar("T")

TRIES = 3
"""How often a call is tried in total if its worker dies."""
PAUSE = 0.5
"""Seconds until the next attempt to start a process."""
MORE_MEMORY = "raise its limit (ulimit -v, or MemoryMax in the unit), or lower chunk_bytes of the job"

log = logging.getLogger(__name__)


def _to_nobody(_report: Report) -> None:
    """Ignores reports."""


def _not_at_all(_level: int) -> None:
    """No preparation."""


class Workers:
    """At most ``size`` processes, each with one call at a time. Further calls wait in order.

    This replaces ``ProcessPoolExecutor``, where the death of one process fails all calls, and a hung call cannot be
    killed alone.
    """

    def __init__(
        self,
        size: int,
        preload: tuple[str, ...] = (),
        *,
        prepare: Callable[[int], None] = _not_at_all,
        observers: Sequence[Callable[[str, float], None]] = (),
        successor: Workers | None = None,
    ) -> None:
        """``prepare`` is called with the log level in every process before its first task, and again when the level
        changes. ``observers`` are called, in the calling task, for every answered call with the function's name and the
        seconds it took. ``successor`` is the pool that the same job uses next: if it has no process, its processes
        start together with the first process of this pool."""
        self.size = size
        self.deaths = 0
        """The number of processes that died or were killed by others."""
        self._prepare = prepare
        self._observers = observers
        self._successor = successor
        self._warming: asyncio.Task[None] | None = None
        # A forkserver, because forking after gRPC has started is unsupported, and because its children share the
        # pages of the modules loaded once.
        FORKSERVER.preload(preload)
        self._free = asyncio.Semaphore(size)
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        # One thread at a time talks to a worker, and blocks until the answer arrives.
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="worker")
        self._draining = False
        self._closed = False

    async def warm(self, number: int | None = None) -> None:
        """Start ``number`` processes, or all, so that the first job need not wait for them."""
        try:
            await asyncio.gather(*(self.call(_nothing) for _ in range(number or self.size)))
        except WorkerLost as error:
            # A job that needs a process will report the error. The other processes continue.
            log.warning("not all worker processes can be started: %s", error.message)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in a worker and return its result. The function may be run twice.

        Cancelling the call kills its worker; the call ends when the process is gone. Raises what the function raises,
        WorkerLost if several workers died on it or none can be started, ShuttingDown after ``drain`` or ``close``.
        """
        return await self.follow(_to_nobody, function, *args, **kwargs)

    async def follow(
        self, hear: Callable[[Report], None], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Like ``call``. ``hear`` is called on the loop with the function's reports, a few times a second."""
        level = logging.getLogger().getEffectiveLevel()
        task = bytes(ForkingPickler.dumps((function, args, kwargs, current(), level)))
        async with self._free:
            deaths = 0
            lost = ""
            while deaths < TRIES:
                if self._draining or self._closed:
                    raise ShuttingDown
                worker = self._idle.pop() if self._idle else self._new()
                begin = time.perf_counter()
                try:
                    ok, answer = await self._ask(worker, task, hear)
                except DiedIdle:
                    self.deaths += 1
                    log.warning("an idle worker process has ended")
                    continue
                except NotStarted as error:
                    deaths += 1
                    lost = f"no worker process can be started: {error}"
                    if not (self._draining or self._closed):
                        log.warning("%s", lost)
                        await asyncio.sleep(PAUSE)
                    continue
                except (EOFError, OSError):
                    deaths += 1
                    self.deaths += 1
                    lost = f"worker processes died {TRIES} times on the same work; the machine may be out of memory"
                    log.warning("a worker process has ended during its work")
                    continue
                if isinstance(answer, MemoryError):
                    deaths += 1
                    self.deaths += 1
                    lost = f"worker processes ran out of memory {TRIES} times on the same work; {MORE_MEMORY}"
                    log.warning("a worker process has run out of memory and is ended")
                    worker.kill()
                    await asyncio.to_thread(worker.gone)
                    continue
                worker.idle_since = time.monotonic()
                self._idle.append(worker)
                for tell in self._observers:
                    tell(getattr(function, "__name__", "other"), time.perf_counter() - begin)
                if ok:
                    return answer  # type: ignore[no-any-return]
                raise answer
        raise WorkerLost(lost)

    def _new(self) -> Worker:
        pool = self._successor
        if pool is not None and not (pool.busy or pool.idle) and (self._warming is None or self._warming.done()):
            self._warming = asyncio.create_task(self._warm(pool))
        return Worker(self._prepare)

    @staticmethod
    async def _warm(pool: Workers) -> None:
        with suppress(ShuttingDown):
            await pool.warm()

    @property
    def busy(self) -> int:
        """How many processes are working."""
        return len(self._busy)

    @property
    def idle(self) -> int:
        """How many processes are idle. Processes start when they are needed."""
        return len(self._idle)

    async def _ask(self, worker: Worker, task: bytes, hear: Callable[[Report], None]) -> tuple[bool, Any]:
        self._busy.add(worker)
        loop = asyncio.get_running_loop()
        asking = loop.run_in_executor(
            self._threads, worker.ask, task, lambda report: loop.call_soon_threadsafe(hear, report)
        )
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            worker.kill()
            await _finished(asking)  # An error is due to the kill.
            # If the answer was faster than the kill, nobody else waits for the end of the process.
            await _finished(loop.run_in_executor(None, worker.gone))
            raise
        finally:
            self._busy.discard(worker)

    async def rest(self, after: float) -> bool:
        """End the processes that have been idle for ``after`` seconds. Returns whether none is left.

        While one works, all stay: an idle process may hold what the others use, such as the snapshot of an export.
        """
        if self._busy:
            return False
        due = time.monotonic() - after
        rested = [worker for worker in self._idle if worker.idle_since <= due]
        self._idle = [worker for worker in self._idle if worker.idle_since > due]
        ending = asyncio.get_running_loop().run_in_executor(None, _end, rested)
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await _finished(ending)
            raise
        return not (self._busy or self._idle)

    def drain(self) -> None:
        """Begin no more calls: calls that wait for a process end with ShuttingDown when their turn comes."""
        self._draining = True

    async def close(self) -> None:
        """Kill all processes and wait until they are gone. Calls under way end with ShuttingDown."""
        self._closed = True
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.wait([self._warming])
        for worker in self._busy:
            worker.kill()
        async with AsyncExitStack() as places:
            # A call gives its place back when its process is gone or idle.
            for _ in range(self.size):
                await places.enter_async_context(self._free)
            await asyncio.to_thread(_end, self._idle)
            self._idle.clear()
        await asyncio.to_thread(self._threads.shutdown)


def _end(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.gone()


async def _finished(future: asyncio.Future[Any]) -> None:
    """Wait for a future, even if the task is cancelled again meanwhile. The caller is about to raise CancelledError."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    future.exception()


def _nothing() -> None:
    """Loads nothing and does nothing: a worker that can run it is ready."""
