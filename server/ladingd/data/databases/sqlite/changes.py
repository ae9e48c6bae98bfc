"""Whether a database file was written to, seen from outside of SQLite.

``PRAGMA data_version`` says so to one connection only. Chunks are read by several processes, which compare the files.
A checkpoint changes the files and no row; it counts as a change all the same. The files are never opened here: to close
them would drop the locks that SQLite holds in this process.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_TICK = 0.02
"""File systems may count in steps of some milliseconds. Younger changes are not told apart for sure."""


def written_last(path: Path) -> str:
    """Equal texts: nobody has written to the database in between."""
    while True:
        found = [_state(each) for each in (path, path.with_name(f"{path.name}-wal"))]
        latest = max((modified for _, _, modified in found), default=0)
        if not 0 <= time.time() - latest / 1e9 < _TICK:
            return "; ".join(" ".join(map(str, each)) for each in found)
        time.sleep(_TICK)


def _state(path: Path) -> tuple[int, int, int]:
    """The inode, the size and the time of the last change. A log without content counts as missing."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return 0, 0, 0
    return (facts.st_ino, facts.st_size, facts.st_mtime_ns) if facts.st_size else (0, 0, 0)
