"""Space on the disk: the daemon pauses jobs while there is too little, and continues them when there is enough."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.core.errors import DiskFull, JobNotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from ladingd.core.job import Job
    from ladingd.core.maintenance import Hold, HoldStore
    from ladingd.run.watch.notifier import Notifier

EVERY = 1.0
"""Seconds between two looks."""
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
"""A disk of which nobody here can see how full it is gets a try after so many seconds, each wait twice the last."""
_MORE = 1 << 20
"""By so many bytes a disk that was seen to be full must have become emptier to be worth a try."""
_SEEN_WAIT = 300.0
"""After so many seconds it is worth one all the same."""

log = logging.getLogger(__name__)


def free_bytes(directory: Path) -> int:
    """How many bytes can be written to a directory; none where it can take no further file."""
    found = os.statvfs(directory)
    return 0 if found.f_files and not found.f_favail else found.f_bavail * found.f_frsize


@dataclass(kw_only=True, slots=True)
class _Try:
    """When a job that met a full disk is started again. ``read`` is how far it was, ``free`` how little was free then,
    where that can be seen."""

    wait: float
    read: int
    since: float
    free: int | None


class DiskSpace:
    """Watches the disk of the daemon's state directory, and jobs that met a full disk anywhere.

    Below ``reserve`` free bytes all running jobs are paused and nothing begins; at one and a half times ``reserve``
    they continue. The store holds every job that is paused this way: the pause of a user is never undone, and a restart
    changes nothing. ``refill`` allocates the store's ballast again.
    """

    def __init__(
        self,
        holds: HoldStore,
        notifier: Notifier,
        *,
        directory: Path,
        reserve: int,
        refill: Callable[[], bool] = lambda: True,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._holds = holds
        self._notifier = notifier
        self._directory = directory
        self.reserve = reserve
        self._refill = refill
        self._free = free
        self._short: DiskFull | None = None
        self._told = False
        """The journals of waiting jobs say so."""
        self._tries: dict[str, _Try] = {}
        self._held: dict[str, Hold] | None = None
        """None: read them from the store."""

    @property
    def short(self) -> bool:
        """Whether there is too little space for anything to begin."""
        return self._short is not None

    @property
    def busy(self) -> bool:
        """Whether jobs wait for space, or may do so."""
        return self.short or self._held is None or bool(self._held)

    def check(self) -> None:
        """Raises DiskFull if nothing may begin."""
        if self._short is not None:
            raise self._short

    async def full(self, job: Job, error: DiskFull) -> None:
        """Hold a job that met a full disk. Its calls in flight still finish."""
        free = await self._free_at(error.place)
        if free is not None and free > max(self.reserve, _MORE):
            free = None  # There is space again already.
        known = self._tries.get(job.id)
        wait = FIRST_WAIT
        if known is not None and known.read == job.counts.read:
            wait = min(known.wait * 2, LONGEST_WAIT)
        reason = f"{error.message}; the job is paused and goes on by itself when there is space: free some"
        if await self._holds.hold(job.id, reason, error.place) is not None:
            self._tries[job.id] = _Try(wait=wait, read=job.counts.read, since=time.monotonic(), free=free)
            self._held = None
            self._notifier.notify(job.id)

    async def run(self) -> None:
        """Look in rounds, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY)

    async def begin(self) -> None:
        """See whether anything may begin. It is told by the first look: to write it down may take a while."""
        free = await self._free_at(str(self._directory))
        if free is not None and free < self.reserve:
            self._short = DiskFull(self._want(free), str(self._directory))

    async def look(self) -> None:
        """Hold jobs, or let them continue, as the space allows."""
        free = await self._free_at(str(self._directory))
        if free is None:
            return
        enough = self.reserve + self.reserve // 2 if self.short else self.reserve
        if free < enough:
            await self._hold_all(free)
            return
        if self.short:
            self._short, self._told = None, False
            log.warning("there is space again in %s: %s bytes are free", self._directory, f"{free:,}")
            self._notifier.notify()  # Slots are handed out again.
        if free > 2 * self.reserve:
            await asyncio.to_thread(self._refill)
        await self._release_due(free)

    def _want(self, free: int) -> str:
        return (
            f"only {free:,} bytes are free in {self._directory}, of the {self.reserve:,} that the daemon needs: free"
            f" some space; at {self.reserve + self.reserve // 2:,} everything goes on by itself"
        )

    async def _hold_all(self, free: int) -> None:
        reason = self._want(free)
        begins, self._told = not self._told, True
        self._short = DiskFull(reason, str(self._directory))  # Before anything is paused: nothing begins behind it.
        if begins:
            log.critical("%s", reason)
            self._notifier.notify(*await self._holds.note_queued(reason))
        held = await self._holds.hold_all(reason)
        if held:
            self._held = None
            self._notifier.notify(*(job.id for job in held))

    async def _release_due(self, free: int) -> None:
        if self._held is None:
            self._held = {hold.job_id: hold for hold in await self._holds.held()}
            now = time.monotonic()
            # One that is under way may end as the last one did: then the next comes later.
            self._tries = {
                job_id: each
                for job_id, each in self._tries.items()
                if job_id in self._held or now - each.since < _SEEN_WAIT
            }
        for hold in list(self._held.values()):
            if not await self._due(hold):
                continue
            said = f"{free:,} bytes are free: the job goes on"
            if hold.job_id in self._tries:  # It met another disk, or one that is full for others alone.
                said = "the job checks again whether there is space"
            try:
                job = await self._holds.release(hold.job_id, said)
            except JobNotFound:
                job = None
            if self._held is not None:
                self._held.pop(hold.job_id, None)
            if job is not None:
                self._notifier.notify(job.id)

    async def _due(self, hold: Hold) -> bool:
        known = self._tries.get(hold.job_id)
        if known is None:
            return True
        waited = time.monotonic() - known.since
        if waited < known.wait:
            return False
        now = await self._free_at(hold.place)
        if known.free is None or now is None or waited > _SEEN_WAIT:
            return True
        return now > known.free + _MORE

    async def _free_at(self, place: str) -> int | None:
        """How many bytes are free there; None where nobody can see it."""
        if not place:
            return None
        return await asyncio.to_thread(self._look_at, Path(place))

    def _look_at(self, place: Path) -> int | None:
        for directory in (place, *place.parents):  # It may be that there was no room to make it.
            try:
                return self._free(directory)
            except FileNotFoundError:
                continue
            except OSError:
                return None
        return None
