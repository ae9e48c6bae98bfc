"""What deleted and cancelled jobs left. Each function is a part or the body of one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, insert, select, union_all
from sqlalchemy import delete as delete_from

from ladingd.core.maintenance import Discard
from ladingd.store.tables import discards, jobs

if TYPE_CHECKING:
    from collections.abc import Set
    from datetime import datetime

    from sqlalchemy import Connection

    from ladingd.core.job import Job

_PENDING = select(discards.c.job_id, discards.c.uid, discards.c.plan, discards.c.deleted).order_by(discards.c.sequence)
"""All leftovers, the oldest first. The columns are the fields of core.maintenance.Discard."""

_DONE = delete_from(discards).where(
    discards.c.uid == bindparam("of_uid"), discards.c.deleted <= bindparam("were_deleted")
)
"""Forget leftovers that are cleared away. A deletion clears all, a cancel not what a later deletion left."""

_NOTE = insert(discards)
"""Note the leftovers of a job."""

_KNOWN = union_all(select(jobs.c.uid), select(discards.c.uid))
"""The uids whose files are not orphans."""


def note(connection: Connection, job: Job, now: datetime, *, deleted: bool) -> None:
    """Note the leftovers of a job that this transaction deletes or cancels. Those of a deletion include all others."""
    if job.attempt and (deleted or job.plan.keeps_work):
        done(connection, Discard(job_id=job.id, uid=job.uid, plan=job.plan))
        left = {"uid": job.uid, "job_id": job.id, "plan": job.plan, "time": now, "deleted": deleted}
        connection.execute(_NOTE, left)


def pending(connection: Connection) -> tuple[Discard, ...]:
    """All leftovers, the oldest first."""
    return tuple(Discard(**row._mapping) for row in connection.execute(_PENDING))


def done(connection: Connection, discard: Discard) -> None:
    """Forget leftovers that are cleared away."""
    connection.execute(_DONE, {"of_uid": discard.uid, "were_deleted": discard.deleted})


def known(connection: Connection) -> Set[str]:
    """The uids of all jobs and of all leftovers."""
    return frozenset(connection.scalars(_KNOWN))
