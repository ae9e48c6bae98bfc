"""The directory for the rejects and parts of jobs, and durable writes into it."""

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
from ladingd.host.full_disk import says_disk_full

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_JOB_UID = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkDir:
    """A directory with ``jobs/ID/rejects``, ``parts``, ``staged`` and ``content``, with ``locks``, and with
    ``strangers/ID`` for what was found beneath ``jobs`` of jobs that nobody knows."""

    directory: Path

    def job(self, job_uid: str) -> Path:
        """The job's own directory. Raises ValueError if the uid would lead out of ``jobs``."""
        if _JOB_UID.fullmatch(job_uid) is None:
            raise ValueError(f"{job_uid!r} is not the uid of a job")
        return self.directory / "jobs" / job_uid

    def rejects(self, job_uid: str, ordinal: int) -> Path:
        """The file with the rejects of one chunk."""
        return self.job(job_uid) / "rejects" / f"{ordinal:06d}.jsonl"

    def part(self, job_uid: str, ordinal: int) -> Path:
        """The file with the exported records of one chunk. The file with its counts is next to it."""
        return self.job(job_uid) / "parts" / f"{ordinal:06d}.csv"

    def content(self, job_uid: str, phase: int = 0) -> Path:
        """The file with the content of a compressed or converted source, which a phase reads."""
        return self.job(job_uid) / f"content-{phase}"

    def chunks(self, job_uid: str, phase: int) -> Path:
        """The file with the chunks of a file whose records are staged."""
        return self.job(job_uid) / f"chunks-{phase}.json"

    def staged(self, job_uid: str) -> Path:
        """The directory for staged records, if they are not in the target."""
        return self.job(job_uid) / "staged"

    def forget_staged(self, job_uid: str) -> None:
        """Remove the staged records of a job if there are some. Raises DestinationRefused."""
        directory = self.staged(job_uid)
        with writing(directory):
            if directory.exists():
                shutil.rmtree(directory)

    def forget(self, job_uid: str) -> None:
        """Remove the job's directory and its locks if they exist. Raises DestinationRefused.

        A process that waits for one of these locks gets it, and then finds the job gone.
        """
        directory = self.job(job_uid)
        with writing(directory):
            if directory.exists():
                shutil.rmtree(directory)
            for name in (f"job {job_uid}", f"keys of {job_uid}"):
                self._lock(name).unlink(missing_ok=True)

    def uids(self) -> list[str]:
        """The uids of the jobs that have a directory. Other entries do not belong to Lading."""
        return _uids(self.directory / "jobs")

    def set_aside(self, job_uid: str) -> None:
        """Move the job's directory to the orphans. Raises DestinationRefused."""
        directory, strangers = self.job(job_uid), self.directory / "strangers"
        with writing(strangers):
            strangers.mkdir(mode=0o700, exist_ok=True)
            os.utime(directory)  # When it became an orphan.
            directory.replace(strangers / job_uid)

    def forget_orphans(self, before: float) -> None:
        """Remove the orphans that were set aside before a time, in seconds since 1970. Raises DestinationRefused."""
        strangers = self.directory / "strangers"
        with writing(strangers):
            for uid in _uids(strangers):
                if (strangers / uid).stat().st_mtime < before:
                    shutil.rmtree(strangers / uid)

    @contextmanager
    def locked(self, name: str, *, shared: bool = False) -> Iterator[None]:
        """Wait for a lock and hold it, alone or shared.

        The kernel releases the lock when the process dies. Raises DestinationRefused.
        """
        descriptor = self._opened(name)
        try:
            with writing(self.directory / "locks"):
                fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def is_locked(self, name: str) -> bool:
        """Whether anybody holds a lock. Raises DestinationRefused."""
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
    """Replace a file atomically and durably: readers see the old file or the whole new one.

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
    """Turn an OSError into DiskFull or DestinationRefused, with the name of the daemon's directory."""
    try:
        yield
    except OSError as error:
        if (full := disk_full(error, f"the daemon cannot write into its directory {directory}", directory)) is not None:
            raise full from error
        raise DestinationRefused(f"the daemon cannot write into its directory {directory}: {error.strerror}") from error


def disk_full(error: OSError, what: str, directory: Path) -> DiskFull | None:
    """DiskFull if the error says that the disk or the quota is full; else None."""
    if not says_disk_full(error):
        return None
    # The file system does not report how much a quota leaves.
    return DiskFull(f"{what}: {error.strerror}", "" if error.errno == errno.EDQUOT else str(directory))


def draft_of(path: Path) -> Path:
    """The name under which this process writes a file at first. An abandoned process uses another name."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def sync_file(file: BinaryIO) -> None:
    """Make the content of a file durable."""
    file.flush()
    os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
