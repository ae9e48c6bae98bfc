"""How fast a job goes and how long it will take."""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING

from ladingd.core.job import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 5.0
"""Seconds over which the rate is taken."""
LONGEST = 10 * 365 * 86400.0
"""Nothing is said of more seconds than these: a few keys may be spread over all the numbers there are."""


class Gauge:
    """Counts units (bytes or keys, of ``total``) and records of one attempt. ``clock`` gives monotonic seconds."""

    def __init__(self, total: int, clock: Callable[[], float]) -> None:
        self._total = total
        self._clock = clock
        self._done = 0
        self._records = 0
        self._begin = clock()
        self._marks: deque[tuple[float, int, int]] = deque()
        self.restart(0)

    def restart(self, done: int) -> None:
        """Begin to measure, with this many units done already by earlier attempts."""
        self._done = done
        self._begin = self._clock()
        self._marks = deque([(self._begin, done, 0)])

    def add(self, units: int, records: int) -> None:
        """Note a finished chunk."""
        now = self._clock()
        self._done += units
        self._records += records
        self._marks.append((now, self._done, self._records))
        while len(self._marks) > 2 and self._marks[1][0] < now - WINDOW:
            self._marks.popleft()

    def progress(self) -> Progress:
        """While the job runs: the rate of the last seconds."""
        then, done, records = self._marks[0]
        seconds = max(self._clock() - then, 1e-6)
        speed = (self._done - done) / seconds
        left = (self._total - self._done) / speed if speed > 0 else LONGEST
        return Progress(
            fraction=self._fraction,
            rate=(self._records - records) / seconds,
            time_left=timedelta(seconds=left) if left < LONGEST else None,
        )

    def rest(self) -> Progress:
        """Once the attempt is over: the rate of its whole time."""
        return Progress(fraction=self._fraction, rate=self._records / max(self._clock() - self._begin, 1e-6))

    @property
    def _fraction(self) -> float:
        return min(self._done / self._total, 1.0) if self._total > 0 else 1.0
