"""Names the sessions of jobs, finds what they wait for, and ends them.

The session of a killed process goes on while the server runs its statement or waits for a lock.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ladingd.core.errors import TargetBusy
from ladingd.core.origin import current

if TYPE_CHECKING:
    from datetime import datetime

    import psycopg

    from ladingd.data.databases.postgres.session import Session

GONE_SECONDS = 3.0
"""How many seconds sessions may take to end."""
LAST_ATTEMPT = 1 << 31
"""Greater than the number of any attempt."""
_POLL = 0.02

_LOOK_AGAIN = "SELECT pg_stat_clear_snapshot()"
# An idle session does nothing, and ends when its client is gone.
_OTHERS = """
SELECT pid, application_name FROM pg_stat_activity
WHERE datname = current_database() AND usename = session_user AND pid <> pg_backend_pid()
    AND state IS DISTINCT FROM 'idle' AND starts_with(application_name, %s)
"""
_TERMINATE = "SELECT pg_terminate_backend(%s)"
_STRONG = ["ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"]
"""The lock modes that block an insert, held or only requested earlier."""
_HOLDER = """
WITH RECURSIVE tree AS (
    SELECT to_regclass(%s)::oid AS oid
    UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON tree.oid = i.inhparent
)
SELECT l.pid, a.usename::text, a.application_name, a.xact_start,
    upper(substring(a.query from '^\\s*([A-Za-z]+)')), l.granted
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.relation IN (SELECT oid FROM tree) AND l.pid IS DISTINCT FROM pg_backend_pid()
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (l.granted OR l.mode = ANY (%s)) AND a.application_name IS DISTINCT FROM %s
ORDER BY l.mode = ANY (%s) DESC, l.granted DESC, a.xact_start LIMIT 1
"""


def session_name() -> str:
    """The name of a session of the running call, at most 63 bytes. It contains the job's uid and the attempt."""
    origin = current()
    return f"ladingd {origin.uid}/{origin.attempt}" if origin.uid else "ladingd"


def end_sessions(session: Session, job_uid: str, attempt: int) -> None:
    """End the sessions of earlier attempts of a job, and wait until they are gone. Raises TargetBusy.

    If the attempt itself calls this, its own other sessions end too.
    """
    last = attempt if current().attempt == attempt else attempt - 1
    deadline = time.monotonic() + GONE_SECONDS
    prefix = f"ladingd {job_uid}/"
    while left := [pid for pid, name in session.rows(_OTHERS, (prefix,)) if int(name.removeprefix(prefix)) <= last]:
        if time.monotonic() > deadline:
            raise TargetBusy(f"sessions of this job do not end: {', '.join(map(str, left))}")
        for pid in left:
            session.rows(_TERMINATE, (pid,))
        time.sleep(_POLL)
        session.rows(_LOOK_AGAIN)


def holder(connection: psycopg.Connection[Any], table: str) -> str:
    """A description of the session that holds the lock for which this session has waited. Raises psycopg's errors."""
    found = connection.execute(_HOLDER, (table, _STRONG, session_name(), _STRONG)).fetchone()
    if found is None:
        return f"table {table} was locked by a session that has ended meanwhile"
    *session, granted = found
    return f"table {table} {'is locked' if granted else 'is waited for'} by {_described(*session)}"


def _described(
    pid: int | None, user: str | None, application: str | None, begin: datetime | None, word: str | None
) -> str:
    """A description of a session, without any of its data."""
    if pid is None:
        return "a prepared transaction"
    facts = [f"user {user}" if user else "", f"application {application}" if application else ""]
    facts.append(f"in a transaction since {begin:%Y-%m-%d %H:%M:%S} UTC" if begin else "")
    facts.append(f"last statement {word}" if word else "")
    known = ", ".join(fact for fact in facts if fact)
    return f"session {pid}" + (f" ({known})" if known else "")
