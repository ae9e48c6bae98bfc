"""Records tried one after the other, where nothing but the table itself can say which of them it takes.

A statement that a trigger aborts costs ADBC a tenth of a millisecond, most of it around the statement. Python's own
sqlite3 goes on behind it after some microseconds, and tells what a trigger left out. For batches that meet
no refusal it takes twice as long as ADBC, so it is used for these tables and chunks alone.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from ladingd.core.errors import TargetRefused
from ladingd.data.databases.sqlite import session as database
from ladingd.data.databases.sqlite.session import Session, TableShape, alone, placed, quoted, technical
from ladingd.data.databases.sqlite.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa


OLDEST = (3, 37)
"""Before this version SQLite knows no STRICT tables, and no list of tables."""

# What a record can be blamed for: a constraint, its kind or length, and what a function or trigger says. Everything
# else that stops a statement is about the database or the machine (sqlite.org/rescode.html).
_BLAMED = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_ERROR})
_PRIMARY = 0xFF
_BLOCK = 4096


class Attempts(Session):
    """A transaction of Python's own sqlite3, which moves records one by one."""

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

    def insert_each(self, shape: TableShape, records: pa.RecordBatch) -> list[Verdict]:
        """Insert records in their order; tell of those that are not in the table afterwards.

        Raises TargetRefused where a record took back the whole transaction.
        """
        names = records.schema.names
        into = f"INSERT INTO main.{quoted(shape.name)} ({', '.join(map(quoted, names))})"
        sql = f"{into} VALUES ({', '.join('?' * len(names))})"
        # A statement that cannot be prepared has met no record.
        self.run(f"EXPLAIN {sql}", (None,) * len(names))
        said: dict[tuple[str, str], list[int]] = {}
        ignored = f"a trigger of table {shape.name} ignores this record"
        cursor = self._connection.cursor()
        execute = cursor.execute
        # A block at a time: Python's values take more room than Arrow's.
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
        """What SQLite says of a record. Raises TechnicalError where the record is not to blame."""
        if error.sqlite_errorcode & _PRIMARY not in _BLAMED:
            raise technical(error) from error
        if not self._connection.in_transaction:
            # Whatever else was inserted would be committed at once and without its entry in the ledger.
            # Not what a trigger says: it may hold values, and more people may read the journal than records.
            said = "a trigger does it" if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_TRIGGER else str(error)
            raise TargetRefused(f"table {shape.name} takes back all of a transaction for one record: {said}")
        return str(error)


@contextmanager
def attempting(path: Path) -> Iterator[Attempts]:
    """Open a database file that is there for the time of a ``with``; what was not committed then is taken back.

    Raises TargetUnavailable, and TargetRefused where Python's SQLite is too old.
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
            connection.execute("PRAGMA foreign_keys = OFF")  # As ADBC has it; Python's may have another default.
            connection.execute("BEGIN IMMEDIATE")
            yield Attempts(connection)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise technical(error) from error
