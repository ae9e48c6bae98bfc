"""Removes what deleted and cancelled jobs left in targets and in the work directory, and retries until it is gone."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from ladingd.core.clock import utc_now
from ladingd.core.errors import InvalidSpec, JobNotFound, LadingError, ShuttingDown, TargetUnavailable
from ladingd.core.job import Level
from ladingd.run.workers.calls import JobCalls, answer_within

if TYPE_CHECKING:
    from ladingd.core.maintenance import Discard, DiscardStore, JobFiles
    from ladingd.core.ports import JournalStore, Transfer
    from ladingd.run.watch.notifier import Notifier
    from ladingd.run.workers.pool import Workers

EVERY = 60.0
"""Seconds between two rounds."""
TIMEOUT = 60.0
"""Seconds that a target has to forget a job."""
ORPHAN_DAYS = 30
"""How many days files of unknown jobs are kept."""

log = logging.getLogger(__name__)


class Cleanup:
    """Discards deleted and cancelled jobs. The transaction that deletes or cancels a job notes the discard, so a crash
    leaves nothing behind.

    ``workers`` are not those of chunks: a target that does not answer must not keep jobs waiting.
    """

    def __init__(
        self,
        store: DiscardStore,
        files: JobFiles,
        *,
        journal: JournalStore,
        transfer: Transfer,
        workers: Workers,
        notifier: Notifier,
    ) -> None:
        self._store = store
        self._files = files
        self._journal = journal
        self._notifier = notifier
        self._transfer = transfer
        self._workers = workers
        self._told: set[str] = set()
        """The uids of jobs that, according to the log or their journal, cannot be discarded now."""
        self._bare: set[str] = set()
        """The uids of jobs whose files are removed, but whose target is away."""
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By uid. A job that was just cancelled may be deleted at once, and both would remove the same."""
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Discard jobs in rounds, until cancelled."""
        await self.sweep()
        while True:
            self._woken.clear()
            await self.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), EVERY)

    def wake(self) -> None:
        """Begin the next round now."""
        self._woken.set()

    async def sweep(self) -> None:
        """Set aside the files of unknown jobs, which an older or incomplete store leaves behind.

        They are not removed at once: the store may be the wrong one.
        """
        # The files are listed first: a job that is created meanwhile is known before it has files.
        there = await self._files.sizes()
        try:
            for uid in there.keys() - await self._store.known():
                await self._files.set_aside(uid)
                log.warning("the store knows no job %s: its files are kept aside for %d days", uid, ORPHAN_DAYS)
            await self._files.forget_orphans(utc_now() - timedelta(days=ORPHAN_DAYS))
        except LadingError as error:
            log.warning("%s", error.message)

    async def clear(self) -> None:
        """Discard every job whose target answers.

        An unreachable connection is tried once, not once for each job. The files of its jobs are removed nevertheless.
        """
        away: dict[str | None, LadingError] = {}
        for discard in await self._store.pending():
            # An export leaves nothing in its database.
            connection = discard.plan.target.connection if discard.plan.kind == "import" else None
            try:
                if connection in away:
                    await self._postpone(discard, away[connection])
                else:
                    await self.discard(discard)
            except ShuttingDown:
                return
            except LadingError as error:
                await self._tell(discard, error)
                # InvalidSpec: the daemon knows no such connection any more.
                if connection is not None and isinstance(error, TargetUnavailable | InvalidSpec):
                    away[connection] = error
                    await self._postpone(discard, error)  # A worker that was killed has not removed the files.

    async def discard(self, discard: Discard) -> None:
        """Remove everything that one job left. Raises LadingError if that is not possible now."""
        async with answer_within(TIMEOUT), self._turns.setdefault(discard.uid, asyncio.Lock()):
            calls = JobCalls(workers=self._workers, job_id=discard.job_id)
            remove = self._transfer.discard if discard.deleted else self._transfer.abandon
            await calls.call(remove, discard.uid, discard.plan)
        await self._store.done(discard)
        if discard.uid in self._told and not discard.deleted:
            await self._note(discard, Level.INFO, "CLEARED", "what the job had staged is removed now")
        self._told.discard(discard.uid)
        self._bare.discard(discard.uid)

    async def _postpone(self, discard: Discard, error: LadingError) -> None:
        """Do what can be done while the target is away. One line in the log is enough for all deleted jobs, but each
        journal has its own."""
        if not discard.deleted:
            await self._tell(discard, error)
        elif discard.uid not in self._bare:
            try:
                await self._files.forget(discard.uid)
            except LadingError as unable:
                log.warning("%s", unable.message)
            else:
                self._bare.add(discard.uid)

    async def _tell(self, discard: Discard, error: LadingError) -> None:
        if discard.uid in self._told:
            return
        self._told.add(discard.uid)
        if discard.deleted:
            log.warning("jobs/%s is deleted, but what it left cannot be removed yet: %s", discard.job_id, error.message)
        else:
            message = f"what the job has staged cannot be removed yet, and is tried again every minute: {error.message}"
            await self._note(discard, Level.WARNING, "NOT_CLEARED", message)

    async def _note(self, discard: Discard, level: Level, code: str, message: str) -> None:
        with suppress(JobNotFound):  # Deleted meanwhile.
            await self._journal.write_journal(discard.job_id, level, code, message)
            self._notifier.notify(discard.job_id)
