"""Creates, changes and deletes jobs. Each function is the body of one transaction and makes at most one change per
job."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, insert, select
from sqlalchemy import delete as delete_from

from ladingd.core.errors import CommandNotAllowed, EtagMismatch, JobExists, RequestIdReused, RequestJobDeleted
from ladingd.core.job import Change, ChangeKind, Failure, Job, Level
from ladingd.core.state import COMMANDS, DELETABLE, UNDER_WAY, Event, State, allowed_commands
from ladingd.store import changes, journal, leftovers, rows
from ladingd.store.tables import holds, jobs, requests

if TYPE_CHECKING:
    from collections.abc import Set
    from datetime import datetime

    from sqlalchemy import Connection

    from ladingd.core.plan import Plan
    from ladingd.core.ports import Check
    from ladingd.core.spec import JobSpec

_REQUEST = (
    select(requests)
    .where(requests.c.owner.in_((bindparam("of_owner"), "")), requests.c.request_id == bindparam("of_request"))
    .order_by(requests.c.owner.desc())
)
"""An earlier request of this owner with this id, or one from before requests had owners."""

_REMEMBER = insert(requests)
"""Remember which job a request made."""

_RELEASE = delete_from(holds).where(holds.c.job_id == bindparam("of_job"))
"""Forget that the daemon holds a job."""


def create(connection: Connection, job: Job, request_id: str, digest: str, call: str, now: datetime) -> Job:
    """Store a new job, or return the job that the same request made before."""
    if job.state is not State.EDITING:
        raise ValueError(f"a new job is {State.EDITING}, not {job.state}")
    if request_id and (earlier := made_by(connection, job.owner, request_id, digest)):
        return earlier
    if rows.exists(connection, job.id):
        raise JobExists(job.id)
    created = replace(job, revision=changes.next_revision(connection), correlation=call)
    rows.add(connection, created)
    if request_id:
        request = {"owner": job.owner, "request_id": request_id, "digest": digest, "time": now}
        connection.execute(_REMEMBER, request | {"job_id": job.id, "job_uid": job.uid})
    change = Change(
        revision=created.revision, kind=ChangeKind.CREATED, job=created, time=now, correlation=created.correlation
    )
    changes.record(connection, change)
    journal.write_notes(connection, job.id, now, job.plan)
    return created


def made_by(connection: Connection, owner: str, request_id: str, digest: str) -> Job | None:
    """The current job that a request made, or None. Raises RequestIdReused, RequestJobDeleted."""
    earlier = connection.execute(_REQUEST, {"of_owner": owner, "of_request": request_id}).first()
    if earlier is None:
        return None
    if earlier.digest != digest:
        raise RequestIdReused(request_id)
    job = rows.find(connection, earlier.job_id)
    if job is None or job.uid != earlier.job_uid:
        raise RequestJobDeleted(request_id, earlier.job_id)
    return job


def edit(
    connection: Connection,
    job_id: str,
    label: str | None,
    description: str | None,
    shared: bool | None,
    spec: JobSpec | None,
    plan: Plan | None,
    etag: str,
    call: str,
    now: datetime,
    *,
    validate_only: bool = False,
    check: Check | None = None,
) -> Job:
    """Change every field that is not None. ``validate_only`` returns the result without storing it."""
    if (spec is None) is not (plan is None):
        raise ValueError("a spec is changed together with its plan")
    job = _load(connection, job_id, etag, check)
    if spec is not None and job.state is not State.EDITING:
        raise _not_allowed(job, "edit the spec of")
    edited = replace(
        job,
        label=job.label if label is None else label,
        description=job.description if description is None else description,
        shared=job.shared if shared is None else shared,
        spec=spec or job.spec,
        plan=plan or job.plan,
    )
    if edited == job or validate_only:
        return edited
    edited = replace(edited, revision=changes.next_revision(connection), update_time=now)
    rows.save(connection, job, edited)
    # The change names this call. The job still names the call that started it.
    kind = ChangeKind.EDITED
    if edited.shared is not job.shared:
        kind = ChangeKind.SHARED if edited.shared else ChangeKind.WITHDRAWN
    change = Change(revision=edited.revision, kind=kind, job=edited, time=now, correlation=call)
    changes.record(connection, change)
    if plan is not None:
        journal.write_notes(connection, job_id, now, plan)
    return edited


def delete(
    connection: Connection, job_id: str, etag: str, call: str, now: datetime, *, check: Check | None = None
) -> Job:
    """Delete a job and everything that belongs to it but its changes. Note its leftovers elsewhere as discards."""
    job = _load(connection, job_id, etag, check)
    if job.state not in DELETABLE:
        raise _not_allowed(job, "delete")
    # The foreign keys delete its chunks and journal. Requests stay.
    connection.execute(delete_from(jobs).where(jobs.c.id == job_id))
    leftovers.note(connection, job, now, deleted=True)
    revision = changes.next_revision(connection)
    change = Change(
        revision=revision, kind=ChangeKind.DELETED, job=job, time=now, from_state=job.state, correlation=call
    )
    changes.record(connection, change)
    return job


def command(
    connection: Connection,
    job_id: str,
    command: Event,
    etag: str,
    call: str,
    now: datetime,
    *,
    check: Check | None = None,
) -> Job:
    """Apply a command."""
    if command not in COMMANDS:
        raise ValueError(f"{command} is no command")
    job = _load(connection, job_id, etag, check)
    held = release(connection, job_id)  # From now on the user's command counts.
    moved = _apply(connection, job, command, None, now, call=call)
    if moved is not None:
        return moved
    if job.state in UNDER_WAY[command]:
        if held:
            journal.write(
                connection, job_id, now, Level.INFO, "PAUSED", "pause: the job stays paused even when there is space"
            )
        return job
    raise _not_allowed(job, command.lower())


def release(connection: Connection, job_id: str) -> bool:
    """Forget that the daemon holds a job. Returns whether it did."""
    return connection.execute(_RELEASE, {"of_job": job_id}).rowcount > 0


def move(
    connection: Connection, job_id: str, event: Event, failure: Failure | None, settled: bool, now: datetime
) -> Job | None:
    """Apply an event if the job's state allows it."""
    return _apply(connection, rows.load(connection, job_id), event, failure, now, settled=settled)


def move_all(
    connection: Connection, states: Set[State], event: Event, failure: Failure | None, now: datetime
) -> tuple[Job, ...]:
    """Apply an event to all jobs in these states that allow it. The job that is longest in its state comes first."""
    moved = (_apply(connection, job, event, failure, now) for job in rows.in_states(connection, states))
    return tuple(job for job in moved if job is not None)


def _apply(
    connection: Connection,
    job: Job,
    event: Event,
    failure: Failure | None,
    now: datetime,
    *,
    settled: bool = False,
    call: str | None = None,
) -> Job | None:
    """``call`` is the call that commands the event; None: the event follows from an earlier call."""
    moved = job.moved(event, now, failure)
    if moved is None:
        return None
    moved = replace(
        moved,
        revision=changes.next_revision(connection),
        settled=settled or moved.settled,
        correlation=job.correlation if call is None else call,
    )
    rows.save(connection, job, moved)
    if moved.state is State.CANCELED:
        leftovers.note(connection, moved, now, deleted=False)
    change = Change(
        revision=moved.revision,
        kind=ChangeKind.MOVED,
        job=moved,
        time=now,
        from_state=job.state,
        cause=event,
        correlation=moved.correlation,
    )
    changes.record(connection, change)
    return moved


def _load(connection: Connection, job_id: str, etag: str, check: Check | None) -> Job:
    job = rows.load(connection, job_id)
    if check is not None:
        check(job)
    if etag and etag != job.etag:
        raise EtagMismatch(job_id)
    return job


def _not_allowed(job: Job, command: str) -> CommandNotAllowed:
    allowed = tuple(event.lower() for event in allowed_commands(job.state))
    return CommandNotAllowed(job.id, job.state, command, allowed)
