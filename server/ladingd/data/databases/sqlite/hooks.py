"""Runs hooks in a database of SQLite."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from ladingd.core.errors import TargetRefused, TechnicalError
from ladingd.data.databases.commit import OutcomeUnknown
from ladingd.data.databases.hooks import HookRun, HookTransaction
from ladingd.data.databases.sqlite import ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ladingd.data.databases.sqlite.attempts import Attempts

_FORBIDDEN = frozenset(
    {
        sqlite3.SQLITE_TRANSACTION,
        sqlite3.SQLITE_SAVEPOINT,
        # Other files are not part of the connection.
        sqlite3.SQLITE_ATTACH,
        sqlite3.SQLITE_DETACH,
        sqlite3.SQLITE_PRAGMA,
    }
)
_REFUSED = "not authorized"
_WHY = "a hook is one transaction of this database: leave out BEGIN, COMMIT, ROLLBACK, SAVEPOINT, ATTACH and PRAGMA"


class SqliteHook(HookTransaction):
    """A transaction of Python's own sqlite3, which can refuse statements by their effect."""

    def __init__(self, session: Attempts) -> None:
        self._session = session

    def claim(self, job_uid: str, attempt: int, hook: str) -> bool:
        return ledger.claim_hook(self._session, job_uid, attempt, hook)

    def entry(self, job_uid: str, hook: str) -> HookRun:
        return ledger.hook_run(self._session, job_uid, hook)

    def execute(self, sql: str) -> int | None:
        touched: int | None = None
        try:
            with self._session.limited(_FORBIDDEN):
                for statement in statements(sql):
                    touched = self._session.touch(statement)
        except TargetRefused as error:
            if error.message.startswith(_REFUSED):
                raise TargetRefused(_WHY) from error
            raise
        return touched

    def count(self, job_uid: str, hook: str, run: HookRun) -> None:
        ledger.count_hook(self._session, job_uid, hook, run)

    def commit(self) -> None:
        try:
            self._session.commit()
        except TechnicalError as error:
            raise OutcomeUnknown(error) from error


def statements(sql: str) -> Iterator[str]:
    """The statements of a text, which SQLite executes one at a time."""
    rest = ""
    for part in sql.split(";"):
        rest += part
        if sqlite3.complete_statement(rest + ";"):
            if rest.strip():
                yield rest
            rest = ""
        else:
            rest += ";"
    if rest.strip(";\n\t "):
        yield rest  # Its end is missing: SQLite says so.
