"""The client library with a fake daemon."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as details

from lading.v1 import audit_service_pb2, job_pb2, job_service_pb2, spec_pb2
from lading_client import errors, model, spec
from lading_client.client import Client
from lading_client.labels import label
from lading_client.model import State
from lading_client.transport.calls import Calls
from tests.unit.client.fake_service import FakeService, serve
from tests.unit.client.service_transport import ServiceTransport

if TYPE_CHECKING:
    from pathlib import Path

    from google.protobuf.message import Message

IMPORT = spec.ImportSpec(
    files=(spec.File(path="data/a.csv"),),
    csv=spec.CsvFormat(delimiter=";", header=spec.Header.PRESENT),
    target=spec.Table(table="recipients"),
    types={"born": "date"},
    chunk_bytes=1000,
)
EXPORT = spec.ExportSpec(
    table=spec.Table(connection="crm", schema="public", table="t"), file=spec.File(path="o.csv"), overwrite=True
)


@pytest.mark.parametrize("kind", [IMPORT, EXPORT])
async def test_a_spec_comes_back_as_it_was_sent(
    client: Client, service: FakeService, kind: spec.ImportSpec | spec.ExportSpec
) -> None:
    wanted = spec.JobSpec(kind=kind, on_restart=spec.OnRestart.STAY)
    job = await client.create_job(wanted, label="l", description="d", job_id="x")
    assert job.spec == wanted
    assert (job.name, job.label, job.description, job.state) == ("jobs/x", "l", "d", State.EDITING)
    assert await client.get_job("jobs/x") == job
    assert job.create_time == datetime(2026, 3, 1, 12, tzinfo=UTC)


async def test_creation_is_repeated_with_the_same_id_after_a_break(client: Client, service: FakeService) -> None:
    service.fail_next(grpc.StatusCode.UNAVAILABLE)
    await client.create_job(IMPORT)
    first, second = service.requests
    assert isinstance(first, job_service_pb2.CreateJobRequest)
    assert first.request_id
    assert first == second


async def test_commands_are_not_repeated(client: Client, service: FakeService) -> None:
    service.put("a")
    service.fail_next(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(errors.Unavailable):
        await client.start_job("jobs/a")
    assert len(service.requests) == 1


async def test_what_the_daemon_itself_says_is_not_repeated(client: Client, service: FakeService) -> None:
    service.fail_next(grpc.StatusCode.UNAVAILABLE, details.ErrorInfo(reason="SHUTTING_DOWN", domain="lading"))
    with pytest.raises(errors.ShuttingDown):
        await client.get_job("jobs/a")
    assert len(service.requests) == 1


SHUTTING_DOWN = details.ErrorInfo(reason="SHUTTING_DOWN", domain="lading")


async def test_another_daemon_is_asked_where_one_shuts_down(served: FakeService, socket: Path) -> None:
    renewed: list[int] = []

    async def renew() -> None:
        renewed.append(len(served.requests))

    async with Client(f"unix:{socket}", renew=renew) as client:
        job = await client.create_job(IMPORT)
        served.fail_next(grpc.StatusCode.UNAVAILABLE, SHUTTING_DOWN)
        assert (await client.start_job(job.name)).state is State.QUEUED
        served.fail_next(grpc.StatusCode.UNAVAILABLE, SHUTTING_DOWN)
        with pytest.raises(errors.ShuttingDown):
            await client.pause_job(job.name)
    assert renewed == [2]


async def test_another_daemon_is_asked_where_nobody_is(socket: Path) -> None:
    service = FakeService()
    servers: list[grpc.aio.Server] = []

    async def renew() -> None:
        servers.append(await serve(service, socket))

    async with Client(f"unix:{socket}", renew=renew) as client:
        assert (await client.create_job(IMPORT)).state is State.EDITING
        [server] = servers
        await server.stop(None)
        with pytest.raises(errors.Unavailable):
            await client.pause_job("jobs/1")


async def test_a_daemon_at_another_address_is_asked_there(served: FakeService, socket: Path) -> None:
    async def renew() -> str:
        return f"unix:{socket}"

    async with Client(f"unix:{socket}.gone", token="s3cret", renew=renew) as client:
        assert (await client.create_job(IMPORT)).state is State.EDITING
        assert client.address == f"unix:{socket}"
    assert served.metadata[0]["authorization"] == "Bearer s3cret"


async def test_a_daemon_that_was_stopped_meanwhile_is_left_alone(service: FakeService) -> None:
    async def renew() -> None:
        raise AssertionError("it has answered before")

    service.put("a")
    calls = Calls(ServiceTransport(service), timeout=5.0, renew=renew)
    calls.open()
    await calls.once("GetJob", job_service_pb2.GetJobRequest(name="jobs/a"))
    service.fail_next(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(errors.Unavailable):
        await calls.once("PauseJob", job_service_pb2.PauseJobRequest(name="jobs/a"))


async def test_listing_goes_over_all_pages(client: Client, service: FakeService) -> None:
    for number in range(5):
        service.put(f"j{number}")
    names = [job.name async for job in client.list_jobs(page_size=2)]
    assert names == ["jobs/j4", "jobs/j3", "jobs/j2", "jobs/j1", "jobs/j0"]
    assert len(service.requests) == 3


async def test_update_names_only_what_changes(client: Client, service: FakeService) -> None:
    service.put("a")
    job = await client.update_job("jobs/a", label="new", etag='"1"')
    assert job.label == "new"
    request = service.requests[0]
    assert isinstance(request, job_service_pb2.UpdateJobRequest)
    assert list(request.update_mask.paths) == ["label"]
    assert request.job.etag == '"1"'


async def test_rejects_stop_at_the_limit(client: Client, service: FakeService) -> None:
    service.rejects = [job_pb2.Reject(line=n, type=job_pb2.REJECT_TYPE_ERROR) for n in range(2500)]
    assert [r.line async for r in client.rejects("jobs/a", limit=3)] == [0, 1, 2]
    assert len([r async for r in client.rejects("jobs/a", limit=1500)]) == 1500
    assert len([r async for r in client.rejects("jobs/a")]) == 2500


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidArgument),
        (grpc.StatusCode.NOT_FOUND, errors.NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, errors.AlreadyExists),
        (grpc.StatusCode.FAILED_PRECONDITION, errors.FailedPrecondition),
        (grpc.StatusCode.ABORTED, errors.Aborted),
        (grpc.StatusCode.OUT_OF_RANGE, errors.OutOfRange),
        (grpc.StatusCode.UNAVAILABLE, errors.Unavailable),
        (grpc.StatusCode.INTERNAL, errors.Internal),
        (grpc.StatusCode.CANCELLED, errors.Unavailable),
        (grpc.StatusCode.UNAUTHENTICATED, errors.Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, errors.PermissionDenied),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.ResourceExhausted),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.DATA_LOSS, errors.DaemonError),
    ],
)
async def test_every_code_has_its_error(
    client: Client, service: FakeService, code: grpc.StatusCode, kind: type[errors.DaemonError]
) -> None:
    service.fail_next(code)
    with pytest.raises(kind, match="as the test wants") as caught:
        await client.delete_job("jobs/a")
    assert type(caught.value) is kind
    assert caught.value.code == code.name


@pytest.mark.parametrize(
    ("code", "reason", "kind", "metadata", "facts"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", errors.Unauthenticated, {}, {}),
        (
            grpc.StatusCode.PERMISSION_DENIED,
            "PERMISSION_DENIED",
            errors.PermissionDenied,
            {"role": "viewer", "needed": "operator or admin"},
            {"role": "viewer", "needed": "operator or admin"},
        ),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "TOO_MANY_CALLS",
            errors.TooManyCalls,
            {"class": "commands"},
            {"call_class": "commands", "retry_delay": timedelta(seconds=1)},
        ),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", errors.QuotaExceeded, {}, {}),
        (grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND", errors.FileNotFound, {}, {}),
        (grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_MISMATCH", errors.UploadMismatch, {"size": "7"}, {"size": 7}),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", errors.DeadlineExceeded, {}, {}),
    ],
)
async def test_reasons_have_their_errors(
    client: Client,
    service: FakeService,
    code: grpc.StatusCode,
    reason: str,
    kind: type[errors.DaemonError],
    metadata: dict[str, str],
    facts: dict[str, object],
) -> None:
    said: list[Message] = [details.ErrorInfo(reason=reason, domain="lading", metadata=metadata)]
    if "retry_delay" in facts:
        said.append(details.RetryInfo(retry_delay=Duration(seconds=1)))
    service.fail_next(code, *said)
    with pytest.raises(kind) as caught:
        await client.delete_job("jobs/a")
    assert type(caught.value) is kind
    assert (caught.value.reason, caught.value.metadata) == (reason, metadata)
    assert {name: getattr(caught.value, name) for name in facts} == facts
    assert ("retry_delay" in facts) is (caught.value.retry_delay is not None)


def too_many(delay: timedelta) -> list[Message]:
    """The daemon refuses calls as too many; ``delay`` is its retry delay."""
    retry = details.RetryInfo()
    retry.retry_delay.FromTimedelta(delay)
    return [details.ErrorInfo(reason="TOO_MANY_CALLS", domain="lading", metadata={"class": "reads"}), retry]


async def test_what_reads_is_tried_again_when_the_daemon_is_less_busy(client: Client, service: FakeService) -> None:
    service.put("a")
    delay = timedelta(seconds=0.3)
    service.fail_next(grpc.StatusCode.RESOURCE_EXHAUSTED, *too_many(delay))
    began = monotonic()
    assert (await client.get_job("jobs/a")).name == "jobs/a"
    assert monotonic() - began >= delay.total_seconds()
    assert len(service.requests) == 2


async def test_a_command_is_not_tried_again_when_the_daemon_is_busy(client: Client, service: FakeService) -> None:
    service.fail_next(grpc.StatusCode.RESOURCE_EXHAUSTED, *too_many(timedelta(0)))
    with pytest.raises(errors.TooManyCalls):
        await client.start_job("jobs/a")
    assert len(service.requests) == 1


async def test_trying_again_ends(client: Client, service: FakeService) -> None:
    for _ in range(9):
        service.fail_next(grpc.StatusCode.RESOURCE_EXHAUSTED, *too_many(timedelta(0)))
    with pytest.raises(errors.TooManyCalls):
        await client.get_job("jobs/a")
    assert len(service.requests) == 5


async def test_a_quota_is_not_for_trying_again(client: Client, service: FakeService) -> None:
    info = details.ErrorInfo(reason="QUOTA_EXCEEDED", domain="lading")
    service.fail_next(grpc.StatusCode.RESOURCE_EXHAUSTED, info)
    with pytest.raises(errors.QuotaExceeded):
        await client.create_job(IMPORT)
    assert len(service.requests) == 1


async def test_a_clone_is_like_its_original(client: Client, service: FakeService) -> None:
    original = await client.create_job(IMPORT, label="nightly", job_id="a")
    service.fail_next(grpc.StatusCode.UNAVAILABLE)
    clone = await client.clone_job("jobs/a", job_id="b")
    assert (clone.name, clone.label, clone.spec, clone.state) == ("jobs/b", "nightly", original.spec, State.EDITING)
    _, first, second = service.requests
    assert isinstance(first, job_service_pb2.CloneJobRequest)
    assert first.request_id
    assert first == second
    assert (await client.clone_job("jobs/a", label="other")).label == "other"


async def test_listing_sends_filter_and_order_with_every_page(client: Client, service: FakeService) -> None:
    for number in range(3):
        service.put(f"j{number}", state=job_pb2.STATE_PAUSED)
    service.put("other")
    names = [job.name async for job in client.list_jobs(filter="state = PAUSED", order_by="label", page_size=2)]
    assert names == ["jobs/j2", "jobs/j1", "jobs/j0"]
    asked = [r for r in service.requests if isinstance(r, job_service_pb2.ListJobsRequest)]
    assert [(r.filter, r.order_by) for r in asked] == [("state = PAUSED", "label")] * 2


async def test_an_update_may_be_tried_out(client: Client, service: FakeService) -> None:
    service.put("a", label="old")
    assert (await client.update_job("jobs/a", label="new", validate_only=True)).label == "new"
    assert (await client.get_job("jobs/a")).label == "old"


async def test_the_audit_goes_over_all_pages_and_stops_at_the_limit(client: Client, service: FakeService) -> None:
    service.audit = [
        audit_service_pb2.AuditEntry(
            sequence=n, principal="ann", role="operator", method="lading.v1.JobService/StartJob", outcome="OK"
        )
        for n in range(2500, 0, -1)
    ]
    assert [entry.sequence async for entry in client.audit(limit=2)] == [2500, 2499]
    entries = [entry async for entry in client.audit()]
    assert len(entries) == 2500
    first = entries[0]
    assert (first.principal, first.role, first.method, first.outcome, first.resource, first.time) == (
        *("ann", "operator", "lading.v1.JobService/StartJob", "OK", ""),
        None,
    )


async def test_a_token_goes_with_every_call(served: FakeService, socket: Path) -> None:
    served.put("a")
    async with Client(f"unix:{socket}", token="s3cret\n") as client:
        await client.get_job("jobs/a")
        assert [r async for r in client.rejects("jobs/a")] == []
        assert [e async for e in client.watch_journal("jobs/a")] == []
        assert [e async for e in client.audit()] == []
    assert [m.get("authorization") for m in served.metadata] == ["Bearer s3cret"] * 4


@pytest.mark.parametrize("token", ["", " ", "two words", "umläut", "line\nbreak"])
async def test_what_is_no_token_is_refused_and_not_shown(socket: Path, token: str) -> None:
    with pytest.raises(errors.BadCredentials) as caught:
        await Client(f"unix:{socket}", token=token).__aenter__()
    assert not token.strip() or token not in str(caught.value)


async def test_an_error_says_all_that_the_daemon_said(client: Client, service: FakeService) -> None:
    violation = details.BadRequest.FieldViolation(field="job.spec.import_spec.target", description="no such connection")
    service.fail_next(
        grpc.StatusCode.INVALID_ARGUMENT,
        details.ErrorInfo(reason="INVALID_SPEC", domain="lading", metadata={"a": "b"}),
        details.BadRequest(field_violations=[violation]),
    )
    with pytest.raises(errors.InvalidArgument) as caught:
        await client.create_job(IMPORT)
    assert caught.value.reason == "INVALID_SPEC"
    assert caught.value.metadata == {"a": "b"}
    assert caught.value.violations == (
        errors.Violation(field="job.spec.import_spec.target", description="no such connection"),
    )


async def test_a_forbidden_command_names_the_state_and_what_it_allows(client: Client, service: FakeService) -> None:
    facts = {"state": "RUNNING", "command": "delete", "allowed": "pause,cancel"}
    info = details.ErrorInfo(reason="COMMAND_NOT_ALLOWED", domain="lading", metadata=facts)
    service.fail_next(grpc.StatusCode.FAILED_PRECONDITION, info)
    with pytest.raises(errors.CommandNotAllowed) as caught:
        await client.delete_job("jobs/a")
    assert (caught.value.state, caught.value.command) == ("RUNNING", "delete")
    assert caught.value.allowed == ("pause", "cancel")


async def test_a_call_has_a_deadline(service: FakeService) -> None:
    service.hangs = True
    async with Client(transport=ServiceTransport(service), timeout=0.05) as client:
        with pytest.raises(errors.DeadlineExceeded):
            await client.get_job("jobs/a")


def test_a_transport_takes_the_place_of_everything_about_the_connection() -> None:
    transport = ServiceTransport()
    with pytest.raises(ValueError, match="one or the other"):
        Client("unix:/s", transport=transport)
    with pytest.raises(ValueError, match="one or the other"):
        Client(transport=transport, token="s3cret")


async def test_no_daemon_is_unavailable(socket: Path) -> None:
    async with Client(f"unix:{socket}") as client:
        with pytest.raises(errors.Unavailable):
            await client.get_job("jobs/a")


async def test_a_client_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Client("unix:/nowhere").get_job("jobs/a")


@pytest.mark.parametrize(
    "address", ["", "host", "host:", ":1", "host:99999", "unix:relative", "unix:/" + "x" * 120, "::1:5"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(errors.BadAddress):
        Client(address)


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (State, job_pb2.State, "STATE_"),
        (model.JournalLevel, job_pb2.JournalLevel, "JOURNAL_LEVEL_"),
        (model.Connector, job_pb2.Connector, "CONNECTOR_"),
        (model.RejectType, job_pb2.RejectType, "REJECT_TYPE_"),
        (model.WatchKind, job_service_pb2.WatchJobsResponse.Kind, "KIND_"),
        (spec.OnRestart, spec_pb2.OnRestart, "ON_RESTART_"),
        (spec.Header, spec_pb2.Header, "HEADER_"),
    ],
)
def test_every_value_of_the_api_is_in_the_model(ours: object, theirs: object, prefix: str) -> None:
    names = [name.removeprefix(prefix) for name in theirs.keys()]  # type: ignore[attr-defined]  # noqa: SIM118
    assert [value.value for value in ours] == names  # type: ignore[attr-defined]


def test_labels_are_those_of_the_api() -> None:
    assert label(State.RUNNING) == "Execution in progress"
    assert label(State.CANCELED) == "Cancelled"
    assert label(model.RejectType.WARNING) == "warning"
    assert all(label(state) for state in State)
