"""The process from which workers are forked. It is started with the first worker and ended after the last."""

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
"""Seconds that the start of a child may take. The first start loads the modules."""
UNWANTED_SECONDS = 5.0
"""Seconds that the start may still take when the child is no longer wanted."""


class Forkserver:
    """The forkserver of multiprocessing in this process. Its methods block, and can be called in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children = 0
        self._starting: ForkServerProcess | None = None

    def preload(self, modules: tuple[str, ...]) -> None:
        """Set the modules to load before the first child."""
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
        """End the forkserver if the current start of a child does not finish soon: a stopped or hung forkserver would
        block the start for ever. Does not block."""
        if self._starting is not None:
            self._end_later(UNWANTED_SECONDS)

    def reap(self, process: ForkServerProcess) -> None:
        """Get the status of an ended child from the forkserver, which is killed if it does not answer. Its other
        children live on."""
        process.join(UNWANTED_SECONDS)
        if process.is_alive():
            self._kill()
            process.join()
        with self._lock:
            process.close()  # With the lock, because the start of another child looks at all children.
            self._children -= 1

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
        """Note that a child is gone."""
        with self._lock:
            self._children -= 1

    def end(self) -> None:
        """End the forkserver unless it has children. The next child starts it again.

        multiprocessing ends the forkserver only some time after this process, but a service must not leave processes
        behind. There is no public function for that. This uses the way of the library's own tests: close the pipe that
        keeps the forkserver alive, and wait for its end.
        """
        with self._lock:
            if not self._children:
                if pid := forkserver._forkserver._forkserver_pid:  # type: ignore[attr-defined]
                    os.kill(pid, signal.SIGKILL)  # It may still be loading modules and would notice only afterwards.
                forkserver._forkserver._stop()  # type: ignore[attr-defined]
                # The resource tracker was started with it. It tracks nothing for us and may be stopped, so it is killed
                # too.
                if pid := resource_tracker._resource_tracker._pid:  # type: ignore[attr-defined]
                    os.kill(pid, signal.SIGKILL)
                resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


FORKSERVER = Forkserver()
