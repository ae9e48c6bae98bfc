"""Gives other programs a chance to write to the same database.

Our workers pass the write lock to each other at once. SQLite's busy handler in another program sleeps up to 100 ms
between two attempts, so that program could wait for a whole job. If another process has the file open, the lock stays
free after each chunk for as long as that handler may sleep.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ladingd.data.databases.sqlite.session import alone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Seconds waited so far, and the longest next sleep (sqliteDefaultBusyCallback in SQLite's main.c).
_SLEEPS = ((0.128, 0.025), (0.228, 0.05))
_LONGEST = 0.1
_MARGIN = 0.005


@contextmanager
def courteous(path: Path) -> Iterator[None]:
    """Leave the database unlocked for a moment after the ``with`` if another process has it open.

    No connection of this process may be open at the end of the block.
    """
    begin = time.monotonic()
    yield
    if path.exists() and is_open_elsewhere(path):
        held = time.monotonic() - begin
        time.sleep(next((sleep for waited, sleep in _SLEEPS if held < waited), _LONGEST) + _MARGIN)


def is_open_elsewhere(path: Path) -> bool:
    """Whether another process has a file open. True if the system cannot tell."""
    # Closing a descriptor would break the locks of a connection to this file (sqlite.org/howtocorrupt.html, 2.2).
    with alone(path, "none"):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            # A write lease is granted only if nobody else has the file open. If another process opens it now, the
            # kernel sends SIGURG, which is ignored.
            fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            return True
        finally:
            os.close(descriptor)  # Also releases the lease.
    return False
