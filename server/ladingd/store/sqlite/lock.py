"""Finds the process that holds the lock of an SQLite file, as far as the kernel shows it."""

from __future__ import annotations

import os
from pathlib import Path

_LOCKS = Path("/proc/locks")
_WRITER = 120
"""The byte of the shared memory that a writer locks if there is a write-ahead log."""


def holder(store: Path) -> str:
    """A description of the other process that holds the write lock; `another process` if it is unknown."""
    try:
        lines = [line.split() for line in _LOCKS.read_text().splitlines()]
        files = {
            file.stat().st_ino: file.name.endswith("-shm")
            for file in (store, store.with_name(store.name + "-shm"))
            if file.exists()
        }
    except OSError:
        return "another process"
    for words in lines:
        # 1: POSIX ADVISORY WRITE 4962 fe:00:2482196 120 120. A waiting lock has `->` after the number.
        if len(words) != 8 or words[3] != "WRITE" or int(words[4]) in (os.getpid(), -1):
            continue
        shared = files.get(int(words[5].split(":")[2]))
        if shared is None or (shared and not int(words[6]) <= _WRITER <= _last(words[7])):
            continue
        return f"process {words[4]}{_name_of(words[4])}"
    return "another process"


def _last(word: str) -> int:
    return 1 << 63 if word == "EOF" else int(word)


def _name_of(pid: str) -> str:
    try:
        return f" ({Path('/proc', pid, 'comm').read_text().strip()})"
    except OSError:
        return ""
