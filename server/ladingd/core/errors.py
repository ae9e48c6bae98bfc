"""The errors of the domain.

LadingError
 +-- Refusal                 the request cannot be carried out; nothing was changed
 |    +-- JobNotFound
 |    +-- JobExists
 |    +-- InvalidSpec        a field of the spec, alone or against the real source and target
 |    +-- InvalidRequest     a field of the request
 |    +-- CommandNotAllowed  the state forbids it
 |    +-- EtagMismatch
 |    +-- RequestIdReused
 |    +-- RequestJobDeleted  the job that the same request made before was deleted
 |    +-- RevisionCompacted
 |    +-- ShuttingDown
 |    +-- Unauthenticated
 |    +-- PermissionDenied
 |    +-- TooManyCalls       the limit of running calls of this class is reached
 |    +-- DeadlineExceeded
 |    +-- FileNotFound
 |    +-- TableNotFound
 |    +-- FileInUse
 |    +-- UploadMismatch     the data does not continue the upload, or differs from its announcement
 |    +-- QuotaExceeded
 |    +-- StoreBusy          another process holds the lock of the daemon's own store
 |    +-- RejectsLost        files with rejects are no longer in the work directory
 +-- TechnicalError          stops a running job, which becomes FAILED with this code and message
      +-- PlanOutdated       the basis of the plan has changed; if nothing is committed, the job is planned again
      |    +-- SourceChanged
      |    +-- StartsOver    the export has to start over
      |    +-- TargetChanged
      +-- LedgerLost         the target's ledger lacks chunks that were committed
      +-- SourceUnreadable
      +-- SpecOutdated       source or target have changed so that the spec can no longer be carried out
      +-- TargetUnavailable
      |    +-- TargetBusy    another session holds a lock that the job needs
      +-- TargetRefused      the database answered with an error that no record caused
      +-- DestinationRefused the file to write cannot be written
      +-- ExpressionStopped  an expression took too much memory or time
      +-- AttemptSuperseded  a later attempt of the same job has begun
      +-- BillImbalance
      +-- AllRejected        every record was rejected: nothing was written to the target
      +-- TooManyRejects     more records were rejected than the job allows
      +-- EmptyReplacement   a replacement has no record, so the table was left as it is
      +-- WorkerLost         worker processes died repeatedly on one chunk
      +-- DiskFull           no disk space: nothing is lost, and the job continues when there is space

StoreUnusable                the store itself fails; not a LadingError, because no caller and no job caused it

The errors know no status codes; ``api/status.py`` maps them. ``__reduce__`` makes them picklable for workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from pathlib import Path


class LadingError(Exception):
    """The base of all errors that Lading raises on purpose. ``code`` is a stable word in UPPER_SNAKE_CASE."""

    code: ClassVar[str] = "INTERNAL"

    @property
    def message(self) -> str:
        """The sentence that people read."""
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[LadingError], args: tuple[Any, ...], facts: dict[str, Any]) -> LadingError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class Refusal(LadingError):
    """The request cannot be carried out. Nothing was changed."""


class JobNotFound(Refusal):
    """There is no such job."""

    code = "JOB_NOT_FOUND"

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"there is no job jobs/{job_id}")


class JobExists(Refusal):
    """The id is taken."""

    code = "JOB_EXISTS"

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"there is already a job jobs/{job_id}")


class InvalidSpec(Refusal):
    """A field of the spec is wrong. ``field`` is its path in the ``ImportSpec`` or ``ExportSpec`` of the domain."""

    code = "INVALID_SPEC"

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        self.problem = problem
        super().__init__(problem)


class InvalidRequest(Refusal):
    """A field of the request is wrong. ``field`` is its path in the request."""

    code = "INVALID_REQUEST"

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        self.problem = problem
        super().__init__(f"{field}: {problem}")


class CommandNotAllowed(Refusal):
    """The job's state forbids the command. ``allowed`` are the commands that the state allows, in lower case."""

    code = "COMMAND_NOT_ALLOWED"

    def __init__(self, job_id: str, state: str, command: str, allowed: tuple[str, ...]) -> None:
        self.job_id = job_id
        self.state = state
        self.command = command
        self.allowed = allowed
        choice = f"allows {' or '.join(allowed)}" if allowed else "is final; clone the job to run it again"
        super().__init__(f"cannot {command} jobs/{job_id}: it is {state}, which {choice}")


class EtagMismatch(Refusal):
    """The job has changed since the caller read the etag."""

    code = "ETAG_MISMATCH"

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"jobs/{job_id} has changed since it was read; read it again")


class RequestIdReused(Refusal):
    """The request_id was used for another request."""

    code = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        super().__init__(f"request_id {request_id} was used for another request; make a new one")


class RequestJobDeleted(Refusal):
    """The same request made a job before, which was deleted. The job is not made again."""

    code = "REQUEST_JOB_DELETED"

    def __init__(self, request_id: str, job_id: str) -> None:
        self.request_id = request_id
        self.job_id = job_id
        super().__init__(
            f"request_id {request_id} made jobs/{job_id}, which was deleted; to make it again, use a new request_id"
        )


class RevisionCompacted(Refusal):
    """Changes after this revision are no longer kept."""

    code = "REVISION_COMPACTED"

    def __init__(self, revision: int, oldest: int) -> None:
        self.revision = revision
        self.oldest = oldest
        super().__init__(
            f"cannot resume from revision {revision}: changes are kept from {oldest} on; list the jobs again"
        )


class ShuttingDown(Refusal):
    """The daemon takes no more work."""

    code = "SHUTTING_DOWN"

    def __init__(self) -> None:
        super().__init__("shutting down")


class Unauthenticated(Refusal):
    """The caller is unknown."""

    code = "UNAUTHENTICATED"

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)


class PermissionDenied(Refusal):
    """The caller's role lacks the right. ``needed`` names the roles that have it, or another missing right."""

    code = "PERMISSION_DENIED"

    def __init__(self, role: str, needed: str) -> None:
        self.role = role
        self.needed = needed
        super().__init__(f"the role {role} may not do this; needed: {needed}")


class TooManyCalls(Refusal):
    """The limit of running calls is reached. ``call_class`` is commands, reads, watches or transfers."""

    code = "TOO_MANY_CALLS"

    def __init__(self, call_class: str, limit: int) -> None:
        self.call_class = call_class
        self.limit = limit
        super().__init__(f"{limit} {call_class} are already running; try again in a moment")


class DeadlineExceeded(Refusal):
    """The call took longer than it may. Its change may still happen."""

    code = "DEADLINE_EXCEEDED"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"no answer within {seconds:g} s")


class FileNotFound(Refusal):
    """There is no such file or upload."""

    code = "FILE_NOT_FOUND"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is no {name}")


class TableNotFound(Refusal):
    """There is no such table."""

    code = "TABLE_NOT_FOUND"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is no table {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name,)


class FileInUse(Refusal):
    """A job that may still run names the file."""

    code = "FILE_IN_USE"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name} is used by a job; delete the job first")


class UploadMismatch(Refusal):
    """The data does not continue the upload, or differs from its announcement. ``size`` bytes were received."""

    code = "UPLOAD_MISMATCH"

    def __init__(self, problem: str, size: int) -> None:
        self.problem = problem
        self.size = size
        super().__init__(problem)


class QuotaExceeded(Refusal):
    """The file is too large, or too many bytes of uploads are kept."""

    code = "QUOTA_EXCEEDED"

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)


class StoreBusy(Refusal):
    """Another process, ``holder``, holds the lock of the daemon's own store for longer than the caller waits."""

    code = "STORE_BUSY"

    def __init__(self, holder: str = "another process") -> None:
        self.holder = holder
        super().__init__(
            f"the daemon's own store is locked by {holder}; nothing was changed: try again when that process is done,"
            " or end it"
        )


class RejectsLost(Refusal):
    """Somebody removed files with rejects from the work directory. ``path`` is the first of them."""

    code = "REJECTS_LOST"

    def __init__(self, path: str, chunks: int) -> None:
        self.path = path
        self.chunks = chunks
        files = (
            "a file with rejects of this job was" if chunks == 1 else f"{chunks} files with rejects of this job were"
        )
        super().__init__(
            f"{files} removed from the daemon's state directory, the first is {path}: put it back from a backup, or"
            " import the file again"
        )


class TechnicalError(LadingError):
    """Stops a running job, which becomes FAILED. ``start`` continues after the last committed chunk."""

    code = "TECHNICAL_ERROR"

    def __init__(self, problem: str) -> None:
        super().__init__(problem)


class PlanOutdated(TechnicalError):
    """The basis of the plan has changed. If nothing is committed yet, the job is planned again."""

    code = "PLAN_OUTDATED"


class SourceChanged(PlanOutdated):
    """The bytes before the checkpoint have changed since the job began."""

    code = "SOURCE_CHANGED"


class StartsOver(PlanOutdated):
    """The work done so far is useless. The job discards it and starts over."""

    code = "STARTS_OVER"


class TargetChanged(PlanOutdated):
    """The table differs from the planned one."""

    code = "TARGET_CHANGED"


class LedgerLost(TechnicalError):
    """The target's ledger lacks committed chunks: it is another database, or an older copy."""

    code = "LEDGER_LOST"


class SourceUnreadable(TechnicalError):
    """The file or table cannot be read."""

    code = "SOURCE_UNREADABLE"


class SpecOutdated(TechnicalError):
    """Source or target have changed since the job was made. Its spec can no longer be carried out."""

    code = "SPEC_OUTDATED"


class TargetUnavailable(TechnicalError):
    """The database cannot be reached."""

    code = "TARGET_UNAVAILABLE"

    @classmethod
    def no_answer(cls, seconds: float) -> Self:
        """The error for a target that does not answer within ``seconds``."""
        return cls(f"no answer within {seconds:g} s")


class TargetBusy(TargetUnavailable):
    """Another session holds a lock that the job needs. The job waits for it without limit."""

    code = "TARGET_BUSY"


class TargetRefused(TechnicalError):
    """The database answered with an error that no record caused."""

    code = "TARGET_REFUSED"


class DestinationRefused(TechnicalError):
    """The file to write cannot be written."""

    code = "DESTINATION_REFUSED"


class ExpressionStopped(TechnicalError):
    """An expression took more memory or time than it may take."""

    code = "EXPRESSION_STOPPED"


class AttemptSuperseded(TechnicalError):
    """A later attempt of the same job has begun; this one must not write any more."""

    code = "ATTEMPT_SUPERSEDED"


class BillImbalance(TechnicalError):
    """The bill has too few or too many records."""

    code = "BILL_IMBALANCE"


class AllRejected(TechnicalError):
    """Every record of the source was rejected. The bill balances, but nothing was written to the target."""

    code = "ALL_REJECTED"


class TooManyRejects(TechnicalError):
    """More records were rejected than the job allows. What was written stays, and the bill counts it."""

    code = "TOO_MANY_REJECTS"


class EmptyReplacement(TechnicalError):
    """A replacement has no record, so it would leave the table empty. The table was left as it is."""

    code = "EMPTY_REPLACEMENT"


class WorkerLost(TechnicalError):
    """Worker processes died repeatedly on one chunk."""

    code = "WORKER_LOST"


class DiskFull(TechnicalError):
    """There is no disk space, on this machine or on that of a database. The job is held until there is space.

    ``place`` is the full directory if it is on this machine, otherwise empty.
    """

    code = "DISK_FULL"

    def __init__(self, problem: str, place: str = "") -> None:
        self.place = place
        super().__init__(problem)


class StoreUnusable(Exception):
    """The store's file cannot be opened, read or written: it is locked, damaged, too new, or not a store. This error
    stops the daemon."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"the store {path} cannot be used: {problem}")
