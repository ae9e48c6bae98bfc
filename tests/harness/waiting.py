"""Waiting with a deadline. No test relies on a sleep."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds after which a test gives up, far more than anything takes on a slow machine."""


def until(condition: Callable[[], T], what: str, *, patience: float = PATIENCE) -> T:
    """Call a condition repeatedly until it is true, and return its value. Raises AssertionError after ``patience``
    seconds."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        time.sleep(0.01)
    return value


async def until_async(condition: Callable[[], Awaitable[T]], what: str, *, patience: float = PATIENCE) -> T:
    """The same for an async condition."""
    deadline = time.monotonic() + patience
    while not (value := await condition()):
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        await asyncio.sleep(0.01)
    return value
