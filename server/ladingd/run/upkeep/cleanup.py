"""Clears away what deleted jobs have left in targets and in the work directory, however long that takes."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from ladingd.core.clock import utc_now
from ladingd.core.errors import InvalidSpec, LadingError, ShuttingDown, TargetUnavailable
from ladingd.run.workers.calls import internal_error

if TYPE_CHECKING:
    from ladingd.core.maintenance import Discard, DiscardStore, JobFiles
    from ladingd.core.ports import Transfer
    from ladingd.run.workers.pool import Workers

EVERY = 60.0
"""Seconds between two looks: a target that is away now is there later."""
TIMEOUT = 60.0
"""How many seconds a target has to forget a job."""
ORPHAN_DAYS = 30
"""So long the files of jobs are kept that the store does not know."""

log = logging.getLogger(__name__)


class Cleanup:
    """What is to be discarded stands in the store from the moment the job is deleted, so nothing is left by a crash.

    ``workers`` are not those of chunks: a target that does not answer must not keep jobs waiting.
    """

    def __init__(self, store: DiscardStore, files: JobFiles, *, transfer: Transfer, workers: Workers) -> None:
        self._store = store
        self._files = files
        self._transfer = transfer
        self._workers = workers
        self._told: set[str] = set()
        """The uids of jobs of which the log says already that they cannot be discarded."""
        self._bare: set[str] = set()
        """The uids of jobs whose files are gone while their target is away."""
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Clear away whatever can be, again and again, until cancelled."""
        await self.sweep()
        while True:
            self._woken.clear()
            await self.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), EVERY)

    def wake(self) -> None:
        """Look at once: jobs were deleted whose discard nobody waits for."""
        self._woken.set()

    async def sweep(self) -> None:
        """Set aside files of jobs that nobody knows: somebody has put back an older store, or taken a part of it out.

        They are not removed at once: it may be the store that is the wrong one.
        """
        # In this order: a job that is made meanwhile is known before it has files.
        there = await self._files.sizes()
        try:
            for uid in there.keys() - await self._store.known():
                await self._files.set_aside(uid)
                log.warning("the store knows no job %s: its files are set aside for %d days", uid, ORPHAN_DAYS)
            await self._files.forget_orphans(utc_now() - timedelta(days=ORPHAN_DAYS))
        except LadingError as error:
            log.warning("%s", error.message)

    async def clear(self) -> None:
        """Clear away whatever can be now. A connection that is away is asked once, not for each of its jobs; their
        files go all the same."""
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
                    await self._forget_files(discard.uid)  # A worker that was killed has not come to that.

    async def discard(self, discard: Discard) -> None:
        """Clear away what one job has left. Raises LadingError where that cannot be now."""
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._workers.call(self._transfer.discard, discard.uid, discard.plan)
        except TimeoutError:
            raise TargetUnavailable(f"no answer within {TIMEOUT:g} s") from None
        except LadingError:
            raise
        except Exception as error:
            raise internal_error(discard.job_id, error) from error
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
            log.warning(
                "jobs/%s is deleted, but what it left cannot be cleared away yet: %s", discard.job_id, error.message
            )
