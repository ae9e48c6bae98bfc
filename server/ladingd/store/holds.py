"""Jobs that the daemon has paused because a disk is full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, insert, select

from ladingd.core.clock import utc_now
from ladingd.core.job import Level
from ladingd.core.maintenance import Hold, HoldStore
from ladingd.core.state import Event, State
from ladingd.store import journal, rows, transitions
from ladingd.store.tables import holds
from ladingd.store.tables import journal as entries

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Connection

    from ladingd.core.job import Job
    from ladingd.store.sqlite.database import Database

CODE = "DISK_FULL"
"""The code of the journal entries that say why a job waits."""

_ALL = select(holds.c.job_id, holds.c.place).order_by(holds.c.time, holds.c.job_id)
"""All holds, the oldest first."""

_LAST_CODE = (
    select(entries.c.code).where(entries.c.job_id == bindparam("of_job")).order_by(entries.c.sequence.desc()).limit(1)
)
"""The code of the last journal entry of a job."""


class SqlHoldStore(HoldStore):
    """Each method is one function of this module in one transaction. Writes wait for disk space."""

    def __init__(self, database: Database, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now

    async def hold(self, job_id: str, reason: str, place: str = "") -> Job | None:
        return await self._database.write_patiently(_hold, job_id, reason, place, self._now())

    async def hold_all(self, reason: str) -> tuple[Job, ...]:
        return await self._database.write_patiently(_hold_all, reason, self._now())

    async def note_queued(self, reason: str) -> tuple[str, ...]:
        return await self._database.write_patiently(_note_queued, reason, self._now())

    async def held(self) -> tuple[Hold, ...]:
        return await self._database.read(_held)

    async def release(self, job_id: str, reason: str) -> Job | None:
        return await self._database.write_patiently(_release, job_id, reason, self._now())


def _hold(connection: Connection, job_id: str, reason: str, place: str, now: datetime) -> Job | None:
    if rows.load(connection, job_id).state is not State.RUNNING:
        return None
    journal.write(connection, job_id, now, Level.WARNING, CODE, reason)
    job = transitions.move(connection, job_id, Event.PAUSE, None, False, now)
    transitions.release(connection, job_id)
    connection.execute(insert(holds), {"job_id": job_id, "place": place, "time": now})
    return job


def _hold_all(connection: Connection, reason: str, now: datetime) -> tuple[Job, ...]:
    running = rows.in_states(connection, {State.RUNNING})
    held = (_hold(connection, job.id, reason, "", now) for job in running)
    return tuple(job for job in held if job is not None)


def _note_queued(connection: Connection, reason: str, now: datetime) -> tuple[str, ...]:
    queued = [job.id for job in rows.in_states(connection, {State.QUEUED})]
    untold = [job_id for job_id in queued if connection.scalar(_LAST_CODE, {"of_job": job_id}) != CODE]
    for job_id in untold:
        journal.write(connection, job_id, now, Level.WARNING, CODE, reason)
    return tuple(untold)


def _held(connection: Connection) -> tuple[Hold, ...]:
    return tuple(Hold(**row._mapping) for row in connection.execute(_ALL))


def _release(connection: Connection, job_id: str, reason: str, now: datetime) -> Job | None:
    if not transitions.release(connection, job_id):
        return None
    # A job that has ended meanwhile is not started.
    if rows.load(connection, job_id).state not in (State.PAUSED, State.PAUSING):
        return None
    journal.write(connection, job_id, now, Level.INFO, "ROOM_AGAIN", reason)
    return transitions.move(connection, job_id, Event.START, None, False, now)
