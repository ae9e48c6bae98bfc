"""The directory that jobs keep their rejects and parts in, and how files get there durably."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ladingd.core.errors import DestinationRefused, DiskFull

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_JOB_UID = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Workplace:
    """A directory with ``jobs/ID/rejects``, ``jobs/ID/parts`` and ``locks``, and with ``strangers/ID`` for what was
    found beneath ``jobs`` of jobs that nobody knows."""

    directory: Path

    def job(self, job_uid: str) -> Path:
        """The job's own directory. Raises ValueError for one that would lead elsewhere."""
        if _JOB_UID.fullmatch(job_uid) is None:
            raise ValueError(f"{job_uid!r} is no uid of a job")
        return self.directory / "jobs" / job_uid

    def rejects(self, job_uid: str, ordinal: int) -> Path:
        """The file with the rejects of one chunk."""
        return self.job(job_uid) / "rejects" / f"{ordinal:06d}.jsonl"

    def part(self, job_uid: str, ordinal: int) -> Path:
        """The file with the exported records of one chunk; its counts stand beside it."""
        return self.job(job_uid) / "parts" / f"{ordinal:06d}.csv"

    def forget(self, job_uid: str) -> None:
        """Remove the job's directory and its locks, if there are any. Raises DestinationRefused.

        Who waits for a lock of it then gets one of no use, and finds the job gone.
        """
        directory = self.job(job_uid)
        with writing(directory):
            if directory.exists():
                shutil.rmtree(directory)
            for name in (f"job {job_uid}", f"keys of {job_uid}"):
                self._lock(name).unlink(missing_ok=True)

    def uids(self) -> list[str]:
        """The uids of the jobs that have a directory. What else stands beside them is not ours."""
        return _uids(self.directory / "jobs")

    def set_aside(self, job_uid: str) -> None:
        """Put the job's directory among the strangers. Raises DestinationRefused."""
        directory, strangers = self.job(job_uid), self.directory / "strangers"
        with writing(strangers):
            strangers.mkdir(mode=0o700, exist_ok=True)
            os.utime(directory)  # Since when it is there.
            directory.replace(strangers / job_uid)

    def forget_orphans(self, before: float) -> None:
        """Remove those that were set aside before a time, in seconds since 1970. Raises DestinationRefused."""
        strangers = self.directory / "strangers"
        with writing(strangers):
            for uid in _uids(strangers):
                if (strangers / uid).stat().st_mtime < before:
                    shutil.rmtree(strangers / uid)

    @contextmanager
    def locked(self, name: str, *, shared: bool = False) -> Iterator[None]:
        """Wait for the lock of that name and hold it, alone or together with others that share it.

        The kernel lets go of it when the process dies. Raises DestinationRefused.
        """
        descriptor = self._opened(name)
        try:
            with writing(self.directory / "locks"):
                fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def is_locked(self, name: str) -> bool:
        """Whether anybody holds the lock of that name. Raises DestinationRefused."""
        descriptor = self._opened(name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _opened(self, name: str) -> int:
        locks = self.directory / "locks"
        with writing(locks):
            locks.mkdir(parents=True, exist_ok=True)
            return os.open(self._lock(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _lock(self, name: str) -> Path:
        return self.directory / "locks" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock"


def _uids(directory: Path) -> list[str]:
    if not directory.is_dir():
        return []
    with os.scandir(directory) as entries:
        return [one.name for one in entries if one.is_dir(follow_symlinks=False) and _JOB_UID.fullmatch(one.name)]


def write_durably(path: Path, pieces: Iterable[bytes]) -> None:
    """Put a file into its place all at once: whoever looks sees the old one, or the whole new one on the disk.

    Raises DestinationRefused.
    """
    draft = draft_of(path)
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.writelines(pieces)
            sync_file(file)
        draft.replace(path)
        sync_directory(path.parent)


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Raises DiskFull, or DestinationRefused, naming the directory of the daemon's own that is full or cannot be
    used."""
    try:
        yield
    except OSError as error:
        if (full := disk_full(error, f"the daemon cannot write into its directory {directory}", directory)) is not None:
            raise full from error
        raise DestinationRefused(f"the daemon cannot write into its directory {directory}: {error.strerror}") from error


def disk_full(error: OSError, what: str, directory: Path) -> DiskFull | None:
    """What an error means where it says that there is no room; None where it says something else."""
    if error.errno == errno.ENOSPC:
        return DiskFull(f"{what}: {error.strerror}", str(directory))
    if error.errno == errno.EDQUOT:  # How much room a quota leaves the directory does not show.
        return DiskFull(f"{what}: {error.strerror}")
    return None


def draft_of(path: Path) -> Path:
    """Where this process writes a file before it gets its name. A process that was given up cannot write into it."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def sync_file(file: BinaryIO) -> None:
    """Make what was written into a file durable."""
    file.flush()
    os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
