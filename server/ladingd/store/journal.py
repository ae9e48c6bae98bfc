"""The journals of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, insert, select

from ladingd.core.job import JournalEntry, Level
from ladingd.store import rows
from ladingd.store.tables import journal

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from ladingd.core.plan import Plan
    from ladingd.core.ports import Check

_APPEND = insert(journal)
"""Append an entry."""

_AFTER = (
    select(journal)
    .where(journal.c.job_id == bindparam("of_job"), journal.c.sequence > bindparam("after"))
    .order_by(journal.c.sequence)
    .limit(bindparam("at_most"))
)
"""The entries of one job after a sequence number."""


def write(connection: Connection, job_id: str, time: datetime, level: Level, code: str, message: str) -> None:
    """Append an entry. Raises JobNotFound."""
    rows.require(connection, job_id)
    entry = {"job_id": job_id, "time": time, "level": level, "code": code, "message": message}
    connection.execute(_APPEND, entry)


def write_notes(connection: Connection, job_id: str, time: datetime, plan: Plan) -> None:
    """Append the line `detected:` and the notes of a plan."""
    if plan.kind == "import" and plan.detected:
        write(connection, job_id, time, Level.INFO, "DETECTED", plan.detected)
    for note in plan.notes:
        write(connection, job_id, time, Level.WARNING, "NOTE", note)


def read(connection: Connection, job_id: str, after: int, limit: int, check: Check | None) -> tuple[JournalEntry, ...]:
    """The entries of a job after a sequence number, in order. Raises JobNotFound, and what ``check`` raises."""
    if check is None:
        rows.require(connection, job_id)
    else:
        check(rows.load(connection, job_id))
    found = connection.execute(_AFTER, {"of_job": job_id, "after": after, "at_most": limit})
    return tuple(JournalEntry(**row._mapping) for row in found)
