"""Open files that threads work with while the event loop goes on, and may be cancelled."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

T = TypeVar("T")


class Closed(Exception):
    """Somebody has closed the file."""


class Handle:
    """A descriptor that is closed only when no thread is using it: its number may be another file's a moment later.

    Methods block. All but ``close`` raise Closed and OSError.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def stat(self) -> os.stat_result:
        """The file's state."""
        with self._lock:
            return os.fstat(self._open)

    def read(self, size: int, place: int) -> bytes:
        """At most so many bytes from a place on; fewer at the end of the file alone."""
        with self._lock:
            return os.pread(self._open, size, place)

    def write(self, data: bytes, place: int) -> None:
        """Put bytes at a place."""
        left = memoryview(data)
        with self._lock:
            while left:
                written = os.pwrite(self._open, left, place)
                left, place = left[written:], place + written

    def truncate(self, size: int) -> None:
        """Leave the first ``size`` bytes."""
        with self._lock:
            os.ftruncate(self._open, size)

    def sync(self) -> None:
        """Make durable what was written."""
        with self._lock:
            os.fdatasync(self._open)

    def close(self) -> None:
        """Wait for whoever uses it, then close it. May be repeated."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    @property
    def _open(self) -> int:
        if self._descriptor < 0:
            raise Closed
        return self._descriptor


@asynccontextmanager
async def held(make: Callable[[], T], release: Callable[[T], None]) -> AsyncIterator[T]:
    """What a thread makes, for the length of a block. A thread releases it, also where the caller was cancelled while
    it was being made."""
    making = asyncio.ensure_future(asyncio.to_thread(make))
    try:
        thing = await asyncio.shield(making)
    except asyncio.CancelledError:
        making.add_done_callback(lambda done: _release_late(done, release))
        raise
    try:
        yield thing
    finally:
        # A thread that has not begun yet would never do so where its caller is cancelled once more.
        await asyncio.shield(asyncio.ensure_future(asyncio.to_thread(release, thing)))


def _release_late(done: asyncio.Future[T], release: Callable[[T], None]) -> None:
    if not done.cancelled() and done.exception() is None:
        release(done.result())
