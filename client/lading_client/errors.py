"""What can go wrong between a client and a daemon.

LadingError
 +-- DaemonError             the daemon answered with an error, or could not be reached
 |    +-- InvalidArgument    a field of the request or of the spec is wrong; ``violations`` name it
 |    +-- Unauthenticated    the daemon wants a token, or does not know this one
 |    +-- PermissionDenied   the caller's role lacks the right
 |    +-- NotFound
 |    |    +-- FileNotFound
 |    +-- AlreadyExists
 |    +-- FailedPrecondition
 |    |    +-- CommandNotAllowed  the job's state forbids it
 |    |    +-- FileInUse          a job that may still run names the file
 |    |    +-- UploadMismatch     what is sent does not go on from what is there, or is not what was announced
 |    +-- Aborted            somebody else was faster: the etag is no longer the job's
 |    +-- OutOfRange
 |    |    +-- RevisionCompacted
 |    +-- ResourceExhausted
 |    |    +-- TooManyCalls       worth trying again after ``retry_delay``
 |    |    +-- QuotaExceeded
 |    +-- Unavailable
 |    |    +-- ShuttingDown
 |    +-- DeadlineExceeded
 |    +-- Internal           a defect; ``error_id`` stands in the daemon's log as well
 +-- BadAddress              not an address of a daemon
 +-- BadCredentials          a token or a file of TLS that cannot be used
 +-- BadSpec                 a spec that cannot be read as one
 +-- JobError                a job that was waited for came to another end; ``job`` is how it was then
 |    +-- JobFailed          ``failure`` says why
 |    +-- JobCanceled
 |    +-- JobDeleted
 +-- OwnDaemonError          the user's own daemon
      +-- UnsafeDirectory    the directory of its state or socket is open to others
      +-- StateUnusable      its state directory cannot be made or written to
      +-- DaemonUnreachable  it runs, and cannot be called
      +-- DaemonNotStarted
      +-- DaemonNotStopped
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta
    from pathlib import Path

    from lading_client.model import Failure, Job


class LadingError(Exception):
    """The base of all errors that this library raises on purpose."""

    @property
    def message(self) -> str:
        """The sentence that people read."""
        return str(self.args[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """A field that is wrong, as the API spells its path, and what is wrong with it."""

    field: str
    description: str


class DaemonError(LadingError):
    """An answer of the daemon, or its silence. ``code`` is gRPC's, ``reason`` the API's (`Reason`), without prefix.

    An empty reason: the daemon itself has not said this. ``retry_delay`` is set where trying again may help.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "UNKNOWN",
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: tuple[Violation, ...] = (),
        retry_delay: timedelta | None = None,
    ) -> None:
        self.code = code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = violations
        self.retry_delay = retry_delay
        super().__init__(message)


class InvalidArgument(DaemonError):
    """A field of the request or of the spec is wrong; nothing was changed."""


class Unauthenticated(DaemonError):
    """A token is needed, or the one that was sent is not known or no longer valid."""


class PermissionDenied(DaemonError):
    """The caller's role does not have this."""

    @property
    def role(self) -> str:
        """What the caller is."""
        return self.metadata.get("role", "")

    @property
    def needed(self) -> str:
        """What it takes."""
        return self.metadata.get("needed", "")


class NotFound(DaemonError):
    """There is no such job, or file."""


class FileNotFound(NotFound):
    """There is no such file, or upload."""


class AlreadyExists(DaemonError):
    """The wanted id is taken, or the request_id was used for another request."""


class FailedPrecondition(DaemonError):
    """The job is not in a condition for this; nothing was changed."""


class CommandNotAllowed(FailedPrecondition):
    """The job's state forbids the command."""

    @property
    def state(self) -> str:
        """The job's state."""
        return self.metadata.get("state", "")

    @property
    def command(self) -> str:
        """What was asked for."""
        return self.metadata.get("command", "")

    @property
    def allowed(self) -> tuple[str, ...]:
        """The commands that the state does allow."""
        return tuple(word.strip() for word in self.metadata.get("allowed", "").split(",") if word.strip())


class FileInUse(FailedPrecondition):
    """A job that may still run names the file."""


class UploadMismatch(FailedPrecondition):
    """The upload cannot go on like this."""

    @property
    def size(self) -> int:
        """How many bytes the daemon has."""
        return int(self.metadata.get("size", "0"))


class Aborted(DaemonError):
    """The job changed since the etag was given out; read it again."""


class OutOfRange(DaemonError):
    """The place to go on from is not there."""


class RevisionCompacted(OutOfRange):
    """The changes after the revision are no longer kept."""

    @property
    def oldest(self) -> int:
        """The oldest revision that a watch can go on from."""
        return int(self.metadata.get("oldest", "0"))


class ResourceExhausted(DaemonError):
    """Something is used up."""


class TooManyCalls(ResourceExhausted):
    """As many calls of this class run as may."""

    @property
    def call_class(self) -> str:
        """`commands`, `reads`, `watches` or `transfers`."""
        return self.metadata.get("class", "")


class QuotaExceeded(ResourceExhausted):
    """The file is too large, or the daemon keeps too many bytes of uploads already."""


class Unavailable(DaemonError):
    """The daemon, or something it needs, cannot be reached at present."""


class ShuttingDown(Unavailable):
    """The daemon takes no more work."""


class StoreBusy(Unavailable):
    """Another process holds the lock of the daemon's own store. Nothing was changed."""


class DeadlineExceeded(DaemonError):
    """No answer in time. What was asked for may or may not have happened."""


class Internal(DaemonError):
    """A defect of the daemon."""

    @property
    def error_id(self) -> str:
        """What to look for in the daemon's log."""
        return self.metadata.get("error_id", "")


class BadAddress(LadingError):
    """Not an address of a daemon."""

    def __init__(self, address: str, problem: str) -> None:
        self.address = address
        super().__init__(f"{address!r} is not an address of a daemon: {problem}")


class BadCredentials(LadingError):
    """A token or a file of TLS that cannot be used. Nothing was sent.

    ``setting`` is which: `token`, or a field of `Tls`; empty where it is about several.
    """

    def __init__(self, problem: str, *, setting: str = "") -> None:
        self.setting = setting
        super().__init__(problem)


class BadSpec(LadingError):
    """A spec that cannot be read as one."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)


class JobError(LadingError):
    """A job that was waited for came to another end than FINISHED."""

    def __init__(self, job: Job, problem: str) -> None:
        self.job = job
        super().__init__(f"{job.name} {problem}")


class JobFailed(JobError):
    """A technical error stopped the job. `Client.start_job` goes on after its last committed chunk."""

    def __init__(self, job: Job) -> None:
        said = "failed" if job.failure is None else f"failed: {job.failure.message} ({job.failure.code})"
        super().__init__(job, said)

    @property
    def failure(self) -> Failure | None:
        """Why."""
        return self.job.failure


class JobCanceled(JobError):
    """Somebody canceled the job; committed records stay."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, "was canceled")


class JobDeleted(JobError):
    """The job is no more. ``job`` is how it was seen last."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, "was deleted")


class OwnDaemonError(LadingError):
    """Something about the user's own daemon."""


class UnsafeDirectory(OwnDaemonError):
    """Others could have put a socket there and pretend to be the daemon."""

    def __init__(self, directory: Path, problem: str) -> None:
        self.directory = directory
        super().__init__(f"the directory {directory} is not used for your daemon: it {problem}")


class StateUnusable(OwnDaemonError):
    """The daemon has nowhere to keep its things."""

    def __init__(self, directory: Path, problem: str) -> None:
        self.directory = directory
        super().__init__(
            f"the daemon could not be started: its state directory {directory} cannot be created or written: {problem};"
            " XDG_STATE_HOME can name another place"
        )


class DaemonUnreachable(OwnDaemonError):
    """The daemon runs, and cannot be called. ``pid`` is None where it is not known, or of another machine.

    Where it is not ``certain``, it may be about to say where it is.
    """

    def __init__(self, problem: str, *, pid: int | None, certain: bool = True) -> None:
        self.pid = pid
        self.certain = certain
        super().__init__(problem)

    @classmethod
    def silent(cls, path: str, pid: int) -> DaemonUnreachable:
        """Nobody listens where it says it does."""
        return cls(
            f"your daemon (pid {pid}) runs, but its socket {path} is gone or does not answer."
            " To stop the daemon: lading daemon stop; the next command starts another one, which continues the jobs",
            pid=pid,
        )

    @classmethod
    def elsewhere(cls, directory: Path, host: str) -> DaemonUnreachable:
        """It runs on another machine, with the same home."""
        return cls(
            f"your daemon runs on {host}, which shares the state directory {directory} with this machine:"
            f" work there, or stop the daemon there first: lading daemon stop",
            pid=None,
        )

    @classmethod
    def without_word(cls, directory: Path, pid: int | None) -> DaemonUnreachable:
        """It does not say where it is."""
        named = "a daemon" if pid is None else f"a daemon (pid {pid})"
        return cls(
            f"{named} holds the state directory {directory} and does not say where its socket is: it is stopping, or is"
            " an older version. Try again in a few seconds, or stop it: lading daemon stop",
            pid=pid,
            certain=False,
        )


class DaemonNotStarted(OwnDaemonError):
    """The daemon could not be started. ``log_tail`` is what it said last."""

    def __init__(self, problem: str, *, log: Path, log_tail: tuple[str, ...]) -> None:
        self.log = log
        self.log_tail = log_tail
        said = "\n".join(f"  {line}" for line in log_tail) if log_tail else "  (nothing)"
        super().__init__(f"{problem}\nThe last lines of its log {log}:\n{said}")


class DaemonNotStopped(OwnDaemonError):
    """The daemon runs on."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
