"""How much room the files of clients take, and may take."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.core.errors import QuotaExceeded
from ladingd.core.files import UPLOADS

if TYPE_CHECKING:
    from collections.abc import Iterator

TOTAL_LIMIT = 256 << 30
DISK_RESERVE = 256 << 20
"""What uploads leave free on the disk: the store of jobs is there as well, and stops the daemon where it is full."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(kw_only=True, slots=True)
class UploadRoom:
    """Beneath a directory: ``uploads/ID/NAME`` are whole files, and drafts of exports; ``receiving`` has what comes.

    ``limit`` is for all that is kept, and can be changed at any time, ``disk_reserve`` for what is left free; bytes.
    """

    directory: Path
    limit: int = TOTAL_LIMIT
    disk_reserve: int = DISK_RESERVE

    @property
    def root(self) -> Path:
        """Where whole files are."""
        return self.directory / UPLOADS

    @property
    def receiving(self) -> Path:
        """Where files are as long as they come, and what is known of all."""
        return self.directory / "receiving"

    def check(self, coming: int, *, promised: int = 0, given_up: int = 0) -> None:
        """See that so many bytes may come beside those that are promised to others. ``given_up`` of those that are
        there will go. Raises QuotaExceeded."""
        kept = self._kept() + promised - given_up
        if kept + coming > self.limit:
            raise QuotaExceeded(
                f"{kept} bytes of uploads and of exports for download are kept or come; with these {coming} it would"
                f" be more than {self.limit}: delete some, or the jobs that need them, or wait until those that no job"
                " needs are removed"
            )
        self.check_disk(promised + coming - given_up)

    def check_disk(self, coming: int) -> None:
        """See that the disk has room for so many bytes. Raises QuotaExceeded."""
        directory = next(path for path in (self.receiving, *self.receiving.parents) if path.exists())
        disk = os.statvfs(directory)
        if disk.f_bavail * disk.f_frsize < coming + self.disk_reserve:
            raise QuotaExceeded(f"the daemon's disk has no room for {coming} bytes more")

    def _kept(self) -> int:
        return sum(sizes(self.receiving)) + sum(size for each in entries(self.root) for size in sizes(each))


@contextmanager
def disk() -> Iterator[None]:
    """Raises QuotaExceeded where the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise QuotaExceeded("the daemon's disk is full") from error


def entries(directory: Path) -> list[Path]:
    """What is in a directory; nothing where there is none."""
    try:
        return list(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def size(path: Path) -> int:
    """A file's bytes; none where there is no file."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def sizes(directory: Path) -> list[int]:
    """The bytes of each file in a directory."""
    return [size(path) for path in entries(directory)]
