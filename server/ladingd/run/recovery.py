"""Moves the jobs that an earlier daemon left active, and at shutdown the jobs that are active."""

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
    """At shutdown: write the shutdown state of every active job, before its chunks end."""
    moved = await jobs.move_all(ACTIVE, Event.SHUTDOWN, failure=STOPPED)
    notifier.notify(*(job.id for job in moved))


async def recover(jobs: JobStore) -> None:
    """At start: move the jobs that a dead daemon left active, and queue those that continue by themselves."""
    for job in await jobs.move_all(ACTIVE, Event.ORPHAN, failure=DIED):
        log.warning("a daemon that died left jobs/%s running; it is %s now", job.id, job.state)
    for job in await jobs.in_states({State.INTERRUPTED}):
        if job.spec.on_restart is OnRestart.RESUME:
            await jobs.move(job.id, Event.RESUME)
