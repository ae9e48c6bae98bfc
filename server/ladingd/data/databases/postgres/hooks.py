"""Runs hooks on a server of PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from ladingd.core.errors import TargetRefused
from ladingd.data.databases.hooks import OWN_TRANSACTION, HookRun, HookTransaction
from ladingd.data.databases.postgres.ledger import Ledger
from ladingd.data.databases.postgres.session import Address, Session, refused

# The server refuses COMMIT and the like in a block of PL/pgSQL, however the text hides them between other statements.
_RUN = """
DECLARE
    touched bigint;
BEGIN
    EXECUTE {text};
    GET DIAGNOSTICS touched = ROW_COUNT;
    PERFORM set_config('lading.touched', touched::text, true);
END
"""
_DO = "DO LANGUAGE plpgsql {body}"
_TOUCHED = "SELECT current_setting('lading.touched')::bigint"


@dataclass(frozen=True, kw_only=True, slots=True)
class PostgresHook(HookTransaction):
    """A transaction of a connection that nothing else uses, so settings of the hook end with it."""

    address: Address
    session: Session
    ledger: Ledger

    def claim(self, job_uid: str, attempt: int, hook: str) -> bool:
        return self.ledger.claim_hook(job_uid, attempt, hook)

    def entry(self, job_uid: str, hook: str) -> HookRun:
        return self.ledger.hook(job_uid, hook)

    def execute(self, sql_text: str) -> int | None:
        body = sql.SQL(_RUN).format(text=sql.Literal(sql_text)).as_string()
        try:
            self.session.run(sql.SQL(_DO).format(body=sql.Literal(body)))
        except psycopg.errors.FeatureNotSupported as error:
            if "transaction" in str(error):
                raise TargetRefused(OWN_TRANSACTION) from error
            raise refused(self.address, error) from error
        except psycopg.Error as error:
            raise refused(self.address, error) from error
        return int(self.session.rows(_TOUCHED)[0][0])

    def count(self, job_uid: str, hook: str, run: HookRun) -> None:
        self.ledger.count_hook(job_uid, hook, run)

    def commit(self) -> None:
        self.session.commit()
