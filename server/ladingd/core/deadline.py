"""By when an answer must be there: whoever would wait for something on the way to it looks here how long it may."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BY: ContextVar[float | None] = ContextVar("answer by", default=None)


def answer_within(seconds: float) -> None:
    """What the running task does must be done in so many seconds from now, and so must what it starts."""
    _BY.set(time.monotonic() + seconds)


@contextmanager
def answering_within(seconds: float) -> Iterator[None]:
    """The same for a block."""
    before = _BY.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _BY.reset(before)


def seconds_to_answer() -> float | None:
    """How many seconds are left, 0 where none are; None where nobody waits."""
    by = _BY.get()
    return None if by is None else max(by - time.monotonic(), 0.0)
