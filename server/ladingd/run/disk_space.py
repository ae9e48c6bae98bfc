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
"""Seconds between two checks."""
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
"""The longest wait in seconds before a retry on a disk whose free space is unknown. Each wait is twice the last."""
_MORE = 1 << 20
"""A disk with known free space is retried when this many more bytes are free."""
_SEEN_WAIT = 300.0
"""A disk with known free space is retried after this many seconds in any case."""

log = logging.getLogger(__name__)


def free_bytes(directory: Path) -> int:
    """How many bytes can be written to a directory; 0 if no file can be created."""
    found = os.statvfs(directory)
    return 0 if found.f_files and not found.f_favail else found.f_bavail * found.f_frsize


@dataclass(kw_only=True, slots=True)
class _Try:
    """When to start a job again that met a full disk. ``read`` is its number of read records then, ``free`` the free
    bytes then, if known."""

    wait: float
    read: int
    since: float
    free: int | None


class DiskSpace:
    """Watches the disk of the daemon's state directory, and jobs that met a full disk anywhere.

    Below ``reserve`` free bytes all running jobs are paused and nothing begins; at one and a half times ``reserve``
    they continue. The store notes a hold for every job that is paused this way, so that the pause of a user is never
    undone and holds survive a restart. ``refill`` allocates the store's ballast again.
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
        """Whether the journals of waiting jobs say why."""
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
        """Check periodically, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY)

    async def begin(self) -> None:
        """Find out whether anything may begin. The first check writes it to the journals, which may take a while."""
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
        # This comes before the pauses, so that nothing begins after them.
        self._short = DiskFull(reason, str(self._directory))
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
            # A running retry may fail like the last one. Then the next wait is longer.
            self._tries = {
                job_id: each
                for job_id, each in self._tries.items()
                if job_id in self._held or now - each.since < _SEEN_WAIT
            }
        for hold in list(self._held.values()):
            if not await self._due(hold):
                continue
            said = f"{free:,} bytes are free: the job goes on"
            if hold.job_id in self._tries:  # The job met another disk, or a quota of another account.
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
        """The free bytes of a place; None if they are unknown."""
        if not place:
            return None
        return await asyncio.to_thread(self._look_at, Path(place))

    def _look_at(self, place: Path) -> int | None:
        for directory in (place, *place.parents):  # There may have been no space to create it.
            try:
                return self._free(directory)
            except FileNotFoundError:
                continue
            except OSError:
                return None
        return None
