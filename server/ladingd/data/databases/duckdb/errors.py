"""Translates DuckDB's errors."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import duckdb

from ladingd.core.errors import DiskFull, TargetBusy, TargetRefused, TargetUnavailable, TechnicalError
from ladingd.data.databases.commit import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOCKED = re.compile(r"Conflicting lock is held in (?P<program>.+?) \(PID (?P<pid>[0-9]+)\)", re.DOTALL)
_LOCK = "Could not set lock on file"
_FULL = re.compile(r"No space left on device|Disk quota exceeded|max_temp_directory_size", re.IGNORECASE)
_MISSING = "No such file or directory"
_PERMISSION = "Permission denied"
_CONFLICT = re.compile(r"[Cc]onflict|Transaction conflict")
_SHOWS_VALUES = (duckdb.ConversionException, duckdb.ConstraintException, duckdb.OutOfRangeException)
"""The texts of these errors may contain values. Users who may not read records may read the journal."""


def is_locked(error: duckdb.Error) -> bool:
    """Whether another process has the database open."""
    return _LOCK in str(error) or _LOCKED.search(str(error)) is not None


def technical(path: Path, error: duckdb.Error) -> TechnicalError:
    """The error that a job fails with."""
    text = str(error)
    if is_locked(error):
        found = _LOCKED.search(text)
        holder = f"{found['program']} (PID {found['pid']})" if found else "another process"
        return TargetBusy(
            f"{path.name} is open in {holder}, and DuckDB lets one process at a time write: close it there"
        )
    if _FULL.search(text):
        return DiskFull(f"{path.name}: no space left on device", str(path.parent))
    if isinstance(error, duckdb.IOException):
        if _PERMISSION in text:
            return TargetRefused(f"{path.name}: the daemon may not open the file, or make one in its directory")
        if _MISSING in text:
            return TargetUnavailable(f"the database file {path.name} is missing")
    if isinstance(error, duckdb.TransactionException) and _CONFLICT.search(text):
        return Conflict(f"{path.name}: another transaction changes the same records")
    if isinstance(error, _SHOWS_VALUES):
        return TargetRefused(f"{path.name}: {type(error).__name__.removesuffix('Exception')} error in a statement")
    return TargetRefused(f"{path.name}: {_sentence(text)}")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Translates the errors of DuckDB in a block."""
    try:
        yield
    except duckdb.Error as error:
        raise technical(path, error) from error


def _sentence(text: str) -> str:
    """DuckDB's message without the kind of error, advice and statement."""
    return re.sub(r"^[A-Za-z ]+ Error: ", "", text.split("\n", 1)[0]).strip()
