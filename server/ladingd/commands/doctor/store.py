"""Checks the store without disturbing a daemon that writes to it."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import quote

from ladingd.commands.doctor.report import Line, fail, ok, warn
from ladingd.store.migration import HEAD
from ladingd.store.sqlite.database import STORE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ladingd.config import Settings

TIMEOUT = 10.0
"""Seconds that the check of the file may take."""
_STEPS = 10_000


def store(settings: Settings, *, running: bool) -> Iterator[Line]:
    """The schema, the jobs, the size, and whether the file is sound."""
    path = settings.state_dir / STORE
    try:
        size = sum(each.stat().st_size for each in (path, *path.parent.glob(f"{STORE}-*")))
    except FileNotFoundError:
        yield ok("store", f"{path} does not exist yet: the daemon creates it at its first start")
        return
    except OSError as error:
        yield warn("store", f"{path}: {error.strerror}", "check as the daemon's user, or as root")
        return
    try:
        with closing(sqlite3.connect(_uri(path, running=running), uri=True, timeout=TIMEOUT)) as connection:
            yield _schema(connection)
            yield _jobs(connection, size)
            yield _whole(connection)
    except sqlite3.Error as error:
        advice = "stop the daemon, keep a copy of the file, and put a backup in its place"
        yield fail("store", f"{path} cannot be read: {error}", advice)


def _uri(path: Path, *, running: bool) -> str:
    # Without a daemon and a write-ahead log, nobody changes the file, and SQLite need not create files beside it.
    still = not running and not path.with_name(f"{STORE}-wal").exists()
    return f"file:{quote(str(path))}?mode=ro{'&immutable=1' if still else ''}"


def _schema(connection: sqlite3.Connection) -> Line:
    found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if found is None:
        advice = "stop the daemon, keep a copy of the file, and put a backup in its place"
        return fail("schema", "the file does not contain its schema version", advice)
    version = str(found[0])
    if version > HEAD:
        return fail(
            "schema", f"{version} is newer than {HEAD}, the newest that this program knows", "use a newer Lading"
        )
    if version < HEAD:
        return warn("schema", f"{version}; this program has {HEAD}", "the next start of the daemon migrates it")
    return ok("schema", version)


def _jobs(connection: sqlite3.Connection, size: int) -> Line:
    states = connection.execute("SELECT state, count(*) FROM jobs GROUP BY state ORDER BY state").fetchall()
    said = ", ".join(f"{number:,} {state}" for state, number in states) or "no jobs"
    return ok("jobs", f"{said}; {size / (1 << 20):,.1f} MiB")


def _whole(connection: sqlite3.Connection) -> Line:
    deadline = time.monotonic() + TIMEOUT
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    except sqlite3.OperationalError as error:
        if time.monotonic() < deadline:
            raise
        return warn("integrity", f"not completely checked within {TIMEOUT:g} s ({error})", "run ladingd store check")
    if found != ["ok"]:
        advice = "stop the daemon, keep a copy of the file, and put a backup in its place"
        return fail("integrity", f"the file is damaged: {'; '.join(found)}", advice)
    return ok("integrity", "the file is sound")
