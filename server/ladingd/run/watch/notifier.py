"""Wakes tasks that wait for changes of jobs."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class Notifier:
    """One bell for all jobs, and one for each job.

    Listen first, then read the store, then wait: a change between reading and waiting is not missed.
    """

    def __init__(self) -> None:
        self._all = asyncio.Event()
        # A listener holds its bell. A bell without listeners is removed, even if its job never changes again.
        self._each: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    def notify(self, *job_ids: str) -> None:
        """Wake all listeners to all jobs or to one of these."""
        self._all.set()
        self._all = asyncio.Event()
        for job_id in job_ids:
            if bell := self._each.pop(job_id, None):
                bell.set()

    def notify_all(self) -> None:
        """Wake all listeners."""
        self.notify(*self._each)

    def listen(self, job_id: str = "") -> asyncio.Event:
        """The event that the next change of this job sets; without an id, of any job."""
        return self._each.setdefault(job_id, asyncio.Event()) if job_id else self._all
