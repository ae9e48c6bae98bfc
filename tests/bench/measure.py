"""Measures commands alternately, and the memory of a process with its descendants; percentiles."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.errors import CommandFailed
from tests.harness.daemon import descendants

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PATIENCE = 3600.0
"""Seconds after which a command counts as hung."""


def in_turn(rounds: int, *cases: Callable[[], float]) -> list[list[float]]:
    """Run each case once to warm up, then all alternately. Returns the seconds of each run, by case."""
    for case in cases:
        case()
    seconds: list[list[float]] = [[] for _ in cases]
    for _ in range(rounds):
        for index, case in enumerate(cases):
            seconds[index].append(case())
    return seconds


def wall(command: Sequence[str], *, notes: Path | None = None) -> tuple[float, str]:
    """The wall seconds of a command and its standard output. Standard error goes to ``notes``. Raises CommandFailed."""
    with notes.open("w+b") if notes is not None else tempfile.TemporaryFile() as said:
        begin = time.perf_counter()
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, timeout=PATIENCE, check=False
        )
        seconds = time.perf_counter() - begin
        if done.returncode != 0:
            said.seek(0)
            raise CommandFailed(command, done.returncode, (done.stdout + said.read()).decode(errors="replace"))
    return seconds, done.stdout.decode()


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that ``percent`` percent of the values do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


class Memory:
    """Samples the proportional memory (PSS, in bytes) of a process and all its descendants; keeps the peak."""

    def __init__(self, pid: int, *, interval: float = 0.05) -> None:
        self._pid = pid
        self._interval = interval
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
        while not self._end.wait(self._interval):
            self.peak = max(self.peak, sum(map(pss, [self._pid, *descendants(self._pid)])))


def pss(pid: int) -> int:
    """The proportional memory of a process in bytes; 0 if it has ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(row.split()[1]) << 10 for row in rollup.splitlines() if row.startswith("Pss:")), 0)
