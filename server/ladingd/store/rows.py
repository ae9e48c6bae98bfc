"""Reads and writes jobs as rows."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, insert, select, update

from ladingd.core.errors import JobNotFound
from ladingd.core.job import Job
from ladingd.core.state import State
from ladingd.store.tables import jobs

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

    from sqlalchemy import Connection, Row

_FIELDS = tuple(field.name for field in fields(Job))

COLUMNS = tuple(jobs.c[name] for name in _FIELDS)
"""The columns that ``job_of`` needs."""

# Statements are built only once: building a statement takes longer than running it in SQLite.

_ONE = select(*COLUMNS).where(jobs.c.id == bindparam("job_id"))
"""The job with an id."""

_SEQUENCE = select(jobs.c.sequence).where(jobs.c.id == bindparam("job_id"))
"""Whether there is a job with an id."""

_NUMBERS = select(jobs.c.state, func.count().label("number")).group_by(jobs.c.state)
"""The number of jobs in each state. SQLite reads only the index."""

_UNSETTLED = select(*COLUMNS).where(~jobs.c.settled).order_by(jobs.c.sequence)
"""The jobs whose counts may differ from the ledger, the oldest first."""


def job_of(row: Row[Any]) -> Job:
    """The job of a row, which has at least COLUMNS."""
    return Job(**{name: row._mapping[name] for name in _FIELDS})


def jobs_of(rows: Iterable[Row[Any]]) -> tuple[Job, ...]:
    """The jobs of several rows."""
    return tuple(job_of(row) for row in rows)


def find(connection: Connection, job_id: str) -> Job | None:
    """The job, or None."""
    row = connection.execute(_ONE, {"job_id": job_id}).one_or_none()
    return None if row is None else job_of(row)


def load(connection: Connection, job_id: str) -> Job:
    """The job. Raises JobNotFound."""
    job = find(connection, job_id)
    if job is None:
        raise JobNotFound(job_id)
    return job


def exists(connection: Connection, job_id: str) -> bool:
    """Whether there is such a job."""
    return connection.scalar(_SEQUENCE, {"job_id": job_id}) is not None


def require(connection: Connection, job_id: str) -> None:
    """Raises JobNotFound if there is no such job."""
    if not exists(connection, job_id):
        raise JobNotFound(job_id)


def in_states(connection: Connection, states: Set[State]) -> tuple[Job, ...]:
    """All jobs in these states. The job that is longest in its state comes first."""
    statement = select(*COLUMNS).where(jobs.c.state.in_(sorted(states))).order_by(jobs.c.state_revision)
    return jobs_of(connection.execute(statement))


def numbers(connection: Connection) -> dict[State, int]:
    """The number of jobs in each state."""
    return dict.fromkeys(State, 0) | {row.state: row.number for row in connection.execute(_NUMBERS)}


def unsettled(connection: Connection) -> tuple[Job, ...]:
    """All jobs whose counts may differ from the ledger, the oldest first."""
    return jobs_of(connection.execute(_UNSETTLED))


def add(connection: Connection, job: Job) -> None:
    """Store a new job."""
    values = {name: getattr(job, name) for name in _FIELDS}
    connection.execute(insert(jobs).values(state_revision=job.revision, **values))


def save(connection: Connection, before: Job, after: Job) -> None:
    """Store the fields that differ."""
    values = {name: getattr(after, name) for name in _FIELDS if getattr(after, name) != getattr(before, name)}
    if after.state is not before.state:
        values["state_revision"] = after.revision
    if values:
        connection.execute(update(jobs).where(jobs.c.id == after.id).values(**values))
