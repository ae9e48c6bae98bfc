"""Connections to PostgreSQL, kept in the process between chunks. Translates errors."""

from __future__ import annotations

import os
import select
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.generators import fetch_many
from psycopg.waiting import Wait

from ladingd.core.errors import DiskFull, TargetBusy, TargetRefused, TargetUnavailable, TechnicalError
from ladingd.data.databases.commit import Conflict, OutcomeUnknown
from ladingd.data.databases.postgres.backends import holder, session_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.abc import Buffer, PQGen
    from psycopg.pq.abc import PGconn, PGresult

    from ladingd.data.databases.connection import Connection

CONNECT_SECONDS = 10
LOCK_SECONDS = 30
"""How many seconds chunks of one job may wait for each other, and for an answer from the network."""
TABLE_LOCK_SECONDS = 3
"""How many seconds others may lock a table before the job reports them."""
CLIENT_CHECK = "2s"
"""How often the server checks that the client of a running statement still exists."""

_SETTINGS = (
    # These make the conversion between text and values independent of the role's settings.
    "SET DateStyle = 'ISO, YMD'",
    "SET TimeZone = 'UTC'",
    "SET IntervalStyle = 'postgres'",
    "SET extra_float_digits = 1",
    "SET bytea_output = 'hex'",
    "SET array_nulls = on",
    "SET xmloption = content",
    f"SET lock_timeout = '{LOCK_SECONDS}s'",
    # A worker that is suspended in a transaction must not block a later attempt for ever.
    "SET idle_in_transaction_session_timeout = '5min'",
    "SET statement_timeout = 0",
    "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'",  # PostgreSQL 17
    # Committed chunks must survive a crash of the server.
    "SELECT set_config(name, 'local', false) FROM pg_settings WHERE name = 'synchronous_commit' AND setting = 'off'",
)
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_BRIEF = f"SET LOCAL lock_timeout = '{TABLE_LOCK_SECONDS}s'"
# The only kind of transaction that a standby accepts.
_BEGIN_READING = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_BRIEF}"
_JOIN = "SET TRANSACTION SNAPSHOT {snapshot}"
_BEGIN_BRIEF = f"{_BEGIN}; {_BRIEF}"
_LOCK = f"{_BRIEF}; LOCK TABLE {{table}} IN ROW EXCLUSIVE MODE; SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"
_NO_SNAPSHOT = (
    psycopg.errors.UndefinedObject,
    psycopg.errors.InvalidParameterValue,
    psycopg.errors.ObjectNotInPrerequisiteState,
)
_UNAVAILABLE = ("08", "57P", "53300", "55P03", "57014", "25P03")
# Data errors, and errors raised by triggers and functions.
_OF_VALUES = ("22", "P0")
_CLIENT_CHECK_SINCE = 140000
_CONFLICTS = ("40001", "40P01")
_FULL = "53100"
_LOCKED = "55P03"
# libpq gives no SQLSTATE for a refused connection. These words mean that a retry is useless.
_REFUSING = ("authentication failed", "does not exist", "no pg_hba.conf entry", "permission denied", "no password")


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """The address of a database. ``name`` is the connection's name; the rest is never shown."""

    name: str
    url: str = field(repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def of(cls, connection: Connection) -> Address:
        """The address of a connection, with its current password. Raises TargetRefused."""
        return cls(name=connection.name, url=connection.url, password=connection.password())


Query = str | sql.SQL | sql.Composed


_constants: WeakKeyDictionary[psycopg.Connection[Any], dict[str, list[tuple[Any, ...]]]] = WeakKeyDictionary()


class Session:
    """A connection with a running transaction. Its methods raise psycopg's errors unchanged."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.copied = 0

    @property
    def server_version(self) -> int:
        """The version in libpq's form: 180001."""
        return self._connection.info.server_version

    @property
    def user(self) -> str:
        """The account of the connection."""
        return self._connection.info.user

    @property
    def database(self) -> str:
        """The name of the database."""
        return self._connection.info.dbname

    def lock(self, table: sql.Identifier) -> None:
        """Lock a table's definition until the end of the transaction."""
        self._connection.execute(sql.SQL(_LOCK).format(table=table))

    def run(self, query: Query, values: Sequence[object] | None = None) -> int:
        """Execute a statement. Returns the number of affected rows. Without ``values`` a % needs no escape."""
        return self._connection.execute(_composable(query), values).rowcount

    def rows(self, query: Query, values: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
        """Execute a query with a small result."""
        return self._connection.execute(_composable(query), values).fetchall()

    def constant(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query that the server always answers alike. Each connection asks it once."""
        known = _constants.setdefault(self._connection, {})
        if query not in known:
            known[query] = self.rows(query)
        return known[query]

    def copy(self, query: Query, payload: Sequence[bytes]) -> int:
        """Execute a COPY … FROM STDIN with all of its data. Returns the number of records."""
        with self._connection.cursor() as cursor:
            with cursor.copy(_composable(query)) as copy:
                for part in payload:
                    copy.write(part)
            return cursor.rowcount

    def join(self, snapshot: str) -> bool:
        """Use an exported snapshot; must be the first statement of the transaction. Returns False if the snapshot is
        gone."""
        try:
            self.run(sql.SQL(_JOIN).format(snapshot=sql.Literal(snapshot)))
        except _NO_SNAPSHOT:
            return False
        return True

    def copy_out(self, query: Query) -> Iterator[list[Buffer]]:
        """Execute a COPY … TO STDOUT and yield lists of the records that have arrived. At the end `copied` is their
        number.

        Takes records directly from libpq while there are some, and otherwise waits by psycopg: psycopg's own ``Copy``
        costs three times as much for each record.
        """
        connection, pgconn = self._connection, self._connection.pgconn
        with connection.cursor() as cursor, cursor.copy(_composable(query)):
            while True:
                records: list[Buffer] = []
                for length, record in map(pgconn.get_copy_data, repeat(1)):
                    if length <= 0:
                        break
                    records.append(record)
                if records:
                    yield records
                if length < 0:
                    break
                connection.wait(_readable())
                pgconn.consume_input()
            result = connection.wait(_result(pgconn))
        if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
            raise psycopg.errors.error_from_result(result)
        self.copied = result.command_tuples or 0

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Roll the block back if it raises, and keep the transaction usable."""
        self.run("SAVEPOINT lading")
        try:
            yield
        except Exception:
            if not self._connection.closed:
                self.run("ROLLBACK TO lading")
                self.run("RELEASE lading")
            raise
        self.run("RELEASE lading")

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Always roll the block back."""
        self.run("SAVEPOINT lading_undone")
        try:
            yield
        finally:
            if not self._connection.closed:
                self.run("ROLLBACK TO lading_undone")
                self.run("RELEASE lading_undone")

    def commit(self) -> None:
        """Make the transaction durable. Raises OutcomeUnknown if the connection is lost meanwhile."""
        try:
            outcome = self._connection.execute("COMMIT").statusmessage
        except psycopg.Error as error:
            if self._connection.closed:
                trouble = TargetUnavailable("the connection was lost while a chunk was committed")
                raise OutcomeUnknown(trouble) from error
            raise
        if outcome != "COMMIT":
            raise TargetRefused("the database rolled the transaction back instead of committing it")

    def rollback(self) -> None:
        """Roll the transaction back."""
        self._connection.execute("ROLLBACK")


_idle: dict[tuple[int, Address], list[psycopg.Connection[Any]]] = {}
_lock = threading.Lock()


@contextmanager
def connected(
    address: Address,
    *,
    read_only: bool = False,
    brief: bool = False,
    own: bool = False,
    table: sql.Identifier | None = None,
) -> Iterator[Session]:
    """Run a transaction on a connection of this process. At the end of the block, uncommitted changes are rolled back.

    ``read_only``: the transaction sees the database at its first query and writes nothing. ``read_only`` and ``brief``
    transactions wait only briefly for locks. ``own``: the connection is closed at the end. ``table`` is the table in
    use: the error names the holder of its lock.
    Raises TargetUnavailable, TargetBusy, TargetRefused, DiskFull, but never psycopg's errors. After any error the
    connection is closed.
    """
    connection = _take(address, _BEGIN_READING if read_only else _BEGIN_BRIEF if brief else _BEGIN)
    try:
        yield Session(connection)
        if connection.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE:
            connection.execute("ROLLBACK")
    except psycopg.Error as error:
        trouble = technical(address, error)
        if error.sqlstate == _LOCKED and table is not None:
            with suppress(psycopg.Error):
                connection.execute("ROLLBACK")
                trouble = TargetBusy(f"connection {address.name}: {holder(connection, table.as_string())}")
        close(connection)
        raise trouble from error
    except BaseException:
        close(connection)
        raise
    if own:
        close(connection)
        return
    with _lock:
        _idle.setdefault((os.getpid(), address), []).append(connection)


def close_idle() -> None:
    """Close all idle connections."""
    with _lock:
        kept = [connection for (pid, _), group in _idle.items() if pid == os.getpid() for connection in group]
        _idle.clear()
    for connection in kept:
        close(connection)


def technical(address: Address, error: psycopg.Error) -> TechnicalError:
    """Translate an error that no record caused."""
    state = error.sqlstate or ""
    told = error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__
    if state.startswith(_OF_VALUES):
        # Such a message may contain a value. Users who may not read records may read the journal.
        culprit = "a value" if state.startswith("22") else "a trigger or function"
        told = f"{culprit} stopped the statement (SQLSTATE {state}); the database's own log shows it"
    text = _without_secrets(address, told)
    text = f"connection {address.name}: {text}"
    if state in _CONFLICTS:
        return Conflict(text)
    if state == _FULL:
        return DiskFull(text)
    if state == _LOCKED:
        return TargetBusy(text)
    if state.startswith(_UNAVAILABLE) or (not state and isinstance(error, psycopg.OperationalError)):
        refused = not state and any(words in text for words in _REFUSING) and "FATAL" in text
        return TargetRefused(text) if refused else TargetUnavailable(text)
    return TargetRefused(text)


def refused(address: Address, error: psycopg.Error) -> TechnicalError:
    """Translate an error of a user's own SQL. What it raises itself is meant for its readers."""
    if (error.sqlstate or "").startswith("P0"):
        text = _without_secrets(address, error.diag.message_primary or type(error).__name__)
        return TargetRefused(f"connection {address.name}: {text}")
    return technical(address, error)


def _take(address: Address, begin: str) -> psycopg.Connection[Any]:
    while True:
        with _lock:
            kept = _idle.get((os.getpid(), address))
            connection = kept.pop() if kept else None
        if connection is None:
            connection = connect(address)
            try:
                _begin(connection, begin)
            except psycopg.Error as error:
                close(connection)
                raise technical(address, error) from error
            return connection
        # A connection that the server has closed has unread data.
        if not connection.closed and not select.select([connection.fileno()], [], [], 0)[0]:
            with suppress(psycopg.Error):
                _begin(connection, begin)
                return connection
        close(connection)


def _begin(connection: psycopg.Connection[Any], begin: str) -> None:
    """Begin a transaction with the job's name as application_name."""
    name = session_name()
    if connection.info.parameter_status("application_name") != name:
        connection.execute("SELECT set_config('application_name', %s, false)", (name,))
    connection.execute(begin)


def connect(address: Address) -> psycopg.Connection[Any]:
    """A new connection outside of a transaction. Raises the same errors as `connected`."""
    settings: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "tcp_user_timeout": LOCK_SECONDS * 1000,
        # While waiting for an answer, only keepalives detect that the server's machine is gone.
        "keepalives_idle": LOCK_SECONDS // 2,
        "keepalives_interval": LOCK_SECONDS // 6,
        "keepalives_count": 3,
    }
    try:
        settings |= conninfo_to_dict(address.url)
    except psycopg.Error:
        # Not chained: the original text may contain the whole URL.
        raise TargetRefused(f"connection {address.name}: its url is not one of PostgreSQL") from None
    if address.password:
        settings["password"] = address.password
    settings |= {"client_encoding": "UTF8", "application_name": session_name()}
    try:
        connection = psycopg.connect(**settings, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise technical(address, error) from None
    try:
        for setting in _SETTINGS:
            connection.execute(setting)
        if connection.info.server_version >= _CLIENT_CHECK_SINCE:
            # A server refuses this setting if its system cannot watch a socket.
            with suppress(psycopg.errors.InvalidParameterValue):
                connection.execute(f"SET client_connection_check_interval = '{CLIENT_CHECK}'")
    except psycopg.Error as error:
        close(connection)
        raise technical(address, error) from error
    return connection


def _readable() -> PQGen[None]:
    while not (yield Wait.R):
        pass


def _result(pgconn: PGconn) -> PQGen[PGresult]:
    results: list[PGresult] = yield from fetch_many(pgconn)
    return results[0]


def close(connection: psycopg.Connection[Any]) -> None:
    """Close a connection in any state."""
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
