"""Rights to call methods, and the audit trail, with a real server."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio._server
import pytest
from google.protobuf.descriptor_pool import Default
from google.rpc import error_details_pb2 as details
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from lading.v1 import audit_service_pb2, file_service_pb2, job_pb2, spec_pb2, table_service_pb2
from lading.v1 import job_service_pb2 as pb
from lading.v1.audit_service_pb2_grpc import AuditServiceStub
from lading.v1.file_service_pb2_grpc import FileServiceStub
from lading.v1.table_service_pb2_grpc import TableServiceStub
from ladingd.api.interceptors import access
from ladingd.api.interceptors.access import Access
from ladingd.api.methods import METHODS
from ladingd.api.permits import Permits
from ladingd.api.server import ApiServer
from ladingd.api.trail import Trail
from ladingd.core.access import HOLDERS, Deed, Principal, Role, issue
from ladingd.core.errors import PermissionDenied, Unauthenticated
from ladingd.core.origin import effect
from ladingd.core.spec import File, ImportSpec, Table
from ladingd.data.files.uploads.store import UploadFiles
from ladingd.run.watch.events import WatchEvent, WatchKind
from tests.harness.certificates import Authority
from tests.integration.api.answers import refused, unpacked
from tests.integration.api.fakes import (
    ANYONE,
    DEADLINE,
    NOON,
    NOW,
    FakeAudit,
    FakeControl,
    FakeRejects,
    FakeStore,
    FakeTokens,
    FakeWatch,
    a_job,
    eventually,
    no_files,
)

if TYPE_CHECKING:
    from pathlib import Path

DENIED = grpc.StatusCode.PERMISSION_DENIED
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED

IMPORT = spec_pb2.JobSpec(
    import_spec=spec_pb2.ImportSpec(
        files=[spec_pb2.File(root="in", path="a.csv")], target=spec_pb2.Table(connection="crm", table="t")
    )
)


OWN = a_job(
    owner="a-submitter",
    spec=ImportSpec(files=(File(root="in", path="a.csv"),), target=Table(connection="crm", table="t")),
)
"""A job of the submitter of ``shown``, who may use its connection and root."""


def methods_of(service: str) -> set[str]:
    descriptor = Default().FindServiceByName(service)
    return {f"{service}/{method.name}" for method in descriptor.methods}


async def shown(api: Any, role: Role, **more: Any) -> tuple[tuple[str, str], ...]:
    """The metadata of a call by somebody with this role."""
    token, text = issue(f"a-{role}", role, NOON, **more)
    await api.tokens.add(token)
    return (("authorization", f"Bearer {text}"),)


# The table


def test_every_method_of_the_server_has_an_entry(folder, monkeypatch):
    registered: set[str] = set()

    def note(self: Any, service: str, handlers: dict[str, Any]) -> None:
        registered.update(f"{service}/{name}" for name in handlers)

    monkeypatch.setattr(grpc.aio._server.Server, "add_registered_method_handlers", note)

    async def build() -> None:
        ApiServer(
            socket=folder / "s",
            jobs=FakeStore(),
            chunks=FakeStore(),
            journal=FakeStore(),
            rejects=FakeRejects(),
            control=FakeControl(),
            watch=FakeWatch(),
            **no_files(folder),
            tokens=FakeTokens(),
            audit=FakeAudit(),
            local=None,
        )

    asyncio.run(build())
    assert {name.partition("/")[0] for name in registered} >= {
        "lading.v1.JobService",
        "lading.v1.AuditService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert registered <= set(METHODS)


def test_every_entry_is_a_method_and_every_method_has_one():
    services = {method.partition("/")[0] for method in METHODS}
    in_protos = {
        f"{module.DESCRIPTOR.package}.{name}"
        for module in (pb, file_service_pb2, audit_service_pb2, table_service_pb2)
        for name in module.DESCRIPTOR.services_by_name
    }
    assert in_protos <= services
    assert set().union(*map(methods_of, services)) == set(METHODS)


def test_only_health_is_open():
    assert {method for method, rule in METHODS.items() if rule.right is None} == {
        "grpc.health.v1.Health/Check",
        "grpc.health.v1.Health/Watch",
    }


async def test_a_method_without_an_entry_is_for_nobody(api, monkeypatch):
    monkeypatch.setattr(access, "METHODS", {})
    failed, _ = await refused(api.stub.GetJob(pb.GetJobRequest(name="jobs/a1"), timeout=DEADLINE))
    assert failed.code() is DENIED


CALLS = {
    "CancelJob": pb.CancelJobRequest(name="jobs/a1"),
    "CloneJob": pb.CloneJobRequest(name="jobs/a1"),
    "CreateJob": pb.CreateJobRequest(job=job_pb2.Job(spec=IMPORT)),
    "DeleteJob": pb.DeleteJobRequest(name="jobs/a1"),
    "GetJob": pb.GetJobRequest(name="jobs/a1"),
    "ListJobs": pb.ListJobsRequest(),
    "ListJournalEntries": pb.ListJournalEntriesRequest(parent="jobs/a1"),
    "ListRejectGroups": pb.ListRejectGroupsRequest(parent="jobs/a1"),
    "ListRejects": pb.ListRejectsRequest(parent="jobs/a1"),
    "PauseJob": pb.PauseJobRequest(name="jobs/a1"),
    "PreviewImport": pb.PreviewImportRequest(spec=IMPORT.import_spec),
    "StartJob": pb.StartJobRequest(name="jobs/a1"),
    "UpdateJob": pb.UpdateJobRequest(job=job_pb2.Job(name="jobs/a1", label="x")),
    "WatchJobs": pb.WatchJobsRequest(),
    "WatchJournal": pb.WatchJournalRequest(parent="jobs/a1"),
    "WatchRejects": pb.WatchRejectsRequest(parent="jobs/a1"),
}


def test_all_calls_are_tried():
    assert {f"lading.v1.JobService/{name}" for name in CALLS} == methods_of("lading.v1.JobService")


@pytest.mark.parametrize("name", CALLS)
async def test_a_role_may_what_the_table_says(api, name: str):
    right = METHODS[f"lading.v1.JobService/{name}"].right
    assert right is not None
    for role in set(Role) - set(HOLDERS[right]):
        bounds = {"connections": ("crm",), "roots": ("in",)} if role is Role.SUBMITTER else {}
        call = getattr(api.stub, name)(CALLS[name], metadata=await shown(api, role, **bounds), timeout=DEADLINE)
        failed, status = await refused(call.read() if hasattr(call, "read") else call)
        assert failed.code() is DENIED
        (info,) = unpacked(status, details.ErrorInfo)
        assert info.reason == "PERMISSION_DENIED"
        assert info.metadata == {"role": role, "needed": " or ".join(HOLDERS[right])}
        assert api.audit.deeds[-1].method == f"lading.v1.JobService/{name}"
    assert api.control.calls == []


@pytest.mark.parametrize(
    "name", ["CancelJob", "CreateJob", "DeleteJob", "PauseJob", "StartJob", "UpdateJob", "ListJobs"]
)
async def test_whoever_has_the_right_gets_through(api, name: str):
    right = METHODS[f"lading.v1.JobService/{name}"].right
    assert right is not None
    for role in HOLDERS[right]:
        api.control.job = replace(OWN, owner=f"a-{role}")
        bounds = {"connections": ("crm",), "roots": ("in",)} if role is Role.SUBMITTER else {}
        await getattr(api.stub, name)(CALLS[name], metadata=await shown(api, role, **bounds), timeout=DEADLINE)


async def test_health_is_for_all_and_reflection_for_those_who_are_known(api):
    wrong = (("authorization", "Bearer wrong"),)
    request = health_pb2.HealthCheckRequest()
    assert (await HealthStub(api.channel).Check(request, metadata=wrong, timeout=DEADLINE)).status == 1
    stub = ServerReflectionStub(api.channel)
    requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
    # No request is sent, because gRPC's client would report INTERNAL if the refusal comes before the request.
    failed, _ = await refused(stub.ServerReflectionInfo(metadata=wrong, timeout=DEADLINE).read())
    assert failed.code() is UNAUTHENTICATED
    viewer = await shown(api, Role.VIEWER)
    answer = await stub.ServerReflectionInfo(iter(requests), metadata=viewer, timeout=DEADLINE).read()
    assert "lading.v1.AuditService" in str(answer)


async def test_a_method_that_nobody_wrote_is_unimplemented(api, caplog):
    failed, _ = await refused(HealthStub(api.channel).List(health_pb2.HealthListRequest(), timeout=DEADLINE))
    assert failed.code() is grpc.StatusCode.UNIMPLEMENTED
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_bytes_that_are_no_message_are_an_invalid_request(api, caplog):
    for method in ("StartJob", "WatchJobs"):
        call = api.channel.unary_unary(f"/lading.v1.JobService/{method}")
        failed, status = await refused(call(b"\x0a\xff", timeout=DEADLINE))
        assert failed.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert unpacked(status, details.ErrorInfo)[0].reason == "INVALID_REQUEST"
    requests = api.channel.stream_unary("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    failed, _ = await refused(requests(iter([b"\x0a\xff"]), timeout=DEADLINE))
    assert failed.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


# What a request names


@pytest.mark.parametrize("paths", [["spec"], ["label", "spec"], []])
async def test_an_operator_edits_texts_and_no_specs(api, paths: list[str]):
    operator = await shown(api, Role.OPERATOR)
    request = pb.UpdateJobRequest(job=job_pb2.Job(name="jobs/a1", label="x", spec=IMPORT))
    request.update_mask.paths.extend(paths)
    failed, _ = await refused(api.stub.UpdateJob(request, metadata=operator, timeout=DEADLINE))
    assert failed.code() is DENIED
    assert api.control.calls == []
    request.update_mask.paths[:] = ["label"]
    await api.stub.UpdateJob(request, metadata=operator, timeout=DEADLINE)
    assert [name for name, _ in api.control.calls] == ["edit"]


def exporting(connection: str, root: str) -> spec_pb2.JobSpec:
    table, file = spec_pb2.Table(connection=connection, table="t"), spec_pb2.File(root=root, path="out.csv")
    return spec_pb2.JobSpec(export_spec=spec_pb2.ExportSpec(table=table, file=file))


def importing(connection: str, *roots: str) -> spec_pb2.JobSpec:
    files = [spec_pb2.File(root=root, path="in.csv") for root in roots]
    target = spec_pb2.Table(connection=connection, table="t")
    return spec_pb2.JobSpec(import_spec=spec_pb2.ImportSpec(files=files, target=target))


@pytest.mark.parametrize(
    ("spec", "lacks"),
    [
        (importing("crm", "in"), None),
        (importing("crm", "uploads"), None),
        (exporting("crm", "in"), None),
        (importing("crm", "in", "out"), "root 'out'"),
        (importing("crm", ""), "root 'local'"),
        (importing("", "in"), "connection 'local'"),
        (importing("billing", "in"), "connection 'billing'"),
        (exporting("billing", "in"), "connection 'billing'"),
        (exporting("crm", "out"), "root 'out'"),
    ],
    ids=str,
)
@pytest.mark.parametrize("how", ["create", "update", "preview"])
async def test_a_submitter_names_only_what_it_was_given(api, spec, lacks, how):
    submitter = await shown(api, Role.SUBMITTER, connections=("crm",), roots=("in",))
    api.control.job = OWN
    if how == "create":
        call = api.stub.CreateJob(pb.CreateJobRequest(job=job_pb2.Job(spec=spec)), metadata=submitter, timeout=DEADLINE)
    elif how == "preview":
        if not spec.HasField("import_spec"):
            pytest.skip("only imports have a preview")
        request = pb.PreviewImportRequest(spec=spec.import_spec)
        call = api.stub.PreviewImport(request, metadata=submitter, timeout=DEADLINE)
    else:
        job = job_pb2.Job(name="jobs/a1", spec=spec)
        call = api.stub.UpdateJob(pb.UpdateJobRequest(job=job), metadata=submitter, timeout=DEADLINE)
    if lacks is None:
        await call
        return
    failed, _ = await refused(call)
    assert failed.code() is DENIED
    assert lacks in failed.details()
    assert api.control.calls == []


@pytest.mark.parametrize(
    ("name", "request_of"),
    [
        ("ListTables", lambda connection: table_service_pb2.ListTablesRequest(connection=connection)),
        (
            "GetTable",
            lambda connection: table_service_pb2.GetTableRequest(table={"connection": connection, "table": "t"}),
        ),
        ("SuggestMapping", lambda connection: table_service_pb2.SuggestMappingRequest(spec=_into(connection))),
    ],
)
async def test_tables_of_other_connections_are_not_shown(api, name, request_of):
    submitter = await shown(api, Role.SUBMITTER, connections=("crm",), roots=("in",))
    call = getattr(TableServiceStub(api.channel), name)
    await call(request_of("crm"), metadata=submitter, timeout=DEADLINE)
    for connection in ("billing", ""):
        failed, _ = await refused(call(request_of(connection), metadata=submitter, timeout=DEADLINE))
        assert failed.code() is DENIED
    viewer = await shown(api, Role.VIEWER)
    failed, _ = await refused(call(request_of("crm"), metadata=viewer, timeout=DEADLINE))
    assert failed.code() is DENIED
    assert len(api.control.calls) == 1


def _into(connection: str) -> spec_pb2.ImportSpec:
    spec: spec_pb2.ImportSpec = importing(connection, "in").import_spec
    return spec


class _Context:
    """The parts of a call on the socket that the interceptor needs."""

    def __init__(self, *metadata: tuple[str, str]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def peer(self) -> str:
        return "unix:"


async def _called(permits: Permits, principal: Principal, method: str, request: Any) -> str:
    """Call one method through the interceptor alone."""
    door = Access(tokens=FakeTokens(), permits=permits, trail=Trail(FakeAudit()), local=principal, clock=lambda: NOW)

    async def behaviour(request: Any, context: Any) -> str:
        return "through"

    async def continuation(details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(behaviour)

    handler = await door.intercept_service(continuation, SimpleNamespace(method=f"/{method}"))
    assert handler is not None
    answer: str = await handler.unary_unary(request, _Context())
    return answer


@pytest.fixture
def uploads(folder: Path) -> UploadFiles:
    return no_files(folder)["uploads"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(("root", "lacks"), [("in", None), ("out", "root 'out'")])
async def test_a_submitter_clones_only_what_it_could_make(api, root, lacks):
    submitter = await shown(api, Role.SUBMITTER, connections=("crm",), roots=("in",))
    target = Table(connection="crm", table="t")
    api.control.job = a_job(owner="a-submitter", spec=ImportSpec(files=(File(root=root, path="a.csv"),), target=target))
    call = api.stub.CloneJob(pb.CloneJobRequest(name="jobs/a1"), metadata=submitter, timeout=DEADLINE)
    if lacks is None:
        await call
        return
    failed, _ = await refused(call)
    assert failed.code() is DENIED
    assert lacks in failed.details()
    assert api.control.calls == []


async def test_downloads_are_beneath_the_roots_of_a_submitter(uploads):
    method, roots = "lading.v1.FileService/DownloadFile", {"in"}
    submitter = Principal(name="x", role=Role.SUBMITTER, roots=roots)
    permits = Permits(uploads)
    for root, through in (("in", True), ("uploads", True), ("out", False), ("", False)):
        request = file_service_pb2.DownloadFileRequest(file=spec_pb2.File(root=root, path="a.csv"))
        if through:
            assert await _called(permits, submitter, method, request) == "through"
            continue
        with pytest.raises(PermissionDenied):
            await _called(permits, submitter, method, request)
    for role in (Role.VIEWER, Role.OPERATOR):
        with pytest.raises(PermissionDenied):
            await _called(permits, Principal(name="x", role=role), method, request)


UPLOAD = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"


def on_upload(method: str, spelling: str = "") -> Any:
    """A request of this method that names the upload. ``spelling`` is put before the path of a file."""
    file = spec_pb2.File(root="uploads", path=f"{spelling}{UPLOAD}/a.csv")
    table = spec_pb2.Table(connection="crm", table="t")
    return {
        "FileService/GetUpload": file_service_pb2.GetUploadRequest(name=f"uploads/{UPLOAD}"),
        "FileService/DeleteUpload": file_service_pb2.DeleteUploadRequest(name=f"uploads/{UPLOAD}"),
        "FileService/DownloadFile": file_service_pb2.DownloadFileRequest(file=file),
        "JobService/CreateJob": pb.CreateJobRequest(
            job=job_pb2.Job(spec=spec_pb2.JobSpec(import_spec=spec_pb2.ImportSpec(files=[file], target=table)))
        ),
        "JobService/UpdateJob": pb.UpdateJobRequest(
            job=job_pb2.Job(spec=spec_pb2.JobSpec(export_spec=spec_pb2.ExportSpec(table=table, file=file)))
        ),
    }[method]


@pytest.mark.parametrize(
    "method",
    [
        "FileService/GetUpload",
        "FileService/DeleteUpload",
        "FileService/DownloadFile",
        "JobService/CreateJob",
        "JobService/UpdateJob",
    ],
)
async def test_an_upload_is_for_who_made_it_and_for_admins(uploads, method):
    permits, request = Permits(uploads), on_upload(method)
    ada, bob = (Principal(name=name, role=Role.SUBMITTER, connections={"crm"}) for name in ("ada", "bob"))
    await uploads.claim(UPLOAD, "ada")
    for principal in (ada, ANYONE):
        assert await _called(permits, principal, f"lading.v1.{method}", request) == "through"
    with pytest.raises(PermissionDenied, match="somebody else"):
        await _called(permits, bob, f"lading.v1.{method}", request)


@pytest.mark.parametrize("method", ["FileService/DownloadFile", "JobService/CreateJob", "JobService/UpdateJob"])
@pytest.mark.parametrize("spelling", ["./", "././", ".//"])
async def test_an_upload_is_somebody_elses_however_it_is_spelled(uploads, method, spelling):
    await uploads.claim(UPLOAD, "ada")
    bob = Principal(name="bob", role=Role.SUBMITTER, connections={"crm"})
    with pytest.raises(PermissionDenied, match="somebody else"):
        await _called(Permits(uploads), bob, f"lading.v1.{method}", on_upload(method, spelling))


async def test_what_is_exported_for_a_download_is_for_who_exports_it(uploads):
    permits, method = Permits(uploads), "JobService/UpdateJob"
    ada, bob = (Principal(name=name, role=Role.SUBMITTER, connections={"crm"}) for name in ("ada", "bob"))
    assert await _called(permits, ada, f"lading.v1.{method}", on_upload(method)) == "through"
    with pytest.raises(PermissionDenied, match="somebody else"):
        await _called(permits, bob, "lading.v1.FileService/DownloadFile", on_upload("FileService/DownloadFile"))


@pytest.mark.parametrize("asks_only", [True, False])
async def test_nothing_is_claimed_by_who_only_asks(uploads, asks_only):
    permits, method = Permits(uploads), "JobService/UpdateJob"
    ada, bob = (Principal(name=name, role=Role.SUBMITTER, connections={"crm"}) for name in ("ada", "bob"))
    request = on_upload(method)
    request.validate_only = asks_only
    await _called(permits, ada, f"lading.v1.{method}", request)
    assert await uploads.owner(UPLOAD) == ("" if asks_only else "ada")
    await uploads.claim(UPLOAD, "ada")
    with pytest.raises(PermissionDenied, match="somebody else"):
        await _called(permits, bob, f"lading.v1.{method}", request)


@pytest.mark.parametrize(
    ("method", "roles"),
    [
        ("UploadFile", {Role.SUBMITTER, Role.ADMIN}),
        ("GetUpload", {Role.SUBMITTER, Role.ADMIN}),
        ("DeleteUpload", {Role.SUBMITTER, Role.ADMIN}),
        ("DownloadFile", {Role.SUBMITTER, Role.ADMIN}),
    ],
)
def test_who_may_send_and_fetch_files(method: str, roles: set[Role]):
    right = METHODS[f"lading.v1.FileService/{method}"].right
    assert right is not None
    assert set(HOLDERS[right]) == roles


# Who calls


@pytest.mark.parametrize(
    "headers",
    [
        ["Basic dXNlcjpwYXNz"],
        ["Bearer"],
        ["Bearer "],
        ["Bearer x"],
        [""],
        ["bearer lading_0123456789abcdef_" + "A" * 43],
        ["{}", "{}"],
    ],
    ids=str,
)
async def test_what_is_shown_must_be_right_even_on_the_socket(api, headers: list[str]):
    ((_, right),) = await shown(api, Role.ADMIN)
    metadata = [("authorization", header.format(right)) for header in headers]
    failed, status = await refused(api.stub.ListJobs(pb.ListJobsRequest(), metadata=metadata, timeout=DEADLINE))
    assert failed.code() is UNAUTHENTICATED
    assert unpacked(status, details.ErrorInfo)[0].reason == "UNAUTHENTICATED"
    assert right.partition(" ")[2] not in f"{failed.details()} {failed.trailing_metadata()}"


async def test_a_token_counts_for_more_than_the_socket(api):
    viewer = await shown(api, Role.VIEWER)
    failed, _ = await refused(api.stub.StartJob(pb.StartJobRequest(name="jobs/a1"), metadata=viewer, timeout=DEADLINE))
    assert failed.code() is DENIED
    await api.stub.StartJob(pb.StartJobRequest(name="jobs/a1"), timeout=DEADLINE)


async def test_the_scheme_is_read_in_any_spelling(api):
    ((key, value),) = await shown(api, Role.VIEWER)
    metadata = ((key, value.replace("Bearer", "bEARER ")),)
    await api.stub.ListJobs(pb.ListJobsRequest(), metadata=metadata, timeout=DEADLINE)


async def test_a_stream_ends_when_its_token_does(api):
    api.watch.events = [WatchEvent(kind=WatchKind.CHANGED, revision=8, time=NOON, job=a_job())]
    revoked, kept = await shown(api, Role.VIEWER), await shown(api, Role.OPERATOR)
    first = api.stub.WatchJobs(pb.WatchJobsRequest(), metadata=revoked, timeout=DEADLINE)
    second = api.stub.WatchJobs(pb.WatchJobsRequest(), metadata=kept, timeout=DEADLINE)
    local = api.stub.WatchJobs(pb.WatchJobsRequest(), timeout=DEADLINE)
    for call in (first, second, local):
        await call.read()
    rechecking = asyncio.create_task(api.server.recheck(every=0.01))
    await api.tokens.revoke("a-viewer")
    failed, status = await refused(first.read())
    assert failed.code() is UNAUTHENTICATED
    assert unpacked(status, details.ErrorInfo)[0].reason == "UNAUTHENTICATED"
    rechecking.cancel()
    assert not second.done()
    assert not local.done()
    assert [(deed.principal, deed.outcome) for deed in api.audit.deeds] == [("a-viewer", "UNAUTHENTICATED")]


async def test_a_stream_ends_when_a_reload_has_made_another_of_its_caller(api):
    api.watch.events = [WatchEvent(kind=WatchKind.CHANGED, revision=8, time=NOON, job=a_job())]
    local = api.stub.WatchJobs(pb.WatchJobsRequest(), timeout=DEADLINE)
    await local.read()
    rechecking = asyncio.create_task(api.server.recheck(every=0.01))
    api.server.admit(local=ANYONE, clients={})
    await asyncio.sleep(0.05)
    assert not local.done()
    api.server.admit(local=None, clients={})
    failed, _ = await refused(local.read())
    assert failed.code() is UNAUTHENTICATED
    assert "were changed" in failed.details()
    rechecking.cancel()


# The audit trail


async def test_what_changes_something_is_written_down_and_what_reads_is_not(api, caplog):
    caplog.set_level(logging.INFO)
    api.store.put(a_job())
    await api.stub.GetJob(pb.GetJobRequest(name="jobs/a1"), timeout=DEADLINE)
    await api.stub.CreateJob(CALLS["CreateJob"], timeout=DEADLINE)
    checked = pb.CreateJobRequest(job=job_pb2.Job(spec=IMPORT), validate_only=True)
    await api.stub.CreateJob(checked, timeout=DEADLINE)
    await api.stub.DeleteJob(pb.DeleteJobRequest(name="jobs/b2"), timeout=DEADLINE)
    api.control.error = RuntimeError("s3cret")
    await refused(api.stub.StartJob(pb.StartJobRequest(name="jobs/a1"), timeout=DEADLINE))
    known = {"time": NOW, "principal": "socket", "role": "admin", "peer": "unix:"}
    assert api.audit.deeds == [
        Deed(**known, method="lading.v1.JobService/CreateJob", resource="jobs/a1", outcome="OK"),
        Deed(**known, method="lading.v1.JobService/DeleteJob", resource="jobs/b2", outcome="OK"),
        Deed(**known, method="lading.v1.JobService/StartJob", resource="jobs/a1", outcome="INTERNAL"),
    ]
    lines = [record.getMessage() for record in caplog.records if record.name == "ladingd.api.trail"]
    assert lines[1] == "lading.v1.JobService/DeleteJob by 'socket' (admin) from unix:: OK 'jobs/b2'"
    assert len(lines) == 3
    assert "s3cret" not in "".join(lines)


async def test_a_resource_does_not_write_lines_of_its_own_into_the_log(api, caplog):
    viewer = await shown(api, Role.VIEWER)
    request = pb.StartJobRequest(name="jobs/a\nCRITICAL all is lost " + "x" * 1000)
    await refused(api.stub.StartJob(request, metadata=viewer, timeout=DEADLINE))
    (record,) = (record for record in caplog.records if record.name == "ladingd.api.trail")
    assert record.levelname == "WARNING"
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 500
    assert len(api.audit.deeds[0].resource) == 200


async def test_a_trail_that_cannot_be_written_is_an_error_in_the_log(api, caplog):
    api.audit.error = OSError("disk full")
    assert (await api.stub.StartJob(pb.StartJobRequest(name="jobs/a1"), timeout=DEADLINE)).name == "jobs/a1"
    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert "jobs/a1" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is api.audit.error
    api.audit.error = None
    await api.stub.StartJob(pb.StartJobRequest(name="jobs/a1"), timeout=DEADLINE)
    assert len(api.audit.deeds) == 1


async def test_a_call_that_its_client_gave_up_is_written_down(api):
    api.control.hold = asyncio.Event()
    call = api.stub.StartJob(pb.StartJobRequest(name="jobs/a1"), timeout=DEADLINE)
    running = asyncio.ensure_future(call)
    async with asyncio.timeout(DEADLINE):
        await api.control.held.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await eventually(lambda: len(api.audit.deeds) == 1)
    assert api.audit.deeds[0].outcome == "CANCELLED"


async def test_the_trail_knows_what_was_done_though_the_caller_has_gone(api, monkeypatch):
    made, gone = asyncio.Event(), asyncio.Event()

    async def command(job_id: str, event: Any, **_: Any) -> Any:
        effect.get().job = a_job(id=job_id)
        made.set()
        try:
            await gone.wait()
        finally:
            gone.set()

    monkeypatch.setattr(api.control, "command", command)
    call = api.stub.PauseJob(pb.PauseJobRequest(name="jobs/a1"), timeout=DEADLINE)
    running = asyncio.ensure_future(call)
    await made.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await eventually(lambda: len(api.audit.deeds) == 1)
    deed = api.audit.deeds[0]
    assert (deed.resource, deed.outcome) == ("jobs/a1", "OK")


async def test_the_trail_knows_what_was_removed_though_the_caller_has_gone(api, monkeypatch):
    removing, go_on = asyncio.Event(), asyncio.Event()

    async def delete(self: UploadFiles, upload_id: str, in_use: Any) -> None:
        removing.set()
        await go_on.wait()

    monkeypatch.setattr(UploadFiles, "delete", delete)
    stub = FileServiceStub(api.channel)
    request = file_service_pb2.DeleteUploadRequest(name=f"uploads/{UPLOAD}")
    running = asyncio.ensure_future(call := stub.DeleteUpload(request, timeout=DEADLINE))
    await asyncio.wait_for(removing.wait(), DEADLINE)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    go_on.set()
    await eventually(lambda: len(api.audit.deeds) == 1)
    deed = api.audit.deeds[0]
    assert (deed.resource, deed.outcome) == (f"uploads/{UPLOAD}", "OK")


async def test_who_sends_to_somebody_elses_id_is_kept_out_and_written_down(api, folder):
    await no_files(folder)["uploads"].claim(UPLOAD, "ada")
    submitter = await shown(api, Role.SUBMITTER)
    begin = file_service_pb2.UploadFileRequest.Begin(upload_id=UPLOAD, file_name="a.csv", sha256=bytes(32))
    requests = iter([file_service_pb2.UploadFileRequest(begin=begin)])
    failed, _ = await refused(FileServiceStub(api.channel).UploadFile(requests, metadata=submitter, timeout=DEADLINE))
    assert failed.code() is DENIED
    assert [deed.outcome for deed in api.audit.deeds] == ["PERMISSION_DENIED"]


async def test_deeds_that_come_together_are_written_together():
    class Slow(FakeAudit):
        def __init__(self) -> None:
            super().__init__()
            self.batches: list[int] = []
            self.release = asyncio.Event()

        async def add(self, deeds: Any) -> None:
            self.batches.append(len(deeds))
            await self.release.wait()
            await super().add(deeds)

    store = Slow()
    trail = Trail(store)
    deed = Deed(time=NOW, principal="x", role="admin", peer="", method="m", resource="", outcome="OK")
    first = asyncio.ensure_future(trail.note(deed))
    await eventually(lambda: store.batches == [1])
    others = [asyncio.ensure_future(trail.note(deed)) for _ in range(5)]
    await asyncio.sleep(0)
    assert not first.done()
    store.release.set()
    await asyncio.wait_for(asyncio.gather(first, *others), DEADLINE)
    assert store.batches == [1, 5]
    assert len(store.deeds) == 6


async def test_admins_read_the_trail_page_by_page(api):
    for number in range(5):
        await api.stub.StartJob(pb.StartJobRequest(name=f"jobs/{number}"), timeout=DEADLINE)
    stub = AuditServiceStub(api.channel)
    first = await stub.ListAuditEntries(audit_service_pb2.ListAuditEntriesRequest(page_size=3), timeout=DEADLINE)
    rest = await stub.ListAuditEntries(
        audit_service_pb2.ListAuditEntriesRequest(page_size=3, page_token=first.next_page_token), timeout=DEADLINE
    )
    entries = [*first.audit_entries, *rest.audit_entries]
    assert [entry.sequence for entry in entries] == [5, 4, 3, 2, 1]
    assert rest.next_page_token == ""
    assert entries[0].time.ToDatetime(NOW.tzinfo) == NOW
    # The name in the answer takes precedence over the request.
    assert (entries[0].principal, entries[0].resource, entries[0].outcome) == ("socket", "jobs/a1", "OK")
    for role in set(Role) - {Role.ADMIN}:
        metadata = await shown(api, role)
        failed, _ = await refused(
            stub.ListAuditEntries(audit_service_pb2.ListAuditEntriesRequest(), metadata=metadata, timeout=DEADLINE)
        )
        assert failed.code() is DENIED


async def test_who_comes_otherwise_than_by_the_socket_must_be_known(uploads):
    class Tcp(_Context):
        def __init__(self, **auth: list[bytes]) -> None:
            super().__init__()
            self._auth = auth

        def peer(self) -> str:
            return "ipv4:127.0.0.1:1"

        def auth_context(self) -> dict[str, list[bytes]]:
            return self._auth

    anyone = Principal(name="socket", role=Role.ADMIN)
    robot = Principal(name="robot", role=Role.VIEWER)
    door = Access(
        tokens=FakeTokens(), permits=Permits(uploads), trail=Trail(FakeAudit()), local=anyone, clients={"robot": robot}
    )

    async def behaviour(request: Any, context: Any) -> str:
        return "through"

    async def continuation(details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(behaviour)

    handler = await door.intercept_service(continuation, SimpleNamespace(method="/lading.v1.JobService/ListJobs"))
    assert handler is not None
    request = pb.ListJobsRequest()
    assert await handler.unary_unary(request, Tcp(x509_common_name=[b"robot"])) == "through"
    valid, expired = (Authority().issue(common_name="robot", expired=old).chain for old in (False, True))
    assert await handler.unary_unary(request, Tcp(x509_common_name=[b"robot"], x509_pem_cert=[valid])) == "through"
    with pytest.raises(Unauthenticated, match="the certificate of robot expired on"):
        await handler.unary_unary(request, Tcp(x509_common_name=[b"robot"], x509_pem_cert=[expired]))
    for wrong in (Tcp(), Tcp(x509_common_name=[b"Robot"]), Tcp(x509_common_name=[]), Tcp(x509_common_name=[b"\xff"])):
        with pytest.raises(Unauthenticated):
            await handler.unary_unary(request, wrong)
