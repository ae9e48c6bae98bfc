"""Converts a `google.rpc` status to an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.rpc import code_pb2, error_details_pb2

from lading_client.errors import (
    Aborted,
    AlreadyExists,
    CommandNotAllowed,
    DaemonError,
    DeadlineExceeded,
    FailedPrecondition,
    FileInUse,
    FileNotFound,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    QuotaExceeded,
    ResourceExhausted,
    RevisionCompacted,
    ShuttingDown,
    StoreBusy,
    TooManyCalls,
    Unauthenticated,
    Unavailable,
    UploadMismatch,
    Violation,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from google.rpc import status_pb2

_BY_REASON: Mapping[str, type[DaemonError]] = {
    "COMMAND_NOT_ALLOWED": CommandNotAllowed,
    "REVISION_COMPACTED": RevisionCompacted,
    "SHUTTING_DOWN": ShuttingDown,
    "STORE_BUSY": StoreBusy,
    "TOO_MANY_CALLS": TooManyCalls,
    "FILE_NOT_FOUND": FileNotFound,
    "FILE_IN_USE": FileInUse,
    "UPLOAD_MISMATCH": UploadMismatch,
    "QUOTA_EXCEEDED": QuotaExceeded,
}

_BY_CODE: Mapping[str, type[DaemonError]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "FAILED_PRECONDITION": FailedPrecondition,
    "ABORTED": Aborted,
    "OUT_OF_RANGE": OutOfRange,
    "RESOURCE_EXHAUSTED": ResourceExhausted,
    "UNAVAILABLE": Unavailable,
    # A call that the client cancels never gets here, so the daemon cancelled this one.
    "CANCELLED": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "INTERNAL": Internal,
}


def error_from(status: status_pb2.Status) -> DaemonError:
    """The error for a status, with all its details."""
    info = error_details_pb2.ErrorInfo()
    violations: list[Violation] = []
    retry_delay: timedelta | None = None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            request = error_details_pb2.BadRequest()
            detail.Unpack(request)
            violations += [Violation(field=v.field, description=v.description) for v in request.field_violations]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_delay = retry.retry_delay.ToTimedelta()
    code = code_pb2.Code.Name(status.code)
    ours = info.domain == "lading"
    kind = (_BY_REASON.get(info.reason) if ours else None) or _BY_CODE.get(code, DaemonError)
    return kind(
        status.message or code,
        code=code,
        reason=info.reason if ours else "",
        metadata=dict(info.metadata),
        violations=tuple(violations),
        retry_delay=retry_delay,
    )
