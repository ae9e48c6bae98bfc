"""The agreement of store and ledger: jobs that rest, but whose last chunks nobody saw end, are brought in line."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ladingd.core.errors import (
    AttemptSuperseded,
    BillImbalance,
    JobNotFound,
    LadingError,
    LedgerLost,
    ShuttingDown,
    TargetUnavailable,
)
from ladingd.core.job import Level
from ladingd.core.state import ACTIVE, State
from ladingd.run.workers.calls import internal_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.job import Job
    from ladingd.core.plan import CommittedChunk, Plan
    from ladingd.core.ports import JobStore, KeptChunk, Transfer
    from ladingd.run.watch.notifier import Notifier
    from ladingd.run.workers.pool import Workers

EVERY = 60.0
"""Seconds between two looks: a target that is away now is there later."""
TIMEOUT = 60.0
"""How many seconds a ledger has to answer."""


class Settlement:
    """Asks the ledgers of jobs that rest unsettled. Those that will run again read theirs when they begin.

    ``workers`` are not those of chunks: a target that does not answer must not keep other jobs waiting.
    """

    def __init__(self, *, store: JobStore, transfer: Transfer, workers: Workers, notifier: Notifier) -> None:
        self._store = store
        self._transfer = transfer
        self._workers = workers
        self._notifier = notifier
        self._told: set[str] = set()
        """The uids of jobs whose journal says already that their ledger cannot be read."""

    async def run(self) -> None:
        """Settle whatever can be, again and again, until cancelled."""
        while True:
            await self.settle()
            await asyncio.sleep(EVERY)

    async def settle(self) -> None:
        """Settle whatever can be now. A connection that is away is asked once, not for each of its jobs."""
        away: dict[str, TargetUnavailable] = {}
        for job in await self._store.unsettled():
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
        if (await self._store.get(job.id)).uid != job.uid:
            raise JobNotFound(job.id)  # Deleted since it was listed: nothing of it is to be left in the target.
        try:
            async with asyncio.timeout(TIMEOUT):
                committed = await self._workers.call(self._transfer.committed, job.uid, job.attempt + 1, job.plan)
        except TimeoutError:
            raise TargetUnavailable(f"no answer within {TIMEOUT:g} s") from None
        except LadingError:
            raise
        except Exception as error:
            raise internal_error(job.id, error) from error
        check_ledger(await self._store.chunks(job.id), committed)
        await self._store.settle(
            job.id, committed, uid=job.uid, attempt=job.attempt, total=None, progress=job.progress, settled=True
        )

    async def _tell(self, job: Job, error: LadingError) -> None:
        if job.uid in self._told:
            return
        self._told.add(job.uid)
        try:
            await self._store.write_journal(job.id, *unreadable(error))
        except JobNotFound:
            return  # Deleted meanwhile.


def _connection(plan: Plan) -> str:
    return plan.target.connection if plan.kind == "import" else plan.source.connection


def unreadable(error: LadingError) -> tuple[Level, str, str]:
    """The journal entry of a job whose ledger cannot be read: its target is away, or no longer configured."""
    return (
        Level.WARNING,
        "LEDGER_UNREADABLE",
        f"the ledger cannot be read now, the counters may be short: {error.message}",
    )


def check_ledger(kept: Sequence[KeptChunk], committed: Sequence[CommittedChunk]) -> None:
    """Raises LedgerLost where the ledger does not know what was committed, BillImbalance where it knows more than
    was ever cut: store and target are not of the same time."""
    in_ledger = {chunk.ordinal for chunk in committed}
    if lost := {one.chunk.ordinal for one in kept if one.counts is not None} - in_ledger:
        raise LedgerLost(
            f"the target's ledger lacks chunk {min(lost)} of this job, which was committed: is it another database,"
            " or an older copy?"
        )
    if unknown := in_ledger - {one.chunk.ordinal for one in kept}:
        raise BillImbalance(
            f"the target's ledger has chunk {min(unknown)} of this job, which was never cut according to the store:"
            " was the store put back from an older copy?"
        )
