"""Tries a SQLite database without making or changing anything."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ladingd.core.errors import TargetRefused
from ladingd.data.databases.provider import Answer
from ladingd.data.databases.sqlite.session import connected, is_there

if TYPE_CHECKING:
    from pathlib import Path


def try_out(path: Path) -> Answer:
    """Open the file and read from it. Raises TargetUnavailable, TargetRefused."""
    directory = path.parent
    if not is_there(path):
        if not directory.is_dir():
            raise TargetRefused(f"there is no directory {directory} for the database; make it")
        if not os.access(directory, os.W_OK | os.X_OK):
            raise TargetRefused(f"the user {os.getuid()} may not make the database in {directory}")
        return Answer(server="SQLite, no file yet: the first import makes it")
    with connected(path, read_only=True) as database:
        ((version, _),) = database.rows("SELECT sqlite_version(), (SELECT count(*) FROM sqlite_schema)")
    reservation = ""
    if not os.access(path, os.W_OK) or not os.access(directory, os.W_OK | os.X_OK):
        # SQLite makes its journal beside the file.
        reservation = f"the user {os.getuid()} may not write to {path} and its directory: it serves exports alone"
    return Answer(server=f"SQLite {version}", reservation=reservation)
