"""The latest changes, read from the store once for all watchers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ladingd.core.errors import RevisionCompacted
from ladingd.core.job import ChangeKind
from ladingd.run.watch.recent import Recent

if TYPE_CHECKING:
    from ladingd.core.job import Change, Job
    from ladingd.core.ports import ChangeStore
    from ladingd.run.watch.notifier import Notifier
    from ladingd.run.watch.progress_pulse import ProgressPulse

BATCH = 500
"""Changes that are read at once."""

_WITHDRAWN = 5_000
"""After this many more withdrawn jobs in memory, the store says which of them it still keeps changes of."""


class ChangeCache:
    """Reads each change once. It tells the pulse of every change, and knows which jobs were withdrawn."""

    def __init__(self, store: ChangeStore, notifier: Notifier, pulse: ProgressPulse) -> None:
        self._store = store
        self._notifier = notifier
        self._pulse = pulse
        self._recent: Recent | None = None
        """None before the first reading."""
        self._reading = asyncio.Lock()
        self._read_for: asyncio.Event | None = None
        """The bell at the last reading: while it is not set, there is nothing new."""
        self._most_withdrawn = _WITHDRAWN
        self._withdrawn: dict[str, int] = {}
        """By uid, when jobs stopped being shared. Only their owners may see what was before."""

    async def after(self, revision: int) -> tuple[Change, ...]:
        """The next changes after a revision: from memory if it reaches back so far, or can. Raises
        RevisionCompacted."""
        recent = await self._read()
        if revision < recent.floor:
            await self._reach_back(recent, revision)
        if revision < recent.floor:
            return await self._store.changes(revision, limit=BATCH)
        return recent.after(revision)

    async def hides(self, job: Job, revision: int, viewer: str, rung: asyncio.Event) -> bool:
        """Whether this viewer may no longer see the job as it was at a revision. A slow watcher may ask long after it
        has read the store; ``rung`` is the bell of that time."""
        if job.owner == viewer or not job.shared:
            return False
        if rung.is_set():
            await self._read()
        return self._withdrawn.get(job.uid, 0) > revision

    async def _read(self) -> Recent:
        """Bring the cache up to date. Of many watchers that one bell wakes, one reads."""
        async with self._reading:
            recent = self._recent
            if recent is not None and self._read_for is not None and not self._read_for.is_set():
                return recent
            rung = self._notifier.listen()
            if recent is None:
                recent = await self._start_anew()
            while True:
                try:
                    changes = await self._store.changes(recent.last, limit=BATCH)
                except RevisionCompacted:
                    # Nobody has watched for a long time, and the changes in between are gone.
                    self._pulse.forget()
                    recent = await self._start_anew()
                    continue
                if not changes:
                    break
                for change in changes:
                    recent.append(change)
                    if change.kind is ChangeKind.WITHDRAWN:
                        self._withdrawn[change.job.uid] = change.revision
                    self._pulse.changed(change)
                if len(self._withdrawn) > self._most_withdrawn:
                    self._withdrawn = dict(await self._store.withdrawn())
                    self._most_withdrawn = len(self._withdrawn) + _WITHDRAWN
            self._read_for = rung
            return recent

    async def _start_anew(self) -> Recent:
        self._recent = Recent(await self._store.revision())
        self._withdrawn = dict(await self._store.withdrawn())
        return self._recent

    async def _reach_back(self, recent: Recent, after: int) -> None:
        """Have ``recent`` begin after a revision if it has room: after a restart all watchers come back with the
        revision that they saw last. Raises RevisionCompacted."""
        async with self._reading:
            while after < recent.floor <= after + recent.room:
                first = max(after, recent.floor - BATCH)
                recent.prepend(await self._store.changes(first, limit=recent.floor - first), first)
