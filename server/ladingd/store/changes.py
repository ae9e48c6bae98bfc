"""What happened to jobs, by revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, insert, literal_column, select, update

from ladingd.core.errors import RevisionCompacted
from ladingd.core.job import Change, ChangeKind
from ladingd.core.journal import describe
from ladingd.store import journal
from ladingd.store.tables import changes, history

if TYPE_CHECKING:
    from sqlalchemy import Connection


_AT_A_TIME = 5_000
"""How many changes are forgotten at once: others wait meanwhile."""

_RAISE = update(history).values(revision=history.c.revision + 1)
"""The next number."""

_HISTORY = select(history.c.revision, history.c.compacted)
"""How far the changes go, and from where they are kept."""

_RECORD = insert(changes)
"""One change more."""

_AFTER = (
    select(*(changes.c[name] for name in ("revision", "kind", "job", "time", "from_state", "cause", "correlation")))
    .where(changes.c.revision > bindparam("after"))
    .order_by(changes.c.revision)
    .limit(bindparam("at_most"))
)
"""The changes after a revision; the columns are the fields of core.job.Change."""

_WITHDRAWN = (
    select(changes.c.revision, changes.c.job)
    # Written out, and not a parameter: only so does SQLite use the index.
    .where(changes.c.kind == literal_column("'WITHDRAWN'"))
    .order_by(changes.c.revision)
)
"""The changes by which jobs ceased to be shared."""


def next_revision(connection: Connection) -> int:
    """A number that was never given out before. Two transactions cannot both be at this."""
    connection.execute(_RAISE)
    return current_revision(connection)


def current_revision(connection: Connection) -> int:
    """The last number that was given out."""
    return int(connection.execute(_HISTORY).one().revision)


def record(connection: Connection, change: Change) -> None:
    """Write a change down, and the journal entry that tells of it."""
    deleted = change.kind is ChangeKind.DELETED
    values = {
        "revision": change.revision,
        "job_id": change.job.id,
        "kind": change.kind,
        "from_state": change.from_state,
        "to_state": None if deleted else change.job.state,
        "cause": change.cause,
        "time": change.time,
        "job": change.job,
        "correlation": change.correlation,
    }
    connection.execute(_RECORD, values)
    if not deleted:  # Its journal goes with it.
        journal.write(connection, change.job.id, change.time, *describe(change))


def read(connection: Connection, after: int, limit: int) -> tuple[Change, ...]:
    """The changes after a revision, in order. Raises RevisionCompacted."""
    compacted = connection.execute(_HISTORY).one().compacted
    if max(after, 0) < compacted:
        raise RevisionCompacted(after, compacted + 1)
    found = connection.execute(_AFTER, {"after": after, "at_most": limit})
    return tuple(Change(**row._mapping) for row in found)


def withdrawn(connection: Connection) -> dict[str, int]:
    """By uid, the last revision at which each job ceased to be shared, as far as changes are kept."""
    return {row.job.uid: row.revision for row in connection.execute(_WITHDRAWN)}


def compact(connection: Connection, keep: int) -> int:
    """Forget changes but the latest, so many, not too many at a time; the revision up to which they are gone."""
    known = connection.execute(_HISTORY).one()
    compacted, revision = int(known.compacted), int(known.revision)
    gone = max(compacted, min(revision - keep, compacted + _AT_A_TIME))
    if gone > compacted:
        connection.execute(delete(changes).where(changes.c.revision <= gone))
        connection.execute(update(history).values(compacted=gone))
    return gone
