"""A thread that runs transactions one after the other and waits while another process locks the store."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import exc

from ladingd.core.deadline import seconds_to_answer
from ladingd.core.errors import StoreBusy
from ladingd.store.sqlite.lock import holder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

LOOK = 0.25
"""Seconds between two attempts to get the lock."""
TOLD_AFTER = 2.0
"""A lock that is held longer than this many seconds is logged."""

# Locked by another process; by another connection of this process; or a race for the write-ahead log.
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})


def is_busy(error: BaseException) -> bool:
    """Whether an error of SQLite, or SQLAlchemy's wrapper of it, says that the file is locked."""
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    return isinstance(cause, sqlite3.Error) and (getattr(cause, "sqlite_errorcode", 0) & 0xFF) in _BUSY


@dataclass(slots=True)
class _Ticket:
    """How long a transaction may wait, and whether its caller still wants it."""

    until: float
    withdrawn: threading.Event = field(default_factory=threading.Event)

    def over(self, now: float) -> bool:
        return now >= self.until or self.withdrawn.is_set()


class Lane:
    """Runs one transaction at a time, in the order of the calls. A transaction that finds the store locked is tried
    again until the lock is free: later transactions could not run sooner.

    ``tell`` is called on the thread when a lock is held for long, and when it is free again. Its arguments are: whether
    the store is locked, by which process, and for how many seconds.
    """

    def __init__(self, name: str, store: Path, tell: Callable[[bool, str, float], None]) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._store = store
        self._tell = tell
        self._given_up_at = math.inf
        self._since: float | None = None
        self._holder = ""
        self.looks = 0
        """The number of attempts that found the store locked: a sign of life."""

    @property
    def trouble(self) -> str:
        """What the lane waits for; empty if it has not been waiting for long."""
        since = self._since
        if since is None or not self._holder:
            return ""
        return f"the store is locked by {self._holder} for {time.monotonic() - since:.0f} s now"

    def give_up_in(self, seconds: float) -> None:
        """From now on wait for locks at most ``seconds`` in total."""
        self._given_up_at = time.monotonic() + seconds

    async def do(self, work: Callable[[], T], *, patiently: bool = False) -> T:
        """Call ``work``, a transaction, on the thread. While the store is locked, ``work`` is called again.

        Raises StoreBusy, and changes nothing, if the lock is held for longer than the answer may take. A patient call
        waits until ``give_up_in`` ends the waiting.
        """
        seconds = None if patiently else seconds_to_answer()
        ticket = _Ticket(math.inf if seconds is None else time.monotonic() + seconds)
        future = self._thread.submit(self._attempt, work, ticket)
        answer = asyncio.wrap_future(future)
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # Mark it as retrieved.
        try:
            while not answer.done() and seconds is not None:
                await asyncio.wait([answer], timeout=seconds)
                if not answer.done() and self._since is not None:
                    if future.cancel():  # ``work`` has not started.
                        raise StoreBusy(self._holder or await asyncio.to_thread(holder, self._store))
                    ticket.withdrawn.set()
                seconds = LOOK
            return await answer
        except asyncio.CancelledError:
            future.cancel()
            ticket.withdrawn.set()
            raise

    def close(self) -> None:
        """Wait for the queued work, then end the thread."""
        self._thread.shutdown()

    def _attempt(self, work: Callable[[], T], ticket: _Ticket) -> T:
        while True:
            begin = time.monotonic()
            try:
                done = work()
            except (exc.DBAPIError, sqlite3.Error) as error:
                if not is_busy(error):
                    raise
                self._wait(ticket, begin)
            else:
                self._free()
                return done

    def _wait(self, ticket: _Ticket, begin: float) -> None:
        """Wait until the next attempt. Raises StoreBusy."""
        self.looks += 1
        self._since = begin if self._since is None else self._since
        now = time.monotonic()
        if not self._holder and now - self._since >= TOLD_AFTER:
            self._holder = holder(self._store)
            self._tell(True, self._holder, now - self._since)
        if ticket.over(now) or now >= self._given_up_at:
            raise StoreBusy(self._holder or holder(self._store))
        # SQLite has usually waited itself, but not if waiting might have been a deadlock.
        ticket.withdrawn.wait(max(begin + LOOK - now, 0.0))

    def _free(self) -> None:
        since, self._since = self._since, None
        told, self._holder = self._holder, ""
        if since is not None and told:
            self._tell(False, told, time.monotonic() - since)
