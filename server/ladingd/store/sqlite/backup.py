"""Makes complete, consistent and verified copies of a store. The store may be in use meanwhile."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from ladingd.core.clock import utc_now
from ladingd.core.errors import StoreUnusable
from ladingd.store.sqlite.lane import is_busy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KEPT = 3
"""How many copies from before migrations are kept."""

_BESIDES = 16 << 20
"""Bytes that a migration may need in addition to the copy."""

log = logging.getLogger(__name__)


def opened(path: Path) -> sqlite3.Connection:
    """A read-only connection. Raises sqlite3.Error."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def version_of(path: Path) -> str:
    """The schema version of a store; empty if the database is not a store. Raises sqlite3.Error."""
    with closing(opened(path)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            return ""
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return "" if found is None else str(found[0])


def size_of(path: Path) -> int:
    """The bytes of a store, including its write-ahead log."""
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def copy(path: Path, to: Path, *, replace: bool = False) -> int:
    """Make a verified copy, durably and atomically, and return its size. Raises OSError, sqlite3.Error.

    The copy is one file that only its owner can read. Raises FileExistsError if the file exists, unless ``replace``.
    """
    if not replace and os.path.lexists(to):
        raise FileExistsError(f"the file {to} already exists")
    draft = to.with_name(f".{to.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)  # Left by a process that had this pid and died.
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(opened(path)) as source, closing(sqlite3.connect(draft, isolation_level=None)) as target:
            source.backup(target)
            # Without a write-ahead log the copy is one file, which can be read without write access.
            target.execute("PRAGMA journal_mode = DELETE")
        problems = _problems(draft)
        if problems:
            raise sqlite3.DatabaseError(f"the copy is damaged: {problems[0]}")
        _sync(draft)
        if replace:
            draft.replace(to)
        else:
            os.link(draft, to)  # Unlike a rename, a link never replaces a file.
            draft.unlink()
        _sync(to.parent)
    finally:
        draft.unlink(missing_ok=True)
    return to.stat().st_size


def before_migration(path: Path) -> None:
    """Copy a store before its schema is upgraded. Raises StoreUnusable if that is impossible.

    A new, empty store is not copied.
    """
    version = version_of(path)
    if not version:
        return
    needed, free = size_of(path) + _BESIDES, shutil.disk_usage(path.parent).free
    if free < needed:
        raise StoreUnusable(
            path,
            f"there is not enough space in {path.parent} to copy the store before upgrading its schema {version}:"
            f" {needed:,} bytes are needed, {free:,} are free",
        )
    to = path.with_name(f"{path.stem}-{version}-{utc_now():%Y%m%dT%H%M%S.%fZ}.db.bak")
    try:
        copy(path, to)
    except (OSError, sqlite3.Error) as error:
        if is_busy(error):
            raise
        raise StoreUnusable(path, f"it cannot be copied before its schema is changed: {error}") from error
    log.warning("upgrading the store from its older schema; a copy of the old store is in %s", to)
    for old in copies(path)[:-KEPT]:
        old.unlink()
        log.info("removed %s, an older copy of the store", old)


def copies(path: Path) -> Sequence[Path]:
    """The copies from before migrations, the oldest first."""
    prefix = f"{path.stem}-"
    found = [file for file in path.parent.iterdir() if file.name.startswith(prefix) and file.name.endswith(".db.bak")]
    return sorted(found, key=lambda file: file.name.split("-")[-1])


def _problems(path: Path) -> list[str]:
    with closing(opened(path)) as connection:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(10)")]
    return [] if found == ["ok"] else found


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
