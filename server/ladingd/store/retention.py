"""Finds and deletes old entries of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, exists, func, select, tuple_
from sqlalchemy import delete as delete_from

from ladingd.core.maintenance import EndedJob, RetentionStore
from ladingd.store.tables import audit, jobs, requests

if TYPE_CHECKING:
    from collections.abc import Sequence, Set
    from datetime import datetime

    from sqlalchemy import Connection, Row

    from ladingd.core.state import State
    from ladingd.store.sqlite.database import Database

_AT_A_TIME = 5_000
"""The most entries that one transaction deletes: other writes wait for it."""

_ENDED = select(jobs.c.id, jobs.c.uid, jobs.c.revision, jobs.c.end_time)
"""The columns of an EndedJob, and the end time."""

_STALE = (
    select(requests.c.owner, requests.c.request_id)
    .where(requests.c.time < bindparam("old"), ~exists().where(jobs.c.uid == requests.c.job_uid))
    .limit(_AT_A_TIME)
)
"""Old requests whose jobs are gone."""

_FORGET_REQUESTS = delete_from(requests).where(tuple_(requests.c.owner, requests.c.request_id).in_(_STALE))
"""Delete these requests."""

_OLDEST = select(audit.c.sequence, audit.c.time).order_by(audit.c.sequence).limit(_AT_A_TIME).subquery()
"""The oldest entries of the audit trail."""

_UP_TO = select(func.max(_OLDEST.c.sequence))
"""The latest of these."""

_LAST = select(func.max(audit.c.sequence))
"""The latest entry of the trail."""

_FORGET = delete_from(audit).where(audit.c.sequence <= bindparam("gone"))
"""Delete all entries up to a sequence number."""


class SqlRetentionStore(RetentionStore):
    """Each method is one function of this module in one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def overdue(
        self, states: Set[State], *, before: datetime | None = None, keep: int | None = None, limit: int
    ) -> tuple[EndedJob, ...]:
        return await self._database.read(_overdue, states, before, keep, limit)

    async def ended(self, states: Set[State], uids: Sequence[str]) -> tuple[tuple[datetime, EndedJob], ...]:
        return await self._database.read(_ended, states, uids)

    async def trim_requests(self, *, before: datetime) -> int:
        return await self._database.write_patiently(_trim_requests, before)

    async def trim_audit(self, *, before: datetime | None = None, keep: int | None = None) -> int:
        return await self._database.write_patiently(_trim_audit, before, keep)


def _overdue(
    connection: Connection, states: Set[State], before: datetime | None, keep: int | None, limit: int
) -> tuple[EndedJob, ...]:
    of_states = _ENDED.where(jobs.c.state.in_(sorted(states)), jobs.c.end_time.is_not(None))
    found: list[Row[Any, Any, Any, Any]] = []
    if before is not None:
        found += connection.execute(of_states.where(jobs.c.end_time < before).order_by(jobs.c.end_time).limit(limit))
    if keep is not None and not found:
        latest_first = of_states.order_by(jobs.c.end_time.desc(), jobs.c.sequence.desc())
        found += reversed(connection.execute(latest_first.limit(limit).offset(keep)).all())
    return tuple(_job(row) for row in found)


def _ended(connection: Connection, states: Set[State], uids: Sequence[str]) -> tuple[tuple[datetime, EndedJob], ...]:
    of_states = _ENDED.where(jobs.c.state.in_(sorted(states)), jobs.c.uid.in_(uids))
    return tuple((row.end_time, _job(row)) for row in connection.execute(of_states) if row.end_time is not None)


def _trim_requests(connection: Connection, before: datetime) -> int:
    return connection.execute(_FORGET_REQUESTS, {"old": before}).rowcount


def _trim_audit(connection: Connection, before: datetime | None, keep: int | None) -> int:
    gone = 0
    if before is not None:
        gone = connection.scalar(_UP_TO.where(_OLDEST.c.time < before)) or 0
    if keep is not None and (last := connection.scalar(_LAST)) is not None:
        gone = max(gone, min(last - keep, connection.scalar(_UP_TO) or 0))
    return connection.execute(_FORGET, {"gone": gone}).rowcount if gone > 0 else 0


def _job(row: Row[Any, Any, Any, Any]) -> EndedJob:
    return EndedJob(id=row.id, uid=row.uid, etag=f'"{row.revision}"')
