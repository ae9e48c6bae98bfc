"""How long to wait before the next try."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


class Backoff:
    """Doubling waits, each shortened by chance so that many clients do not come back at once. In seconds."""

    def __init__(self, *, first: float = 0.1, longest: float = 5.0) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def next(self) -> float:
        """The wait before the next try."""
        wait = self._next
        self._next = min(wait * 2, self._longest)
        return wait * random.uniform(0.5, 1.0)

    def after(self, delay: timedelta | None) -> float:
        """The wait before the next try where the daemon has said how long it is to be at least."""
        asked = 0.0 if delay is None else min(delay.total_seconds(), self._longest)
        return asked + self.next()

    def reset(self) -> None:
        """A try has succeeded: begin with short waits again."""
        self._next = self._first
