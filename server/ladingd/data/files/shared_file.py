"""Open files that threads use while the event loop continues and may be cancelled."""

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
    """The file is closed."""


class Handle:
    """A descriptor that is closed only when no thread uses it: the number may belong to another file a moment later.

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
        """At most ``size`` bytes from an offset; fewer only at the end of the file."""
        with self._lock:
            return os.pread(self._open, size, place)

    def write(self, data: bytes, place: int) -> None:
        """Write bytes at an offset."""
        left = memoryview(data)
        with self._lock:
            while left:
                written = os.pwrite(self._open, left, place)
                left, place = left[written:], place + written

    def truncate(self, size: int) -> None:
        """Truncate the file to ``size`` bytes."""
        with self._lock:
            os.ftruncate(self._open, size)

    def sync(self) -> None:
        """Make all writes durable."""
        with self._lock:
            os.fdatasync(self._open)

    def close(self) -> None:
        """Wait for its users, then close it. May be repeated."""
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
    """A resource that a thread acquires, for the duration of a block.

    A thread also releases it if the caller was cancelled during the acquisition.
    """
    making = asyncio.ensure_future(asyncio.to_thread(make))
    try:
        thing = await asyncio.shield(making)
    except asyncio.CancelledError:
        making.add_done_callback(lambda done: _release_late(done, release))
        raise
    try:
        yield thing
    finally:
        # A second cancellation would keep a queued thread from starting.
        await asyncio.shield(asyncio.ensure_future(asyncio.to_thread(release, thing)))


def _release_late(done: asyncio.Future[T], release: Callable[[T], None]) -> None:
    if not done.cancelled() and done.exception() is None:
        release(done.result())
