"""When a job that is to stop has its worker processes killed."""

from __future__ import annotations

import time
from datetime import timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING

from ladingd.core.clock import utc_now
from ladingd.core.job import Level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.run.attempt.timeouts import Timeouts


class Stop(Enum):
    """Why what is in flight must come to an end."""

    PAUSE = auto()
    CANCEL = auto()
    ERROR = auto()


class Deadline:
    """What is in flight has a grace to end by itself; each new reason to stop begins its own."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._grace = 0.0
        self._stop: Stop | None = None
        self._due: float | None = None

    def adjust(self, timeouts: Timeouts) -> None:
        """Give other graces from the next reason to stop on."""
        self._timeouts = timeouts

    def set(self, stop: Stop | None) -> bool:
        """Take note of why the job is to stop, None where it goes on; whether a grace has begun by that."""
        if stop is self._stop:
            return False
        self._stop = stop
        self._grace = self._timeouts.pause_grace if stop is Stop.PAUSE else self._timeouts.cancel_grace
        self._due = None if stop is None else time.monotonic() + self._grace
        return stop is not None

    def seconds_left(self) -> float | None:
        """Until the workers are to be killed; None where they are not."""
        return None if self._due is None else max(self._due - time.monotonic(), 0.0)

    def used_up(self) -> None:
        """The workers were killed; they are not killed again for the same reason."""
        self._due = None

    def notice(self, in_flight: Sequence[str]) -> tuple[Level, str, str]:
        """The journal entry that shows the deadline."""
        due = utc_now() + timedelta(seconds=self.seconds_left() or 0.0)
        message = f"in flight: {', '.join(in_flight)}; their workers are killed at {due:%H:%M:%S} UTC"
        return Level.INFO, "KILL_DEADLINE", message

    def killing(self, in_flight: Sequence[str]) -> tuple[Level, str, str]:
        """The journal entry of the deadline's end."""
        grace = "" if self._stop is None else f" within {self._grace:g} s"
        message = f"not at rest{grace}: its workers are killed; in flight: {', '.join(in_flight) or 'nothing'}"
        return Level.WARNING, "WORKERS_KILLED", message
