"""The ledger in a SQLite database. Its tables are in the database of the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.core.plan import CommittedChunk
from ladingd.data.databases.hooks import HookRun
from ladingd.data.databases.ledger import compare_attempt, decode_counts, encode_counts
from ladingd.data.databases.sqlite.session import statement

if TYPE_CHECKING:
    from ladingd.core.bill import Counts
    from ladingd.data.databases.sqlite.session import Session

_CREATE_LEDGER = """
CREATE TABLE IF NOT EXISTS lading_ledger (
    job TEXT NOT NULL, chunk INTEGER NOT NULL, attempt INTEGER NOT NULL, counts TEXT NOT NULL,
    PRIMARY KEY (job, chunk)
) WITHOUT ROWID
"""
_CREATE_ATTEMPT = """
CREATE TABLE IF NOT EXISTS lading_attempt (job TEXT NOT NULL PRIMARY KEY, attempt INTEGER NOT NULL) WITHOUT ROWID
"""
_CREATE_TARGET = """
CREATE TABLE IF NOT EXISTS lading_target (job TEXT NOT NULL PRIMARY KEY, identity TEXT NOT NULL) WITHOUT ROWID
"""
_CREATE_HOOK = """
CREATE TABLE IF NOT EXISTS lading_hook (
    job TEXT NOT NULL, hook TEXT NOT NULL, attempt INTEGER NOT NULL, affected INTEGER, seconds REAL NOT NULL,
    PRIMARY KEY (job, hook)
) WITHOUT ROWID
"""
_CLAIM_HOOK = "INSERT INTO lading_hook (job, hook, attempt, seconds) VALUES (?, ?, ?, 0) ON CONFLICT DO NOTHING"
_RAISE_ATTEMPT = """
INSERT INTO lading_attempt (job, attempt) VALUES (?, ?)
ON CONFLICT (job) DO UPDATE SET attempt = max(attempt, excluded.attempt)
"""
_CLAIM = "INSERT INTO lading_ledger (job, chunk, attempt, counts) VALUES (?, ?, ?, '') ON CONFLICT DO NOTHING"


def exists(transaction: Session) -> bool:
    """Whether the tables of the ledger exist."""
    found = transaction.rows("SELECT count(*) FROM sqlite_master WHERE name IN ('lading_ledger', 'lading_attempt')")
    return bool(found[0][0] == 2)


def create(transaction: Session) -> None:
    """Create the tables of the ledger if they are missing."""
    transaction.run(_CREATE_LEDGER)
    transaction.run(_CREATE_ATTEMPT)
    # Ledgers of older versions lack these tables.
    transaction.run(_CREATE_TARGET)
    transaction.run(_CREATE_HOOK)


def raise_attempt(transaction: Session, job_uid: str, attempt: int) -> None:
    """Shut out all earlier attempts. Raises AttemptSuperseded if a later one has begun."""
    transaction.run(_RAISE_ATTEMPT, (job_uid, attempt))
    check_attempt(transaction, job_uid, attempt)


def check_attempt(transaction: Session, job_uid: str, attempt: int) -> None:
    """Raises AttemptSuperseded if the attempt is not the job's current one."""
    compare_attempt(transaction.rows("SELECT attempt FROM lading_attempt WHERE job = ?", (job_uid,)), attempt)


def claim(transaction: Session, job_uid: str, attempt: int, chunk: int) -> bool:
    """Insert the entry of a chunk as the first write; False if the chunk is committed already."""
    transaction.run(_CLAIM, (job_uid, chunk, attempt))
    return bool(transaction.rows("SELECT changes()")[0][0])


def claimed(transaction: Session, job_uid: str, chunk: int) -> bool:
    """Whether the ledger has an entry of the chunk, committed or not."""
    query = "SELECT count(*) FROM lading_ledger WHERE job = ? AND chunk = ?"
    return bool(transaction.rows(query, (job_uid, chunk))[0][0])


def count(transaction: Session, job_uid: str, chunk: int, counts: Counts) -> None:
    """Write the counts of a claimed chunk."""
    transaction.run(
        "UPDATE lading_ledger SET counts = ? WHERE job = ? AND chunk = ?", (encode_counts(counts), job_uid, chunk)
    )


def entry(transaction: Session, job_uid: str, chunk: int) -> Counts | None:
    """The counts of one committed chunk."""
    found = transaction.rows("SELECT counts FROM lading_ledger WHERE job = ? AND chunk = ?", (job_uid, chunk))
    return decode_counts(found[0][0]) if found else None


def entries(transaction: Session, job_uid: str) -> tuple[CommittedChunk, ...]:
    """All committed chunks of a job."""
    found = transaction.rows("SELECT chunk, counts FROM lading_ledger WHERE job = ? ORDER BY chunk", (job_uid,))
    return tuple(CommittedChunk(ordinal=ordinal, counts=decode_counts(counts)) for ordinal, counts in found)


def identity(transaction: Session, job_uid: str) -> str | None:
    """The stored signs of the job's table; None for a job that an older version has begun."""
    found = transaction.rows("SELECT identity FROM lading_target WHERE job = ?", (job_uid,))
    return str(found[0][0]) if found else None


def keep_identity(transaction: Session, job_uid: str, identity: str) -> None:
    """Store the signs of the job's table."""
    transaction.run(
        "INSERT INTO lading_target (job, identity) VALUES (?, ?)"
        " ON CONFLICT (job) DO UPDATE SET identity = excluded.identity",
        (job_uid, identity),
    )


def claim_hook(transaction: Session, job_uid: str, attempt: int, hook: str) -> bool:
    """Insert the entry of a hook; False if it has run."""
    transaction.run(_CLAIM_HOOK, (job_uid, hook, attempt))
    return bool(transaction.rows("SELECT changes()")[0][0])


def count_hook(transaction: Session, job_uid: str, hook: str, run: HookRun) -> None:
    """Write the run into the entry of a claimed hook."""
    transaction.run(
        "UPDATE lading_hook SET affected = ?, seconds = ? WHERE job = ? AND hook = ?",
        (run.rows, run.seconds, job_uid, hook),
    )


def hook_run(transaction: Session, job_uid: str, hook: str) -> HookRun:
    """The run of a hook that has run."""
    query = "SELECT affected, seconds FROM lading_hook WHERE job = ? AND hook = ?"
    ((rows, seconds),) = transaction.rows(query, (job_uid, hook))
    return HookRun(rows=rows, seconds=seconds, earlier=True)


def inserted(transaction: Session, job_uid: str) -> int:
    """How many records of a job are committed."""
    # The entry of the current chunk has no counts yet.
    found = transaction.rows("SELECT counts FROM lading_ledger WHERE job = ? AND counts <> ''", (job_uid,))
    return sum(decode_counts(counts).inserted for (counts,) in found)


def forget(transaction: Session, job_uid: str) -> None:
    """Delete a job from the ledger."""
    for table in ("lading_target", "lading_hook"):
        if transaction.rows("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)):
            transaction.run(statement("DELETE FROM {table} WHERE job = ?", table=table), (job_uid,))
    transaction.run("DELETE FROM lading_ledger WHERE job = ?", (job_uid,))
    transaction.run("DELETE FROM lading_attempt WHERE job = ?", (job_uid,))
