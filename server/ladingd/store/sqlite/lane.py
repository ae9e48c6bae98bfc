"""A thread that does transactions one after the other, and waits where another process holds the store's lock."""

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
"""Seconds from one look at a lock to the next."""
TOLD_AFTER = 2.0
"""So many seconds a lock is held before it is worth a line in the log."""

# Held by another process; by another connection of this one; and what the write-ahead log says when it changes hands.
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})


def is_busy(error: BaseException) -> bool:
    """Whether an error of SQLite, or of SQLAlchemy about one, says only that somebody else has the file just now."""
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    return isinstance(cause, sqlite3.Error) and (getattr(cause, "sqlite_errorcode", 0) & 0xFF) in _BUSY


@dataclass(slots=True)
class _Ticket:
    """How long a transaction may wait, and whether somebody still wants it."""

    until: float
    withdrawn: threading.Event = field(default_factory=threading.Event)

    def over(self, now: float) -> bool:
        return now >= self.until or self.withdrawn.is_set()


class Lane:
    """Does one transaction at a time, in the order of the calls. One that finds the store locked looks again until
    the lock is free: nothing that comes after it could be done any sooner.

    ``tell`` is told, on the thread, when a lock is held for long, and when that is over: whether it is locked, by whom
    and for how many seconds.
    """

    def __init__(self, name: str, store: Path, tell: Callable[[bool, str, float], None]) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._store = store
        self._tell = tell
        self._given_up_at = math.inf
        self._since: float | None = None
        self._holder = ""
        self.looks = 0
        """How often it has looked at a lock that was held: a sign of life."""

    @property
    def trouble(self) -> str:
        """What it waits for, in words; empty where it has not been waiting for long."""
        since = self._since
        if since is None or not self._holder:
            return ""
        return f"the store is locked by {self._holder} for {time.monotonic() - since:.0f} s now"

    def give_up_in(self, seconds: float) -> None:
        """Wait for locks no longer than so many seconds from now."""
        self._given_up_at = time.monotonic() + seconds

    async def do(self, work: Callable[[], T], *, patiently: bool = False) -> T:
        """Call ``work`` on the thread. Where the store is locked it is called again: it must be a transaction.

        Raises StoreBusy, and nothing is done, where the lock is held for longer than the answer may take, or than
        anybody waits who is patient.
        """
        seconds = None if patiently else seconds_to_answer()
        ticket = _Ticket(math.inf if seconds is None else time.monotonic() + seconds)
        future = self._thread.submit(self._attempt, work, ticket)
        answer = asyncio.wrap_future(future)
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # Whoever waits for it.
        try:
            while not answer.done() and seconds is not None:
                await asyncio.wait([answer], timeout=seconds)
                if not answer.done() and self._since is not None:
                    if future.cancel():  # It has not begun.
                        raise StoreBusy(self._holder or await asyncio.to_thread(holder, self._store))
                    ticket.withdrawn.set()
                seconds = LOOK
            return await answer
        except asyncio.CancelledError:
            future.cancel()
            ticket.withdrawn.set()
            raise

    def close(self) -> None:
        """Wait for what was asked for, then end the thread."""
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
        """Until the next look. Raises StoreBusy."""
        self.looks += 1
        self._since = begin if self._since is None else self._since
        now = time.monotonic()
        if not self._holder and now - self._since >= TOLD_AFTER:
            self._holder = holder(self._store)
            self._tell(True, self._holder, now - self._since)
        if ticket.over(now) or now >= self._given_up_at:
            raise StoreBusy(self._holder or holder(self._store))
        # SQLite has waited itself, most of the time, but not where waiting could have been for ever.
        ticket.withdrawn.wait(max(begin + LOOK - now, 0.0))

    def _free(self) -> None:
        since, self._since = self._since, None
        told, self._holder = self._holder, ""
        if since is not None and told:
            self._tell(False, told, time.monotonic() - since)
