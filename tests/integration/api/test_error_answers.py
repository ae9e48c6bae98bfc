"""The status and details of each error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import error_details_pb2 as details
from grpc_status import rpc_status

from lading.v1 import job_service_pb2
from ladingd.api.status import CODES, internal_status, status_of
from ladingd.core import errors
from tests.integration.api.answers import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator


EXAMPLES = [
    (errors.JobNotFound("a1"), "NOT_FOUND"),
    (errors.JobExists("a1"), "ALREADY_EXISTS"),
    (errors.InvalidSpec("job.spec.import_spec.target.table", "is missing"), "INVALID_ARGUMENT"),
    (errors.InvalidRequest("page_size", "is negative"), "INVALID_ARGUMENT"),
    (errors.CommandNotAllowed("a1", "PAUSED", "pause", ("start", "cancel")), "FAILED_PRECONDITION"),
    (errors.EtagMismatch("a1"), "ABORTED"),
    (errors.RequestIdReused("r1"), "ALREADY_EXISTS"),
    (errors.RequestJobDeleted("r1", "a1"), "FAILED_PRECONDITION"),
    (errors.RevisionCompacted(3, 40), "OUT_OF_RANGE"),
    (errors.ShuttingDown(), "UNAVAILABLE"),
    (errors.TargetUnavailable("locked"), "UNAVAILABLE"),
    (errors.TargetBusy("process 17 has locked table t"), "UNAVAILABLE"),
    (errors.TargetRefused("no such function"), "FAILED_PRECONDITION"),
    (errors.SourceUnreadable("permission denied"), "FAILED_PRECONDITION"),
    (errors.DestinationRefused("disk full"), "FAILED_PRECONDITION"),
    (errors.Unauthenticated("a token is needed"), "UNAUTHENTICATED"),
    (errors.PermissionDenied("viewer", "operator"), "PERMISSION_DENIED"),
    (errors.TooManyCalls("watches", 3), "RESOURCE_EXHAUSTED"),
    (errors.DeadlineExceeded(30), "DEADLINE_EXCEEDED"),
    (errors.FileNotFound("uploads/x"), "NOT_FOUND"),
    (errors.TableNotFound("t"), "NOT_FOUND"),
    (errors.FileInUse("uploads/x"), "FAILED_PRECONDITION"),
    (errors.UploadMismatch("too long", 3), "FAILED_PRECONDITION"),
    (errors.QuotaExceeded("too large"), "RESOURCE_EXHAUSTED"),
    (errors.WorkerLost("died"), "UNAVAILABLE"),
    (errors.StoreBusy("process 7 (sqlite3)"), "UNAVAILABLE"),
    (errors.RejectsLost("rejects/000001.jsonl", 1), "DATA_LOSS"),
    (errors.DiskFull("no room", "/var/lib"), "RESOURCE_EXHAUSTED"),
]


def subclasses(kind: type) -> Iterator[type]:
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


def test_every_refusal_is_in_the_table():
    assert set(subclasses(errors.Refusal)) <= set(CODES)


def test_every_error_of_the_table_has_an_example_here():
    assert {type(error) for error, _ in EXAMPLES} == set(CODES)


def test_every_refusal_has_its_reason_in_the_api():
    reasons = {name.removeprefix("REASON_") for name in job_service_pb2.Reason.keys()}  # noqa: SIM118
    assert reasons == {kind.code for kind in CODES} | {"INTERNAL", "UNSPECIFIED"}


@pytest.mark.parametrize(("error", "code"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_code_sentence_and_the_one_reason(error: errors.LadingError, code: str):
    status = status_of(error)
    assert status is not None
    assert grpc.StatusCode[code].value[0] == status.code
    assert error.message in status.message
    (info,) = unpacked(status, details.ErrorInfo)
    assert (info.reason, info.domain) == (error.code, "lading")
    worth_trying_again = code == "UNAVAILABLE" or isinstance(error, errors.TooManyCalls)
    assert bool(unpacked(status, details.RetryInfo)) == worth_trying_again


@pytest.mark.parametrize("error", [EXAMPLES[2][0], EXAMPLES[3][0]], ids=["spec", "request"])
def test_a_wrong_field_is_named(error: errors.InvalidSpec | errors.InvalidRequest):
    status = status_of(error)
    assert status is not None
    assert status.message == f"{error.field}: {error.problem}"
    (bad,) = unpacked(status, details.BadRequest)
    (violation,) = bad.field_violations
    assert (violation.field, violation.description) == (error.field, error.problem)


def test_a_forbidden_command_says_what_is_allowed():
    status = status_of(errors.CommandNotAllowed("a1", "PAUSED", "pause", ("start", "cancel")))
    assert status is not None
    (info,) = unpacked(status, details.ErrorInfo)
    assert dict(info.metadata) == {"state": "PAUSED", "command": "pause", "allowed": "start,cancel"}
    (failure,) = unpacked(status, details.PreconditionFailure)
    (violation,) = failure.violations
    assert (violation.type, violation.subject) == ("STATE", "jobs/a1")
    assert violation.description == "cannot pause jobs/a1: it is PAUSED, which allows start or cancel"


def test_a_compacted_revision_says_the_oldest():
    status = status_of(errors.RevisionCompacted(3, 40))
    assert status is not None
    (info,) = unpacked(status, details.ErrorInfo)
    assert info.metadata["oldest"] == "40"


@pytest.mark.parametrize("error", [ValueError("s3cret"), errors.BillImbalance("s3cret"), errors.LadingError("s3cret")])
def test_what_the_table_lacks_is_nobody_elses_business(error: Exception):
    assert status_of(error) is None


def test_a_defect_is_known_by_its_id_only():
    status = internal_status("0a1b")
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert status.message == "internal error, id 0a1b"
    (info,) = unpacked(status, details.ErrorInfo)
    assert (info.reason, dict(info.metadata)) == ("INTERNAL", {"error_id": "0a1b"})


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f69a"])
@pytest.mark.parametrize(
    "error",
    [
        lambda text: errors.InvalidSpec(text, text),
        lambda text: errors.CommandNotAllowed("a1", text, text, (text,)),
    ],
    ids=["spec", "command"],
)
def test_a_long_text_is_cut_so_that_clients_take_it(error, letter: str):
    status = status_of(error(letter * 100_000))
    assert status is not None
    assert "…" in status.message
    answer = rpc_status.to_status(status)
    encoded = sum(4 * len(value) // 3 for _, value in answer.trailing_metadata)
    assert encoded + 3 * len(answer.details.encode()) < 8000


def test_a_file_name_that_is_no_text_can_be_told():
    status = status_of(errors.InvalidSpec("files[0].path", "no file \udcff here"))
    assert status is not None
    assert status.message == "files[0].path: no file ? here"
