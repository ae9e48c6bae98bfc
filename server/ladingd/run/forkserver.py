"""The process that worker processes are forked from: there from the first of them on, and ended when none is left."""

from __future__ import annotations

import multiprocessing
import threading
from multiprocessing import forkserver
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
        """End it, unless it has children; the next child has it started again."""
        with self._lock:
            if not self._children:
                # The library itself only ever ends it together with this process. It says nothing to the server but
                # closes the pipe that keeps it alive, and waits for its end.
                forkserver._forkserver._stop()  # type: ignore[attr-defined]


FORKSERVER = Forkserver()
