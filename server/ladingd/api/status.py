"""Maps the domain's errors to the status codes of gRPC in one table. Builds the status that an answer carries."""

from __future__ import annotations

from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from ladingd.core import errors
from ladingd.core.errors import (
    CommandNotAllowed,
    InvalidRequest,
    InvalidSpec,
    PermissionDenied,
    RevisionCompacted,
    TooManyCalls,
    UploadMismatch,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.message import Message

DOMAIN = "lading"
RETRY_AFTER = timedelta(seconds=1)

CODES: Mapping[type[errors.LadingError], StatusCode] = MappingProxyType(
    {
        errors.JobNotFound: StatusCode.NOT_FOUND,
        errors.JobExists: StatusCode.ALREADY_EXISTS,
        errors.InvalidSpec: StatusCode.INVALID_ARGUMENT,
        errors.InvalidRequest: StatusCode.INVALID_ARGUMENT,
        errors.CommandNotAllowed: StatusCode.FAILED_PRECONDITION,
        errors.EtagMismatch: StatusCode.ABORTED,
        errors.RequestIdReused: StatusCode.ALREADY_EXISTS,
        errors.RequestJobDeleted: StatusCode.FAILED_PRECONDITION,
        errors.RevisionCompacted: StatusCode.OUT_OF_RANGE,
        errors.ShuttingDown: StatusCode.UNAVAILABLE,
        errors.Unauthenticated: StatusCode.UNAUTHENTICATED,
        errors.PermissionDenied: StatusCode.PERMISSION_DENIED,
        errors.TooManyCalls: StatusCode.RESOURCE_EXHAUSTED,
        errors.DeadlineExceeded: StatusCode.DEADLINE_EXCEEDED,
        errors.FileNotFound: StatusCode.NOT_FOUND,
        errors.TableNotFound: StatusCode.NOT_FOUND,
        errors.FileInUse: StatusCode.FAILED_PRECONDITION,
        errors.UploadMismatch: StatusCode.FAILED_PRECONDITION,
        errors.QuotaExceeded: StatusCode.RESOURCE_EXHAUSTED,
        errors.StoreBusy: StatusCode.UNAVAILABLE,
        errors.RejectsLost: StatusCode.DATA_LOSS,
        # Technical errors that planning a spec can raise.
        errors.TargetUnavailable: StatusCode.UNAVAILABLE,
        errors.TargetBusy: StatusCode.UNAVAILABLE,
        errors.TargetRefused: StatusCode.FAILED_PRECONDITION,
        errors.SourceUnreadable: StatusCode.FAILED_PRECONDITION,
        errors.DestinationRefused: StatusCode.FAILED_PRECONDITION,
        errors.WorkerLost: StatusCode.UNAVAILABLE,
        errors.DiskFull: StatusCode.RESOURCE_EXHAUSTED,
    }
)
"""An error that is not in this table becomes INTERNAL, and its text is only logged."""

# The trailers hold the status several times and encoded. Clients accept at most 8 KiB of trailers.
_MESSAGE_BYTES = 600
_FACT_BYTES = 200


def status_of(error: BaseException) -> Status | None:
    """The status of an error; None if the table lacks the error."""
    if not isinstance(error, errors.LadingError) or type(error) not in CODES:
        return None
    code = CODES[type(error)]
    return _status(code, _sentence(error), (_info(error.code, _facts(error)), *_further(error, code)))


def internal_status(error_id: str) -> Status:
    """The status of a defect of the daemon. It names only the id that the error has in the log."""
    facts = {"error_id": error_id}
    return _status(StatusCode.INTERNAL, f"internal error, id {error_id}", (_info(errors.LadingError.code, facts),))


def _sentence(error: errors.LadingError) -> str:
    if isinstance(error, InvalidSpec):
        return f"{error.field}: {error.problem}"
    return error.message


def _facts(error: errors.LadingError) -> Mapping[str, str]:
    match error:
        case CommandNotAllowed():
            return {"state": error.state, "command": error.command, "allowed": ",".join(error.allowed)}
        case RevisionCompacted():
            return {"oldest": str(error.oldest)}
        case PermissionDenied():
            return {"role": error.role, "needed": error.needed}
        case TooManyCalls():
            return {"class": error.call_class}
        case UploadMismatch():
            return {"size": str(error.size)}
    return {}


def _further(error: errors.LadingError, code: StatusCode) -> Iterator[Message]:
    match error:
        case InvalidSpec() | InvalidRequest():
            field, problem = _clip(error.field, _FACT_BYTES), _clip(error.problem, _MESSAGE_BYTES)
            violation = details.BadRequest.FieldViolation(field=field, description=problem)
            yield details.BadRequest(field_violations=[violation])
        case CommandNotAllowed():
            description = _clip(error.message, _MESSAGE_BYTES)
            yield details.PreconditionFailure(
                violations=[
                    details.PreconditionFailure.Violation(
                        type="STATE", subject=f"jobs/{error.job_id}", description=description
                    )
                ]
            )
    if code is StatusCode.UNAVAILABLE or isinstance(error, TooManyCalls):
        retry = details.RetryInfo()
        retry.retry_delay.FromTimedelta(RETRY_AFTER)
        yield retry


def _info(reason: str, facts: Mapping[str, str]) -> details.ErrorInfo:
    metadata = {name: _clip(fact, _FACT_BYTES) for name, fact in facts.items()}
    return details.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)


def _status(code: StatusCode, sentence: str, messages: tuple[Message, ...]) -> Status:
    number: int = code.value[0]
    status = Status(code=number, message=_clip(sentence, _MESSAGE_BYTES))
    for message in messages:
        packed = AnyMessage()
        packed.Pack(message)
        status.details.append(packed)
    return status


def _clip(text: str, limit: int) -> str:
    """At most ``limit`` bytes of a text, as valid UTF-8. A file name may hold invalid bytes."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - len("…".encode())].decode("utf-8", "ignore") + "…"
