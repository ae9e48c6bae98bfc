"""A SQLite database, through ADBC.

Python's own sqlite3 is never used on the same files: two copies of SQLite in one process would break each other's
locks (sqlite.org/howtocorrupt.html, 2.2.1).
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import adbc_driver_manager
import adbc_driver_sqlite.dbapi

from ladingd.core.errors import TargetRefused, TargetUnavailable, TechnicalError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

BUSY_MILLISECONDS = 30_000
"""How long other programs may hold the database. Our own workers queue before it, by a lock of their own."""

STREAM_ROWS = 16_384
"""How many rows of a streamed answer come at once."""

_RECORD_TO_BLAME = re.compile(r"constraint failed|^datatype mismatch|^cannot store|^string or blob too big")
_UNAVAILABLE = ("locked", "unable to open database file", "failed to open")
# The messages of SQLite's result codes. A trigger's RAISE has the words of whoever wrote it, never these.
_ENVIRONMENT = (
    "disk I/O error",
    "database or disk is full",
    "attempt to write a readonly database",
    "database disk image is malformed",
    "out of memory",
    "locking protocol",
    "interrupted",
    "database schema has changed",
    "file is not a database",
    "no such",
)


class RecordRefused(Exception):
    """The database refused a record of a batch. ``args[0]`` is its own sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableColumn:
    """A column as the database declares it."""

    name: str
    declared: str
    nullable: bool
    optional: bool
    """An insert may leave it out."""
    generated: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TableShape:
    """A table or a view, and its columns."""

    name: str
    is_view: bool
    has_rowid: bool
    has_triggers: bool
    columns: tuple[TableColumn, ...]


def statement(text: str, **names: str) -> str:
    """A statement with names of tables and columns put in, quoted."""
    return text.format_map({key: quoted(name) for key, name in names.items()})


def quoted(name: str) -> str:
    """A name as SQL spells it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


class Database:
    """An open connection with a transaction that has begun. What it raises is a TechnicalError."""

    def __init__(self, cursor: Any, connection: Any) -> None:
        self._cursor = cursor
        self._connection = connection

    def run(self, sql: str, values: Sequence[object] = ()) -> None:
        """Execute a statement that answers nothing."""
        with _translated():
            self._cursor.execute(sql, tuple(values) or None)

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Execute a query with a small answer."""
        with _translated():
            self._cursor.execute(sql, tuple(values) or None)
            return self._cursor.fetchall()  # type: ignore[no-any-return]

    def stream(self, sql: str, values: Sequence[object] = ()) -> pa.RecordBatchReader:
        """Execute a query and read its answer batch by batch. Errors of reading are the reader's, unchanged."""
        with _translated():
            self._cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": STREAM_ROWS})
            self._cursor.execute(sql, tuple(values) or None)
            return self._cursor.fetch_record_batch()

    def begin_writing(self) -> None:
        """Wait for the right to write before anything is read, so that SQLite never has to refuse it later."""
        self.run("COMMIT")
        self.run("BEGIN IMMEDIATE")

    def insert(self, table: str, records: pa.RecordBatch, *, triggers: bool) -> None:
        """Insert records in their order. Raises RecordRefused; those before the refused one are inserted then."""
        try:
            self._cursor.adbc_ingest(table, records, mode="append")
        except adbc_driver_manager.Error as error:
            text = _sentence(error)
            foreign = triggers and not any(words in text for words in (*_UNAVAILABLE, *_ENVIRONMENT))
            if "failed to execute" in str(error) and (_RECORD_TO_BLAME.search(text) or foreign):
                raise RecordRefused(text) from error
            raise _technical(error) from error

    def commit(self) -> None:
        """Make the transaction durable, and begin another."""
        with _translated():
            self._connection.commit()

    def rollback(self) -> None:
        """Take the transaction back, and begin another."""
        with _translated():
            self._connection.rollback()

    def shape(self, table: str) -> TableShape | None:
        """What the database knows of a table, whatever its case; None where there is none."""
        found = self.rows(
            "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE", (table,)
        )
        if not found:
            return None
        name, kind, without_rowid = found[0]
        infos = self.rows(
            'SELECT name, type, "notnull", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?)', (name,)
        )
        keys = sum(1 for info in infos if info[4])
        columns = []
        for column, declared, not_null, has_default, key, hidden in infos:
            if hidden == 1:
                continue
            is_rowid = keys == 1 and key == 1 and declared.upper() == "INTEGER" and not without_rowid
            columns.append(
                TableColumn(
                    name=column,
                    declared=declared,
                    nullable=is_rowid or not not_null,
                    optional=is_rowid or not not_null or bool(has_default),
                    generated=hidden in (2, 3),
                )
            )
        triggers = self.rows(
            "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE", (name,)
        )
        return TableShape(
            name=name,
            is_view=kind == "view",
            has_rowid=kind == "table" and not without_rowid,
            has_triggers=bool(triggers[0][0]),
            columns=tuple(columns),
        )


@contextmanager
def connected(path: Path, *, create: bool = False, read_only: bool = False) -> Iterator[Database]:
    """Open a database file for the time of a ``with``; what was not committed then is taken back.

    Raises TargetUnavailable where the file is not there and may not be made.
    """
    if not path.exists() and not create:
        raise TargetUnavailable(f"the database {path.name} is not there")
    if not path.parent.is_dir():
        raise TargetUnavailable(f"the directory of the database {path.name} is not there")
    mode = "ro" if read_only else "rwc" if create else "rw"
    with _translated():
        connection = adbc_driver_sqlite.dbapi.connect(f"file:{quote(str(path))}?mode={mode}")
    try:
        with connection.cursor() as cursor:
            database = Database(cursor, connection)
            database.rows(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
            yield database
    finally:
        connection.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except adbc_driver_manager.Error as error:
        raise _technical(error) from error


def _technical(error: Exception) -> TechnicalError:
    text = _sentence(error)
    if "locked" in text:
        return TargetUnavailable("database is locked by another program")
    if any(words in text for words in _UNAVAILABLE):
        return TargetUnavailable("the database file cannot be opened")
    return TargetRefused(text)


def _sentence(error: Exception) -> str:
    """What SQLite said, without what the driver put around it."""
    text = str(error).split("\nquery", 1)[0]
    return re.sub(
        r"^[A-Z_]+: (\[SQLite\] )?(failed to (execute|prepare): |Failed to (step|prepare) query: )?", "", text
    )
