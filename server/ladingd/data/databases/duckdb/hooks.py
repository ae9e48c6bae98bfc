"""Runs hooks in a database of DuckDB."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from ladingd.core.errors import TargetRefused, TechnicalError
from ladingd.data.databases.commit import Conflict, OutcomeUnknown
from ladingd.data.databases.duckdb.ledger import Ledger
from ladingd.data.databases.duckdb.session import Database
from ladingd.data.databases.hooks import OWN_TRANSACTION, HookRun, HookTransaction


@dataclass(frozen=True, kw_only=True, slots=True)
class DuckdbHook(HookTransaction):
    """A transaction of a database that is closed afterwards, so settings of the hook end with it."""

    database: Database
    ledger: Ledger

    def claim(self, job_uid: str, attempt: int, hook: str) -> bool:
        return self.ledger.claim_hook(job_uid, attempt, hook)

    def entry(self, job_uid: str, hook: str) -> HookRun:
        return self.ledger.hook(job_uid, hook)

    def execute(self, sql: str) -> int | None:
        statements = self.database.statements(sql)
        if any(statement.type == duckdb.StatementType.TRANSACTION for statement in statements):
            raise TargetRefused(OWN_TRANSACTION)
        touched: int | None = None
        for statement in statements:
            rows = self.database.execute(statement)
            changes = duckdb.ExpectedResultType.CHANGED_ROWS in statement.expected_result_type
            touched = int(rows[0][0]) if changes and rows else len(rows) if rows else None
        return touched

    def count(self, job_uid: str, hook: str, run: HookRun) -> None:
        self.ledger.count_hook(job_uid, hook, run)

    def commit(self) -> None:
        try:
            self.database.commit()
        except Conflict:
            raise
        except TechnicalError as error:
            raise OutcomeUnknown(error) from error
