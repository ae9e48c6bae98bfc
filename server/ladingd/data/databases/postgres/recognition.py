"""Checks that a job always loads into the same table, and that the table keeps the loaded rows."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from psycopg import sql

from ladingd.core.errors import AttemptSuperseded, TargetChanged, TargetRefused
from ladingd.data.databases.ledger import FORGOTTEN
from ladingd.data.databases.postgres.identity import Identity, read_identity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ladingd.data.databases.postgres.catalog import TableShape
    from ladingd.data.databases.postgres.ledger import Ledger
    from ladingd.data.databases.postgres.session import Session

_ADVICE = "restore that table under this name and start the job again, or load all records again: lading clone"
_VISIBLE = "SELECT NOT row_security_active(%s::oid) AND has_table_privilege(%s::oid, 'SELECT')"
# The server counts the changes of this transaction by relation. The rows of a partitioned table are in its leaves.
_STANDING = """
WITH RECURSIVE tree AS (
    SELECT %s::oid AS oid
    UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON tree.oid = i.inhparent
        JOIN pg_class c ON c.oid = tree.oid AND c.relkind = 'p'
)
SELECT current_setting('track_counts')::boolean,
    sum(pg_stat_get_xact_tuples_inserted(oid) - pg_stat_get_xact_tuples_deleted(oid))::bigint FROM tree
"""


def recognise(session: Session, ledger: Ledger, job_uid: str, shape: TableShape) -> None:
    """Check that the table is the one that the job has loaded into so far. Raises TargetChanged.

    If the table has new storage, its rows are counted once. If there are enough, the ledger accepts the new storage.
    """
    kept, now = ledger.identity(job_uid), read_identity(session, shape.identifier)
    if kept is not None and kept == now:
        return
    kept = ledger.identity(job_uid, for_update=True)  # Another chunk may have counted the rows meanwhile.
    if kept is None:
        raise AttemptSuperseded(f"the job must not write any more: {FORGOTTEN}")
    if now is None:
        raise TargetChanged(gone(shape.name))
    if not kept.is_same(now):
        raise TargetChanged(_replaced(shape.name, kept, now))
    if not now.holds(kept):
        _check_rows(session, ledger, job_uid, shape)
    if now != kept:  # Also remember new partitions.
        ledger.keep_identity(job_uid, now)


def keep(session: Session, ledger: Ledger, job_uid: str, shape: TableShape) -> None:
    """Store the table of the job."""
    identity = read_identity(session, shape.identifier)
    if identity is None:
        raise TargetChanged(gone(shape.name))
    ledger.keep_identity(job_uid, identity)


def gone(name: str) -> str:
    """The message for a missing table."""
    return f"there is no table {name} any more: it was dropped or renamed; {_ADVICE}"


def check_unlogged(session: Session, ledger: Ledger, job_uid: str, shape: TableShape) -> None:
    """Check that no crash of the server has emptied an unlogged table, which leaves no other sign. Raises
    TargetChanged."""
    if not shape.unlogged or not session.rows(_VISIBLE, (shape.oid, shape.oid))[0][0]:
        return
    there, committed = _counted(ledger, job_uid, shape)
    if there < committed:
        raise TargetChanged(
            f"table {shape.name} has lost rows: this job has inserted {committed:,}, and the table has {there:,}; "
            f"it is UNLOGGED, so a crash of the server empties it; to load all records again: lading clone"
        )


@contextmanager
def nothing_vanishing(session: Session, shape: TableShape) -> Iterator[list[int]]:
    """Check that no row of the table vanishes while rows are inserted. Raises TargetRefused.

    The caller appends the numbers of inserted rows to the list. Without ``track_counts`` on the server nothing is
    checked.
    """
    inserted: list[int] = []
    counted, before = session.rows(_STANDING, (shape.oid,))[0]
    yield inserted
    if not counted:
        return
    missing = sum(inserted) - (session.rows(_STANDING, (shape.oid,))[0][1] - before)
    if missing > 0:
        raise TargetRefused(
            f"{missing:,} rows vanished from table {shape.name} while {sum(inserted):,} were inserted: a trigger or a "
            f"rule deletes rows, so the bill would be wrong; disable it (ALTER TABLE {shape.identifier.as_string()} "
            f"DISABLE TRIGGER USER) and start the job again"
        )


def _replaced(name: str, kept: Identity, now: Identity) -> str:
    if not kept.is_same(now) and kept.relation == now.relation:
        what = f"the connection leads to another database than the one whose table {name} this job has loaded into"
    else:
        what = (
            f"{name} is another table now (oid {now.relation}): the one that this job has loaded into "
            f"(oid {kept.relation}) was dropped or renamed"
        )
    return f"{what}; {_ADVICE}"


def _check_rows(session: Session, ledger: Ledger, job_uid: str, shape: TableShape) -> None:
    """Check that the table has at least as many rows as the job has inserted. Raises TargetChanged."""
    if not session.rows(_VISIBLE, (shape.oid, shape.oid))[0][0]:
        raise TargetChanged(
            f"table {shape.name} was truncated or rewritten, and the account {session.user} may not count its rows; "
            f"after GRANT SELECT, start the job again"
        )
    there, committed = _counted(ledger, job_uid, shape)
    if there < committed:
        raise TargetChanged(
            f"rows were removed from table {shape.name} by TRUNCATE, or with a partition: this job has inserted "
            f"{committed:,}, and the table has {there:,}; to load all records again: lading clone"
        )


def _counted(ledger: Ledger, job_uid: str, shape: TableShape) -> tuple[int, int]:
    relation = sql.SQL("ONLY {}" if shape.code == "r" else "{}").format(shape.identifier)
    return ledger.rows_counted(job_uid, relation)
