"""The process that worker processes are forked from: there from the first of them on, and ended when none is left."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from multiprocessing import forkserver, resource_tracker
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

log = logging.getLogger(__name__)

START_SECONDS = 60.0
"""How long the start of a child may take; the first one loads the modules."""
UNWANTED_SECONDS = 5.0
"""How long it may still take once nobody wants the child any more."""


class Forkserver:
    """The one of this process, as multiprocessing has it. Its methods block, and may be called in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children = 0
        self._starting: ForkServerProcess | None = None

    def preload(self, modules: tuple[str, ...]) -> None:
        """Have these modules loaded before the first child."""
        multiprocessing.get_context("forkserver").set_forkserver_preload(list(modules))

    def start(self, process: ForkServerProcess) -> None:
        """Start a child. Raises OSError, and EOFError if the forkserver dies or takes too long."""
        with self._lock:
            self._starting = process
            late = self._end_later(START_SECONDS)
            try:
                process.start()
                self._children += 1
            finally:
                self._starting = None
                late.cancel()

    def hurry(self) -> None:
        """End the forkserver if the child that it starts now is not there soon. Does not block: whoever waits for the
        start of a child would otherwise wait as long as a forkserver that was stopped or hangs."""
        if self._starting is not None:
            self._end_later(UNWANTED_SECONDS)

    def reap(self, process: ForkServerProcess) -> None:
        """Take the status of a child that has ended. The forkserver is asked for it, and killed if it does not answer;
        its other children live on."""
        process.join(UNWANTED_SECONDS)
        if process.is_alive():
            self._kill()
            process.join()

    def _end_later(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self._end_stuck, [self._starting])
        timer.daemon = True
        timer.start()
        return timer

    def _end_stuck(self, process: ForkServerProcess) -> None:
        if self._starting is process:
            self._kill()

    def _kill(self) -> None:
        if pid := forkserver._forkserver._forkserver_pid:  # type: ignore[attr-defined]
            log.error("the process that starts workers does not answer and is killed: process %d", pid)
            os.kill(pid, signal.SIGKILL)

    def gone(self) -> None:
        """Take note that a child is gone."""
        with self._lock:
            self._children -= 1

    def end(self) -> None:
        """End it, unless it has children; the next child has it started again.

        The library would have it end some time after this process; a service must not leave processes behind. It has
        no public way for that, but one for its own tests: close the pipe that keeps it alive, and wait for its end.
        """
        with self._lock:
            if not self._children:
                if pid := forkserver._forkserver._forkserver_pid:  # type: ignore[attr-defined]
                    os.kill(pid, signal.SIGKILL)  # It may be loading modules yet, and would not notice before the end.
                forkserver._forkserver._stop()  # type: ignore[attr-defined]
                # Started with it. It has nothing to track for us, so it is killed too: it may have been stopped.
                if pid := resource_tracker._resource_tracker._pid:  # type: ignore[attr-defined]
                    os.kill(pid, signal.SIGKILL)
                resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


FORKSERVER = Forkserver()
