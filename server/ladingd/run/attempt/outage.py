"""A target that cannot be reached: when a job tries again, when it gives up, and what its journal says of it."""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING

from ladingd.core.errors import TargetBusy
from ladingd.core.job import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from ladingd.core.errors import TargetUnavailable

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
LONGEST_BUSY_WAIT = 2.0
"""Between two tries to get a lock: each one waits by itself."""


class Outage:
    """One outage, from the first call that failed to the first try that succeeds.

    A try is one call for the whole job. After each one that fails comes a wait, twice as long as the one before it, and
    each shortened by chance so that many jobs do not come back at once. The last try comes when ``timeout`` seconds
    are over. A target that is ``busy`` with others is not away: it is tried for as long as it takes, and that is said
    once. ``clock`` gives monotonic seconds.
    """

    def __init__(
        self, error: TargetUnavailable, *, timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.error = error
        self.busy = isinstance(error, TargetBusy)
        self.trying = False
        """A try is under way."""
        self._clock = clock
        self._begin = clock()
        self._timeout = math.inf if self.busy else timeout
        self._tries = 0
        self._longest_wait = FIRST_WAIT
        self._next_try = self._begin
        self._wait()

    def try_now(self) -> None:
        """A try begins."""
        self.trying = True
        self._tries += 1

    def failed(self, error: TargetUnavailable) -> None:
        """The try that is under way has failed; what to say is the latest error."""
        self.trying = False
        self.error = error
        self._wait()

    def broken_off(self) -> None:
        """The try that is under way was given up without an answer."""
        self.trying = False
        self._wait()

    def _wait(self) -> None:
        wait = self._longest_wait * random.uniform(0.5, 1.0)
        self._longest_wait = min(self._longest_wait * 2, LONGEST_BUSY_WAIT if self.busy else LONGEST_WAIT)
        self._next_try = min(self._clock() + wait, self._begin + self._timeout)

    def seconds_to_try(self) -> float:
        """Until the next try is due."""
        return max(self._next_try - self._clock(), 0.0)

    def seconds_left(self) -> float:
        """Until the job's timeout is over."""
        return max(self._begin + self._timeout - self._clock(), 0.0)

    @property
    def lasted(self) -> float:
        """Seconds since the first failure."""
        return self._clock() - self._begin

    def loss(self) -> tuple[Level, str, str]:
        """The journal entry of the outage's beginning, and of each try that has failed."""
        if self.busy:
            return Level.WARNING, "TARGET_BUSY", f"{self.error.message}; the job goes on when the lock is free"
        after = f"after {self.lasted:.1f} s still: " if self._tries else ""
        if left := self.seconds_left():
            then = f"next try in {self.seconds_to_try():.1f} s, the last one in {left:.1f} s"
        else:
            then = "this was the last try"
        return Level.WARNING, "TARGET_LOST", f"{after}{self.error.message}; {then}"

    def end(self) -> tuple[Level, str, str]:
        """The journal entry of the outage's end."""
        if self.busy:
            return Level.INFO, "TARGET_FREE", f"the lock is free after {self.lasted:.1f} s"
        return Level.INFO, "TARGET_BACK", f"the target is back after {self.lasted:.1f} s, at try {self._tries}"
