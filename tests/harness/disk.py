"""A small disk of its own, which a test fills and empties."""

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
    """A file system in memory, of so many bytes, mounted on a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filling = path / "filling"

    @property
    def free(self) -> int:
        """The bytes that anybody could still write."""
        return shutil.disk_usage(self.path).free

    def fill(self, leave: int = 0) -> None:
        """Take up all room but so many bytes, whatever others do with it meanwhile."""
        with self._filling.open("ab") as file:
            while (excess := self.free - leave) > 0:
                try:
                    os.posix_fallocate(file.fileno(), file.tell(), excess)
                except OSError:
                    continue  # Somebody was faster.
                file.seek(0, os.SEEK_END)

    def empty(self) -> None:
        """Give it back."""
        self._filling.unlink()


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[SmallDisk]:
    """Mount one on a directory, made where it is not there; skips the test where nobody may."""
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
