"""A SQLite database, through ADBC.

Python's own sqlite3 is a second copy of SQLite. While both have a file open in one process they break each other's
locks (sqlite.org/howtocorrupt.html, 2.2.1). So `alone` lets only one of them have it at a time.
"""

from __future__ import annotations

import re
import shutil
import threading
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import adbc_driver_manager
import adbc_driver_sqlite.dbapi
import pyarrow as pa

from ladingd.core.errors import DiskFull, TargetBusy, TargetRefused, TargetUnavailable, TechnicalError
from ladingd.data.databases.commit import OutcomeUnknown
from ladingd.data.values.types import Affinity, affinity

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

BUSY_MILLISECONDS = 5_000
"""How long other programs may hold the database before the job says so. Our own workers queue before it, by a lock of
their own."""

# pyarrow raises its own errors, and OSError, for what goes wrong while it fetches an answer.
_ANSWER_ERRORS = (adbc_driver_manager.Error, pa.ArrowException, OSError)
# What the driver puts before a sentence about a statement that it could not even prepare, or bind values to.
_BEFOREHAND = re.compile(r"[Ff]ailed to (prepare|bind)|^(NOT_IMPLEMENTED|INVALID_ARGUMENT|INVALID_STATE): ")
_LOCKED = re.compile(r"database (table |schema )?is locked(: .*)?")
_KIND_CHANGED = re.compile(r"Type mismatch in column [0-9]+: expected ")
_IO_ERROR = "disk I/O error"
_FULL = "database or disk is full"
_CRAMPED = 1 << 20
"""Fewer free bytes than these, and a disk I/O error is one for want of room: SQLite says so of its shared memory."""
_UNOPENED = re.compile(r"unable to open database file|.*failed to open.*", re.DOTALL)
# The whole sentences of SQLite's result codes that say that it could not do its work (sqlite3ErrStr). What else stops
# a statement that was begun is a record: a constraint, a function that does not like its argument, a trigger's RAISE.
_ENVIRONMENT = frozenset(
    {
        "access permission denied",
        "attempt to write a readonly database",
        "authorization denied",
        "bad parameter or other API misuse",
        "database disk image is malformed",
        _FULL,
        "database schema has changed",
        _IO_ERROR,
        "file is not a database",
        "internal logic error",
        "interrupted",
        "large file support is disabled",
        "locking protocol",
        "out of memory",
        "query aborted",
        "unable to open database file",
        "unknown operation",
    }
)
_BUSY = "the database is locked by another program"
_CLOSED = "the database file cannot be opened"
# What is said of a database as a whole, in our words.
_NAMELESS = {sentence: sentence for sentence in (*_ENVIRONMENT, _BUSY, _CLOSED)} | {
    "attempt to write a readonly database": "the daemon may not write to the file or into its directory",
    "file is not a database": "it is not a database of SQLite, or it is encrypted",
    _CLOSED: "the database file, or one that SQLite makes beside it, cannot be opened by the daemon",
}


class KindChanged(Exception):
    """A value of an answer is of another kind than those before it."""


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
    affinity: Affinity


@dataclass(frozen=True, kw_only=True, slots=True)
class TableShape:
    """A table or a view, and its columns."""

    name: str
    is_view: bool
    is_virtual: bool
    """The records of a virtual or shadow table are kept by a module of SQLite in its own way."""
    has_rowid: bool
    declaration: str
    """The statement that made it."""
    triggers: tuple[str, ...]
    """The statements that made its triggers."""
    columns: tuple[TableColumn, ...]

    @property
    def rowid(self) -> str | None:
        """A name of the rowid that no column has taken; None if there is no rowid, or no name is left."""
        taken = {column.name.lower() for column in self.columns}
        return next((name for name in ("rowid", "_rowid_", "oid") if self.has_rowid and name not in taken), None)


def statement(text: str, **names: str) -> str:
    """A statement with names of tables and columns put in, quoted."""
    return text.format_map({key: quoted(name) for key, name in names.items()})


def quoted(name: str) -> str:
    """A name as SQL spells it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


class Session(ABC):
    """An open connection with a transaction that has begun. What it raises is a TechnicalError."""

    @abstractmethod
    def run(self, sql: str, values: Sequence[object] = ()) -> None:
        """Execute a statement that answers nothing."""

    @abstractmethod
    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Execute a query with a small answer."""

    @abstractmethod
    def commit(self) -> None:
        """Make the transaction durable, and begin another."""

    @abstractmethod
    def rollback(self) -> None:
        """Take the transaction back, and begin another."""

    def begin_writing(self) -> None:
        """Wait for the right to write before anything is read, so that SQLite never has to refuse it later."""
        self.run("COMMIT")
        self.run("BEGIN IMMEDIATE")

    def shape(self, table: str) -> TableShape | None:
        """What the database knows of a table, whatever its case; None where there is none."""
        found = self.rows(
            "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE",
            (table,),
        )
        if not found:
            return None
        name, kind, without_rowid, strict = found[0]
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
                    affinity=Affinity.BLOB if strict and declared.upper() == "ANY" else affinity(declared),
                )
            )
        statements = self.rows(
            "SELECT type, sql FROM sqlite_master WHERE type IN ('table', 'trigger') AND tbl_name = ? COLLATE NOCASE "
            "ORDER BY type, rowid",
            (name,),
        )
        return TableShape(
            name=name,
            is_view=kind == "view",
            is_virtual=kind in ("virtual", "shadow"),
            has_rowid=kind == "table" and not without_rowid,
            declaration="".join(sql for kind_of, sql in statements if kind_of == "table"),
            triggers=tuple(sql for kind_of, sql in statements if kind_of == "trigger"),
            columns=tuple(columns),
        )


def _insertion(table: str, records: pa.RecordBatch) -> str:
    names = ", ".join(quoted(name) for name in records.schema.names)
    return statement("INSERT INTO main.{table}", table=table) + f" ({names})"


def _bound(records: pa.RecordBatch) -> tuple[str, pa.RecordBatch]:
    """The expressions of an insert, and what to bind to them. The driver binds no unions: a column of text and bytes
    is bound as two, of which the one or the other is null."""
    expressions: list[str] = []
    columns: list[pa.Array] = []
    for column in records.columns:
        parts = [column]
        if pa.types.is_union(column.type):
            values = column.to_pylist()
            parts = [pa.array([value if isinstance(value, kind) else None for value in values], arrow)
                     for kind, arrow in ((str, pa.string()), (bytes, pa.binary()))]  # fmt: skip
        marks = [f"?{len(columns) + number}" for number in range(1, len(parts) + 1)]
        expressions.append(marks[0] if len(marks) == 1 else f"coalesce({', '.join(marks)})")
        columns += parts
    names = [str(number) for number in range(len(columns))]
    return ", ".join(expressions), pa.RecordBatch.from_arrays(columns, names=names)


class Database(Session):
    """A transaction of the driver, which moves records in batches."""

    def __init__(self, cursor: Any, connection: Any) -> None:
        self._cursor = cursor
        self._connection = connection

    def run(self, sql: str, values: Sequence[object] = ()) -> None:
        with _translated():
            self._cursor.execute(sql, tuple(values) or None)

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with _translated():
            self._cursor.execute(sql, tuple(values) or None)
            return self._cursor.fetchall()  # type: ignore[no-any-return]

    def stream(self, sql: str, values: Sequence[object] = (), *, rows: int) -> Generator[pa.RecordBatch, None, None]:
        """Execute a query and give its answer in batches of so many rows. The kinds of its columns are those of the
        first batch. Raises KindChanged where a later value is none of them. Several answers can be read by turns."""
        with self._connection.cursor() as cursor:
            try:
                cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": rows})
                cursor.execute(sql, tuple(values) or None)
                yield from cursor.fetch_record_batch()
            except _ANSWER_ERRORS as error:
                if _KIND_CHANGED.search(str(error)):
                    raise KindChanged from error
                raise technical(error) from error

    def chosen(self, sql: str, values: pa.RecordBatch) -> pa.ChunkedArray:
        """Execute a query that answers with one column once for each row of values; all answers."""
        try:
            # A cursor of its own: it keeps what was bound to it.
            with self._connection.cursor() as cursor:
                cursor.execute(sql, values)
                return cursor.fetch_arrow_table().column(0)
        except _ANSWER_ERRORS as error:
            raise technical(error) from error

    def insert(self, table: str, records: pa.RecordBatch) -> None:
        """Insert records in their order. Raises RecordRefused; those before the refused one are inserted then."""
        try:
            if not any(pa.types.is_union(kind) for kind in records.schema.types):
                self._cursor.adbc_ingest(table, records, mode="append")
                return
            values, bound = _bound(records)
            # A cursor of its own: one that has failed keeps what was bound to it.
            with self._connection.cursor() as cursor:
                cursor.execute(_insertion(table, records) + f" VALUES ({values})", bound)
        except adbc_driver_manager.Error as error:
            raise _blame(error) from error

    def commit(self) -> None:
        with _translated():
            self._connection.commit()

    def rollback(self) -> None:
        with _translated():
            self._connection.rollback()


def is_there(path: Path) -> bool:
    """Whether there is the database file. Raises TargetUnavailable where the daemon may not see that."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise TargetUnavailable(
            f"{path.name}: the daemon may not look into the directory of this database ({error.strerror})"
        ) from error
    return True


@contextmanager
def connected(path: Path, *, create: bool = False, read_only: bool = False) -> Iterator[Database]:
    """Open a database file for the time of a ``with``; what was not committed then is taken back.

    Raises TargetUnavailable where the file is not there and may not be made.
    """
    if not is_there(path) and not create:
        raise TargetUnavailable(f"the database {path.name} is not there")
    if not path.parent.is_dir():
        raise TargetUnavailable(f"the directory of the database {path.name} is not there")
    mode = "ro" if read_only else "rwc" if create else "rw"
    with alone(path, "adbc"):
        with placed(path), _translated():
            connection = adbc_driver_sqlite.dbapi.connect(f"file:{quote(str(path))}?mode={mode}")
        try:
            with placed(path), connection.cursor() as cursor:
                database = Database(cursor, connection)
                database.rows(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
                yield database
        finally:
            connection.close()


_open: dict[Path, list[str]] = {}
_changed = threading.Condition()


@contextmanager
def alone(path: Path, copy: str) -> Iterator[None]:
    """Keep every other copy of SQLite in this process away from a file. Raises TargetUnavailable."""
    key = path.resolve()
    with _changed:
        if not _changed.wait_for(lambda: {*_open.get(key, ())} <= {copy}, BUSY_MILLISECONDS / 1000):
            raise TargetUnavailable("database is locked by another part of this process")
        _open.setdefault(key, []).append(copy)
    try:
        yield
    finally:
        with _changed:
            _open[key].remove(copy)
            if not _open[key]:
                del _open[key]
            _changed.notify_all()


@contextmanager
def placed(path: Path) -> Iterator[None]:
    """Errors of the database as a whole leave it with its name; those for want of room as DiskFull that knows where
    it is."""
    try:
        yield
    except OutcomeUnknown:
        raise  # `ChunkCommit` raises the error that it holds.
    except (DiskFull, TargetRefused, TargetBusy, TargetUnavailable) as error:
        full = isinstance(error, DiskFull)
        if full or (error.message == _IO_ERROR and shutil.disk_usage(path.parent).free < _CRAMPED):
            raise DiskFull(f"{path.name}: {_FULL}", str(path.parent)) from error
        if error.message in _NAMELESS:
            raise type(error)(f"{path.name}: {_NAMELESS[error.message]}") from error
        raise


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except adbc_driver_manager.Error as error:
        raise technical(error) from error


def _blame(error: Exception) -> RecordRefused | TechnicalError:
    """Whether it was the record or the world that stopped an insert. One that could not be prepared met no record."""
    text = _sentence(error)
    if _BEFOREHAND.search(str(error)) or text in _ENVIRONMENT or _LOCKED.fullmatch(text):
        return technical(error)
    return RecordRefused(text)


def technical(error: Exception) -> TechnicalError:
    """What an error of SQLite means to a job."""
    text = _sentence(error)
    if _LOCKED.fullmatch(text):
        return TargetBusy(_BUSY)
    if _UNOPENED.fullmatch(text):
        return TargetUnavailable(_CLOSED)
    if text == _FULL:
        return DiskFull(text)
    return TargetRefused(text)


def _sentence(error: Exception) -> str:
    """What SQLite said, without what the driver put around it."""
    text = str(error).split("\nquery", 1)[0]
    return re.sub(
        r"^[A-Z_]+: (\[SQLite\] )?(failed to (execute|prepare): |Failed to (step|prepare) query: )?", "", text
    )
