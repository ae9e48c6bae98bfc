"""How long to wait before the next attempt."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


class Backoff:
    """Waits that double, in seconds. Each wait is randomly shortened so that clients do not all return at once."""

    def __init__(self, *, first: float = 0.1, longest: float = 5.0) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def next(self) -> float:
        """The wait before the next attempt."""
        wait = self._next
        self._next = min(wait * 2, self._longest)
        return wait * random.uniform(0.5, 1.0)

    def after(self, delay: timedelta | None) -> float:
        """The wait before the next attempt. It is at least the delay that the daemon asked for."""
        asked = 0.0 if delay is None else min(delay.total_seconds(), self._longest)
        return asked + self.next()

    def reset(self) -> None:
        """An attempt succeeded: begin with short waits again."""
        self._next = self._first
