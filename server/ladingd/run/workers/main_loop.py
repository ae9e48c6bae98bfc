"""The main loop of a worker process."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import threading
import time
from functools import lru_cache
from multiprocessing import connection
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

from ladingd.core.origin import working_for
from ladingd.core.report import Report, heard_by

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

NICENESS = 4
# See mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
REPORTS = 5
"""The most progress reports of a call per second."""


def serve(pipe: Connection, prepare: Callable[[int], None]) -> None:
    """Handle calls one by one until the daemon is gone."""
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
