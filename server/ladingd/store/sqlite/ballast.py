"""Disk space held in reserve, so that states can still be written when the disk is full."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

from ladingd.host.full_disk import says_disk_full

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 8 << 20
"""Bytes: enough for thousands of changes of state."""

_TRIAL = 64 << 10
"""Bytes that are written to test for space: twice what SQLite allocates at once for its shared memory."""


class Ballast:
    """A file that reserves space until it is needed. Methods block."""

    def __init__(self, path: Path, size: int = SIZE) -> None:
        self._path = path
        self._size = size

    def restore(self) -> bool:
        """Reserve the space again. Returns False, and reserves nothing, if there is too little. Raises OSError."""
        if self._path.exists() and self._path.stat().st_size == self._size:
            return True
        if shutil.disk_usage(self._path.parent).free < 4 * self._size:
            return False
        try:
            with self._path.open("wb") as file:
                self._path.chmod(0o600)
                os.posix_fallocate(file.fileno(), 0, self._size)
        except OSError as error:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            if not says_disk_full(error):
                raise
            return False
        return True

    def release(self) -> bool:
        """Free the space. Returns False if it was free already."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True


def full(directory: Path) -> bool:
    """Whether a test write to the directory fails for lack of space, lack of inodes, or a quota."""
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(_TRIAL))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return says_disk_full(error)
    return False
