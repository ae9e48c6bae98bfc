"""Opens SQLite databases through ADBC.

Python's sqlite3 is a second copy of SQLite. If both copies have a file open in one process, they break each other's
locks (sqlite.org/howtocorrupt.html, 2.2.1). So `alone` lets only one copy open a file at a time.
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
import numpy as np
import pyarrow as pa

from ladingd.core.errors import DiskFull, TargetBusy, TargetRefused, TargetUnavailable, TechnicalError
from ladingd.data.databases.commit import OutcomeUnknown
from ladingd.data.values.types import Affinity, affinity

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from ladingd.data.values.positions import Positions

BUSY_MILLISECONDS = 5_000
"""How long other programs may lock the database before the job reports it. Our own workers queue for a separate
lock."""

# pyarrow raises its own errors and OSError while it fetches a result.
_ANSWER_ERRORS = (adbc_driver_manager.Error, pa.ArrowException, OSError)
# The driver's prefix of errors in preparing a statement or binding values.
_BEFOREHAND = re.compile(r"[Ff]ailed to (prepare|bind)|^(NOT_IMPLEMENTED|INVALID_ARGUMENT|INVALID_STATE): ")
_LOCKED = re.compile(r"database (table |schema )?is locked(: .*)?")
_KIND_CHANGED = re.compile(r"Type mismatch in column [0-9]+: expected ")
_IO_ERROR = "disk I/O error"
_FULL = "database or disk is full"
_CRAMPED = 1 << 20
"""If fewer bytes are free, a disk I/O error means a full disk: SQLite reports it so for its shared memory."""
_UNOPENED = re.compile(r"unable to open database file|.*failed to open.*", re.DOTALL)
# The messages of SQLite's result codes for failures of the database or machine (sqlite3ErrStr). Every other error of a
# running statement is caused by a record: a constraint, a function's bad argument, a trigger's RAISE.
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
# Our wording of errors that concern the whole database.
_NAMELESS = {sentence: sentence for sentence in (*_ENVIRONMENT, _BUSY, _CLOSED)} | {
    "attempt to write a readonly database": "the daemon may not write to the file or into its directory",
    "file is not a database": "it is not a database of SQLite, or it is encrypted",
    _CLOSED: "the database file, or one that SQLite makes beside it, cannot be opened by the daemon",
}


class KindChanged(Exception):
    """A value of a result has another type than the values before it."""


class RecordRefused(Exception):
    """The database rejected a record of a batch. ``args[0]`` is SQLite's message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableColumn:
    """A column as declared."""

    name: str
    declared: str
    nullable: bool
    optional: bool
    """Whether an insert may omit it."""
    generated: bool
    affinity: Affinity


@dataclass(frozen=True, kw_only=True, slots=True)
class TableShape:
    """A table or a view, and its columns."""

    name: str
    is_view: bool
    is_virtual: bool
    """Whether it is a virtual or shadow table, whose records a module of SQLite stores."""
    has_rowid: bool
    declaration: str
    """Its CREATE statement."""
    triggers: tuple[str, ...]
    """The CREATE statements of its triggers."""
    columns: tuple[TableColumn, ...]
    is_strict: bool = False

    def column(self, name: str) -> TableColumn | None:
        """The column with this name."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def rowid(self) -> str | None:
        """A name of the rowid that is not the name of a column; None if there is no rowid or no free name."""
        taken = {column.name.lower() for column in self.columns}
        return next((name for name in ("rowid", "_rowid_", "oid") if self.has_rowid and name not in taken), None)


def statement(text: str, **names: str) -> str:
    """A statement with quoted names of tables and columns filled in."""
    return text.format_map({key: quoted(name) for key, name in names.items()})


def quoted(name: str) -> str:
    """A name as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


class Session(ABC):
    """An open connection with a running transaction. Methods raise TechnicalError."""

    @abstractmethod
    def run(self, sql: str, values: Sequence[object] = ()) -> None:
        """Execute a statement without a result."""

    @abstractmethod
    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Execute a query with a small result."""

    @abstractmethod
    def commit(self) -> None:
        """Make the transaction durable, and begin another."""

    @abstractmethod
    def rollback(self) -> None:
        """Roll the transaction back, and begin another."""

    def begin_writing(self) -> None:
        """Get the write lock before anything is read, so that SQLite cannot refuse it later."""
        self.run("COMMIT")
        self.run("BEGIN IMMEDIATE")

    def shape(self, table: str) -> TableShape | None:
        """The shape of a table, ignoring the case of its name; None if there is no such table."""
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
            is_strict=bool(strict),
        )


def _insertion(table: str, records: pa.RecordBatch) -> str:
    names = ", ".join(quoted(name) for name in records.schema.names)
    return statement("INSERT INTO main.{table}", table=table) + f" ({names})"


def _bound(records: pa.RecordBatch) -> tuple[list[str], pa.RecordBatch]:
    """The expressions of an insert and the records to bind. The driver cannot bind unions, so a column of text and
    bytes is bound as two columns, one of which is null."""
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
    return expressions, pa.RecordBatch.from_arrays(columns, names=names)


class Database(Session):
    """A transaction of the ADBC driver, which transfers records in batches."""

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
        """Execute a query and yield its result in batches of ``rows`` rows. The first batch decides the types of the
        columns. Raises KindChanged if a later value has another type. Several results can be read alternately."""
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
        """Execute a query with one result column once for each row of values. Returns all results."""
        try:
            # A separate cursor, because a cursor keeps its bound values.
            with self._connection.cursor() as cursor:
                cursor.execute(sql, values)
                return cursor.fetch_arrow_table().column(0)
        except _ANSWER_ERRORS as error:
            raise technical(error) from error

    def insert(self, table: str, records: pa.RecordBatch) -> None:
        """Insert records in order. Raises RecordRefused after inserting the records before the rejected one."""
        try:
            if not any(pa.types.is_union(kind) for kind in records.schema.types):
                self._cursor.adbc_ingest(table, records, mode="append")
                return
            values, bound = _bound(records)
            # A separate cursor, because a failed cursor keeps its bound values.
            with self._connection.cursor() as cursor:
                cursor.execute(_insertion(table, records) + f" VALUES ({', '.join(values)})", bound)
        except adbc_driver_manager.Error as error:
            raise _blame(error) from error

    def write_each(self, sql: Callable[[Sequence[str]], str], records: pa.RecordBatch) -> None:
        """Execute a statement for each record, in order. ``sql`` makes it from the expressions of the fields. Raises
        RecordRefused after the records before the rejected one are written."""
        fields, bound = _bound(records)
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql(fields), bound)
        except adbc_driver_manager.Error as error:
            raise _blame(error) from error

    def found(self, sql: Callable[[Sequence[str]], str], records: pa.RecordBatch) -> Positions:
        """Execute a query for each record. ``sql`` makes it from the expressions of the fields, and of the number of
        the record as the last one, which is its only result. Returns the numbers, in order."""
        fields, bound = _bound(records.append_column("", pa.array(np.arange(records.num_rows))))
        numbers: Positions = self.chosen(sql(fields), bound).to_numpy().astype(np.int64)
        return numbers

    def commit(self) -> None:
        with _translated():
            self._connection.commit()

    def rollback(self) -> None:
        with _translated():
            self._connection.rollback()


def is_there(path: Path) -> bool:
    """Whether the database file exists. Raises TargetUnavailable if the daemon may not see that."""
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
    """Open a database file for the duration of a ``with``. At its end, uncommitted changes are rolled back.

    Raises TargetUnavailable if the file is missing and not ``create``.
    """
    if not is_there(path) and not create:
        raise TargetUnavailable(f"the database {path.name} is missing")
    if not path.parent.is_dir():
        raise TargetUnavailable(f"the directory of the database {path.name} is missing")
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
    """Exclude every other copy of SQLite in this process from a file. Raises TargetUnavailable."""
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
    """Add the database's name to errors that concern the whole database. Turn errors of a full disk into DiskFull with
    the directory."""
    try:
        yield
    except OutcomeUnknown:
        raise  # `ChunkCommit` handles it.
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
    """Classify the error of an insert: a record or the environment caused it. In preparing, no record can be the
    cause."""
    text = _sentence(error)
    if _BEFOREHAND.search(str(error)) or text in _ENVIRONMENT or _LOCKED.fullmatch(text):
        return technical(error)
    return RecordRefused(text)


def technical(error: Exception) -> TechnicalError:
    """Translate an error of SQLite."""
    text = _sentence(error)
    if _LOCKED.fullmatch(text):
        return TargetBusy(_BUSY)
    if _UNOPENED.fullmatch(text):
        return TargetUnavailable(_CLOSED)
    if text == _FULL:
        return DiskFull(text)
    return TargetRefused(text)


def _sentence(error: Exception) -> str:
    """SQLite's message without the driver's additions."""
    text = str(error).split("\nquery", 1)[0]
    return re.sub(
        r"^[A-Z_]+: (\[SQLite\] )?(failed to (execute|prepare): |Failed to (step|prepare) query: )?", "", text
    )
