"""The SQLite file of the store, and the two threads that use it."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc

from ladingd.core.errors import DiskFull, StoreBusy, StoreUnusable
from ladingd.store import migration
from ladingd.store.sqlite import backup
from ladingd.store.sqlite.ballast import Ballast, full
from ladingd.store.sqlite.lane import LOOK, Lane, is_busy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STORE = "store.db"
"""The file's name in the state directory."""

_AGAIN = 0.5
"""Seconds between two attempts to write to a full disk."""
CHECK_SECONDS = 2.0
"""Seconds between two checks whether the store can still be written."""

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)


class Database:
    """Runs functions in transactions. Writes run one at a time, in the order of the calls. Reads run beside them on
    another thread and see what was committed before. So a read never waits for the disk writes of others.

    The driver is the standard library's sqlite3 on our own threads. aiosqlite would change threads for every statement
    instead of every transaction, and takes 1.5 times as long to import.
    """

    def __init__(
        self,
        path: Path,
        observe_commit: Callable[[float], None] | None = None,
        observe_wait: Callable[[bool, str], None] | None = None,
    ) -> None:
        """``observe_commit`` is called on the writer's thread with the seconds that each write took. ``observe_wait``
        is called on any thread when writes begin to wait and when they no longer wait."""
        self._path = path
        self.ballast = Ballast(path.with_name("ballast"))
        self._in_a_hurry = asyncio.Event()
        self._observe_commit = observe_commit
        self._observe_wait = observe_wait
        self._waiting_for_room = 0
        self._files: dict[Path, tuple[int, int]] = {}
        """The store's files by device and inode. None may be replaced while the store is open."""
        self._broken: StoreUnusable | None = None
        self._writer = Lane("store", path, self._locked)
        self._reader = Lane("store-reading", path, self._locked)
        engine = create_engine(
            URL.create("sqlite", database=str(path)),
            connect_args={"timeout": LOOK},
            hide_parameters=True,
        )
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        self._reading = engine.execution_options(begin="BEGIN")
        # A transaction that reads first and writes later would fail if another process wrote in between.
        self._writing = engine.execution_options(begin="BEGIN IMMEDIATE")

    @property
    def trouble(self) -> str:
        """Why the store cannot be written at present; empty if it can."""
        if self._waiting_for_room:
            return f"the disk of the store is full, {self._path.parent}: writes wait for space"
        return self._writer.trouble or self._reader.trouble

    async def open(self) -> None:
        """Open the store. Create it if it is missing, and upgrade its schema.

        Raises StoreUnusable, DiskFull, and StoreBusy if the store stays locked for too long.
        """
        try:
            # This comes first: a database that is not a store of Lading must stay unchanged.
            current = await self.read(migration.is_current, self._path)
            await self._on(self._writer, self._log_ahead)
            if not current:
                await self._on(self._writer, partial(backup.before_migration, self._path))
                await self.write(migration.upgrade, self._path)
            await self._on(self._writer, self._remember_files)
        except BaseException:
            await self.close()
            raise

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``work`` with a connection that sees one snapshot of the store."""
        return await self._on(
            self._reader, partial(_transact, self._reading, lambda connection: work(connection, *args, **kwargs))
        )

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``work`` with a connection whose changes are durable when this returns, or gone when it raises.

        If another process holds the store's lock, wait as long as the answer may take; ``work`` may be called again.
        Raises StoreBusy, DiskFull.
        """
        return await self._write(_bound(work, *args, **kwargs))

    async def write_patiently(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Like ``write``, for changes that must not get lost: waits for the lock and for disk space without a
        deadline."""
        bound = _bound(work, *args, **kwargs)
        with self._patience() as wait:
            while True:
                try:
                    return await self._write(bound, patiently=True)
                except DiskFull as error:
                    if self._in_a_hurry.is_set():
                        raise
                    wait(error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._in_a_hurry.wait(), _AGAIN)

    async def beat(self) -> None:
        """Return when the writer shows that it is alive: earlier writes are done, or wait for a lock or for space. On a
        disk that hangs this does not return. Raises StoreUnusable."""
        looks = self._writer.looks
        writing = asyncio.ensure_future(self._on(self._writer, partial(_transact, self._writing, self._check_files)))
        try:
            while not writing.done() and looks == self._writer.looks:
                await asyncio.wait([writing], timeout=LOOK)
            if writing.done():
                with suppress(StoreBusy, DiskFull):
                    await writing
        finally:
            writing.cancel()

    async def check(self) -> None:
        """Check periodically whether the store can still be written. Raises StoreUnusable when it cannot."""
        while True:
            await self.beat()
            if self._broken is not None:
                raise self._broken
            await asyncio.sleep(CHECK_SECONDS)

    def hurry(self, seconds: float = 0.0) -> None:
        """From now on do not wait for space, and wait for a lock at most ``seconds``."""
        self._in_a_hurry.set()
        self._writer.give_up_in(seconds)
        self._reader.give_up_in(seconds)

    async def close(self) -> None:
        """Wait for all requested transactions, then close the file."""
        await self._reader.do(_nothing, patiently=True)
        await self._writer.do(self._writing.dispose, patiently=True)
        self._reader.close()
        self._writer.close()

    async def _write(self, work: Callable[[Connection], T], *, patiently: bool = False) -> T:
        try:
            return await self._on(self._writer, partial(self._timed, work), patiently=patiently)
        except StoreUnusable as error:
            self._broken = error
            raise

    @contextmanager
    def _patience(self) -> Iterator[Callable[[DiskFull], None]]:
        """Yields a function that reports a wait for space. The wait ends with the block."""
        waits = False

        def wait(error: DiskFull) -> None:
            nonlocal waits
            if waits:
                return
            waits = True
            self._waiting_for_room += 1
            if self._waiting_for_room == 1 and self._observe_wait is not None:
                self._observe_wait(True, f"{error.message}; writes wait for space")

        try:
            yield wait
        finally:
            if waits:
                self._waiting_for_room -= 1
                if not self._waiting_for_room and self._observe_wait is not None:
                    self._observe_wait(False, "writes to the store no longer wait for space")

    def _locked(self, locked: bool, holder: str, seconds: float) -> None:
        if self._observe_wait is None:
            return
        if locked:
            said = (
                f"the store {self._path} is locked by {holder}: writes wait until it is free;"
                " let that process finish, or end it"
            )
        else:
            said = f"the store is free again: {holder} held its lock for {seconds:.0f} s; nothing is lost"
        self._observe_wait(locked, said)

    def _timed(self, work: Callable[[Connection], T]) -> T:
        begin = time.perf_counter()
        self._check_files()
        done = _transact(self._writing, work)
        if self._observe_commit is not None:
            self._observe_commit(time.perf_counter() - begin)
        return done

    async def _on(self, lane: Lane, work: Callable[[], T], *, patiently: bool = False) -> T:
        return await lane.do(partial(self._explained, work), patiently=patiently)

    def _explained(self, work: Callable[[], T]) -> T:
        try:
            return self._tried(work)
        except DiskFull:
            if not self.ballast.release():
                raise
            log.warning("the disk of %s is full: the ballast beside it is released", self._path)
            return self._tried(work)

    def _tried(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (exc.StatementError, sqlite3.DatabaseError) as error:
            cause = getattr(error, "orig", None) or error
            if is_busy(cause):
                raise
            if type(error) in _TROUBLE and self._for_want_of_room(cause):
                directory = self._path.parent
                raise DiskFull(f"the disk of the daemon's store is full, {directory}", str(directory)) from error
            if type(error) in _TROUBLE:
                raise StoreUnusable(self._path, _advice(cause)) from error
            if type(error) is exc.StatementError and error.orig is not None:
                raise error.orig from None  # The column's type cannot store this value.
            raise

    def _for_want_of_room(self, error: BaseException) -> bool:
        if str(error) == "database or disk is full":
            return True
        # SQLite reports a quota, a lack of inodes, or no space for its shared memory as an I/O error.
        name = getattr(error, "sqlite_errorname", "")
        return name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")) and full(self._path.parent)

    def _remember_files(self) -> None:
        files = (self._path, self._path.with_name(self._path.name + "-wal"))
        self._files = {file: identity for file in files if (identity := _identity(file)) is not None}

    def _check_files(self, _connection: Connection | None = None) -> None:
        """Raises StoreUnusable if a file was removed or replaced: what is written to it would be lost."""
        for file, identity in self._files.items():
            if _identity(file) != identity:
                raise StoreUnusable(
                    self._path,
                    f"{file.name} was removed or replaced while the daemon was running: what the daemon writes would be"
                    " lost; put the file back and start again",
                )

    def _log_ahead(self) -> None:
        # The journal mode can be set only outside of transactions.
        with closing(self._writing.raw_connection()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute("PRAGMA journal_mode = WAL")
            mode = cursor.fetchall()[0][0]
        if mode != "wal":
            raise StoreUnusable(self._path, f"its file system allows no write-ahead log (SQLite stays at {mode})")


# Full, unreadable, damaged, or not a database. The other classes mean defects of this program.
_TROUBLE = (exc.OperationalError, sqlite3.OperationalError, exc.DatabaseError, sqlite3.DatabaseError)


def _bound(
    work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
) -> Callable[[Connection], T]:
    return lambda connection: work(connection, *args, **kwargs)


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _advice(error: BaseException) -> str:
    """The message of SQLite, and what to do about it."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_READONLY"):
        return f"{error}: see who owns its files and whether their file system is mounted read-only"
    if name.startswith("SQLITE_IOERR"):
        return f"{error} ({name}): see the kernel's log; `ladingd store check` tells whether the store is sound"
    return str(error)


def _nothing() -> None:
    """A task at the end of the queue: when it is done, so is all work before it."""


def _transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    # The driver would begin transactions itself, but only before the first write. _begin does it instead.
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options()["begin"])
