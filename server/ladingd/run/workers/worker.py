"""A worker process, as the daemon sees it."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from ladingd.core.report import Report
from ladingd.run.workers import program
from ladingd.run.workers.forkserver import FORKSERVER
from ladingd.run.workers.main_loop import serve

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

READY_SECONDS = 60.0
"""Seconds that a process may take from its start until it is ready."""
MORE_FILES = "allow more open files: LimitNOFILE in the unit, or ulimit -n"


class DiedIdle(Exception):
    """The process had ended before the call, so the task is not the cause."""


class NotStarted(Exception):
    """No process could be started. The message says why."""


class Unreadable(Exception):
    """The answer of a worker cannot be unpickled: a defect."""


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
        self._process = context.Process(target=serve, args=(theirs, self._prepare), daemon=True, name="lading-worker")
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
