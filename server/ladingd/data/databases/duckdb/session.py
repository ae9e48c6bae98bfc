"""Opens DuckDB databases. The processes of the daemon take turns.

DuckDB lets one process open a file for writing, or several for reading. So the workers of the daemon take turns by
two locks:

- ``turn`` is held by the processes that have the file open: exclusively for writing, shared for reading.
- ``queue`` is held by the process that waits for the turn, so that the holder of the turn sees it waiting.

Opening a database costs little, but closing it forces a checkpoint. So a process keeps the database open between its
chunks: for `HOLD` seconds if another process waits, otherwise without limit. It closes the database if the next chunk
does not come soon (`LINGER`, `GRACE`). Two workers that hand over after every chunk take twice as long as a single
worker. If a process dies, the kernel releases its locks, and the next process reads its write-ahead log.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from ladingd.core.errors import TargetUnavailable, TechnicalError
from ladingd.data.databases.duckdb.errors import is_locked, technical, translated
from ladingd.data.storage.work_dir import WorkDir

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa


BUSY_SECONDS = 5.0
"""How many seconds other programs may have the database open before the job reports it."""
HOLD = 3.0
"""How many seconds a process may keep a database for which another process waits."""
LINGER = 1.0
"""How many seconds a database stays open for the next chunk if nobody waits."""
GRACE = 0.3
"""How many seconds it stays open if another process waits: about the time to read the next chunk of a file."""
PATIENCE = 60.0
"""How many seconds a thread waits for another thread of its process."""
_LOOK = 0.01
"""Seconds between two checks of an idle process whether another process waits."""
_RETRY = 0.05

BATCH = "lading_batch"
"""The name of the bound records in statements."""

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    # No statement may download or load an extension, or touch another file.
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "enable_external_access": "false",
    "python_enable_replacements": "false",
    "wal_autocheckpoint": "1GB",
}


# What a merge may use: DuckDB keeps updates in memory until a checkpoint, and by default takes most of the machine's.
_LIMITS = ("SET memory_limit = '400MB'", "SET wal_autocheckpoint = '32MB'")


def statement(text: str, **names: str) -> str:
    """A statement with quoted names of tables and columns filled in."""
    return text.format_map({key: quoted(name) for key, name in names.items()})


def quoted(name: str) -> str:
    """A name as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def is_there(path: Path) -> bool:
    """Whether the database file exists. Raises TargetUnavailable if that cannot be found out."""
    try:
        return path.stat().st_size >= 0
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise TargetUnavailable(f"{path.name}: {error.strerror}") from error


class Database:
    """An open database. Each statement outside of a transaction is committed at once."""

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection, seen: dict[object, Any]) -> None:
        self.path = path
        self.seen = seen
        """A cache of facts about the database. They stay true while no other process can change the file."""
        self._connection = connection
        self._begun = False

    def run(self, sql: str, values: Sequence[object] = ()) -> None:
        """Execute a statement without a result."""
        self.rows(sql, values)

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Execute a statement with a small result."""
        with translated(self.path):
            return self._connection.execute(sql, list(values) or None).fetchall()

    def statements(self, sql: str) -> list[duckdb.Statement]:
        """The statements of a text. Executes none of them."""
        with translated(self.path):
            return self._connection.extract_statements(sql)

    def execute(self, statement: duckdb.Statement) -> list[tuple[Any, ...]]:
        """Execute a statement, and fetch its result."""
        with translated(self.path):
            return self._connection.execute(statement).fetchall()

    def write(self, sql: str) -> int:
        """Execute a statement that writes rows. Returns their number. Raises duckdb.ConstraintException."""
        try:
            return int(self._connection.execute(sql).fetchall()[0][0])
        except duckdb.ConstraintException:
            raise
        except duckdb.Error as error:
            raise technical(self.path, error) from error

    def bind(self, records: pa.RecordBatch) -> None:
        """Bind records: statements see them as the table BATCH."""
        with translated(self.path):
            self._connection.register(BATCH, records)

    def stream(self, sql: str, values: Sequence[object] = (), *, rows: int) -> pa.RecordBatchReader:
        """Execute a query, and read its result in batches of ``rows`` rows."""
        with translated(self.path):
            return self._connection.sql(sql, params=list(values) or None).to_arrow_reader(rows)

    def limit_memory(self) -> None:
        """Let work that is larger than some hundred megabytes go to disk, until the database is closed."""
        for sql in _LIMITS:
            self.run(sql)

    def begin(self) -> None:
        self.run("BEGIN TRANSACTION")
        self._begun = True

    def commit(self) -> None:
        self.run("COMMIT")
        self._begun = False

    def end(self) -> None:
        """Roll back what is not committed."""
        if self._begun:
            self.run("ROLLBACK")
            self._begun = False


@dataclass(kw_only=True, slots=True)
class _Held:
    """An open database and its turn."""

    connection: duckdb.DuckDBPyConnection
    read_only: bool
    work_dir: WorkDir
    turn: ExitStack
    path: Path
    file: tuple[int, int]
    """The device and inode that were opened."""
    seen: dict[object, Any] = field(default_factory=dict)
    open_since: float = field(default_factory=time.monotonic)
    idle_since: float = field(default_factory=time.monotonic)
    watched: bool = False
    """Whether a thread will close the database when it is due."""
    closed: bool = False

    def is_there(self) -> bool:
        """Whether the path still leads to the opened file."""
        return is_there(self.path) and _file(self.path) == self.file

    def is_wanted(self) -> bool:
        """Whether another process waits for the turn."""
        return self.work_dir.is_locked(_queue(self.path))

    def is_due(self) -> bool:
        """Whether to close the idle database now."""
        now = time.monotonic()
        if self.is_wanted():
            return now - self.open_since > HOLD or now - self.idle_since > GRACE
        return now - self.idle_since > LINGER

    def close(self) -> None:
        self.closed = True
        # A failed checkpoint loses nothing: the write-ahead log stays for the next process that opens the file.
        with self.turn, suppress(duckdb.Error):
            self.connection.close()


_held: dict[Path, _Held] = {}
"""The databases that are open and idle."""
_busy: set[Path] = set()
"""The databases that a thread of this process uses."""
_changed = threading.Condition()


@contextmanager
def connected(
    path: Path, work_dir: WorkDir, *, read_only: bool = False, create: bool = False, linger: bool = False
) -> Iterator[Database]:
    """Open a database for the duration of a ``with``. At its end, uncommitted changes are rolled back.

    ``linger``: keep the database open for the next chunk. Raises TargetUnavailable, TargetRefused.
    """
    if not create and not is_there(path):
        raise TargetUnavailable(f"the database file {path.name} is missing")
    path = path.resolve()
    with _alone(path):
        held = _take(path, work_dir, read_only=read_only)
        database = Database(path, held.connection, held.seen)
        clean = False
        try:
            yield database
            clean = True
        except Exception:
            with suppress(TechnicalError):  # Keep the first error. The database is closed.
                database.end()
                clean = True
            raise
        else:
            database.end()
        finally:
            held.idle_since = time.monotonic()
            if linger and clean and not held.is_due():
                _keep(held)
            else:
                held.close()


def server_version(path: Path) -> str:
    """Open an existing database briefly and return its version. Raises TargetBusy, TargetRefused."""
    connection = _connect(path, read_only=True)
    try:
        with translated(path):
            return str(connection.execute("SELECT version()").fetchall()[0][0])
    finally:
        connection.close()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Exclude the other threads of this process from a database. Raises TargetUnavailable."""
    with _changed:
        if not _changed.wait_for(lambda: path not in _busy, PATIENCE):
            raise TargetUnavailable(f"{path.name} is in use by another part of this process")
        _busy.add(path)
    try:
        yield
    finally:
        with _changed:
            _busy.remove(path)
            _changed.notify_all()


def _take(path: Path, work_dir: WorkDir, *, read_only: bool) -> _Held:
    """The database that was kept open, or one opened after waiting for the turn."""
    held = _held.pop(path, None)
    if held is not None:
        if held.read_only == read_only and held.is_there():
            return held
        held.close()
    with ExitStack() as turn:
        with work_dir.locked(_queue(path)):
            turn.enter_context(work_dir.locked(_turn(path), shared=read_only))
        connection = _connect(path, read_only=read_only)
        return _Held(
            connection=connection,
            read_only=read_only,
            work_dir=work_dir,
            turn=turn.pop_all(),
            path=path,
            file=_file(path),
        )


def _connect(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """Open a file. Retry for BUSY_SECONDS if another program has it open."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return duckdb.connect(path, read_only=read_only, config=_CONFIG)
        except duckdb.Error as error:
            if not is_locked(error) or time.monotonic() > deadline:
                raise technical(path, error) from error
        time.sleep(_RETRY)


def _keep(held: _Held) -> None:
    """Keep a database open until another process wants it or it has been idle for a while."""
    _held[held.path] = held
    if not held.watched:
        held.watched = True
        threading.Thread(target=_close_when_due, args=(held,), name=f"closes {held.path.name}", daemon=True).start()


def _close_when_due(held: _Held) -> None:
    while not held.closed:
        time.sleep(_LOOK)
        if _held.get(held.path) is held and held.is_due():
            with _alone(held.path):
                if _held.get(held.path) is held and held.is_due():
                    del _held[held.path]
                    held.close()


def _file(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_dev, state.st_ino


def _turn(path: Path) -> str:
    return f"duckdb turn {path}"


def _queue(path: Path) -> str:
    return f"duckdb queue {path}"
