"""How long to wait before the next try."""

from __future__ import annotations

import random


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

    def reset(self) -> None:
        """A try has succeeded: begin with short waits again."""
        self._next = self._first
