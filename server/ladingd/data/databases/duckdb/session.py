"""A DuckDB database that this process has open, and the turns that processes take.

DuckDB lets one process at a time open a file for writing, or any number for reading. So the workers of the daemon take
turns by locks of their own:

- ``turn`` is held by whoever has the file open: alone for writing, together with others for reading.
- ``queue`` is held by the one process that waits for the turn. Whoever has the turn sees this way that somebody waits.

Opening a database costs little, but closing it forces a checkpoint. Hence a process keeps the database open between
its chunks, up to `HOLD` seconds if another process waits and for any time otherwise, and closes it if no next chunk
comes soon (`LINGER`, `GRACE`). Two workers that hand over after every chunk take twice as long as one that works
alone. A process that dies leaves its locks to the kernel and its write-ahead log to the next one that opens the file.
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
from ladingd.data.storage.work_dir import Workplace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa


BUSY_SECONDS = 5.0
"""How long other programs may have the database open before the job says so."""
HOLD = 3.0
"""How many seconds a process may keep a database that another one waits for."""
LINGER = 1.0
"""How many seconds a database stays open after a chunk, for the next one, if nobody waits."""
GRACE = 0.3
"""The same if another process waits: about as long as reading the next chunk of a file takes."""
PATIENCE = 60.0
"""How many seconds a thread waits for another thread of its process."""
_LOOK = 0.01
"""How often an idle process looks whether another one waits, in seconds."""
_RETRY = 0.05

BATCH = "lading_batch"
"""The name under which statements see the records that are bound."""

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    # No statement may download or load an extension, or touch another file.
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "enable_external_access": "false",
    "python_enable_replacements": "false",
    "wal_autocheckpoint": "1GB",
}


def statement(text: str, **names: str) -> str:
    """A statement with the names of tables and columns put in, quoted."""
    return text.format_map({key: quoted(name) for key, name in names.items()})


def quoted(name: str) -> str:
    """A name as SQL spells it."""
    return '"' + name.replace('"', '""') + '"'


def is_there(path: Path) -> bool:
    """Whether the database file exists. Raises TargetUnavailable if nobody can say."""
    try:
        return path.stat().st_size >= 0
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise TargetUnavailable(f"{path.name}: {error.strerror}") from error


class Database:
    """An open database. Statements outside of a transaction are committed one by one."""

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection, seen: dict[object, Any]) -> None:
        self.path = path
        self.seen = seen
        """What was read of the database. It stays true while no other process can change the file."""
        self._connection = connection
        self._begun = False

    def run(self, sql: str, values: Sequence[object] = ()) -> None:
        """Execute a statement that answers nothing."""
        self.rows(sql, values)

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Execute a statement with a small answer."""
        with translated(self.path):
            return self._connection.execute(sql, list(values) or None).fetchall()

    def insert(self, sql: str) -> int:
        """Execute an insert from the bound records; return how many there are. Raises duckdb.ConstraintException."""
        try:
            return int(self._connection.execute(sql).fetchall()[0][0])
        except duckdb.ConstraintException:
            raise
        except duckdb.Error as error:
            raise technical(self.path, error) from error

    def bind(self, records: pa.RecordBatch) -> None:
        """Let statements see records as the table BATCH."""
        with translated(self.path):
            self._connection.register(BATCH, records)

    def stream(self, sql: str, values: Sequence[object] = (), *, rows: int) -> pa.RecordBatchReader:
        """Execute a query, and read its answer in batches of so many rows."""
        with translated(self.path):
            return self._connection.sql(sql, params=list(values) or None).to_arrow_reader(rows)

    def begin(self) -> None:
        self.run("BEGIN TRANSACTION")
        self._begun = True

    def commit(self) -> None:
        self.run("COMMIT")
        self._begun = False

    def end(self) -> None:
        """Take back what is not committed."""
        if self._begun:
            self.run("ROLLBACK")
            self._begun = False


@dataclass(kw_only=True, slots=True)
class _Held:
    """A database that this process has open, and its turn."""

    connection: duckdb.DuckDBPyConnection
    read_only: bool
    workplace: Workplace
    turn: ExitStack
    path: Path
    file: tuple[int, int]
    """The device and inode that were opened."""
    seen: dict[object, Any] = field(default_factory=dict)
    open_since: float = field(default_factory=time.monotonic)
    idle_since: float = field(default_factory=time.monotonic)
    watched: bool = False
    """A thread closes the database when it is due."""
    closed: bool = False

    def is_there(self) -> bool:
        """Whether the path still leads to the file that was opened."""
        return is_there(self.path) and _file(self.path) == self.file

    def is_wanted(self) -> bool:
        """Whether another process waits for the turn."""
        return self.workplace.is_locked(_queue(self.path))

    def is_due(self) -> bool:
        """Whether to close the database, which is idle."""
        now = time.monotonic()
        if self.is_wanted():
            return now - self.open_since > HOLD or now - self.idle_since > GRACE
        return now - self.idle_since > LINGER

    def close(self) -> None:
        self.closed = True
        # A checkpoint that fails here loses nothing: the write-ahead log stays for whoever opens the file next.
        with self.turn, suppress(duckdb.Error):
            self.connection.close()


_held: dict[Path, _Held] = {}
"""The databases that are open and idle."""
_busy: set[Path] = set()
"""The databases that a thread of this process works with."""
_changed = threading.Condition()


@contextmanager
def connected(
    path: Path, workplace: Workplace, *, read_only: bool = False, create: bool = False, linger: bool = False
) -> Iterator[Database]:
    """Have a database open for the time of a ``with``. What is not committed then is taken back.

    ``linger``: keep it open for the next chunk. Raises TargetUnavailable, TargetRefused.
    """
    if not create and not is_there(path):
        raise TargetUnavailable(f"the database file {path.name} is not there")
    path = path.resolve()
    with _alone(path):
        held = _take(path, workplace, read_only=read_only)
        database = Database(path, held.connection, held.seen)
        clean = False
        try:
            yield database
            clean = True
        except Exception:
            with suppress(TechnicalError):  # The first error says more. A database that is left so is closed.
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
    """Open a database that exists for a moment and say its version. Raises TargetBusy, TargetRefused."""
    connection = _connect(path, read_only=True)
    try:
        with translated(path):
            return str(connection.execute("SELECT version()").fetchall()[0][0])
    finally:
        connection.close()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep the other threads of this process away from a database. Raises TargetUnavailable."""
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


def _take(path: Path, workplace: Workplace, *, read_only: bool) -> _Held:
    """The database that was kept open, or a newly opened one after waiting for the turn."""
    held = _held.pop(path, None)
    if held is not None:
        if held.read_only == read_only and held.is_there():
            return held
        held.close()
    with ExitStack() as turn:
        with workplace.locked(_queue(path)):
            turn.enter_context(workplace.locked(_turn(path), shared=read_only))
        connection = _connect(path, read_only=read_only)
        return _Held(
            connection=connection,
            read_only=read_only,
            workplace=workplace,
            turn=turn.pop_all(),
            path=path,
            file=_file(path),
        )


def _connect(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """Open a file, however long another program may have it open within BUSY_SECONDS."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return duckdb.connect(path, read_only=read_only, config=_CONFIG)
        except duckdb.Error as error:
            if not is_locked(error) or time.monotonic() > deadline:
                raise technical(path, error) from error
        time.sleep(_RETRY)


def _keep(held: _Held) -> None:
    """Keep a database open until it is wanted elsewhere, or nobody has used it for a while."""
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
