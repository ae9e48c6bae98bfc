"""Removes what deleted jobs left in targets and in the work directory, and retries until it is gone."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from ladingd.core.clock import utc_now
from ladingd.core.errors import InvalidSpec, LadingError, ShuttingDown, TargetUnavailable
from ladingd.run.workers.calls import JobCalls, answer_within

if TYPE_CHECKING:
    from ladingd.core.maintenance import Discard, DiscardStore, JobFiles
    from ladingd.core.ports import Transfer
    from ladingd.run.workers.pool import Workers

EVERY = 60.0
"""Seconds between two rounds."""
TIMEOUT = 60.0
"""Seconds that a target has to forget a job."""
ORPHAN_DAYS = 30
"""How many days files of unknown jobs are kept."""

log = logging.getLogger(__name__)


class Cleanup:
    """Discards deleted jobs. The transaction that deletes a job notes the discard, so a crash leaves nothing behind.

    ``workers`` are not those of chunks: a target that does not answer must not keep jobs waiting.
    """

    def __init__(self, store: DiscardStore, files: JobFiles, *, transfer: Transfer, workers: Workers) -> None:
        self._store = store
        self._files = files
        self._transfer = transfer
        self._workers = workers
        self._told: set[str] = set()
        """The uids of jobs that, according to the log, cannot be discarded now."""
        self._bare: set[str] = set()
        """The uids of jobs whose files are removed, but whose target is away."""
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
        away: set[str] = set()
        for discard in await self._store.pending():
            # An export leaves nothing in its database.
            connection = discard.plan.target.connection if discard.plan.kind == "import" else None
            try:
                if connection in away:
                    await self._forget_files(discard.uid)
                else:
                    await self.discard(discard)
            except ShuttingDown:
                return
            except LadingError as error:
                self._tell(discard, error)
                # InvalidSpec: the daemon knows no such connection any more.
                if connection is not None and isinstance(error, TargetUnavailable | InvalidSpec):
                    away.add(connection)
                    await self._forget_files(discard.uid)  # A worker that was killed has not done so.

    async def discard(self, discard: Discard) -> None:
        """Remove everything that one job left. Raises LadingError if that is not possible now."""
        async with answer_within(TIMEOUT):
            calls = JobCalls(workers=self._workers, job_id=discard.job_id)
            await calls.call(self._transfer.discard, discard.uid, discard.plan)
        await self._store.done(discard.uid)
        self._told.discard(discard.uid)
        self._bare.discard(discard.uid)

    async def _forget_files(self, uid: str) -> None:
        if uid in self._bare:
            return
        try:
            await self._files.forget(uid)
        except LadingError as error:
            log.warning("%s", error.message)
        else:
            self._bare.add(uid)

    def _tell(self, discard: Discard, error: LadingError) -> None:
        if discard.uid not in self._told:
            self._told.add(discard.uid)
            log.warning("jobs/%s is deleted, but what it left cannot be removed yet: %s", discard.job_id, error.message)
