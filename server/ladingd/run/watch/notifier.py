"""Tells whoever it concerns that jobs have changed in the store."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class Notifier:
    """A bell for all jobs, and one for each.

    Listen first, then read the store, then wait: a change between reading and waiting is not missed.
    """

    def __init__(self) -> None:
        self._all = asyncio.Event()
        # Whoever listens holds the bell. One that nobody holds any more is gone, though its job never changes again.
        self._each: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    def notify(self, *job_ids: str) -> None:
        """Wake everybody who listens to all jobs or to one of these."""
        self._all.set()
        self._all = asyncio.Event()
        for job_id in job_ids:
            if bell := self._each.pop(job_id, None):
                bell.set()

    def notify_all(self) -> None:
        """Wake everybody."""
        self.notify(*self._each)

    def listen(self, job_id: str = "") -> asyncio.Event:
        """An event that the next announcement sets: of this job, or of any where none is named."""
        return self._each.setdefault(job_id, asyncio.Event()) if job_id else self._all
