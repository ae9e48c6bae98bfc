"""The process that worker processes are forked from: there from the first of them on, and ended when none is left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing import forkserver, resource_tracker
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess


class Forkserver:
    """The one of this process, as multiprocessing has it. Its methods block, and may be called in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children = 0

    def preload(self, modules: tuple[str, ...]) -> None:
        """Have these modules loaded before the first child."""
        multiprocessing.get_context("forkserver").set_forkserver_preload(list(modules))

    def start(self, process: ForkServerProcess) -> None:
        """Start a child."""
        with self._lock:
            process.start()
            self._children += 1

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
                # Started with it. It has nothing to track for us.
                resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


FORKSERVER = Forkserver()
