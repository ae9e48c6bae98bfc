"""From an error on the wire to one of `errors`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.rpc import error_details_pb2, status_pb2

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

_DETAILS = "grpc-status-details-bin"

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

_BY_CODE: Mapping[grpc.StatusCode, type[DaemonError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.OUT_OF_RANGE: OutOfRange,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    # A call that we cancel ourselves has no status: it was the daemon that hung up.
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.INTERNAL: Internal,
}


def error_from(error: grpc.aio.AioRpcError) -> DaemonError:
    """The error that a failed call means, with everything the daemon said about it."""
    info = error_details_pb2.ErrorInfo()
    violations: list[Violation] = []
    retry_delay: timedelta | None = None
    for detail in _details(error):
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
    ours = info.domain == "lading"
    kind = (_BY_REASON.get(info.reason) if ours else None) or _BY_CODE.get(error.code(), DaemonError)
    return kind(
        error.details() or error.code().name,
        code=error.code().name,
        reason=info.reason if ours else "",
        metadata=dict(info.metadata),
        violations=tuple(violations),
        retry_delay=retry_delay,
    )


def _details(error: grpc.aio.AioRpcError) -> list[status_pb2.Status]:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            return list(status_pb2.Status.FromString(value).details)
    return []
