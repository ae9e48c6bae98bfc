"""Measuring: medians of whole processes taken in turn, and the memory of a process with its descendants."""

from __future__ import annotations

import statistics
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness.daemon import descendants

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def in_turn(rounds: int, *cases: Callable[[], float]) -> list[list[float]]:
    """Run each case once to warm up, then all of them in turn; the seconds of each, by case."""
    for case in cases:
        case()
    seconds: list[list[float]] = [[] for _ in cases]
    for _ in range(rounds):
        for index, case in enumerate(cases):
            seconds[index].append(case())
    return seconds


def wall(command: Sequence[str | Path], **settings: object) -> float:
    """The wall seconds of a command that must succeed."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **settings)  # type: ignore[call-overload]
    return time.perf_counter() - begin


def line(what: str, seconds: Sequence[float]) -> str:
    """Minimum, median and maximum, for people."""
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    return f"  {what:<44} median {middle:7.3f} s   ({low:.3f} to {high:.3f}, n = {len(seconds)})"


class Memory:
    """Samples the proportional memory (PSS, in bytes) of a process and all its descendants; keeps the peak."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.peak = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._end.wait(0.05):
            self.peak = max(self.peak, sum(map(_pss, [self._pid, *descendants(self._pid)])))


def _pss(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(row.split()[1]) << 10 for row in rollup.splitlines() if row.startswith("Pss:")), 0)
