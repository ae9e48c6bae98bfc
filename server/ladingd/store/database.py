"""The SQLite file of the store, and the two threads that talk to it."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc

from ladingd.core.errors import DiskFull
from ladingd.store import backup, migration
from ladingd.store.ballast import Ballast
from ladingd.store.errors import StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STORE = "store.db"
"""The file's name in the state directory."""

_CRAMPED = 1 << 20
"""Fewer free bytes than these, and an I/O error is one for want of room: SQLite says so of its shared memory."""
_AGAIN = 0.5
"""Seconds between two tries to write to a full disk."""

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)


class Database:
    """Runs functions in transactions: those that write one at a time and in the order of the calls, and beside them
    those that read, which see what was committed before. So nobody who reads waits for somebody else's disk.

    The driver is the standard library's, on threads of its own, and not aiosqlite: that one hops between threads for
    every statement where this one does for every transaction, and takes half as long again to import.
    """

    def __init__(
        self,
        path: Path,
        busy_timeout: timedelta = timedelta(seconds=5),
        observe_commit: Callable[[float], None] | None = None,
    ) -> None:
        """``busy_timeout`` is how long a transaction waits for another process to let go of the file.
        ``observe_commit`` is told, on a thread of its own, how many seconds each transaction took that wrote."""
        self._path = path
        self.ballast = Ballast(path.with_name("ballast"))
        self._in_a_hurry = asyncio.Event()
        self._observe_commit = observe_commit
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-reading")
        engine = create_engine(
            URL.create("sqlite", database=str(path)),
            connect_args={"timeout": busy_timeout.total_seconds()},
            hide_parameters=True,
        )
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        self._reading = engine.execution_options(begin="BEGIN")
        # A transaction that reads first and writes later would fail where another process wrote in between.
        self._writing = engine.execution_options(begin="BEGIN IMMEDIATE")

    async def open(self) -> None:
        """Make the file where there is none, and bring it to the shape of this program. Raises StoreUnusable."""
        try:
            # In this order: what is no store of ours must stay as it is.
            current = await self.read(migration.is_current, self._path)
            await self._on(self._writer, self._log_ahead)
            if not current:
                await self._on(self._writer, partial(backup.before_migration, self._path))
                await self.write(migration.upgrade, self._path)
        except BaseException:
            await self.close()
            raise

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``work`` with a connection that sees one state of the store."""
        return await self._on(
            self._reader, partial(_transact, self._reading, lambda connection: work(connection, *args, **kwargs))
        )

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``work`` with a connection whose changes are durable when this returns, or gone when it raises."""
        return await self._on(self._writer, partial(self._timed, lambda connection: work(connection, *args, **kwargs)))

    async def write_patiently(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same for what must be written sooner or later: while the disk is full, it waits for room."""
        told = False
        while True:
            try:
                return await self.write(work, *args, **kwargs)
            except DiskFull as full:
                if self._in_a_hurry.is_set():
                    raise
                if not told:
                    log.critical("%s; what is to be written waits for room", full.message)
                told = True
            with suppress(TimeoutError):
                await asyncio.wait_for(self._in_a_hurry.wait(), _AGAIN)

    def hurry(self) -> None:
        """Wait for room no longer, from now on."""
        self._in_a_hurry.set()

    async def close(self) -> None:
        """Wait for the transactions that were asked for, then let go of the file."""
        await asyncio.get_running_loop().run_in_executor(self._reader, _nothing)
        await asyncio.get_running_loop().run_in_executor(self._writer, self._writing.dispose)
        self._reader.shutdown()
        self._writer.shutdown()

    def _timed(self, work: Callable[[Connection], T]) -> T:
        begin = time.perf_counter()
        done = _transact(self._writing, work)
        if self._observe_commit is not None:
            self._observe_commit(time.perf_counter() - begin)
        return done

    async def _on(self, thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(thread, self._explained, work)

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
            if type(error) in _TROUBLE and self._for_want_of_room(getattr(error, "orig", None) or error):
                directory = self._path.parent
                raise DiskFull(
                    f"the disk is full that the store of the daemon is on, {directory}", str(directory)
                ) from error
            if type(error) in _TROUBLE:
                raise StoreUnusable(self._path, str(getattr(error, "orig", error))) from error
            if type(error) is exc.StatementError and error.orig is not None:
                raise error.orig from None  # A value that cannot be stored: the error of its column's type.
            raise

    def _for_want_of_room(self, error: BaseException) -> bool:
        if str(error) == "database or disk is full":
            return True
        failed = getattr(error, "sqlite_errorname", "").startswith("SQLITE_IOERR")
        return failed and shutil.disk_usage(self._path.parent).free < _CRAMPED

    def _log_ahead(self) -> None:
        # Outside of transactions, where it cannot be set.
        with closing(self._writing.raw_connection()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute("PRAGMA journal_mode = WAL")
            mode = cursor.fetchall()[0][0]
        if mode != "wal":
            raise StoreUnusable(self._path, f"its file system allows no write-ahead log (SQLite stays at {mode})")


# Locked, full, unreadable; damaged or no database at all. The other classes are defects of this program.
_TROUBLE = (exc.OperationalError, sqlite3.OperationalError, exc.DatabaseError, sqlite3.DatabaseError)


def _nothing() -> None:
    """Whoever waits for it has waited for all before it."""


def _transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    # The driver would begin transactions by itself, and only before the first write; _begin does it in its place.
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options()["begin"])
