"""Detects writes to a database file from outside of SQLite.

``PRAGMA data_version`` works only within one connection, but several processes read chunks. So they compare the files.
A checkpoint changes the files but no row, and counts as a change too. This module never opens the files: closing them
would drop the locks that SQLite holds in this process.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_TICK = 0.02
"""The time stamps of file systems may have steps of some milliseconds. Younger changes cannot be distinguished
surely."""


def written_last(path: Path) -> str:
    """A text that stays equal as long as nobody writes to the database."""
    while True:
        found = [_state(each) for each in (path, path.with_name(f"{path.name}-wal"))]
        latest = max((modified for _, _, modified in found), default=0)
        if not 0 <= time.time() - latest / 1e9 < _TICK:
            return "; ".join(" ".join(map(str, each)) for each in found)
        time.sleep(_TICK)


def _state(path: Path) -> tuple[int, int, int]:
    """The inode, the size and the time of the last change. An empty log counts as missing."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return 0, 0, 0
    return (facts.st_ino, facts.st_size, facts.st_mtime_ns) if facts.st_size else (0, 0, 0)
