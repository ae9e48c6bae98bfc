"""The ledger in a DuckDB database. It has its own schema in the database of the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ladingd.core.plan import CommittedChunk
from ladingd.data.databases.duckdb.session import Database, statement
from ladingd.data.databases.hooks import HookRun
from ladingd.data.databases.ledger import compare_attempt, decode_counts, encode_counts

if TYPE_CHECKING:
    from ladingd.core.bill import Counts

_CREATE_SCHEMA = "CREATE SCHEMA IF NOT EXISTS {schema}"
# ``inserted`` repeats a field of ``counts``, so that a sum needs no JSON.
_CREATE_LEDGER = """
CREATE TABLE IF NOT EXISTS {schema}.ledger (
    job VARCHAR NOT NULL, chunk BIGINT NOT NULL, attempt BIGINT NOT NULL, counts VARCHAR NOT NULL,
    inserted BIGINT NOT NULL, PRIMARY KEY (job, chunk)
)
"""
_CREATE_ATTEMPT = """
CREATE TABLE IF NOT EXISTS {schema}.attempt (job VARCHAR NOT NULL PRIMARY KEY, attempt BIGINT NOT NULL)
"""
# Ledgers of older versions lack this table.
_CREATE_HOOK = """
CREATE TABLE IF NOT EXISTS {schema}.hook (
    job VARCHAR NOT NULL, hook VARCHAR NOT NULL, attempt BIGINT NOT NULL, affected BIGINT, seconds DOUBLE NOT NULL,
    PRIMARY KEY (job, hook)
)
"""
_CLAIM_HOOK = """
INSERT INTO {schema}.hook (job, hook, attempt, affected, seconds) VALUES (?, ?, ?, NULL, 0) ON CONFLICT DO NOTHING
"""
_COUNT_HOOK = "UPDATE {schema}.hook SET affected = ?, seconds = ? WHERE job = ? AND hook = ?"
_HOOK = "SELECT affected, seconds FROM {schema}.hook WHERE job = ? AND hook = ?"
_FORGET_HOOKS = "DELETE FROM {schema}.hook WHERE job = ?"
_HAS_HOOKS = """
SELECT count(*) FROM duckdb_tables()
WHERE database_name = current_database() AND schema_name = ? AND table_name = 'hook'
"""
_EXISTS = """
SELECT count(*) FROM duckdb_tables()
WHERE database_name = current_database() AND schema_name = ? AND table_name IN ('ledger', 'attempt')
"""
_RAISE_ATTEMPT = """
INSERT INTO {schema}.attempt (job, attempt) VALUES (?, ?)
ON CONFLICT (job) DO UPDATE SET attempt = greatest(attempt, excluded.attempt)
"""
_ATTEMPT = "SELECT attempt FROM {schema}.attempt WHERE job = ?"
_CLAIM = """
INSERT INTO {schema}.ledger (job, chunk, attempt, counts, inserted) VALUES (?, ?, ?, '', 0) ON CONFLICT DO NOTHING
"""
_COUNT = "UPDATE {schema}.ledger SET counts = ?, inserted = ? WHERE job = ? AND chunk = ?"
_ENTRY = "SELECT counts FROM {schema}.ledger WHERE job = ? AND chunk = ?"
_ENTRIES = "SELECT chunk, counts FROM {schema}.ledger WHERE job = ? ORDER BY chunk"
_INSERTED = "SELECT coalesce(sum(inserted), 0)::BIGINT FROM {schema}.ledger WHERE job = ?"
_FORGET_ENTRIES = "DELETE FROM {schema}.ledger WHERE job = ?"
_FORGET_ATTEMPT = "DELETE FROM {schema}.attempt WHERE job = ?"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """The ledger in the current transaction."""

    database: Database
    schema: str

    def exists(self) -> bool:
        """Whether the tables of the ledger exist."""
        return bool(self.database.rows(_EXISTS, (self.schema,))[0][0] == 2)

    def create(self) -> None:
        """Create the schema and the tables of the ledger if they are missing."""
        for sql in (_CREATE_SCHEMA, _CREATE_LEDGER, _CREATE_ATTEMPT, _CREATE_HOOK):
            self.database.run(self._sql(sql))

    def raise_attempt(self, job_uid: str, attempt: int) -> None:
        """Shut out all earlier attempts. Raises AttemptSuperseded if a later one has begun."""
        self.database.run(self._sql(_RAISE_ATTEMPT), (job_uid, attempt))
        self.check_attempt(job_uid, attempt)

    def check_attempt(self, job_uid: str, attempt: int) -> None:
        """Raises AttemptSuperseded if the attempt is not the job's current one."""
        compare_attempt(self.database.rows(self._sql(_ATTEMPT), (job_uid,)), attempt)

    def claim(self, job_uid: str, attempt: int, chunk: int) -> bool:
        """Insert the entry of a chunk; False if the chunk is committed already."""
        return bool(self.database.rows(self._sql(_CLAIM), (job_uid, chunk, attempt))[0][0])

    def count(self, job_uid: str, chunk: int, counts: Counts) -> None:
        """Write the counts of a claimed chunk."""
        self.database.run(self._sql(_COUNT), (encode_counts(counts), counts.inserted, job_uid, chunk))

    def entry(self, job_uid: str, chunk: int) -> Counts | None:
        """The counts of one committed chunk."""
        found = self.database.rows(self._sql(_ENTRY), (job_uid, chunk))
        return decode_counts(found[0][0]) if found else None

    def entries(self, job_uid: str) -> tuple[CommittedChunk, ...]:
        """All committed chunks of a job."""
        found = self.database.rows(self._sql(_ENTRIES), (job_uid,))
        return tuple(CommittedChunk(ordinal=ordinal, counts=decode_counts(counts)) for ordinal, counts in found)

    def claim_hook(self, job_uid: str, attempt: int, hook: str) -> bool:
        """Insert the entry of a hook; False if it has run."""
        return bool(self.database.rows(self._sql(_CLAIM_HOOK), (job_uid, hook, attempt))[0][0])

    def count_hook(self, job_uid: str, hook: str, run: HookRun) -> None:
        """Write the run into the entry of a claimed hook."""
        self.database.run(self._sql(_COUNT_HOOK), (run.rows, run.seconds, job_uid, hook))

    def hook(self, job_uid: str, hook: str) -> HookRun:
        """The run of a hook that has run."""
        ((rows, seconds),) = self.database.rows(self._sql(_HOOK), (job_uid, hook))
        return HookRun(rows=rows, seconds=seconds, earlier=True)

    def inserted(self, job_uid: str) -> int:
        """How many records of a job are committed."""
        return int(self.database.rows(self._sql(_INSERTED), (job_uid,))[0][0])

    def forget(self, job_uid: str) -> None:
        """Delete a job from the ledger."""
        if self.database.rows(_HAS_HOOKS, (self.schema,))[0][0]:
            self.database.run(self._sql(_FORGET_HOOKS), (job_uid,))
        self.database.run(self._sql(_FORGET_ENTRIES), (job_uid,))
        self.database.run(self._sql(_FORGET_ATTEMPT), (job_uid,))

    def _sql(self, text: str) -> str:
        return statement(text, schema=self.schema)
