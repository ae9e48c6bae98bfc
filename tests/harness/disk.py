"""A small disk that a test can fill and empty."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 20.0


class SmallDisk:
    """A file system in memory with ``size`` bytes, mounted on a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filling = path / "filling"

    @property
    def free(self) -> int:
        """The free bytes."""
        return shutil.disk_usage(self.path).free

    def fill(self, leave: int = 0) -> None:
        """Fill the disk except for ``leave`` bytes, even if others write meanwhile."""
        with self._filling.open("ab") as file:
            while (excess := self.free - leave) > 0:
                try:
                    os.posix_fallocate(file.fileno(), file.tell(), excess)
                except OSError:
                    continue  # Another writer was faster.
                file.seek(0, os.SEEK_END)

    def empty(self) -> None:
        """Free the space again."""
        self._filling.unlink()


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[SmallDisk]:
    """Mount a small disk on a directory, created if missing. Skips the test if mounting is not allowed."""
    path.mkdir(mode=0o700, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "lading-test", str(path)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except FileNotFoundError:
        pytest.skip("there is no command mount")
    if done.returncode:
        pytest.skip(f"no small disk can be mounted: {done.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True, timeout=PATIENCE)
