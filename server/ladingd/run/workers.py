"""The worker processes: the only place where records are touched."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing import connection
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from ladingd.core.errors import ShuttingDown, WorkerLost

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess

P = ParamSpec("P")
T = TypeVar("T")

TRIES = 5
"""A call whose worker died is made again this often. A neighbour's death breaks the pool for all, hence not 2."""

log = logging.getLogger(__name__)


class Workers:
    """A pool of processes that is made anew when one of them dies.

    ``size`` processes run calls side by side; more calls wait in their order.
    """

    def __init__(self, size: int, preload: tuple[str, ...] = ()) -> None:
        self.size = size
        # A forkserver, because forking after gRPC has started is unsupported, and because its children share the
        # pages of the modules loaded once.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        self._pool = self._make()
        self._closed = False

    def _make(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.size, mp_context=self._context, initializer=_begin)

    async def warm(self) -> None:
        """Start all processes, so that the first job need not wait for them."""
        await asyncio.gather(*(self.call(_nothing) for _ in range(self.size)))

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in a worker and return its result. It must bear being run twice.

        Raises what the function raises, WorkerLost where worker after worker died on it, ShuttingDown after close.
        """
        assert not kwargs, "executors take positional arguments only"
        loop = asyncio.get_running_loop()
        for _ in range(TRIES):
            if self._closed:
                raise ShuttingDown
            pool = self._pool
            try:
                return await loop.run_in_executor(pool, function, *args)
            except BrokenExecutor:
                self._replace(pool)
        raise WorkerLost(f"worker processes died {TRIES} times on the same work; the machine may be out of memory")

    async def kill(self) -> None:
        """Kill all processes and wait until they are gone. Calls under way are made again unless given up before."""
        processes = _processes(self._pool)
        self._replace(self._pool)
        for process in processes:
            process.kill()
        for process in processes:
            await asyncio.to_thread(process.join)

    async def close(self) -> None:
        """Kill what still runs, for good."""
        self._closed = True
        pool = self._pool
        for process in _processes(pool):
            process.kill()
        await asyncio.to_thread(pool.shutdown, cancel_futures=True)

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        if self._pool is broken and not self._closed:
            log.warning("worker processes have ended; starting new ones")
            self._pool = self._make()
            broken.shutdown(wait=False)


def _processes(pool: ProcessPoolExecutor) -> list[BaseProcess]:
    # Public only from Python 3.14 on, as kill_workers().
    return list((pool._processes or {}).values())


def _begin() -> None:
    """A worker's first act: signals to the daemon's whole group are the daemon's to act on, not its workers'."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_die_with_daemon, daemon=True, name="die-with-daemon").start()


def _die_with_daemon() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _nothing() -> None:
    """Loads nothing and does nothing: a worker that can run it is ready."""
