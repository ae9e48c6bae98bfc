"""The deadline of the current call. Code that waits looks here how long it may wait."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BY: ContextVar[float | None] = ContextVar("answer by", default=None)


def answer_within(seconds: float) -> None:
    """Set the deadline of the running task, and of tasks that it starts, to ``seconds`` from now."""
    _BY.set(time.monotonic() + seconds)


@contextmanager
def answering_within(seconds: float) -> Iterator[None]:
    """Set the deadline for a block."""
    before = _BY.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _BY.reset(before)


def seconds_to_answer() -> float | None:
    """How many seconds are left, at least 0; None without a deadline."""
    by = _BY.get()
    return None if by is None else max(by - time.monotonic(), 0.0)
