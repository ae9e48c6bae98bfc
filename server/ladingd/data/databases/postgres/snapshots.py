"""Keeps snapshots that several sessions share.

A snapshot lives as long as the transaction that exported it. This process keeps that transaction open in a separate
session with the name of the attempt. The session locks no table. It ends with this process, or when any process calls
`end_sessions`.
"""

from __future__ import annotations

import os
import select
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg

from ladingd.core.errors import TargetUnavailable
from ladingd.data.databases.postgres.backends import session_name
from ladingd.data.databases.postgres.identity import Identity, read_identity
from ladingd.data.databases.postgres.session import Session, close, connect, technical

if TYPE_CHECKING:
    from psycopg import sql

    from ladingd.data.databases.postgres.session import Address

_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# The session stays idle, however long a chunk takes.
_STAY = "SET LOCAL idle_in_transaction_session_timeout = 0"
# The session must not outlive a machine that is gone: its snapshot keeps VACUUM from removing rows.
_PROBE = "SET LOCAL tcp_keepalives_idle = 60; SET LOCAL tcp_keepalives_interval = 10"
_EXPORT = "SELECT pg_export_snapshot()"
# The transactions that the snapshot sees. Equal texts mean equal rows.
_SEEN = "SELECT txid_current_snapshot()::text, CASE WHEN pg_is_in_recovery() THEN clock_timestamp()::text ELSE '' END"


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A kept snapshot."""

    id: str
    seen: str
    """Equal for equal rows."""
    identity: Identity | None
    """The table just before the snapshot. After a later TRUNCATE or ALTER TABLE, an old snapshot may see no rows."""
    time: datetime


_kept: dict[tuple[int, str], psycopg.Connection[Any]] = {}
_lock = threading.Lock()


def keep_snapshot(address: Address, table: sql.Identifier) -> Snapshot | None:
    """Keep a snapshot for the calling attempt, and release an earlier one. None: the server cannot export snapshots.

    Raises TargetUnavailable, TargetRefused.
    """
    connection = connect(address)
    try:
        identity = read_identity(Session(connection), table)
        connection.execute(_BEGIN)
        connection.execute(_STAY)
        connection.execute(_PROBE)
        ((snapshot,),) = connection.execute(_EXPORT).fetchall()
        ((seen, moment),) = connection.execute(_SEEN).fetchall()
    except psycopg.Error as error:
        close(connection)
        trouble = technical(address, error)
        if isinstance(trouble, TargetUnavailable):
            raise trouble from error
        return None
    _replace(connection)
    return Snapshot(id=snapshot, seen=f"{seen} {moment}".strip(), identity=identity, time=datetime.now(UTC))


def let_go() -> None:
    """Release all snapshots of this process."""
    with _lock:
        kept = list(_kept.values())
        _kept.clear()
    for connection in kept:
        close(connection)


def _replace(connection: psycopg.Connection[Any]) -> None:
    """Keep a session under the name of the attempt, and close sessions that the server has ended."""
    key = os.getpid(), session_name()
    with _lock:
        # These sessions run no statements, so data to read means that the server has ended the session.
        over = [each for each, other in _kept.items() if each == key or _is_over(other)]
        ended = [_kept.pop(each) for each in over]
        _kept[key] = connection
    for each in ended:
        close(each)


def _is_over(connection: psycopg.Connection[Any]) -> bool:
    with suppress(psycopg.Error):
        return connection.closed or bool(select.select([connection.fileno()], [], [], 0)[0])
    return True
