"""The SQLite file of the store, and the two threads that talk to it."""

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
"""Seconds between two tries to write to a full disk."""
CHECK_SECONDS = 2.0
"""So often it is looked at whether the store can still be written."""

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
        observe_commit: Callable[[float], None] | None = None,
        observe_wait: Callable[[bool, str], None] | None = None,
    ) -> None:
        """``observe_commit`` is told, on a thread of its own, how many seconds each transaction took that wrote;
        ``observe_wait``, on any thread, when writes have to wait, and when they no longer do."""
        self._path = path
        self.ballast = Ballast(path.with_name("ballast"))
        self._in_a_hurry = asyncio.Event()
        self._observe_commit = observe_commit
        self._observe_wait = observe_wait
        self._waiting_for_room = 0
        self._files: dict[Path, tuple[int, int]] = {}
        """The store's files, by device and inode: none of them may be replaced while it is open."""
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
        # A transaction that reads first and writes later would fail where another process wrote in between.
        self._writing = engine.execution_options(begin="BEGIN IMMEDIATE")

    @property
    def trouble(self) -> str:
        """What keeps the store from being written, in words; empty where nothing does."""
        if self._waiting_for_room:
            return f"the disk of the store is full, {self._path.parent}: writes wait for space"
        return self._writer.trouble or self._reader.trouble

    async def open(self) -> None:
        """Make the file where there is none, and bring it to the shape of this program.

        Raises StoreUnusable, DiskFull, and StoreBusy where it is locked for longer than the opening may take.
        """
        try:
            # In this order: what is no store of ours must stay as it is.
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
        """Call ``work`` with a connection that sees one state of the store."""
        return await self._on(
            self._reader, partial(_transact, self._reading, lambda connection: work(connection, *args, **kwargs))
        )

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``work`` with a connection whose changes are durable when this returns, or gone when it raises.

        Where another process holds the store's lock it waits, as long as the answer may take, and ``work`` may be
        called again. Raises StoreBusy, DiskFull.
        """
        return await self._write(_bound(work, *args, **kwargs))

    async def write_patiently(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same for what must be written sooner or later: it waits for the lock, and for room on a full disk,
        whoever waits for an answer."""
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
        """Return when the writer has shown that it is alive: what was asked of it before is done, or it waits for a
        lock or for room. A disk that hangs is noticed here. Raises StoreUnusable."""
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
        """Look again and again whether the store can still be written, until it cannot. Raises StoreUnusable."""
        while True:
            await self.beat()
            if self._broken is not None:
                raise self._broken
            await asyncio.sleep(CHECK_SECONDS)

    def hurry(self, seconds: float = 0.0) -> None:
        """From now on wait for room no longer, and for a lock at most so many seconds."""
        self._in_a_hurry.set()
        self._writer.give_up_in(seconds)
        self._reader.give_up_in(seconds)

    async def close(self) -> None:
        """Wait for the transactions that were asked for, then let go of the file."""
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
        """Hands out what a wait for room is told by; it is over with the block."""
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
                raise error.orig from None  # A value that cannot be stored: the error of its column's type.
            raise

    def _for_want_of_room(self, error: BaseException) -> bool:
        if str(error) == "database or disk is full":
            return True
        # A quota, a lack of inodes, and no room for the shared memory are all I/O errors to SQLite.
        name = getattr(error, "sqlite_errorname", "")
        return name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")) and full(self._path.parent)

    def _remember_files(self) -> None:
        files = (self._path, self._path.with_name(self._path.name + "-wal"))
        self._files = {file: identity for file in files if (identity := _identity(file)) is not None}

    def _check_files(self, _connection: Connection | None = None) -> None:
        """What is written to a file that has lost its name is lost as well. Raises StoreUnusable."""
        for file, identity in self._files.items():
            if _identity(file) != identity:
                raise StoreUnusable(
                    self._path,
                    f"{file.name} was removed or replaced while the daemon was running: what the daemon writes would be"
                    " lost; put the file back and start again",
                )

    def _log_ahead(self) -> None:
        # Outside of transactions, where it cannot be set.
        with closing(self._writing.raw_connection()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute("PRAGMA journal_mode = WAL")
            mode = cursor.fetchall()[0][0]
        if mode != "wal":
            raise StoreUnusable(self._path, f"its file system allows no write-ahead log (SQLite stays at {mode})")


# Full, unreadable; damaged or no database at all. The other classes are defects of this program.
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
    """What SQLite says, and what to do about it."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_READONLY"):
        return f"{error}: see who owns its files and whether their file system is mounted read-only"
    if name.startswith("SQLITE_IOERR"):
        return f"{error} ({name}): see the kernel's log; `ladingd store check` tells whether the store is sound"
    return str(error)


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
