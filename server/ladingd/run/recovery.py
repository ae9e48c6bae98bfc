"""What the daemon does at its start with jobs that a predecessor left, and at its end with those that are active."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ladingd.core.job import Failure
from ladingd.core.spec import OnRestart
from ladingd.core.state import ACTIVE, Event, State

if TYPE_CHECKING:
    from ladingd.core.ports import JobStore
    from ladingd.run.watch.notifier import Notifier

DIED = Failure(code="DAEMON_DIED", message="the daemon died while the job was running")
STOPPED = Failure(code="DAEMON_STOPPED", message="the daemon was shut down while the job was running")

log = logging.getLogger(__name__)


async def interrupt(jobs: JobStore, notifier: Notifier) -> None:
    """On shutdown: every active job is committed as its shutdown state, whatever its chunks do."""
    moved = await jobs.move_all(ACTIVE, Event.SHUTDOWN, failure=STOPPED)
    notifier.notify(*(job.id for job in moved))


async def recover(jobs: JobStore) -> None:
    """At start: move the jobs that a dead daemon left active, and queue those that want to go on by themselves."""
    for job in await jobs.move_all(ACTIVE, Event.ORPHAN, failure=DIED):
        log.warning("a daemon that died left jobs/%s running; it is %s now", job.id, job.state)
    for job in await jobs.in_states({State.INTERRUPTED}):
        if job.spec.on_restart is OnRestart.RESUME:
            await jobs.move(job.id, Event.RESUME)
