"""When the worker processes of a job that must stop are killed."""

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
    """Why the calls in flight must end."""

    PAUSE = auto()
    CANCEL = auto()
    ERROR = auto()


class Deadline:
    """The calls in flight have a grace to end by themselves. Each new reason to stop starts a new grace."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._grace = 0.0
        self._stop: Stop | None = None
        self._due: float | None = None

    def adjust(self, timeouts: Timeouts) -> None:
        """Use these graces from the next reason to stop on."""
        self._timeouts = timeouts

    def set(self, stop: Stop | None) -> bool:
        """Set why the job must stop, or None if it goes on. Returns whether a grace has begun."""
        if stop is self._stop:
            return False
        self._stop = stop
        self._grace = self._timeouts.pause_grace if stop is Stop.PAUSE else self._timeouts.cancel_grace
        self._due = None if stop is None else time.monotonic() + self._grace
        return stop is not None

    def seconds_left(self) -> float | None:
        """Until the workers are killed; None if there is no deadline."""
        return None if self._due is None else max(self._due - time.monotonic(), 0.0)

    def used_up(self) -> None:
        """The workers were killed: do not kill them again for the same reason."""
        self._due = None

    def notice(self, in_flight: Sequence[str]) -> tuple[Level, str, str]:
        """The journal entry that shows the deadline."""
        due = utc_now() + timedelta(seconds=self.seconds_left() or 0.0)
        message = f"in flight: {', '.join(in_flight)}; their workers are killed at {due:%H:%M:%S} UTC"
        return Level.INFO, "KILL_DEADLINE", message

    def killing(self, in_flight: Sequence[str]) -> tuple[Level, str, str]:
        """The journal entry of the deadline's end."""
        grace = "" if self._stop is None else f" within {self._grace:g} s"
        left = ", ".join(in_flight) or "nothing"
        message = f"the job did not come to rest{grace}: its workers are killed; in flight: {left}"
        return Level.WARNING, "WORKERS_KILLED", message
