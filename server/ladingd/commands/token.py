"""``ladingd token``: creates, lists and revokes tokens in the store, whether a daemon runs or not."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ladingd.commands.error import CommandError
from ladingd.commands.store import store_of
from ladingd.commands.terminal import write
from ladingd.config import load
from ladingd.core.access import SOCKET, TOKEN_NAME, Deed, Role, issue
from ladingd.core.clock import utc_now
from ladingd.host.instance_lock import without_daemon
from ladingd.store.audit import SqlAuditStore
from ladingd.store.migration import HEAD
from ladingd.store.sqlite.backup import version_of
from ladingd.store.sqlite.database import Database
from ladingd.store.tokens import SqlTokenStore

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from ladingd.config import Settings
    from ladingd.core.access import Token

_SPAN = re.compile(r"([1-9][0-9]{0,4})([mhdw])")
_TIMEOUT = 10.0
"""Seconds that the store may be locked by another process."""
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit status. Raises CommandError, ConfigError, StoreUnusable."""
    asyncio.run(_run(load(arguments.config, user=arguments.user), arguments))
    return 0


async def _run(settings: Settings, arguments: argparse.Namespace) -> None:
    async with _store(settings, arguments) as database:
        tokens = SqlTokenStore(database)
        match arguments.action:
            case "create":
                text = await _create(settings, tokens, arguments)
                await _note(database, "create", arguments.name)
                sys.stderr.write("The token is shown only once. Keep it like a password.\n")
                sys.stdout.write(f"{text}\n")
            case "revoke":
                if not await tokens.revoke(arguments.name):
                    raise CommandError(f"there is no token {arguments.name} to revoke")
                await _note(database, "revoke", arguments.name)
            case "list":
                write(_lines(await tokens.list(), utc_now()))


@asynccontextmanager
async def _store(settings: Settings, arguments: argparse.Namespace) -> AsyncIterator[Database]:
    path = store_of(settings, arguments)
    async with AsyncExitStack() as stack:
        if _is_of_old(path):
            # Opening the store migrates it, and a running daemon of an older program could not use it any more.
            stack.enter_context(without_daemon(path.parent))
        database = Database(path)
        database.hurry(_TIMEOUT)
        await database.open()
        stack.push_async_callback(database.close)
        yield database


def _is_of_old(path: Path) -> bool:
    try:
        return version_of(path) not in ("", HEAD)
    except sqlite3.Error:
        return False  # Opening the store reports the error.


async def _create(settings: Settings, tokens: SqlTokenStore, arguments: argparse.Namespace) -> str:
    role, now = Role(arguments.role), utc_now()
    if not TOKEN_NAME.fullmatch(arguments.name):
        raise CommandError(
            "a token's name has 1 to 63 characters of a-z, 0-9 and . _ -, and begins with a letter or digit"
        )
    if arguments.name == SOCKET:
        raise CommandError(f"the name {SOCKET} is reserved for local users without a token; choose another name")
    if role is Role.SUBMITTER:
        _check_known("connection", arguments.connection, settings.connections)
        _check_known("root", arguments.root, settings.roots)
        if not arguments.connection:
            raise CommandError("a submitter needs at least one --connection")
    elif arguments.connection or arguments.root:
        raise CommandError(f"--connection and --root are for a submitter; {role} has no limits of this kind")
    token, text = issue(
        arguments.name,
        role,
        now,
        connections=tuple(arguments.connection),
        roots=tuple(arguments.root),
        expire_time=now + _span(arguments.expires_in) if arguments.expires_in else None,
    )
    if not await tokens.add(token):
        raise CommandError(f"the token {token.name} already exists; revoke it first, or choose another name")
    return text


def _check_known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            listed = ", ".join(sorted(known)) or "none at all"
            raise CommandError(f"there is no {what} {name!r} in the configuration, which has {listed}")


def _span(text: str) -> timedelta:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise CommandError(f"--expires-in {text!r} is not a time span; write it like 30m, 12h, 90d or 52w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


async def _note(database: Database, action: str, name: str) -> None:
    deed = Deed(
        time=utc_now(),
        principal=f"user {os.getuid()}",
        role=Role.ADMIN,
        peer=f"process {os.getpid()}",
        method=f"ladingd token {action}",
        resource=f"tokens/{name}",
        outcome="OK",
    )
    await SqlAuditStore(database).add([deed])


def _lines(tokens: Iterable[Token], now: datetime) -> Iterable[str]:
    rows = [("NAME", "ROLE", "STATE", "CREATED", "EXPIRES", "CONNECTIONS", "ROOTS")]
    rows += [
        (
            token.name,
            token.role,
            "revoked" if token.revoke_time else "valid" if token.in_force(now) else "expired",
            f"{token.create_time:%Y-%m-%d %H:%M}",
            f"{token.expire_time:%Y-%m-%d %H:%M}" if token.expire_time else "never",
            ",".join(token.connections) or "-",
            ",".join(token.roots) or "-",
        )
        for token in tokens
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
