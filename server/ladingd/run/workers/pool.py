"""The pool of worker processes. Only they process records."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import gc
import logging
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from functools import lru_cache
from multiprocessing import connection
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ladingd.core.errors import ShuttingDown, WorkerLost
from ladingd.core.origin import current, working_for
from ladingd.core.report import Report, heard_by
from ladingd.run.workers import program
from ladingd.run.workers.forkserver import FORKSERVER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

P = ParamSpec("P")
T = TypeVar("T")

NICENESS = 4
# See mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

REPORTS = 5
"""The most progress reports of a call per second."""
TRIES = 3
"""How often a call is tried in total if its worker dies."""
READY_SECONDS = 60.0
"""Seconds that a process may take from its start until it is ready."""
PAUSE = 0.5
"""Seconds until the next attempt to start a process."""
MORE_MEMORY = "raise its limit (ulimit -v, or MemoryMax in the unit), or lower chunk_bytes of the job"
MORE_FILES = "allow more open files: LimitNOFILE in the unit, or ulimit -n"

log = logging.getLogger(__name__)


class DiedIdle(Exception):
    """The process had ended before the call, so the task is not the cause."""


class NotStarted(Exception):
    """No process could be started. The message says why."""


class Unreadable(Exception):
    """The answer of a worker cannot be unpickled: a defect."""


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


class Worker:
    """One process, started at its first call. All methods except ``kill`` block."""

    def __init__(self, prepare: Callable[[int], None]) -> None:
        self._prepare = prepare
        self.idle_since = 0.0
        self._connection: Connection | None = None
        self._killed = False
        self._lock = threading.Lock()

    def ask(self, task: bytes, hear: Callable[[Report], object]) -> tuple[bool, Any]:
        """Run a task. Returns whether it returned or raised, and the result or error. ``hear`` is called with its
        reports. Raises EOFError or OSError if the process dies during the task, DiedIdle if it was dead before,
        NotStarted."""
        # An idle process sends nothing, so readable data means its end.
        if self._connection is not None and self._connection.poll():
            self.kill()
            self.gone()
            raise DiedIdle
        try:
            pipe = self._connection or self._started()
            pipe.send_bytes(task)
            answer: tuple[bool, Any] | Report = pipe.recv()
            while isinstance(answer, Report):
                hear(answer)
                answer = pipe.recv()
        except BaseException as error:
            self.kill()
            self.gone()
            if isinstance(error, EOFError | OSError | NotStarted):
                raise
            raise Unreadable(f"the answer of a worker cannot be read: {error!r}") from error
        return answer

    def _started(self) -> Connection:
        if program.replaced():
            raise NotStarted("another version of Lading was installed while this daemon runs; restart the daemon")
        try:
            return self._start()
        except EOFError:
            raise NotStarted("the process that starts them has ended; the machine may be out of memory") from None
        except OSError as error:
            advice = f"; {MORE_FILES}" if error.errno in (errno.EMFILE, errno.ENFILE) else ""
            raise NotStarted(f"{error.strerror or error}{advice}") from error

    def _start(self) -> Connection:
        context = multiprocessing.get_context("forkserver")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._prepare), daemon=True, name="lading-worker")
        with theirs:
            if self._killed:
                ours.close()
                raise EOFError
            # Without the lock, because the first start loads the modules and ``kill`` must not wait for that.
            try:
                FORKSERVER.start(self._process)
            except BaseException:
                ours.close()
                raise
            with self._lock:
                # Our own handle of the process: multiprocessing cannot end a process whose forkserver has died.
                try:
                    self._handle = os.pidfd_open(self._process.pid or 0)
                except OSError:
                    ours.close()  # This ends the process.
                    FORKSERVER.gone()
                    raise
                self._connection = ours
        if self._killed:
            raise EOFError
        # Python waits for ever for a thread that could not start for lack of memory, so a child may never get ready.
        if not ours.poll(READY_SECONDS):
            raise TimeoutError(f"it was not ready within {READY_SECONDS:g} s; the machine may be out of memory")
        ours.recv()
        return ours

    def kill(self) -> None:
        """Kill the process, or mark it to be killed as soon as it is started."""
        with self._lock:
            self._killed = True
            if self._connection is not None:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._handle, signal.SIGKILL)
                return
        FORKSERVER.hurry()

    def gone(self) -> None:
        """Wait until the killed process is gone."""
        if self._connection is None:
            return
        connection.wait([self._handle])
        with self._lock:
            self._connection.close()
            self._connection = None
            os.close(self._handle)
        # Without the lock: it may wait for the start of another process, and ``kill`` must not wait for that.
        FORKSERVER.reap(self._process)


def _serve(pipe: Connection, prepare: Callable[[int], None]) -> None:
    """The main loop of a worker: handle calls one by one until the daemon is gone."""
    # Only the daemon acts on signals to its process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # A lower priority, so that the daemon answers calls although the workers use all processors.
    os.nice(NICENESS)
    _keep_memory()
    gc.freeze()  # The modules stay: a collection would take 0.1 s to look at all of them.
    threading.Thread(target=_die_with_daemon, daemon=True, name="die-with-daemon").start()
    prepared = lru_cache(maxsize=1)(prepare)
    pipe.send(None)  # Ready.
    with heard_by(_Reporter(pipe)):
        while True:
            try:
                task = pipe.recv_bytes()
            except EOFError:
                return
            pipe.send(_answer(task, prepared))


class _Reporter:
    """Sends reports to the daemon, at most REPORTS per second."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._due = 0.0

    def __call__(self, report: Report) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + 1 / REPORTS
            self._pipe.send(report)


def _keep_memory() -> None:
    """Keep the memory of one chunk for the next. If it were returned to the kernel, getting it back would cost 160,000
    page faults for 2,000,000 records, a quarter of the worker's time."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # only glibc has it
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 48 << 20)


def _answer(task: bytes, prepare: Callable[[int], None]) -> tuple[bool, Any]:
    try:
        function, args, kwargs, origin, level = ForkingPickler.loads(task)
        prepare(level)
        with working_for(origin):
            return True, function(*args, **kwargs)
    except BaseException as error:
        # A traceback cannot be pickled, but a note with its text reaches the daemon's log. Libraries may raise errors
        # that are not an Exception.
        error.add_note(_traceback(error))
        return False, error if isinstance(error, Exception) else RuntimeError(repr(error))


def _traceback(error: BaseException) -> str:
    import traceback

    return "in a worker:\n" + "".join(traceback.format_exception(error))


def _die_with_daemon() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _nothing() -> None:
    """Loads nothing and does nothing: a worker that can run it is ready."""
