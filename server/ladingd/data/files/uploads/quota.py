"""The quota for uploads and exports for download."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.core.errors import QuotaExceeded
from ladingd.core.files import UPLOADS
from ladingd.host.full_disk import says_disk_full

if TYPE_CHECKING:
    from collections.abc import Iterator

TOTAL_LIMIT = 256 << 30
DISK_RESERVE = 256 << 20
"""Bytes that uploads leave free on the disk. The store of jobs needs them: a full disk stops the daemon."""


@dataclass(kw_only=True, slots=True)
class UploadRoom:
    """The directories of uploads: ``uploads/ID/NAME`` holds whole files and drafts of exports, ``receiving`` the rest.

    ``limit`` is the quota in bytes and may change at any time; ``disk_reserve`` is the free space to keep, in bytes.
    """

    directory: Path
    limit: int = TOTAL_LIMIT
    disk_reserve: int = DISK_RESERVE

    @property
    def root(self) -> Path:
        """The directory of whole files."""
        return self.directory / UPLOADS

    @property
    def receiving(self) -> Path:
        """The directory of files in transfer and of all records."""
        return self.directory / "receiving"

    def check(self, coming: int, *, promised: int = 0, given_up: int = 0) -> None:
        """Check that ``coming`` bytes fit into the quota, beside the bytes promised to others. Raises QuotaExceeded.

        ``given_up`` is the number of stored bytes that will be removed.
        """
        kept = self._kept() + promised - given_up
        if kept + coming > self.limit:
            raise QuotaExceeded(
                f"{kept} bytes of uploads and of exports for download are kept or come; with these {coming} it would"
                f" be more than {self.limit}: delete some, or the jobs that need them, or wait until those that no job"
                " needs are removed"
            )
        self.check_disk(promised + coming - given_up)

    def check_disk(self, coming: int) -> None:
        """Check that the disk has room for ``coming`` bytes. Raises QuotaExceeded."""
        directory = next(path for path in (self.receiving, *self.receiving.parents) if path.exists())
        disk = os.statvfs(directory)
        if disk.f_bavail * disk.f_frsize < coming + self.disk_reserve:
            raise QuotaExceeded(f"the daemon's disk has no room for {coming} bytes more")

    def _kept(self) -> int:
        return sum(sizes(self.receiving)) + sum(size for each in entries(self.root) for size in sizes(each))


@contextmanager
def disk() -> Iterator[None]:
    """Turn an OSError of a full disk into QuotaExceeded."""
    try:
        yield
    except OSError as error:
        if not says_disk_full(error):
            raise
        raise QuotaExceeded("the daemon's disk is full") from error


def entries(directory: Path) -> list[Path]:
    """The entries of a directory; none if it does not exist."""
    try:
        return list(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def size(path: Path) -> int:
    """The size of a file; 0 if it does not exist."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def sizes(directory: Path) -> list[int]:
    """The size of each file in a directory."""
    return [size(path) for path in entries(directory)]
