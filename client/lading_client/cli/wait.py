"""Waits for a job and shows its progress and its end."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from typing import TYPE_CHECKING

from lading_client.cli import session
from lading_client.cli.display.bill import FIRST_REJECTS, TOO_MANY_REJECTS, ending
from lading_client.cli.display.progress import progress_on
from lading_client.errors import JobDeleted, PermissionDenied, Unavailable
from lading_client.local_daemon import OwnDaemon
from lading_client.model import AT_REST, ENDED, State, WatchKind

if TYPE_CHECKING:
    from lading_client.cli.session import Session
    from lading_client.client import Client
    from lading_client.model import Job, JournalEntry, Reject

GIVE_UP_SECONDS = 15.0
"""How long a daemon may be unreachable while a command waits for a job."""
OWN_GIVE_UP_SECONDS = 2.0
"""The same for the user's own daemon, which only commands start again."""


async def start_and_wait(ours: Session, client: Client, job: Job, *, fail_on_rejects: bool = False) -> int:
    """Start a job, wait until it rests and report. Returns the exit status."""
    # The watch begins before the start: it misses no state, however fast the job runs.
    started = await client.start_job(job.name)
    final = await wait(ours, client, started, revision=job.revision)
    await report(ours, client, final)
    return exit_status(final, fail_on_rejects=fail_on_rejects)


async def wait(ours: Session, client: Client, job: Job, *, revision: int, through_rest: bool = False) -> Job:
    """Wait until the job has come to rest and return it. With ``through_rest``, wait until it has ended."""
    until = ENDED if through_rest else AT_REST
    patience = GIVE_UP_SECONDS if ours.server else OWN_GIVE_UP_SECONDS
    try:
        with progress_on(ours.output) as show:
            show(job)
            watch = client.watch(job.name, revision=revision, give_up_after=None if through_rest else patience)
            async with aclosing(watch) as events:
                async for event in events:
                    if event.job is None:
                        continue
                    if event.kind is WatchKind.DELETED:
                        raise JobDeleted(event.job)
                    show(event.job)
                    if event.job.state in until:
                        return event.job
        raise AssertionError("a watch does not end by itself")
    except Unavailable:
        ours.output.note(f"lost the daemon while waiting for {job.name}; to wait again: lading watch {job.name}")
        raise
    except asyncio.CancelledError:
        ours.output.note(
            f"\n{job.name} continues in the daemon.\n"
            f"watch it: lading watch {job.name}\ncancel it: lading cancel {job.name}"
        )
        raise


async def report(ours: Session, client: Client, job: Job) -> None:
    """Show the end of a job: as a document, or with its bill, warnings and first rejects."""
    if ours.output.json:
        ours.output.document(job)
        return
    counted = job.counters.rejects + job.counters.errors + job.counters.warnings
    entries, rejects = await asyncio.gather(journal_of(client, job), _rejects(client, job) if counted else _none())
    own = OwnDaemon.of(os.environ).database if ours.server is None else None
    ours.output.text(ending(job, journal=entries, rejects=rejects, own_database=own))


def exit_status(job: Job, *, fail_on_rejects: bool = False) -> int:
    """The exit status of a command that waited for the job."""
    match job.state:
        case State.FINISHED:
            return session.REJECTS if fail_on_rejects and job.counters.rejects else 0
        case State.FAILED if job.failure is not None and job.failure.code == TOO_MANY_REJECTS:
            return session.REJECTS
        case State.FAILED:
            return session.FAILED
        case _:
            return session.STOPPED


async def journal_of(client: Client, job: Job) -> list[JournalEntry]:
    """The whole journal of a job."""
    async with aclosing(client.journal(job.name)) as entries:
        return [entry async for entry in entries]


async def _rejects(client: Client, job: Job) -> list[Reject] | None:
    """The first rejects; None if the caller may see the job but not its records."""
    try:
        async with aclosing(client.rejects(job.name, limit=FIRST_REJECTS)) as rejects:
            return [reject async for reject in rejects]
    except PermissionDenied:
        return None


async def _none() -> list[Reject]:
    return []
