"""The ledger in a PostgreSQL database. It has its own schema in the database of the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from ladingd.core.errors import TargetRefused
from ladingd.core.plan import CommittedChunk
from ladingd.data.databases.hooks import HookRun
from ladingd.data.databases.ledger import compare_attempt, decode_counts, encode_counts
from ladingd.data.databases.postgres.identity import Identity
from ladingd.data.databases.postgres.session import Session

if TYPE_CHECKING:
    from ladingd.core.bill import Counts

DDL_LOCK = 0x6C6164696E67
"""The advisory lock that daemons hold to create tables: "lading" in ASCII."""

_TABLES = {"ledger", "attempt", "target"}
_HOOKS = {"hook"}
"""The table that only jobs with hooks need. An administrator may have made a ledger of an older version without it."""
_USABLE = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname IN ('ledger', 'attempt', 'target', 'hook') AND c.relkind IN ('r', 'p')
    AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
    AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')
    AND has_table_privilege(c.oid, 'DELETE')
"""
_MAKE = (
    "CREATE SCHEMA IF NOT EXISTS {schema}",
    (
        "CREATE TABLE IF NOT EXISTS {schema}.ledger (job text NOT NULL, chunk bigint NOT NULL,"
        " attempt integer NOT NULL, counts jsonb NOT NULL, PRIMARY KEY (job, chunk))"
    ),
    "CREATE TABLE IF NOT EXISTS {schema}.attempt (job text NOT NULL PRIMARY KEY, attempt integer NOT NULL)",
    # A separate table, which can be added to an older ledger while jobs of other daemons use it.
    "CREATE TABLE IF NOT EXISTS {schema}.target (job text NOT NULL PRIMARY KEY, identity jsonb NOT NULL)",
    (
        "CREATE TABLE IF NOT EXISTS {schema}.hook (job text NOT NULL, hook text NOT NULL, attempt integer NOT NULL,"
        " affected bigint, seconds double precision NOT NULL, PRIMARY KEY (job, hook))"
    ),
)
_GRANT = (
    "GRANT USAGE ON SCHEMA {schema} TO {account}",
    (
        "GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.ledger, {schema}.attempt, {schema}.target, {schema}.hook"
        " TO {account}"
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """The ledger in one transaction."""

    session: Session
    schema: str

    def exists(self) -> bool:
        """Whether there is a usable ledger of this version or an older one."""
        return self._usable() >= {"ledger", "attempt"}

    def create(self, *, hooks: bool = False) -> None:
        """Create the missing parts. ``hooks``: the job has hooks. Raises TargetRefused, with the statements that an
        administrator can run instead."""
        needed = _TABLES | _HOOKS if hooks else _TABLES
        if self._usable() >= needed:
            return
        self.session.run("SELECT pg_advisory_xact_lock(%s)", (DDL_LOCK,))
        if self._usable() >= needed:
            return
        try:
            with self.session.savepoint():
                for statement in _MAKE:
                    self.session.run(self._sql(statement))
        except psycopg.errors.InsufficientPrivilege as error:
            raise self._refusal() from error
        if not self._usable() >= needed:
            raise self._refusal()

    def raise_attempt(self, job_uid: str, attempt: int) -> None:
        """Shut out all earlier attempts, and wait for their transactions. Raises AttemptSuperseded."""
        found = self.session.rows(
            self._sql(
                "INSERT INTO {schema}.attempt AS kept (job, attempt) VALUES (%s, %s)"
                " ON CONFLICT (job) DO UPDATE SET attempt = greatest(kept.attempt, excluded.attempt) RETURNING attempt"
            ),
            (job_uid, attempt),
        )
        compare_attempt(found, attempt)

    def check_attempt(self, job_uid: str, attempt: int) -> None:
        """Block later attempts until the transaction ends. Raises AttemptSuperseded if a later attempt has begun."""
        found = self.session.rows(
            self._sql("SELECT attempt FROM {schema}.attempt WHERE job = %s FOR SHARE"), (job_uid,)
        )
        compare_attempt(found, attempt)

    def claim(self, job_uid: str, attempt: int, chunk: int) -> bool:
        """Insert the entry of a chunk as the first write; False if the chunk is committed already.

        If another transaction has inserted the same entry, this call waits for its end.
        """
        return bool(
            self.session.run(
                self._sql(
                    "INSERT INTO {schema}.ledger (job, chunk, attempt, counts) VALUES (%s, %s, %s, '{{}}')"
                    " ON CONFLICT DO NOTHING"
                ),
                (job_uid, chunk, attempt),
            )
        )

    def count(self, job_uid: str, chunk: int, counts: Counts) -> None:
        """Write the counts of a claimed chunk."""
        self.session.run(
            self._sql("UPDATE {schema}.ledger SET counts = %s WHERE job = %s AND chunk = %s"),
            (Jsonb(counts, dumps=encode_counts), job_uid, chunk),
        )

    def entry(self, job_uid: str, chunk: int) -> Counts | None:
        """The counts of one committed chunk."""
        found = self.session.rows(
            self._sql("SELECT counts::text FROM {schema}.ledger WHERE job = %s AND chunk = %s"), (job_uid, chunk)
        )
        return decode_counts(found[0][0]) if found else None

    def entries(self, job_uid: str) -> tuple[CommittedChunk, ...]:
        """All committed chunks of a job."""
        found = self.session.rows(
            self._sql("SELECT chunk, counts::text FROM {schema}.ledger WHERE job = %s ORDER BY chunk"), (job_uid,)
        )
        return tuple(CommittedChunk(ordinal=ordinal, counts=decode_counts(counts)) for ordinal, counts in found)

    def identity(self, job_uid: str, *, for_update: bool = False) -> Identity | None:
        """The table of the job; None for a job that an older version has begun.

        ``for_update``: lock the entry until the end of the transaction.
        """
        query = "SELECT identity::text FROM {schema}.target WHERE job = %s"
        query += " FOR UPDATE" if for_update else ""
        found = self.session.rows(self._sql(query), (job_uid,))
        return Identity.decode(found[0][0]) if found else None

    def keep_identity(self, job_uid: str, identity: Identity) -> None:
        """Store the table of the job."""
        self.session.run(
            self._sql(
                "INSERT INTO {schema}.target (job, identity) VALUES (%s, %s)"
                " ON CONFLICT (job) DO UPDATE SET identity = excluded.identity"
            ),
            (job_uid, Jsonb(identity, dumps=Identity.encode)),
        )

    def claim_hook(self, job_uid: str, attempt: int, hook: str) -> bool:
        """Insert the entry of a hook; False if it has run. Waits for another transaction that has inserted it."""
        query = "INSERT INTO {schema}.hook (job, hook, attempt, seconds) VALUES (%s, %s, %s, 0) ON CONFLICT DO NOTHING"
        return bool(self.session.run(self._sql(query), (job_uid, hook, attempt)))

    def count_hook(self, job_uid: str, hook: str, run: HookRun) -> None:
        """Write the run into the entry of a claimed hook."""
        query = "UPDATE {schema}.hook SET affected = %s, seconds = %s WHERE job = %s AND hook = %s"
        self.session.run(self._sql(query), (run.rows, run.seconds, job_uid, hook))

    def hook(self, job_uid: str, hook: str) -> HookRun:
        """The run of a hook that has run."""
        query = "SELECT affected, seconds FROM {schema}.hook WHERE job = %s AND hook = %s"
        ((rows, seconds),) = self.session.rows(self._sql(query), (job_uid, hook))
        return HookRun(rows=rows, seconds=seconds, earlier=True)

    def rows_counted(self, job_uid: str, relation: sql.Composable) -> tuple[int, int]:
        """The number of rows of a relation and of the job's committed records, in one snapshot."""
        query = self._sql(
            "SELECT (SELECT count(*) FROM {relation}),"
            " (SELECT coalesce(sum((counts ->> 'inserted')::bigint), 0)::bigint FROM {schema}.ledger WHERE job = %s)",
            relation=relation,
        )
        there, committed = self.session.rows(query, (job_uid,))[0]
        return there, committed

    def forget(self, job_uid: str) -> None:
        """Delete a job from the ledger."""
        for table in ("target", "hook"):  # Ledgers of older versions lack them.
            if table in self._usable():
                self.session.run(
                    self._sql("DELETE FROM {schema}.{table} WHERE job = %s", table=sql.Identifier(table)), (job_uid,)
                )
        self.session.run(self._sql("DELETE FROM {schema}.attempt WHERE job = %s"), (job_uid,))
        self.session.run(self._sql("DELETE FROM {schema}.ledger WHERE job = %s"), (job_uid,))

    def _usable(self) -> set[str]:
        return {name for (name,) in self.session.rows(_USABLE, (self.schema,))}

    def _sql(self, text: str, **parts: sql.Composable) -> sql.Composed:
        return sql.SQL(text).format(
            schema=sql.Identifier(self.schema), account=sql.Identifier(self.session.user), **parts
        )

    def _refusal(self) -> TargetRefused:
        statements = "; ".join(self._sql(statement).as_string() for statement in (*_MAKE, *_GRANT))
        return TargetRefused(
            f"the account {self.session.user} may not keep a ledger in schema {self.schema}; "
            f"an administrator can run: {statements};"
        )
