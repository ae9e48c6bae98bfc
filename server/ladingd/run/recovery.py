"""What the daemon does at its start with jobs that a predecessor left, and at its end with those that are active."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ladingd.core.errors import BillImbalance, JobNotFound, LadingError, LedgerLost, ShuttingDown
from ladingd.core.job import Failure, Level
from ladingd.core.spec import OnRestart
from ladingd.core.state import ACTIVE, Event, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.job import Job
    from ladingd.core.plan import CommittedChunk
    from ladingd.core.ports import JobStore, KeptChunk, Transfer
    from ladingd.run.announcer import Announcer
    from ladingd.run.workers import Workers

DIED = Failure(code="DAEMON_DIED", message="the daemon died while the job was running")
STOPPED = Failure(code="DAEMON_STOPPED", message="the daemon was shut down while the job was running")

log = logging.getLogger(__name__)


async def interrupt(store: JobStore, announcer: Announcer) -> None:
    """On shutdown: every active job is committed as its shutdown state, whatever its chunks do."""
    moved = await store.move_all(ACTIVE, Event.SHUTDOWN, failure=STOPPED)
    announcer.announce(*(job.id for job in moved))


async def recover(store: JobStore) -> None:
    """At start: move the jobs that a dead daemon left active, and queue those that want to go on by themselves."""
    for job in await store.move_all(ACTIVE, Event.ORPHAN, failure=DIED):
        log.warning("jobs/%s was left by a daemon that died; it is %s now", job.id, job.state)
    for job in await store.in_states({State.INTERRUPTED}):
        if job.spec.on_restart is OnRestart.RESUME:
            await store.move(job.id, Event.RESUME)


async def settle(store: JobStore, transfer: Transfer, workers: Workers, announcer: Announcer) -> None:
    """Bring the counters of jobs that rest, but whose last chunks nobody saw end, in line with the ledger.

    Jobs that will run again read their ledger when they begin.
    """
    for job in await store.unsettled():
        if job.state in ACTIVE or job.state is State.QUEUED:
            continue
        try:
            await _settle(job, store, transfer, workers)
        except ShuttingDown:
            return
        except JobNotFound:
            continue  # Deleted meanwhile.
        announcer.announce(job.id)


async def _settle(job: Job, store: JobStore, transfer: Transfer, workers: Workers) -> None:
    try:
        committed = await workers.call(transfer.committed, job.uid, job.attempt + 1, job.plan)
        check_ledger(await store.chunks(job.id), committed)
    except (ShuttingDown, JobNotFound):
        raise
    except LadingError as error:
        await store.write_journal(job.id, *unreadable(error))
        return
    await store.settle(job.id, committed, attempt=job.attempt, total=None, progress=job.progress, settled=True)


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
