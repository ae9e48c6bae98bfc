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
 |    |    +-- UploadMismatch     the data does not continue the upload, or differs from what was announced
 |    +-- Aborted            the job has changed: the etag is outdated
 |    +-- OutOfRange
 |    |    +-- RevisionCompacted
 |    +-- ResourceExhausted
 |    |    +-- TooManyCalls       try again after ``retry_delay``
 |    |    +-- QuotaExceeded
 |    +-- Unavailable
 |    |    +-- ShuttingDown
 |    +-- DeadlineExceeded
 |    +-- Internal           a defect; ``error_id`` is also in the daemon's log
 +-- BadAddress              not an address of a daemon
 +-- BadCredentials          a token or a TLS file that cannot be used
 +-- BadSpec                 not a valid spec
 +-- JobError                the awaited job did not finish; ``job`` is its last state
 |    +-- JobFailed          ``failure`` says why
 |    +-- JobCanceled
 |    +-- JobDeleted
 +-- OwnDaemonError          the user's own daemon
      +-- UnsafeDirectory    the directory of its state or socket is open to others
      +-- StateUnusable      its state directory cannot be created or written
      +-- DaemonUnreachable  it runs, but cannot be called
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
    """A wrong field, with its path as in the API, and what is wrong with it."""

    field: str
    description: str


class DaemonError(LadingError):
    """The daemon answered with an error or did not answer. ``code`` is gRPC's, ``reason`` a `Reason` without prefix.

    If ``reason`` is empty, the error does not come from the daemon itself. ``retry_delay`` is set if a retry may help.
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
    """A token is needed, or the token is unknown or no longer valid."""


class PermissionDenied(DaemonError):
    """The caller's role lacks the right."""

    @property
    def role(self) -> str:
        """The caller's role."""
        return self.metadata.get("role", "")

    @property
    def needed(self) -> str:
        """The right that the call needs."""
        return self.metadata.get("needed", "")


class NotFound(DaemonError):
    """The job or file does not exist."""


class FileNotFound(NotFound):
    """The file or upload does not exist."""


class AlreadyExists(DaemonError):
    """The requested id is taken, or the request_id was used for another request."""


class FailedPrecondition(DaemonError):
    """The present state of the job or file does not allow the call; nothing was changed."""


class CommandNotAllowed(FailedPrecondition):
    """The job's state forbids the command."""

    @property
    def state(self) -> str:
        """The job's state."""
        return self.metadata.get("state", "")

    @property
    def command(self) -> str:
        """The refused command."""
        return self.metadata.get("command", "")

    @property
    def allowed(self) -> tuple[str, ...]:
        """The commands that the state allows."""
        return tuple(word.strip() for word in self.metadata.get("allowed", "").split(",") if word.strip())


class FileInUse(FailedPrecondition):
    """A job that may still run names the file."""


class UploadMismatch(FailedPrecondition):
    """The data does not continue the upload."""

    @property
    def size(self) -> int:
        """How many bytes the daemon has received."""
        return int(self.metadata.get("size", "0"))


class Aborted(DaemonError):
    """The job has changed since the client received the etag; read the job again."""


class OutOfRange(DaemonError):
    """The requested position does not exist."""


class RevisionCompacted(OutOfRange):
    """The changes after the revision are no longer kept."""

    @property
    def oldest(self) -> int:
        """The oldest revision from which a watch can resume."""
        return int(self.metadata.get("oldest", "0"))


class ResourceExhausted(DaemonError):
    """A limit is reached."""


class TooManyCalls(ResourceExhausted):
    """Too many calls of this class are running."""

    @property
    def call_class(self) -> str:
        """`commands`, `reads`, `watches` or `transfers`."""
        return self.metadata.get("class", "")


class QuotaExceeded(ResourceExhausted):
    """The file is too large, or the daemon already keeps too many bytes of uploads."""


class Unavailable(DaemonError):
    """The daemon, or something it needs, cannot be reached at present."""


class ShuttingDown(Unavailable):
    """The daemon is shutting down and accepts no more work."""


class StoreBusy(Unavailable):
    """Another process holds the lock of the daemon's own store. Nothing was changed."""


class DeadlineExceeded(DaemonError):
    """The daemon did not answer in time. The call may or may not have had its effect."""


class Internal(DaemonError):
    """A defect of the daemon."""

    @property
    def error_id(self) -> str:
        """The id of the error in the daemon's log."""
        return self.metadata.get("error_id", "")


class BadAddress(LadingError):
    """Not an address of a daemon."""

    def __init__(self, address: str, problem: str) -> None:
        self.address = address
        super().__init__(f"{address!r} is not an address of a daemon: {problem}")


class BadCredentials(LadingError):
    """A token or a TLS file that cannot be used. Nothing was sent.

    ``setting`` is `token` or a field of `Tls`. It is empty if the error concerns several of them.
    """

    def __init__(self, problem: str, *, setting: str = "") -> None:
        self.setting = setting
        super().__init__(problem)


class BadSpec(LadingError):
    """Not a valid spec."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)


class JobError(LadingError):
    """A job did not end as FINISHED."""

    def __init__(self, job: Job, problem: str) -> None:
        self.job = job
        super().__init__(f"{job.name} {problem}")


class JobFailed(JobError):
    """A technical error stopped the job. `Client.start_job` continues it after its last committed chunk."""

    def __init__(self, job: Job) -> None:
        said = "failed" if job.failure is None else f"failed: {job.failure.message} ({job.failure.code})"
        super().__init__(job, said)

    @property
    def failure(self) -> Failure | None:
        """Why the job failed."""
        return self.job.failure


class JobCanceled(JobError):
    """Somebody canceled the job; committed records stay."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, "was canceled")


class JobDeleted(JobError):
    """The job was deleted. ``job`` is its last known state."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, "was deleted")


class OwnDaemonError(LadingError):
    """An error about the user's own daemon."""


class UnsafeDirectory(OwnDaemonError):
    """Another user could put a socket in the directory and pretend to be the daemon."""

    def __init__(self, directory: Path, problem: str) -> None:
        self.directory = directory
        super().__init__(f"the directory {directory} is not used for your daemon: it {problem}")


class StateUnusable(OwnDaemonError):
    """The daemon cannot use its state directory."""

    def __init__(self, directory: Path, problem: str) -> None:
        self.directory = directory
        super().__init__(
            f"the daemon could not be started: its state directory {directory} cannot be created or written: {problem};"
            " XDG_STATE_HOME can name another place"
        )


class DaemonUnreachable(OwnDaemonError):
    """The daemon runs, but cannot be called. ``pid`` is None if it is unknown or belongs to another machine.

    If the error is not ``certain``, the daemon may be starting and may write its address in a moment.
    """

    def __init__(self, problem: str, *, pid: int | None, certain: bool = True) -> None:
        self.pid = pid
        self.certain = certain
        super().__init__(problem)

    @classmethod
    def silent(cls, path: str, pid: int) -> DaemonUnreachable:
        """Nobody listens on the socket that the daemon names."""
        return cls(
            f"your daemon (pid {pid}) runs, but its socket {path} is gone or does not answer."
            " To stop the daemon: lading daemon stop; the next command starts another one, which continues the jobs",
            pid=pid,
        )

    @classmethod
    def elsewhere(cls, directory: Path, host: str) -> DaemonUnreachable:
        """The daemon runs on another machine with the same home directory."""
        return cls(
            f"your daemon runs on {host}, which shares the state directory {directory} with this machine:"
            f" work there, or stop the daemon there first: lading daemon stop",
            pid=None,
        )

    @classmethod
    def without_word(cls, directory: Path, pid: int | None) -> DaemonUnreachable:
        """The daemon does not say where its socket is."""
        named = "a daemon" if pid is None else f"a daemon (pid {pid})"
        return cls(
            f"{named} holds the state directory {directory} and does not say where its socket is: it is stopping, or is"
            " an older version. Try again in a few seconds, or stop it: lading daemon stop",
            pid=pid,
            certain=False,
        )


class DaemonNotStarted(OwnDaemonError):
    """The daemon could not be started. ``log_tail`` has the last lines of its log."""

    def __init__(self, problem: str, *, log: Path, log_tail: tuple[str, ...]) -> None:
        self.log = log
        self.log_tail = log_tail
        said = "\n".join(f"  {line}" for line in log_tail) if log_tail else "  (nothing)"
        super().__init__(f"{problem}\nThe last lines of its log {log}:\n{said}")


class DaemonNotStopped(OwnDaemonError):
    """The daemon is still running."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
