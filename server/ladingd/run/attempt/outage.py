"""A target that cannot be reached: when a job tries again, when it gives up, and what its journal says."""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING, TypeAlias

from ladingd.core.errors import TargetBusy
from ladingd.core.job import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from ladingd.core.errors import TargetUnavailable

Notice: TypeAlias = tuple[Level, str, str]
"""The level, code and message of a journal entry."""

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
LONGEST_BUSY_WAIT = 2.0
"""Between two tries to get a lock: each try waits for the lock itself."""


class Outage:
    """One outage, from the first call that fails to the first try that succeeds.

    A try is one call for the whole job. After each failed try the wait doubles; chance shortens each wait, so that many
    jobs do not come back at once. The last try comes when ``timeout`` seconds are over. A target that is ``busy`` with
    others is not away: the job tries until the target is free, and the journal says so once. ``clock`` gives monotonic
    seconds.
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
        """The try has failed. The latest error is the one to show."""
        self.trying = False
        self.error = error
        self._wait()

    def broken_off(self) -> None:
        """The try was cancelled before it had an answer."""
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
        """Until the job gives up."""
        return max(self._begin + self._timeout - self._clock(), 0.0)

    @property
    def lasted(self) -> float:
        """Seconds since the first failure."""
        return self._clock() - self._begin

    def loss(self) -> Notice:
        """The journal entry of the outage's beginning, and of each try that has failed."""
        if self.busy:
            return Level.WARNING, "TARGET_BUSY", f"{self.error.message}; the job goes on when the lock is free"
        after = f"after {self.lasted:.1f} s still: " if self._tries else ""
        if left := self.seconds_left():
            then = f"next try in {self.seconds_to_try():.1f} s, the last one in {left:.1f} s"
        else:
            then = "this was the last try"
        return Level.WARNING, "TARGET_LOST", f"{after}{self.error.message}; {then}"

    def end(self) -> Notice:
        """The journal entry of the outage's end."""
        if self.busy:
            return Level.INFO, "TARGET_FREE", f"the lock is free after {self.lasted:.1f} s"
        return Level.INFO, "TARGET_BACK", f"the target is back after {self.lasted:.1f} s, at try {self._tries}"


class Outages:
    """What an attempt knows of its target: whether calls reach it, and since when they do not.

    Each method that learns something returns the journal entry to write, or None.
    """

    def __init__(self) -> None:
        self.current: Outage | None = None

    @property
    def away(self) -> bool:
        """Whether the target cannot be reached at all; a target that is busy answers."""
        return self.current is not None and not self.current.busy

    @property
    def expired(self) -> bool:
        """Whether the job gives up."""
        return self.current is not None and not self.current.seconds_left()

    def seconds_to_act(self, *, in_flight: bool) -> float | None:
        """Until the next try is due, or, while a call is in flight, until the job gives up; None if neither comes."""
        if self.current is None:
            return None
        return (self.current.seconds_left() or None) if in_flight else self.current.seconds_to_try()

    def lost(self, error: TargetUnavailable, timeout: float) -> Notice | None:
        """A call has not reached the target."""
        outage, busy = self.current, isinstance(error, TargetBusy)
        if outage is None or (outage.trying and outage.busy != busy):
            self.current = Outage(error, timeout=timeout)
            return self.current.loss()
        if not outage.trying:
            return None  # The call began before the outage and says nothing new.
        outage.failed(error)
        return None if busy else outage.loss()

    def reached(self) -> Notice | None:
        """A call has succeeded."""
        if self.current is None or not self.current.trying:
            return None
        ended, self.current = self.current, None
        return ended.end()

    def refused(self) -> None:
        """A call has failed for another reason: the ledger may answer."""
        if self.current is not None and self.current.trying:
            self.current = None

    def broken_off(self) -> None:
        """A call was cancelled."""
        if self.current is not None and self.current.trying:
            self.current.broken_off()
