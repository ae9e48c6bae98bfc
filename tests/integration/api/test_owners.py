"""Access to jobs: every method and role, with own, shared and other jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from lading.v1 import job_pb2
from lading.v1 import job_service_pb2 as pb
from ladingd.api.messages.encoded_events import EncodedEvents
from ladingd.api.messages.filter import selection_in
from ladingd.api.methods import METHODS, Method
from ladingd.core.access import HOLDERS, Act, Right, Role, Standing, issue
from ladingd.core.spec import File, ImportSpec, Table
from ladingd.run.watch.events import WatchEvent, WatchKind
from tests.integration.api.answers import refused
from tests.integration.api.fakes import DEADLINE, NOON, a_job
from tests.integration.api.test_access import CALLS, IMPORT, methods_of
from tests.unit.core.test_access import REACHES

if TYPE_CHECKING:
    from collections.abc import Set

    from ladingd.core.job import Job

DENIED, NOT_FOUND, OK = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.OK
JOBS = "lading.v1.JobService"

EDITS = {
    "UpdateJob label": (job_pb2.Job(name="jobs/a1", label="x"), Act.EDIT_TEXTS),
    "UpdateJob description": (job_pb2.Job(name="jobs/a1", description="x"), Act.EDIT_TEXTS),
    "UpdateJob spec": (job_pb2.Job(name="jobs/a1", spec=IMPORT), Act.EDIT_SPEC),
    "UpdateJob shared": (job_pb2.Job(name="jobs/a1", shared=True), Act.SHARE),
}

ACTS = {
    "CancelJob": Act.CANCEL,
    "CloneJob": Act.CLONE,
    "DeleteJob": Act.DELETE,
    "GetJob": Act.SEE,
    "ListJournalEntries": Act.SEE,
    "ListRejectGroups": Act.READ_REJECTS,
    "ListRejects": Act.READ_REJECTS,
    "PauseJob": Act.PAUSE,
    "StartJob": Act.START,
    "WatchJournal": Act.SEE,
    "WatchRejects": Act.READ_REJECTS,
} | {name: act for name, (_, act) in EDITS.items()}
"""The act of each call that names a job."""

REQUESTS = {name: CALLS[name] for name in ACTS if name in CALLS} | {
    name: pb.UpdateJobRequest(job=job) for name, (job, _) in EDITS.items()
}

MINE = ImportSpec(files=(File(root="in", path="a.csv"),), target=Table(connection="crm", table="t"))


def test_every_method_that_names_a_job_is_tried() -> None:
    by_itself = {"CreateJob", "ListJobs", "PreviewImport", "WatchJobs"}
    tried = {name.partition(" ")[0] for name in ACTS} | by_itself
    assert {f"{JOBS}/{name}" for name in tried} == methods_of(JOBS)


def test_every_method_of_jobs_says_what_it_does_with_them() -> None:
    for method in methods_of(JOBS) - {f"{JOBS}/CreateJob", f"{JOBS}/PreviewImport"}:
        assert METHODS[method].acts, f"{method} has no act in the table of methods"
    assert METHODS[f"{JOBS}/UpdateJob"].acts == {Act.EDIT_TEXTS, Act.EDIT_SPEC, Act.SHARE}


def a_job_of(standing: Standing) -> Job:
    return a_job(owner="anna" if standing is Standing.OWN else "ben", shared=standing is Standing.SHARED, spec=MINE)


async def by_anna(api: Any, role: Role, **more: Any) -> dict[str, Any]:
    """The metadata of anna's calls."""
    bounds = {"connections": ("crm",), "roots": ("in",)} if role is Role.SUBMITTER else {}
    token, text = issue("anna", role, NOON, **(bounds | more))
    api.tokens.all = [token]
    return {"metadata": (("authorization", f"Bearer {text}"),), "timeout": DEADLINE}


async def outcome(call: Any) -> tuple[grpc.StatusCode, str]:
    """The outcome of a call, with the message of an error."""
    try:
        await (call.read() if hasattr(call, "read") else call)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return OK, ""


def expected(role: Role, standing: Standing, name: str) -> grpc.StatusCode:
    reach: Set[Act] = REACHES[role][standing]
    right = METHODS[f"{JOBS}/{name.partition(' ')[0]}"].right
    if right is not None and role not in HOLDERS[right]:
        return DENIED
    if Act.SEE not in reach:
        return NOT_FOUND
    return OK if ACTS[name] in reach else DENIED


@pytest.mark.parametrize("standing", Standing)
@pytest.mark.parametrize("role", Role)
async def test_a_call_reaches_the_jobs_that_its_role_may(api: Any, role: Role, standing: Standing) -> None:
    api.control.job = api.store.put(a_job_of(standing))
    api.watch.entries, api.watch.rejected = [], []
    caller = await by_anna(api, role)
    for name, request in REQUESTS.items():
        if name in ("WatchJournal", "WatchRejects"):
            continue  # tests/unit/run/test_watch_owners.py
        calls, deeds = len(api.control.calls), len(api.audit.deeds)
        code, _ = await outcome(getattr(api.stub, name.partition(" ")[0])(request, **caller))
        assert code is expected(role, standing, name), name
        if code is not OK:
            assert len(api.control.calls) == calls, "nothing was done"
            assert api.audit.deeds[deeds].outcome == code.name, f"{name} is in the trail"
            assert api.audit.deeds[deeds].principal == "anna"


async def test_a_job_of_another_is_as_one_that_is_not_there(api: Any) -> None:
    """Code, message and audit trail are the same."""
    caller = await by_anna(api, Role.SUBMITTER)
    api.store.put(a_job(id="a1", owner="ben"))
    for name in ("GetJob", "ListJournalEntries", "ListRejects", "ListRejectGroups"):
        request = type(REQUESTS[name])
        field = "name" if name == "GetJob" else "parent"
        seen = []
        for job in ("a1", "b2"):
            code, words = await outcome(getattr(api.stub, name)(request(**{field: f"jobs/{job}"}), **caller))
            seen.append((code, words.replace(job, "JOB"), api.audit.deeds[-1].outcome, len(api.audit.deeds)))
        (*one, number), (*other, next_number) = seen
        assert one == other
        assert next_number == number + 1


async def test_lists_and_watches_hold_what_the_caller_may_see(api: Any) -> None:
    api.watch.events = [WatchEvent(kind=WatchKind.BOOKMARK, revision=7, time=NOON)]
    for role in Role:
        caller = await by_anna(api, role)
        await api.stub.ListJobs(pb.ListJobsRequest(filter="state = EDITING"), **caller)
        watch = api.stub.WatchJobs(pb.WatchJobsRequest(filter="state = EDITING"), **caller)
        await watch.read()
        watch.cancel()
        wanted = replace(selection_in("state = EDITING"), visible_to="anna" if role is Role.SUBMITTER else None)
        assert api.store.listed[0] == api.watch.asked[-1]["selection"] == wanted


@pytest.mark.parametrize(("connections", "roots"), [((), ("in",)), (("crm",), ()), (("other",), ("in",))])
async def test_rights_are_those_of_now(api: Any, connections: tuple[str, ...], roots: tuple[str, ...]) -> None:
    """An owner who has lost the right to a connection or root may read, pause and delete, but not start."""
    api.control.job = api.store.put(a_job_of(Standing.OWN))
    caller = await by_anna(api, Role.SUBMITTER, connections=connections, roots=roots)
    for name, code in (("StartJob", DENIED), ("CloneJob", DENIED), ("UpdateJob spec", DENIED)):
        assert (await outcome(getattr(api.stub, name.partition(" ")[0])(REQUESTS[name], **caller)))[0] is code
    assert api.control.calls == []
    for name in ("GetJob", "PauseJob", "CancelJob", "UpdateJob label", "DeleteJob"):
        assert (await outcome(getattr(api.stub, name.partition(" ")[0])(REQUESTS[name], **caller)))[0] is OK


async def test_a_spec_is_edited_by_whoever_may_use_the_old_and_the_new_one(api: Any) -> None:
    old = replace(MINE, target=Table(connection="billing", table="t"))
    api.control.job = a_job(owner="anna", spec=old)
    caller = await by_anna(api, Role.SUBMITTER)
    code, words = await outcome(api.stub.UpdateJob(REQUESTS["UpdateJob spec"], **caller))
    assert (code, "'billing'" in words) == (DENIED, True)


async def test_a_request_of_before_does_not_show_the_job_of_another(api: Any) -> None:
    """Before requests had owners, another caller may have made a job with this request_id."""
    request = pb.CreateJobRequest(job=job_pb2.Job(spec=IMPORT), request_id="6f9619ff-8b86-4d01-b42d-00cf4fc964ff")

    async def earlier(spec: Any, **facts: Any) -> Job:
        return a_job(owner="", label="secret")

    api.control.create = earlier
    code, words = await outcome(api.stub.CreateJob(request, **await by_anna(api, Role.SUBMITTER)))
    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert "a1" not in words
    assert (await api.stub.CreateJob(request, **await by_anna(api, Role.ADMIN))).label == "secret"


def test_a_job_that_is_withdrawn_ends_without_a_word() -> None:
    """Also if others were shown the same change before."""
    job = a_job(owner="ben", label="secret", description="secret", revision=9)
    shown = EncodedEvents()
    change = {"revision": 9, "time": NOON, "job": job}
    full = pb.WatchJobsResponse.FromString(shown.message(WatchEvent(kind=WatchKind.CHANGED, **change)))
    bare = pb.WatchJobsResponse.FromString(shown.message(WatchEvent(kind=WatchKind.WITHDRAWN, **change)))
    assert full.job.label == "secret"
    assert (bare.kind, bare.revision) == (pb.WatchJobsResponse.KIND_DELETED, 9)
    bare.job.spec.Clear()
    assert bare.job == job_pb2.Job(name="jobs/a1", uid=job.uid, spec=bare.job.spec)


async def test_a_method_without_an_act_touches_no_job(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ladingd.api.interceptors.access.METHODS", {f"{JOBS}/GetJob": Method(Right.READ)})
    api.store.put(a_job())
    failed, _ = await refused(api.stub.GetJob(pb.GetJobRequest(name="jobs/a1"), timeout=DEADLINE))
    assert failed.code() is grpc.StatusCode.INTERNAL
