"""How fast a job is and how long it will take."""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING

from ladingd.core.job import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 5.0
"""Seconds over which the rate is taken."""
_NEARLY = 0.99
LONGEST = 10 * 365 * 86400.0
"""A longer remaining time is not shown: a few keys may be spread over the whole range of numbers."""


class Throughput:
    """Counts the units (bytes or keys, of ``total``) and records of one attempt. ``clock`` gives monotonic seconds."""

    def __init__(self, total: int, clock: Callable[[], float]) -> None:
        self._total = total
        self._clock = clock
        self._done = 0
        self._records = 0
        self._under_way: dict[int, tuple[float, int]] = {}
        """The units and records that running chunks have reported, by ordinal."""
        self._begin = clock()
        self._marks: deque[tuple[float, float, int]] = deque()
        self.restart(0)

    def restart(self, done: int) -> None:
        """Start the measurement. Earlier attempts have done this many units."""
        self._done = done
        self._begin = self._clock()
        self._marks = deque([(self._begin, done, 0)])
        self._under_way.clear()

    def add(self, ordinal: int, units: int, records: int) -> None:
        """Note a finished chunk."""
        self._under_way.pop(ordinal, None)
        self._done += units
        self._records += records
        self._mark()

    def reach(self, done: int) -> None:
        """Note that so many units are done. Parts without records have no chunks."""
        self._done = max(self._done, done)
        self._mark()

    @property
    def done(self) -> float:
        """The units that are done, with those of running chunks."""
        return self._sums[0]

    def hear(self, ordinal: int, units: float, records: int) -> None:
        """Note the progress of a running chunk."""
        self._under_way[ordinal] = (units, records)
        self._mark()

    def drop(self, ordinal: int) -> None:
        """Forget the progress of a chunk: its call was cancelled or has failed."""
        self._under_way.pop(ordinal, None)

    def _mark(self) -> None:
        now = self._clock()
        self._marks.append((now, *self._sums))
        while len(self._marks) > 2 and self._marks[1][0] < now - WINDOW:
            self._marks.popleft()

    def progress(self) -> Progress:
        """While the job runs: the rate of the last seconds."""
        then, done_then, records_then = self._marks[0]
        seconds = max(self._clock() - then, 1e-6)
        done, records = self._sums
        speed = (done - done_then) / seconds
        left = max(self._total - done, 0) / speed if speed > 0 else LONGEST
        return Progress(
            fraction=self._fraction,
            rate=max(records - records_then, 0) / seconds,
            # When everything is read, the time for the commits and the end of the job is unknown.
            time_left=timedelta(seconds=left) if 0 < left < LONGEST else None,
        )

    def rest(self) -> Progress:
        """After the attempt: the rate over its whole time."""
        self._under_way.clear()
        return Progress(fraction=self._fraction, rate=self._records / max(self._clock() - self._begin, 1e-6))

    @property
    def _sums(self) -> tuple[float, int]:
        """Units and records, including those of running chunks."""
        units, records = zip(*self._under_way.values(), strict=True) if self._under_way else ((), ())
        return self._done + sum(units), self._records + sum(records)

    @property
    def _fraction(self) -> float:
        """Below 1 until everything is done."""
        if self._done >= self._total:
            return 1.0
        return min(self._sums[0] / self._total, _NEARLY)
