"""Tries records one by one, if only the table itself can decide which it accepts.

A statement that a trigger aborts costs ADBC a tenth of a millisecond, most of it around the statement. Python's own
sqlite3 continues after some microseconds, and shows which records a trigger skipped. For batches without refused
records it takes twice as long as ADBC, so it is used only for such tables and chunks.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from ladingd.core.errors import TargetRefused
from ladingd.data.databases.sqlite import session as database
from ladingd.data.databases.sqlite.session import (
    RecordRefused,
    Session,
    TableShape,
    alone,
    placed,
    quoted,
    technical,
)
from ladingd.data.databases.sqlite.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa


OLDEST = (3, 37)
"""Earlier versions of SQLite lack STRICT tables and pragma_table_list."""

# The result codes that a record can cause: a constraint, a wrong type or length, and errors of functions and triggers.
# All others concern the database or the machine (sqlite.org/rescode.html).
_BLAMED = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_ERROR})
_PRIMARY = 0xFF
_BLOCK = 4096


class Attempts(Session):
    """A transaction of Python's own sqlite3, which inserts records one by one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: str, values: Sequence[object] = ()) -> None:
        with _translated():
            self._connection.execute(sql, values)

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with _translated():
            return self._connection.execute(sql, values).fetchall()

    def commit(self) -> None:
        self.run("COMMIT")
        self.run("BEGIN")

    def rollback(self) -> None:
        self.run("ROLLBACK")
        self.run("BEGIN")

    def touch(self, sql: str) -> int | None:
        """Execute a statement of a user. Returns the number of rows that it changed or found; None for others."""
        with _translated():
            cursor = self._connection.execute(sql)
            found = len(cursor.fetchall()) if cursor.description else None
        return found if cursor.rowcount < 0 else cursor.rowcount

    def stream(self, sql: str, values: Sequence[object] = ()) -> Iterator[list[tuple[Any, ...]]]:
        """Execute a query, and yield its result in blocks."""
        with _translated():
            cursor = self._connection.execute(sql, values)
            while rows := cursor.fetchmany(_BLOCK):
                yield rows

    def write(self, sql: str, values: Sequence[object] = ()) -> int:
        """Execute a statement that writes rows of records. Returns their number.

        Raises RecordRefused if the table refuses one of them. Then only a savepoint undoes what a trigger has done.
        """
        try:
            return self._connection.execute(sql, values).rowcount
        except sqlite3.Error as error:
            if error.sqlite_errorcode & _PRIMARY not in _BLAMED or not self._connection.in_transaction:
                raise technical(error) from error
            raise RecordRefused(str(error)) from error

    def insert(self, table: str, records: pa.RecordBatch) -> None:
        """Insert records into a temporary table that takes all of them."""
        into = f"INSERT INTO temp.{quoted(table)} ({', '.join(map(quoted, records.schema.names))})"
        sql = f"{into} VALUES ({', '.join('?' * records.num_columns)})"
        with _translated():
            for first in range(0, records.num_rows, _BLOCK):
                block = zip(*(column.to_pylist() for column in records.slice(first, _BLOCK).columns), strict=True)
                self._connection.executemany(sql, block)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo a block if it fails."""
        self.run("SAVEPOINT lading")
        try:
            yield
        except BaseException:
            self.run("ROLLBACK TO lading")
            self.run("RELEASE lading")
            raise
        self.run("RELEASE lading")

    @contextmanager
    def limited(self, forbidden: frozenset[int]) -> Iterator[None]:
        """Refuse statements in the block that do one of these actions of SQLite's authorizer."""

        def authorize(action: int, *names: str | None) -> int:
            return sqlite3.SQLITE_DENY if action in forbidden else sqlite3.SQLITE_OK

        self._connection.set_authorizer(authorize)
        try:
            yield
        finally:
            self._connection.set_authorizer(None)

    def insert_each(self, shape: TableShape, records: pa.RecordBatch) -> list[Verdict]:
        """Insert records in order. Returns the reasons for the records that are not in the table afterwards.

        Raises TargetRefused if a record rolled back the whole transaction.
        """
        names = records.schema.names
        into = f"INSERT INTO main.{quoted(shape.name)} ({', '.join(map(quoted, names))})"
        sql = f"{into} VALUES ({', '.join('?' * len(names))})"
        # If this fails, no record is the cause.
        self.run(f"EXPLAIN {sql}", (None,) * len(names))
        said: dict[tuple[str, str], list[int]] = {}
        ignored = f"a trigger of table {shape.name} ignores this record"
        cursor = self._connection.cursor()
        execute = cursor.execute
        # A block at a time, because Python's values take more memory than Arrow's.
        for first in range(0, records.num_rows, _BLOCK):
            block = zip(*(column.to_pylist() for column in records.slice(first, _BLOCK).columns), strict=True)
            for row, record in enumerate(block, first):
                try:
                    execute(sql, record)
                except sqlite3.Error as error:
                    said.setdefault((self._blamed(shape, error), ""), []).append(row)
                    continue
                if cursor.rowcount < 1:
                    said.setdefault((ignored, "IGNORED_BY_TRIGGER"), []).append(row)
        return [
            Verdict(rows=np.array(rows, np.int64), message=message, code=code) for (message, code), rows in said.items()
        ]

    def _blamed(self, shape: TableShape, error: sqlite3.Error) -> str:
        """SQLite's message about a record. Raises TechnicalError if the record is not the cause."""
        if error.sqlite_errorcode & _PRIMARY not in _BLAMED:
            raise technical(error) from error
        if not self._connection.in_transaction:
            # Further inserts would be committed at once and without their entry in the ledger. A trigger's message may
            # contain values, and users who may not read records may read the journal.
            said = "a trigger does it" if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_TRIGGER else str(error)
            raise TargetRefused(f"table {shape.name} rolls back the whole transaction for one record: {said}")
        return str(error)


@contextmanager
def attempting(path: Path) -> Iterator[Attempts]:
    """Open an existing database file for the duration of a ``with``. At its end, uncommitted changes are rolled back.

    Raises TargetUnavailable, and TargetRefused if Python's SQLite is too old.
    """
    if sqlite3.sqlite_version_info < OLDEST:
        raise TargetRefused(
            f"some records cannot be written with SQLite {sqlite3.sqlite_version} of this Python; "
            f"it needs SQLite {'.'.join(map(str, OLDEST))} or later"
        )
    with alone(path, "python"), placed(path), _translated():
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=rw",
            uri=True,
            isolation_level=None,
            timeout=database.BUSY_MILLISECONDS / 1000,
        )
        with closing(connection):
            connection.execute("PRAGMA foreign_keys = OFF")  # As in ADBC; Python's default may differ.
            connection.execute("BEGIN IMMEDIATE")
            yield Attempts(connection)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise technical(error) from error
