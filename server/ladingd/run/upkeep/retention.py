"""Deletes old data, so that the daemon's files do not grow for ever."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ladingd.core.clock import utc_now
from ladingd.core.errors import DiskFull, Refusal
from ladingd.core.selection import LAST_CHANGED_FIRST
from ladingd.core.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from ladingd.core.maintenance import EndedJob, JobDeleter, JobFiles, RetentionStore
    from ladingd.core.ports import ChangeStore, JobStore

PAUSE = 600.0
"""Seconds between two rounds."""
BREATH = 0.1
"""Seconds between two steps, in which others can use the store."""
REQUESTS_KEPT = timedelta(days=30)
"""How long a request_id is remembered at least, which is longer than anybody retries. It is never removed before its
job."""
LEAP = timedelta(hours=1)
"""If the clock jumps forward by more than this, it may be wrong."""
AWAY = timedelta(days=60)
"""If at the daemon's start the last event of any job is older than this, the clock may be wrong too."""
DOUBT_SECONDS = 86_400.0
"""Seconds after such a jump in which nothing is deleted for its age."""
AT_A_TIME = 100
_UIDS = 500

_OVER = frozenset({State.FINISHED, State.CANCELED})
_FAILED = frozenset({State.FAILED})

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """How long and how many of each are kept; 0 means for ever, or all. A FAILED job can still be started again, so
    only its age counts, never the number of jobs."""

    jobs_days: int
    jobs_most: int
    failed_days: int
    files_bytes: int
    changes_most: int
    audit_days: int
    audit_most: int


class Retention:
    """Deletes ended jobs by the same command as a user, so watchers see it. A job that may continue by itself is never
    deleted. If the clock may be wrong, nothing is deleted for its age for a day: a machine without a battery may start
    in another year. A watch that resumes from a deleted change gets an error and begins with a snapshot."""

    def __init__(
        self,
        rules: Rules,
        *,
        jobs: JobStore,
        changes: ChangeStore,
        old: RetentionStore,
        files: JobFiles,
        deleter: JobDeleter,
        pause: float = PAUSE,
        breath: float = BREATH,
        clock: Callable[[], datetime] = utc_now,
        steady: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        """``steady`` gives seconds of a clock that cannot be set and runs while the machine sleeps."""
        self.rules = rules
        self._jobs = jobs
        self._changes = changes
        self._old = old
        self._files = files
        self._deleter = deleter
        self._pause = pause
        self._breath = breath
        self._clock = clock
        self._steady = steady
        self._seen: tuple[datetime, float] | None = None
        """Both clocks at the last round."""
        self._doubted_until = 0.0

    async def run(self) -> None:
        """Run rounds until cancelled."""
        while True:
            try:
                await self.compare_clocks()
                await self.forget_jobs()
                await self.forget_files()
                await self.forget_requests()
                await self.forget_audit()
                await self.forget_changes()
            except DiskFull as full:
                # Deleting needs disk space for a moment. The next round retries.
                log.warning("retention: nothing can be deleted now: %s", full.message)
            await asyncio.sleep(self._pause)

    async def compare_clocks(self) -> None:
        """Doubt the clock if it jumped forward since the last round, or in the first round, since the last event of any
        job."""
        now, steady = self._clock(), self._steady()
        if self._seen is None:
            latest = (await self._jobs.list(size=1, order=LAST_CHANGED_FIRST)).items
            expected, most = latest[0].update_time if latest else now, AWAY
        else:
            expected, most = self._seen[0] + timedelta(seconds=steady - self._seen[1]), LEAP
        self._seen = now, steady
        if now - expected > most:
            self._doubted_until = steady + DOUBT_SECONDS
            log.warning(
                "the clock jumped to %s from %s, the last known time: for 24 hours nothing is deleted for its age;"
                " if the clock is wrong, set it",
                f"{now:%Y-%m-%d %H:%M} UTC",
                f"{expected:%Y-%m-%d %H:%M} UTC",
            )

    async def forget_jobs(self) -> None:
        """Delete jobs that ended too long ago, or are too many."""
        rules = self.rules
        for states, days, most in ((_OVER, rules.jobs_days, rules.jobs_most), (_FAILED, rules.failed_days, 0)):
            while True:
                jobs = await self._old.overdue(states, before=self._before(days), keep=most or None, limit=AT_A_TIME)
                gone = [job for job in jobs if await self._delete(job)]
                if gone:
                    log.info("retention: deleted %d jobs, the first of them jobs/%s", len(gone), gone[0].id)
                # A short batch is not the last one: jobs that are too old come first, then jobs that are too many.
                if not gone:
                    break

    async def forget_files(self) -> None:
        """Delete ended jobs, the oldest first, until the files of all jobs are small enough."""
        most = self.rules.files_bytes
        sizes = await self._files.sizes() if most else {}
        excess = sum(sizes.values()) - most
        if excess <= 0:
            return
        uids = list(sizes)
        ended: list[tuple[datetime, EndedJob]] = []
        for first in range(0, len(uids), _UIDS):
            ended += await self._old.ended(_OVER, uids[first : first + _UIDS])
            await asyncio.sleep(self._breath)
        for _, job in sorted(ended, key=lambda pair: pair[0]):
            if excess <= 0:
                return
            if await self._delete(job):
                excess -= sizes[job.uid]
                log.info("retention: deleted jobs/%s, whose files took %d bytes", job.id, sizes[job.uid])
        if excess > 0:
            log.warning("retention: the files of unfinished jobs exceed the limit by %d bytes", excess)

    async def forget_requests(self) -> None:
        """Forget old requests whose jobs are gone."""
        forgotten = 1
        while forgotten:
            before = self._before(REQUESTS_KEPT.days)
            forgotten = await self._old.trim_requests(before=before) if before else 0
            await asyncio.sleep(self._breath)

    async def forget_audit(self) -> None:
        """Forget entries of the audit trail that are too old or too many."""
        rules = self.rules
        before, keep = self._before(rules.audit_days), rules.audit_most or None
        forgotten = 1 if before or keep else 0
        while forgotten:
            forgotten = await self._old.trim_audit(before=before, keep=keep)
            await asyncio.sleep(self._breath)

    async def forget_changes(self) -> None:
        """Delete all changes but the latest."""
        gone = -1
        while self.rules.changes_most:
            before, gone = gone, await self._changes.compact(keep=self.rules.changes_most)
            if gone == before:
                return
            await asyncio.sleep(self._breath)

    async def _delete(self, job: EndedJob) -> bool:
        """Delete a job. Returns False if it was deleted or started again meanwhile."""
        try:
            await self._deleter.delete(job.id, etag=job.etag, wait=False)
        except Refusal:
            return False
        await asyncio.sleep(self._breath / 10)
        return True

    def _before(self, days: int) -> datetime | None:
        """The time before which something is too old; None if the clock cannot be trusted."""
        return self._clock() - timedelta(days=days) if days and self._steady() >= self._doubted_until else None
