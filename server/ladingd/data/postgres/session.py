"""Connections to PostgreSQL, kept in the process between chunks, and what their errors mean."""

from __future__ import annotations

import os
import select
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.generators import fetch_many
from psycopg.waiting import Wait

from ladingd.core.errors import DiskFull, TargetRefused, TargetUnavailable, TechnicalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from psycopg.abc import Buffer, PQGen
    from psycopg.pq.abc import PGconn, PGresult

    from ladingd.data.connection import Connection

CONNECT_SECONDS = 10
LOCK_SECONDS = 30
"""How long others may hold what we need."""

_SETTINGS = (
    # Text becomes values, and values text, in the same way whatever the role's settings are.
    "SET DateStyle = 'ISO, YMD'",
    "SET TimeZone = 'UTC'",
    "SET IntervalStyle = 'postgres'",
    "SET extra_float_digits = 1",
    "SET bytea_output = 'hex'",
    f"SET lock_timeout = '{LOCK_SECONDS}s'",
    # A worker that was stopped in a transaction must not keep a later attempt waiting for ever.
    "SET idle_in_transaction_session_timeout = '5min'",
    "SET statement_timeout = 0",
)
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
# A standby takes no other.
_BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_UNAVAILABLE = ("08", "57P", "53300", "55P03", "57014", "25P03")
# Data errors, and what triggers and functions raise.
_OF_VALUES = ("22", "P0")
_CONFLICTS = ("40001", "40P01")
_FULL = "53100"
# libpq gives no SQLSTATE for a connection that was refused. These words mean that trying again is of no use.
_REFUSING = ("authentication failed", "does not exist", "no pg_hba.conf entry", "permission denied", "no password")


class TransactionConflict(TargetUnavailable):
    """The database took the transaction back for the sake of another one; it may be done again at once."""

    def __reduce__(self) -> tuple[Any, ...]:
        return TargetUnavailable, self.args  # The daemon, to which it may go, must not load this module.


class OutcomeUnknown(TargetUnavailable):
    """The connection was lost during COMMIT. Only the ledger knows whether it has happened."""

    def __reduce__(self) -> tuple[Any, ...]:
        return TargetUnavailable, self.args


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where a database is. ``name`` is what people call it; the rest is never shown."""

    name: str
    url: str = field(repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def of(cls, connection: Connection) -> Address:
        """Where a connection leads, with its password read anew. Raises TargetRefused."""
        return cls(name=connection.name, url=connection.url, password=connection.password())


Query = str | sql.SQL | sql.Composed


class Session:
    """A connection with a transaction that has begun. Its methods raise psycopg's errors as they are."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @property
    def server_version(self) -> int:
        """As libpq has it: 180001."""
        return self._connection.info.server_version

    @property
    def user(self) -> str:
        """Who we are to the server."""
        return self._connection.info.user

    def run(self, query: Query, values: Sequence[object] | None = None) -> int:
        """Execute a statement; the number of rows that it touched. Without values a % in it is only a %."""
        return self._connection.execute(_composable(query), values).rowcount

    def rows(self, query: Query, values: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
        """Execute a query with a small answer."""
        return self._connection.execute(_composable(query), values).fetchall()

    def copy(self, query: Query, payload: Sequence[bytes]) -> int:
        """Execute a COPY … FROM STDIN with all of its data; the number of records."""
        with self._connection.cursor() as cursor:
            with cursor.copy(_composable(query)) as copy:
                for part in payload:
                    copy.write(part)
            return cursor.rowcount

    def copy_out(self, query: Query, write: Callable[[Buffer], object], amend_first: Callable[[bytes], bytes]) -> int:
        """Execute a COPY … TO STDOUT and write its records one by one, the first amended; the number of records."""
        with self._connection.cursor() as cursor, cursor.copy(_composable(query)) as copy:
            first = copy.read()
            if not first:
                return 0
            write(amend_first(bytes(first)))
            result = self._connection.wait(_received(self._connection.pgconn, write))
        if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
            raise psycopg.errors.error_from_result(result)
        return result.command_tuples or 0

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """What is done in it is taken back, and the transaction goes on, where it ends in an error."""
        self.run("SAVEPOINT lading")
        try:
            yield
        except psycopg.Error:
            if not self._connection.closed:
                self.run("ROLLBACK TO lading")
                self.run("RELEASE lading")
            raise
        self.run("RELEASE lading")

    @contextmanager
    def undone(self) -> Iterator[None]:
        """What is done in it is always taken back."""
        self.run("SAVEPOINT lading_undone")
        try:
            yield
        finally:
            if not self._connection.closed:
                self.run("ROLLBACK TO lading_undone")
                self.run("RELEASE lading_undone")

    def commit(self) -> None:
        """Make the transaction durable. Raises OutcomeUnknown where the connection is lost meanwhile."""
        try:
            outcome = self._connection.execute("COMMIT").statusmessage
        except psycopg.Error as error:
            if self._connection.closed:
                raise OutcomeUnknown("the connection was lost while a chunk was committed") from error
            raise
        if outcome != "COMMIT":
            raise TargetRefused("the database took the transaction back instead of committing it")

    def rollback(self) -> None:
        """Take the transaction back."""
        self._connection.execute("ROLLBACK")


_idle: dict[tuple[int, Address], list[psycopg.Connection[Any]]] = {}
_lock = threading.Lock()


@contextmanager
def connected(address: Address, *, read_only: bool = False) -> Iterator[Session]:
    """A transaction on a connection of this process; what was not committed at the end is taken back.

    ``read_only``: it sees the database as it was at its first query, and writes nothing.

    Raises TargetUnavailable, TargetRefused, DiskFull; psycopg's errors never leave it. After any error the connection
    is let go.
    """
    connection = _take(address, _BEGIN_READING if read_only else _BEGIN)
    try:
        yield Session(connection)
        if connection.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE:
            connection.execute("ROLLBACK")
    except psycopg.Error as error:
        _close(connection)
        raise technical(address, error) from error
    except BaseException:
        _close(connection)
        raise
    with _lock:
        _idle.setdefault((os.getpid(), address), []).append(connection)


def close_idle() -> None:
    """Let go of all connections that are kept."""
    with _lock:
        kept = [connection for (pid, _), group in _idle.items() if pid == os.getpid() for connection in group]
        _idle.clear()
    for connection in kept:
        _close(connection)


def technical(address: Address, error: psycopg.Error) -> TechnicalError:
    """What an error that no record is to blame for means to a job."""
    state = error.sqlstate or ""
    told = error.diag.message_primary or str(error).strip() or type(error).__name__
    if state.startswith(_OF_VALUES):
        # Such a message shows the value, and more people may read the journal than records.
        told = f"a value stopped the statement (SQLSTATE {state}); the database's own log shows it"
    text = _without_secrets(address, told)
    text = f"connection {address.name}: {text}"
    if state in _CONFLICTS:
        return TransactionConflict(text)
    if state == _FULL:
        return DiskFull(text)
    if state.startswith(_UNAVAILABLE) or (not state and isinstance(error, psycopg.OperationalError)):
        refused = not state and any(words in text for words in _REFUSING) and "FATAL" in text
        return TargetRefused(text) if refused else TargetUnavailable(text)
    return TargetRefused(text)


def _take(address: Address, begin: str) -> psycopg.Connection[Any]:
    while True:
        with _lock:
            kept = _idle.get((os.getpid(), address))
            connection = kept.pop() if kept else None
        if connection is None:
            return _connect(address, begin)
        # One that the server has closed meanwhile has its farewell waiting to be read.
        if not connection.closed and not select.select([connection.fileno()], [], [], 0)[0]:
            with suppress(psycopg.Error):
                connection.execute(begin)
                return connection
        _close(connection)


def _connect(address: Address, begin: str) -> psycopg.Connection[Any]:
    settings: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "tcp_user_timeout": LOCK_SECONDS * 1000,
        # Who only waits for an answer learns in no other way that the server's machine is gone.
        "keepalives_idle": LOCK_SECONDS // 2,
        "keepalives_interval": LOCK_SECONDS // 6,
        "keepalives_count": 3,
        "application_name": "ladingd",
    }
    try:
        settings |= conninfo_to_dict(address.url)
    except psycopg.Error:
        # Not chained: its text may hold the whole URL.
        raise TargetRefused(f"connection {address.name}: its url is not one of PostgreSQL") from None
    if address.password:
        settings["password"] = address.password
    settings["client_encoding"] = "UTF8"
    try:
        connection = psycopg.connect(**settings, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise technical(address, error) from None
    try:
        for setting in (*_SETTINGS, begin):
            connection.execute(setting)
    except psycopg.Error as error:
        _close(connection)
        raise technical(address, error) from error
    return connection


def _received(pgconn: PGconn, write: Callable[[Buffer], object]) -> PQGen[PGresult]:
    """Take records from libpq while it has some, one by one, as it frees them fastest then; psycopg waits in between.

    The same as to read from psycopg's ``Copy``, which costs three times as much for each record.
    """
    for length, record in map(pgconn.get_copy_data, repeat(1)):
        if length > 0:
            write(record)
        elif length < 0:
            break
        else:
            while not (yield Wait.R):
                pass
            pgconn.consume_input()
    results: list[PGresult] = yield from fetch_many(pgconn)
    return results[0]


def _close(connection: psycopg.Connection[Any]) -> None:
    with suppress(psycopg.Error):
        connection.close()


def _without_secrets(address: Address, text: str) -> str:
    secrets = {address.password, address.url}
    with suppress(psycopg.Error):
        secrets.add(str(conninfo_to_dict(address.url).get("password") or ""))
    for secret in sorted(secrets - {""}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _composable(query: Query) -> sql.SQL | sql.Composed:
    return sql.SQL(query) if isinstance(query, str) else query
