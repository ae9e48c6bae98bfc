"""The changes of jobs, by revision."""

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
"""The most changes that one transaction deletes: other writes wait for it."""

_RAISE = update(history).values(revision=history.c.revision + 1)
"""Increase the revision."""

_HISTORY = select(history.c.revision, history.c.compacted)
"""The last revision, and the revision up to which changes are deleted."""

_RECORD = insert(changes)
"""Append a change."""

_AFTER = (
    select(*(changes.c[name] for name in ("revision", "kind", "job", "time", "from_state", "cause", "correlation")))
    .where(changes.c.revision > bindparam("after"))
    .order_by(changes.c.revision)
    .limit(bindparam("at_most"))
)
"""The changes after a revision; the columns are the fields of core.job.Change."""

_WITHDRAWN = (
    select(changes.c.revision, changes.c.job)
    # A literal: with a parameter SQLite would not use the index.
    .where(changes.c.kind == literal_column("'WITHDRAWN'"))
    .order_by(changes.c.revision)
)
"""The changes that ended the sharing of jobs."""


def next_revision(connection: Connection) -> int:
    """A revision that was never used. Only one transaction at a time can do this."""
    connection.execute(_RAISE)
    return current_revision(connection)


def current_revision(connection: Connection) -> int:
    """The last revision that was given out."""
    return int(connection.execute(_HISTORY).one().revision)


def record(connection: Connection, change: Change) -> None:
    """Store a change and its journal entry."""
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
    if not deleted:  # The journal is deleted with the job.
        journal.write(connection, change.job.id, change.time, *describe(change))


def read(connection: Connection, after: int, limit: int) -> tuple[Change, ...]:
    """The changes after a revision, in order. Raises RevisionCompacted."""
    compacted = connection.execute(_HISTORY).one().compacted
    if max(after, 0) < compacted:
        raise RevisionCompacted(after, compacted + 1)
    found = connection.execute(_AFTER, {"after": after, "at_most": limit})
    return tuple(Change(**row._mapping) for row in found)


def withdrawn(connection: Connection) -> dict[str, int]:
    """The last revision at which each job stopped being shared, by uid, as far as changes are kept."""
    return {row.job.uid: row.revision for row in connection.execute(_WITHDRAWN)}


def compact(connection: Connection, keep: int) -> int:
    """Delete changes but the latest ``keep``, a limited number at a time. Returns the revision up to which they are
    gone."""
    known = connection.execute(_HISTORY).one()
    compacted, revision = int(known.compacted), int(known.revision)
    gone = max(compacted, min(revision - keep, compacted + _AT_A_TIME))
    if gone > compacted:
        connection.execute(delete(changes).where(changes.c.revision <= gone))
        connection.execute(update(history).values(compacted=gone))
    return gone
