"""Corrects the counts of jobs at rest by the ledger, if the daemon did not see their last chunks end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ladingd.core.errors import (
    AttemptSuperseded,
    JobNotFound,
    LadingError,
    ShuttingDown,
    TargetUnavailable,
)
from ladingd.core.state import ACTIVE, State
from ladingd.run.attempt.reckoning import check_ledger, unreadable
from ladingd.run.workers.calls import JobCalls, answer_within

if TYPE_CHECKING:
    from ladingd.core.job import Job
    from ladingd.core.plan import Plan
    from ladingd.core.ports import ChunkStore, JobStore, JournalStore, Transfer
    from ladingd.run.watch.notifier import Notifier
    from ladingd.run.workers.pool import Workers

EVERY = 60.0
"""Seconds between two rounds."""
TIMEOUT = 60.0
"""Seconds that a ledger has to answer."""


class Settlement:
    """Asks the ledgers of jobs that rest unsettled. A job that runs again reads its ledger when it begins.

    ``workers`` are not those of chunks: a target that does not answer must not keep other jobs waiting.
    """

    def __init__(
        self,
        *,
        jobs: JobStore,
        chunks: ChunkStore,
        journal: JournalStore,
        transfer: Transfer,
        workers: Workers,
        notifier: Notifier,
    ) -> None:
        self._jobs = jobs
        self._chunks = chunks
        self._journal = journal
        self._transfer = transfer
        self._workers = workers
        self._notifier = notifier
        self._told: set[str] = set()
        """The uids of jobs whose journal already says that their ledger cannot be read."""

    async def run(self) -> None:
        """Settle jobs in rounds, until cancelled."""
        while True:
            await self.settle()
            await asyncio.sleep(EVERY)

    async def settle(self) -> None:
        """Settle every job whose target answers. An unreachable connection is tried once, not once for each job."""
        away: dict[str, TargetUnavailable] = {}
        for job in await self._jobs.unsettled():
            if job.state in ACTIVE or job.state is State.QUEUED:
                continue
            connection = _connection(job.plan)
            try:
                try:
                    if connection in away:
                        raise away[connection]
                    await self._settle(job)
                except TargetUnavailable as error:
                    away[connection] = error
                    raise
            except ShuttingDown:
                return
            except (JobNotFound, AttemptSuperseded):
                continue  # Deleted, or begun again, meanwhile.
            except LadingError as error:
                await self._tell(job, error)
            self._notifier.notify(job.id)

    async def _settle(self, job: Job) -> None:
        if (await self._jobs.get(job.id)).uid != job.uid:
            raise JobNotFound(job.id)  # Deleted since it was listed. Asking would leave a trace of it in the target.
        calls = JobCalls(workers=self._workers, job_id=job.id)
        async with answer_within(TIMEOUT):
            committed = await calls.call(self._transfer.committed, job.uid, job.attempt + 1, job.plan)
        check_ledger(await self._chunks.chunks(job.id), committed)
        await self._chunks.settle(
            job.id, committed, uid=job.uid, attempt=job.attempt, total=None, progress=job.progress, settled=True
        )

    async def _tell(self, job: Job, error: LadingError) -> None:
        if job.uid in self._told:
            return
        self._told.add(job.uid)
        try:
            await self._journal.write_journal(job.id, *unreadable(error))
        except JobNotFound:
            return  # Deleted meanwhile.


def _connection(plan: Plan) -> str:
    return plan.target.connection if plan.kind == "import" else plan.source.connection
