"""Checks the shape of requests before the domain is called."""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import TYPE_CHECKING

from lading.v1 import job_service_pb2
from ladingd.core.errors import InvalidRequest
from ladingd.core.files import UPLOADS, is_upload_id
from ladingd.core.preview import MOST_RECORDS, RECORDS

if TYPE_CHECKING:
    from collections.abc import Set

    from google.protobuf.message import Message

    from lading.v1 import job_pb2

MAX_JOB_BYTES = 1 << 20
"""Answers hold the job and more, and must stay below the limit of a message."""

_TEXT_BYTES = {"label": 1 << 10, "description": 32 << 10}
"""Every change of a job stores them again."""

EDITABLE = ("label", "description", "shared", "spec")

_DEFAULT_PAGE_SIZE = 100
_MAX_PAGE_SIZE = 1000
_JOB_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def job_id_in(name: str, field: str = "name") -> str:
    """The last part of a job's name. Raises InvalidRequest."""
    collection, _, job_id = name.partition("/")
    if collection != "jobs" or not _JOB_ID.fullmatch(job_id):
        raise InvalidRequest(field, f"{name[:80]!r} is not the name of a job, as in jobs/k3v9x2")
    return job_id


def upload_id_in(name: str) -> str:
    """The last part of an upload's name. Raises InvalidRequest."""
    collection, _, upload_id = name.partition("/")
    if collection != UPLOADS or not is_upload_id(upload_id.lower()):
        raise InvalidRequest("name", f"{name[:80]!r} is not the name of an upload, as in {UPLOADS}/UUID")
    return upload_id.lower()


def wanted_job_id(job_id: str) -> str:
    """The id that the caller wants for a new job; may be empty. Raises InvalidRequest."""
    if job_id and not _JOB_ID.fullmatch(job_id):
        raise InvalidRequest(
            "job_id", "must have 1 to 63 characters of a-z, 0-9 and -, starting with a letter or digit"
        )
    return job_id


def request_id_in(text: str) -> str:
    """The UUID in its usual spelling; may be empty. Raises InvalidRequest."""
    if not text:
        return ""
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise InvalidRequest("request_id", "is not a UUID") from error


def digest(request: Message) -> str:
    """The SHA-256 (hex) of a request without its request_id."""
    bare = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("request_id")
    # Creations are hashed without the message's name: stores of the first versions hold such digests.
    kind = b"" if isinstance(request, job_service_pb2.CreateJobRequest) else request.DESCRIPTOR.full_name.encode()
    return hashlib.sha256(kind + bare.SerializeToString(deterministic=True)).hexdigest()


def check_size(job: job_pb2.Job) -> None:
    if job.ByteSize() > MAX_JOB_BYTES:
        raise InvalidRequest("job", f"is larger than {MAX_JOB_BYTES} bytes")
    for field, limit in _TEXT_BYTES.items():
        if len(getattr(job, field).encode()) > limit:
            raise InvalidRequest(f"job.{field}", f"is longer than {limit} bytes")


def not_negative(number: int, field: str) -> int:
    if number < 0:
        raise InvalidRequest(field, "is negative")
    return number


def page_size_in(size: int) -> int:
    return min(not_negative(size, "page_size") or _DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE)


def records_in(number: int) -> int:
    """How many records a preview shows."""
    return min(not_negative(number, "records") or RECORDS, MOST_RECORDS)


def fields_to_edit(request: job_service_pb2.UpdateJobRequest) -> Set[str]:
    """The fields of the mask; without a mask, the fields that are set (AIP-134). Raises InvalidRequest."""
    paths = frozenset(request.update_mask.paths)
    unknown = sorted(paths - frozenset(EDITABLE))
    if unknown:
        raise InvalidRequest("update_mask", f"cannot change {', '.join(unknown)}; only {', '.join(EDITABLE)}")
    return paths or frozenset(field.name for field, _ in request.job.ListFields()) & frozenset(EDITABLE)
