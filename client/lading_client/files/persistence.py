"""Transfers a file over as many calls as needed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

from lading_client.errors import DeadlineExceeded, LadingError, TooManyCalls, Unavailable
from lading_client.transport.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Progress = Callable[[int, int], None]
    """Called with the bytes transferred so far and the size of the file."""

T = TypeVar("T")

GIVE_UP_SECONDS = 60.0
"""How long a transfer may make no progress while the daemon cannot be reached or is busy."""
_AGAIN = (Unavailable, TooManyCalls, DeadlineExceeded)


class FileChanged(LadingError):
    """The file changed during its transfer."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"{path} changed while it was being transferred; try again when no program writes to it")


async def persistently(go_on: Callable[[], Awaitable[T]], gone: Callable[[], int], give_up_after: float) -> T:
    """Call ``go_on`` until it succeeds. Give up after ``give_up_after`` seconds without progress."""
    backoff = Backoff()
    before, since = gone(), time.monotonic()
    while True:
        try:
            return await go_on()
        except _AGAIN as error:
            if gone() > before:
                before, since = gone(), time.monotonic()
                backoff.reset()
            if time.monotonic() - since >= give_up_after:
                raise
            await asyncio.sleep(backoff.after(error.retry_delay))
