"""Every call of the service: its calls of the domain, and its answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import ParseDict
from google.rpc import error_details_pb2 as details

from lading.v1 import job_pb2, spec_pb2
from lading.v1 import job_service_pb2 as pb
from ladingd.api.messages.filter import order_in, selection_in
from ladingd.api.messages.job import job_message
from ladingd.core.bill import Counts
from ladingd.core.errors import InvalidSpec
from ladingd.core.job import Connector, JournalEntry, Level, Reject, RejectType
from ladingd.core.plan import Chunk
from ladingd.core.ports import KeptChunk
from ladingd.core.reject_group import Place, RejectFilter, RejectGroup
from ladingd.core.selection import EVERY
from ladingd.core.spec import File, ImportSpec, Table
from ladingd.core.state import Event
from ladingd.run.watch.events import WatchEvent, WatchKind
from tests.integration.api.answers import refused, unpacked
from tests.integration.api.fakes import DEADLINE, NOON, NOW, a_job

SPEC = {"importSpec": {"files": [{"path": "a.csv"}], "target": {"table": "t"}}}
UUID = "7d444840-9dc0-11d1-b245-5ffdce74fad2"


def a_request(**fields) -> pb.CreateJobRequest:
    return ParseDict({"job": {"label": "May", "spec": SPEC}, **fields}, pb.CreateJobRequest())


def a_reject(record: int, raw: str = "x") -> Reject:
    return Reject(
        time=NOON, file="a.csv", line=record, record=record, raw=raw, connector=Connector.TEXT, code="X", message="x"
    )


async def violated(call) -> str:
    """The field that a call was refused for."""
    failed, status = await refused(call)
    assert failed.code() is grpc.StatusCode.INVALID_ARGUMENT
    (bad,) = unpacked(status, details.BadRequest)
    (violation,) = bad.field_violations
    return violation.field


class TestCreate:
    async def test_passes_everything_on(self, api):
        request = a_request(jobId="may-1", requestId=UUID.upper(), validateOnly=True)
        request.job.shared = True
        job = await api.stub.CreateJob(request, timeout=DEADLINE)
        ((name, facts),) = api.control.calls
        assert name == "create"
        assert facts.pop("spec") == ImportSpec(files=(File(path="a.csv"),), target=Table(table="t"))
        assert len(facts.pop("request_digest")) == 64
        assert facts == {
            "label": "May",
            "description": "",
            "owner": "socket",
            "shared": True,
            "job_id": "may-1",
            "request_id": UUID,
            "validate_only": True,
        }
        assert job == job_message(api.control.job, NOW)

    async def test_the_digest_tells_requests_apart_but_for_their_id(self, api):
        other = a_request(requestId="f" * 32)
        different = a_request(requestId=UUID)
        different.job.label = "June"
        for request in (a_request(requestId=UUID), other, different):
            await api.stub.CreateJob(request, timeout=DEADLINE)
        first, second, third = (facts["request_digest"] for _, facts in api.control.calls)
        assert first == second != third

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"jobId": "May"}, "job_id"),
            ({"jobId": "-may"}, "job_id"),
            ({"jobId": "m" * 64}, "job_id"),
            ({"jobId": "may\n"}, "job_id"),
            ({"requestId": "again"}, "request_id"),
            ({"job": {}}, "job.spec"),
            ({"job": {"spec": {"importSpec": {}}}}, "job.spec.import_spec.files"),
            ({"job": {"spec": SPEC, "description": "x" * (1 << 20)}}, "job"),
        ],
    )
    async def test_a_wrong_request_is_refused_before_anything_is_done(self, api, fields, field):
        assert await violated(api.stub.CreateJob(a_request(**fields), timeout=DEADLINE)) == field
        assert api.control.calls == []

    async def test_a_spec_found_wrong_by_planning_is_named_in_the_request(self, api):
        api.control.error = InvalidSpec("target.connection", "is unknown")
        field = await violated(api.stub.CreateJob(a_request(), timeout=DEADLINE))
        assert field == "job.spec.import_spec.target.connection"


class TestPreview:
    async def test_the_spec_and_the_number_arrive(self, api):
        spec = ParseDict(SPEC["importSpec"], spec_pb2.ImportSpec())
        answer = await api.stub.PreviewImport(pb.PreviewImportRequest(spec=spec), timeout=DEADLINE)
        await api.stub.PreviewImport(pb.PreviewImportRequest(spec=spec, records=1000), timeout=DEADLINE)
        assert answer.detected == api.control.job.plan.detected
        assert [column.target for column in answer.columns] == [each.target for each in api.control.job.plan.columns]
        assert [facts["records"] for _, facts in api.control.calls] == [20, 200]

    async def test_the_field_at_fault_is_named_in_the_request(self, api):
        assert await violated(api.stub.PreviewImport(pb.PreviewImportRequest(), timeout=DEADLINE)) == "spec.files"
        assert (
            await violated(api.stub.PreviewImport(pb.PreviewImportRequest(records=-1), timeout=DEADLINE)) == "records"
        )
        api.control.error = InvalidSpec("files[0].path", "is not there")
        spec = ParseDict(SPEC["importSpec"], spec_pb2.ImportSpec())
        call = api.stub.PreviewImport(pb.PreviewImportRequest(spec=spec), timeout=DEADLINE)
        assert await violated(call) == "spec.files[0].path"


class TestUpdate:
    async def test_the_mask_says_what_changes(self, api):
        request = pb.UpdateJobRequest(job=job_pb2.Job(name="jobs/a1", label="", description="d", etag='"7"'))
        request.update_mask.paths.append("label")
        await api.stub.UpdateJob(request, timeout=DEADLINE)
        expected = {
            "job_id": "a1",
            "label": "",
            "description": None,
            "shared": None,
            "spec": None,
            "etag": '"7"',
            "validate_only": False,
        }
        assert api.control.calls == [("edit", expected)]

    async def test_without_a_mask_the_fields_that_are_set_change(self, api):
        request = ParseDict({"job": {"name": "jobs/a1", "description": "d", "spec": SPEC}}, pb.UpdateJobRequest())
        await api.stub.UpdateJob(request, timeout=DEADLINE)
        ((_, facts),) = api.control.calls
        assert (facts["label"], facts["description"]) == (None, "d")
        assert facts["spec"] == ImportSpec(files=(File(path="a.csv"),), target=Table(table="t"))

    @pytest.mark.parametrize(
        ("paths", "field"), [(["state"], "update_mask"), (["label", "spec.x"], "update_mask"), (["spec"], "job.spec")]
    )
    async def test_only_label_description_and_a_whole_spec(self, api, paths, field):
        request = pb.UpdateJobRequest(job=job_pb2.Job(name="jobs/a1"))
        request.update_mask.paths.extend(paths)
        assert await violated(api.stub.UpdateJob(request, timeout=DEADLINE)) == field
        assert api.control.calls == []

    async def test_a_spec_found_wrong_by_planning_is_named_in_the_request(self, api):
        api.control.error = InvalidSpec("files[0].path", "is missing")
        request = ParseDict({"job": {"name": "jobs/a1", "spec": SPEC}}, pb.UpdateJobRequest())
        field = await violated(api.stub.UpdateJob(request, timeout=DEADLINE))
        assert field == "job.spec.import_spec.files[0].path"

    async def test_a_change_can_be_only_checked(self, api):
        request = pb.UpdateJobRequest(job=job_pb2.Job(name="jobs/a1", label="x"), validate_only=True)
        await api.stub.UpdateJob(request, timeout=DEADLINE)
        ((_, facts),) = api.control.calls
        assert facts["validate_only"] is True


class TestClone:
    async def test_passes_what_it_is_told(self, api):
        request = pb.CloneJobRequest(name="jobs/a1", job_id="b2", request_id=UUID, label="again")
        job = await api.stub.CloneJob(request, timeout=DEADLINE)
        ((name, facts),) = api.control.calls
        digest = facts.pop("request_digest")
        assert (name, facts) == (
            "clone",
            {"job_id": "a1", "new_id": "b2", "owner": "socket", "request_id": UUID, "label": "again"},
        )
        assert job == job_message(api.control.job, NOW)
        await api.stub.CreateJob(pb.CreateJobRequest(job=a_request().job, request_id=UUID), timeout=DEADLINE)
        assert api.control.calls[-1][1]["request_digest"] != digest

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({}, "name"),
            ({"name": "jobs/a", "job_id": "B"}, "job_id"),
            ({"name": "jobs/a", "request_id": "x"}, "request_id"),
        ],
    )
    async def test_a_wrong_request(self, api, fields, field):
        assert await violated(api.stub.CloneJob(pb.CloneJobRequest(**fields), timeout=DEADLINE)) == field
        assert api.control.calls == []


class TestList:
    async def test_passes_filter_and_order(self, api):
        request = pb.ListJobsRequest(filter='label = "a b"', order_by="label desc")
        await api.stub.ListJobs(request, timeout=DEADLINE)
        assert api.store.listed == (selection_in('label = "a b"'), order_in("label desc"))

    @pytest.mark.parametrize(
        ("fields", "field"),
        [({"filter": "label"}, "filter"), ({"order_by": "name"}, "order_by"), ({"page_size": -1}, "page_size")],
    )
    async def test_a_wrong_request(self, api, fields, field):
        assert await violated(api.stub.ListJobs(pb.ListJobsRequest(**fields), timeout=DEADLINE)) == field


class TestOneJob:
    async def test_get(self, api):
        job = api.store.put(a_job(start_time=NOON))
        answer = await api.stub.GetJob(pb.GetJobRequest(name="jobs/a1"), timeout=DEADLINE)
        assert answer == job_message(job, NOW)
        assert answer.duration.ToTimedelta() == timedelta(hours=1)

    @pytest.mark.parametrize(
        ("method", "request_type", "command"),
        [
            ("StartJob", pb.StartJobRequest, Event.START),
            ("PauseJob", pb.PauseJobRequest, Event.PAUSE),
            ("CancelJob", pb.CancelJobRequest, Event.CANCEL),
        ],
    )
    async def test_commands(self, api, method, request_type, command):
        answer = await getattr(api.stub, method)(request_type(name="jobs/a1", etag='"7"'), timeout=DEADLINE)
        assert api.control.calls == [("command", {"job_id": "a1", "command": command, "etag": '"7"'})]
        assert answer == job_message(api.control.job, NOW)

    async def test_delete(self, api):
        answer = await api.stub.DeleteJob(pb.DeleteJobRequest(name="jobs/a1", etag='"7"'), timeout=DEADLINE)
        assert api.control.calls == [("delete", {"job_id": "a1", "etag": '"7"'})]
        assert answer == Empty()

    @pytest.mark.parametrize("name", ["", "a1", "jobs/", "jobs/A", "jobs/a/b", "job/a", "jobs/é", "jobs/a\n"])
    async def test_a_name_that_is_none(self, api, name):
        assert await violated(api.stub.GetJob(pb.GetJobRequest(name=name), timeout=DEADLINE)) == "name"
        assert await violated(api.stub.DeleteJob(pb.DeleteJobRequest(name=name), timeout=DEADLINE)) == "name"
        request = pb.UpdateJobRequest(job=job_pb2.Job(name=name))
        assert await violated(api.stub.UpdateJob(request, timeout=DEADLINE)) == "job.name"
        journal = pb.ListJournalEntriesRequest(parent=name)
        assert await violated(api.stub.ListJournalEntries(journal, timeout=DEADLINE)) == "parent"


class TestListJobs:
    @pytest.mark.parametrize(("asked", "got"), [(0, 100), (1, 1), (1000, 1000), (5000, 1000)])
    async def test_page_size(self, api, asked, got):
        await api.stub.ListJobs(pb.ListJobsRequest(page_size=asked), timeout=DEADLINE)
        assert api.store.sizes == [got]

    async def test_a_negative_page_size(self, api):
        for call in (
            api.stub.ListJobs(pb.ListJobsRequest(page_size=-1)),
            api.stub.ListJournalEntries(pb.ListJournalEntriesRequest(parent="jobs/a1", page_size=-1)),
            api.stub.ListRejects(pb.ListRejectsRequest(parent="jobs/a1", page_size=-1)),
        ):
            assert await violated(call) == "page_size"

    async def test_pages(self, api):
        for n in range(5):
            api.store.put(a_job(id=f"a{n}"))
        names, request = [], pb.ListJobsRequest(page_size=2)
        while True:
            page = await api.stub.ListJobs(request, timeout=DEADLINE)
            names.append([job.name for job in page.jobs])
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        assert names == [["jobs/a0", "jobs/a1"], ["jobs/a2", "jobs/a3"], ["jobs/a4"]]

    async def test_a_page_that_no_message_could_hold_is_made_smaller(self, api):
        for n in range(20):
            api.store.put(a_job(id=f"a{n}", description="x" * 500_000))
        names, request = [], pb.ListJobsRequest()
        while not names or request.page_token:
            page = await api.stub.ListJobs(request, timeout=DEADLINE)
            names += [job.name for job in page.jobs]
            request.page_token = page.next_page_token
        assert names == [f"jobs/a{n}" for n in range(20)]


class TestJournal:
    @pytest.fixture(autouse=True)
    def entries(self, api):
        api.store.put(a_job())
        api.store.put(a_job(id="b1"))
        api.store.entries = api.watch.entries = [
            JournalEntry(sequence=n, job_id="a1", time=NOON, level=Level.INFO, code="X", message=f"{n}")
            for n in (2, 3, 5, 8)
        ]

    async def test_pages(self, api):
        found, request = [], pb.ListJournalEntriesRequest(parent="jobs/a1", page_size=2)
        while True:
            page = await api.stub.ListJournalEntries(request, timeout=DEADLINE)
            found.append([entry.sequence for entry in page.journal_entries])
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        assert found == [[2, 3], [5, 8]]

    @pytest.mark.parametrize("token", ["2", "?", "jobs", "YTEvLTE=", "YTEvOTk5OTk5OTk5OTk5OTk5OTk5OTk5", "é"])
    async def test_a_token_of_somebody_else(self, api, token):
        request = pb.ListJournalEntriesRequest(parent="jobs/a1", page_token=token)
        assert await violated(api.stub.ListJournalEntries(request, timeout=DEADLINE)) == "page_token"

    async def test_a_token_of_another_job(self, api):
        page = await api.stub.ListJournalEntries(
            pb.ListJournalEntriesRequest(parent="jobs/a1", page_size=1), timeout=DEADLINE
        )
        request = pb.ListJournalEntriesRequest(parent="jobs/b1", page_token=page.next_page_token)
        assert await violated(api.stub.ListJournalEntries(request, timeout=DEADLINE)) == "page_token"

    async def test_watch(self, api):
        call = api.stub.WatchJournal(pb.WatchJournalRequest(parent="jobs/a1", sequence=1), timeout=DEADLINE)
        assert [message.journal_entry.sequence async for message in call] == [2, 3, 5, 8]
        assert api.watch.asked == [{"job_id": "a1", "after": 1}]

    async def test_watch_from_a_negative_sequence(self, api):
        call = api.stub.WatchJournal(pb.WatchJournalRequest(parent="jobs/a1", sequence=-1), timeout=DEADLINE)
        assert await violated(call.read()) == "sequence"


class TestRejects:
    async def test_only_of_committed_chunks_that_have_some(self, api):
        api.store.put(a_job())
        counts = [Counts(rejected=1, errors=1), Counts(), None, Counts(warnings=2), Counts(rejected=2, errors=2)]
        api.store.kept = [KeptChunk(chunk=Chunk(ordinal=n, start=0, end=1), counts=c) for n, c in enumerate(counts)]
        api.rejects.items = (a_reject(1), a_reject(2))
        page = await api.stub.ListRejects(pb.ListRejectsRequest(parent="jobs/a1", page_size=1), timeout=DEADLINE)
        assert api.rejects.asked == [(a_job().uid, [0, 3, 4])]
        assert [reject.record for reject in page.rejects] == [1]
        assert page.next_page_token == "1"

    async def test_of_one_group_column_and_code(self, api):
        api.store.put(a_job())
        request = pb.ListRejectsRequest(parent="jobs/a1", group="0a1b2c3d", column="born", code="NO_DATE")
        await api.stub.ListRejects(request, timeout=DEADLINE)
        assert api.rejects.wanted == RejectFilter(group="0a1b2c3d", column="born", code="NO_DATE")

    async def test_groups(self, api):
        api.store.put(replace(a_job(), counts=Counts(read=12, inserted=5, rejected=7, errors=7)))
        api.store.kept = [KeptChunk(chunk=Chunk(ordinal=4, start=0, end=1), counts=Counts(rejected=7, errors=7))]
        api.rejects.found = (
            RejectGroup(
                type=RejectType.ERROR,
                connector=Connector.TEXT,
                column="born",
                code="NO_DATE",
                pattern="9/9/9",
                count=7,
                places=(Place(file="in.csv", line=3),),
                values=("1/2/2000",),
                message="'1/2/2000' is no date",
            ),
        )
        found = await api.stub.ListRejectGroups(pb.ListRejectGroupsRequest(parent="jobs/a1"), timeout=DEADLINE)
        assert api.rejects.asked == [(a_job().uid, [4])]
        assert found == pb.ListRejectGroupsResponse(
            read=12,
            groups=[
                job_pb2.RejectGroup(
                    id=api.rejects.found[0].id,
                    type=job_pb2.REJECT_TYPE_ERROR,
                    connector=job_pb2.CONNECTOR_TEXT,
                    column="born",
                    code="NO_DATE",
                    pattern="9/9/9",
                    count=7,
                    places=[job_pb2.RejectGroup.Place(file="in.csv", line=3)],
                    values=["1/2/2000"],
                    message="'1/2/2000' is no date",
                )
            ],
        )

    async def test_long_ones_come_in_smaller_pages(self, api):
        api.store.put(a_job())
        api.rejects.items = tuple(a_reject(n, raw="x" * 60_000) for n in range(300))
        found, request = [], pb.ListRejectsRequest(parent="jobs/a1", page_size=1000)
        while not found or request.page_token:
            page = await api.stub.ListRejects(request, timeout=DEADLINE)
            found += [reject.record for reject in page.rejects]
            request.page_token = page.next_page_token
        assert found == list(range(300))

    async def test_watch(self, api):
        api.watch.rejected = [a_reject(4), a_reject(9)]
        call = api.stub.WatchRejects(pb.WatchRejectsRequest(parent="jobs/a1", sequence=3), timeout=DEADLINE)
        assert [(message.sequence, message.reject.record) async for message in call] == [(1, 4), (2, 9)]
        assert api.watch.asked == [{"job_id": "a1", "after": 3}]

    async def test_watch_from_a_negative_sequence(self, api):
        call = api.stub.WatchRejects(pb.WatchRejectsRequest(parent="jobs/a1", sequence=-1), timeout=DEADLINE)
        assert await violated(call.read()) == "sequence"

    async def test_of_no_job(self, api):
        failed, _ = await refused(api.stub.ListRejects(pb.ListRejectsRequest(parent="jobs/a1"), timeout=DEADLINE))
        assert failed.code() is grpc.StatusCode.NOT_FOUND


class TestWatchJobs:
    async def test_sends_what_happens(self, api):
        api.watch.events = [
            WatchEvent(kind=WatchKind.SNAPSHOT, revision=7, time=NOON, job=a_job()),
            WatchEvent(kind=WatchKind.BOOKMARK, revision=7, time=NOON),
        ]
        call = api.stub.WatchJobs(pb.WatchJobsRequest(revision=3, name="jobs/a1"), timeout=DEADLINE)
        snapshot, bookmark = await call.read(), await call.read()
        assert api.watch.asked == [{"revision": 3, "job_id": "a1", "selection": EVERY}]
        assert snapshot.job == job_message(a_job(), NOW)
        assert (bookmark.kind, bookmark.revision) == (pb.WatchJobsResponse.KIND_BOOKMARK, 7)
        assert not bookmark.HasField("job")
        api.watch.closed.set()
        failed, _ = await refused(call.read())
        assert (failed.code(), failed.details()) == (grpc.StatusCode.UNAVAILABLE, "shutting down")

    async def test_of_selected_jobs(self, api):
        api.watch.events = [WatchEvent(kind=WatchKind.BOOKMARK, revision=7, time=NOON)]
        call = api.stub.WatchJobs(pb.WatchJobsRequest(filter="state != EDITING AND label=x*"), timeout=DEADLINE)
        await call.read()
        call.cancel()
        (asked,) = api.watch.asked
        assert asked["selection"] == selection_in("state != EDITING AND label=x*")

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"revision": -1}, "revision"),
            ({"name": "a1"}, "name"),
            ({"filter": "state = GONE"}, "filter"),
            ({"filter": "create_time > 2026-01-01"}, "filter"),
        ],
    )
    async def test_a_wrong_request(self, api, fields, field):
        call = api.stub.WatchJobs(pb.WatchJobsRequest(**fields), timeout=DEADLINE)
        assert await violated(call.read()) == field
        assert api.watch.asked == []
