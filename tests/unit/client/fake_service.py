"""A small JobService in memory. Tests decide how jobs run, and every request is recorded."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.rpc import error_details_pb2 as details
from google.rpc import status_pb2
from grpc_status.rpc_status import to_status

from lading.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    spec_pb2,
    table_service_pb2,
    table_service_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from google.protobuf.message import Message

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
Event = job_service_pb2.WatchJobsResponse


class FakeService(
    job_service_pb2_grpc.JobServiceServicer,
    audit_service_pb2_grpc.AuditServiceServicer,
    table_service_pb2_grpc.TableServiceServicer,
):
    """Holds jobs and changes. ``course`` is the sequence of states of a started job."""

    def __init__(self) -> None:
        self.jobs: dict[str, job_pb2.Job] = {}
        self.changes: list[Event] = []
        self.before: dict[int, job_pb2.Job] = {}
        """The job before the change of each revision."""
        self.revision = 0
        self.compacted = 0
        self.journal: list[job_pb2.JournalEntry] = []
        self.rejects: list[job_pb2.Reject] = []
        self.rejects_are_anothers = False
        """The caller may see the jobs, but not their records."""
        self.course: tuple[int, ...] = (job_pb2.STATE_RUNNING, job_pb2.STATE_FINISHED)
        self.final: Callable[[job_pb2.Job], None] = lambda job: None
        self.requests: list[Message] = []
        self.failures: list[tuple[grpc.StatusCode, Sequence[Message]]] = []
        self.break_after: list[int] = []
        """For each future watch, the number of events after which it breaks."""
        self.stall_after: list[int] = []
        """For each future watch, the number of events after which it falls silent; -1 for never."""
        self.answers_lost = 0
        """The number of future starts that happen although their answers are lost."""
        self.latest: Event | None = None
        self.breaks = 0
        self.audit: list[audit_service_pb2.AuditEntry] = []
        self.metadata: list[dict[str, str | bytes]] = []
        """The metadata of each request."""
        self.request_ids: dict[str, str] = {}
        self.hangs = False
        self.watchers = 0
        self._news = asyncio.Event()
        self._ids = itertools.count(1)

    # For tests

    def put(self, job_id: str, **fields: Any) -> job_pb2.Job:
        """Add a job, as a change."""
        job = job_pb2.Job(name=f"jobs/{job_id}", state=job_pb2.STATE_EDITING)
        job.spec.import_spec.files.add(root="local", path=f"data/{job_id}.csv")
        job.spec.import_spec.target.connection = "local"
        job.spec.import_spec.target.table = "recipients"
        job.create_time.FromDatetime(NOW)
        for name, value in fields.items():
            setattr(job, name, value)
        self.change(job)
        return self.jobs[job.name]

    def change(self, job: job_pb2.Job, kind: Event.Kind = Event.KIND_CHANGED) -> None:
        """Replace the job, at a new revision."""
        self.revision += 1
        if job.name in self.jobs:
            self.before[self.revision] = self.jobs[job.name]
        job.revision = self.revision
        job.etag = f'"{self.revision}"'
        kept = job_pb2.Job()
        kept.CopyFrom(job)
        if kind == Event.KIND_DELETED:
            self.jobs.pop(job.name, None)
        else:
            self.jobs[job.name] = kept
        event = Event(kind=kind, revision=self.revision, job=kept)
        event.time.FromDatetime(NOW + timedelta(seconds=self.revision))
        self.changes.append(event)
        self.ring()

    def move(self, name: str, state: int) -> None:
        """Change the job's state."""
        job = job_pb2.Job()
        job.CopyFrom(self.jobs[name])
        job.state = state  # type: ignore[assignment]
        if state in (job_pb2.STATE_FINISHED, job_pb2.STATE_FAILED):
            job.duration.FromTimedelta(timedelta(seconds=0.5))
            self.final(job)
        self.change(job)

    def fail_next(self, code: grpc.StatusCode, *messages: Message) -> None:
        """Let the next call fail."""
        self.failures.append((code, messages))

    def progress(self, name: str, percent: float) -> None:
        """Send progress of the job, without a change or revision."""
        job = job_pb2.Job()
        job.CopyFrom(self.jobs[name])
        job.progress.percent = percent
        self.latest = Event(kind=Event.KIND_PROGRESS, revision=self.revision, job=job)
        self.ring()

    def break_off(self) -> None:
        """Break all open watches."""
        self.breaks += 1
        self.ring()

    def compact(self) -> None:
        """Forget all changes until now."""
        self.compacted = self.revision
        self.changes.clear()

    def restore(self) -> None:
        """Replace the store by an empty one."""
        self.jobs.clear()
        self.changes.clear()
        self.before.clear()
        self.revision = self.compacted = 0

    def ring(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    # The service

    async def _asked(self, request: Message, context: Any) -> None:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.hangs:
            await asyncio.Event().wait()
        if self.failures:
            code, messages = self.failures.pop(0)
            await abort(context, code, "as the test wants", *messages)

    async def _found(self, name: str, context: Any) -> job_pb2.Job:
        if name not in self.jobs:
            info = details.ErrorInfo(reason="JOB_NOT_FOUND", domain="lading")
            await abort(context, grpc.StatusCode.NOT_FOUND, f"there is no job {name}", info)
        return self.jobs[name]

    async def CreateJob(self, request: job_service_pb2.CreateJobRequest, context: Any) -> job_pb2.Job:
        await self._asked(request, context)
        if request.request_id in self.request_ids:
            return await self._found(self.request_ids[request.request_id], context)
        job = job_pb2.Job()
        job.CopyFrom(request.job)
        job.name = f"jobs/{request.job_id or next(self._ids)}"
        job.state = job_pb2.STATE_EDITING
        job.create_time.FromDatetime(NOW)
        if not request.validate_only:
            self.request_ids[request.request_id] = job.name
            self.change(job)
        return job

    async def PreviewImport(
        self, request: job_service_pb2.PreviewImportRequest, context: Any
    ) -> job_service_pb2.PreviewImportResponse:
        await self._asked(request, context)
        answer = job_service_pb2.PreviewImportResponse(detected="delimiter: comma", notes=["a note"], read=2)
        answer.columns.add(source="a", target="a", type="text")
        answer.records.add(line=2).values.extend(["x", None])
        answer.rejects.add(line=3)
        return answer

    async def CloneJob(self, request: job_service_pb2.CloneJobRequest, context: Any) -> job_pb2.Job:
        await self._asked(request, context)
        original = await self._found(request.name, context)
        name = f"jobs/{request.job_id or next(self._ids)}"
        job = job_pb2.Job(name=name, label=request.label or original.label, state=job_pb2.STATE_EDITING)
        job.spec.CopyFrom(original.spec)
        job.create_time.FromDatetime(NOW)
        self.change(job)
        return self.jobs[name]

    async def GetJob(self, request: job_service_pb2.GetJobRequest, context: Any) -> job_pb2.Job:
        await self._asked(request, context)
        return await self._found(request.name, context)

    async def ListJobs(
        self, request: job_service_pb2.ListJobsRequest, context: Any
    ) -> job_service_pb2.ListJobsResponse:
        await self._asked(request, context)
        found = [job for job in reversed(self.jobs.values()) if holds(request.filter, job)]
        items, token = page(found, request)
        return job_service_pb2.ListJobsResponse(jobs=items, next_page_token=token)

    async def UpdateJob(self, request: job_service_pb2.UpdateJobRequest, context: Any) -> job_pb2.Job:
        await self._asked(request, context)
        job = await self._found(request.job.name, context)
        changed = job_pb2.Job()
        changed.CopyFrom(job)
        for path in request.update_mask.paths:
            setattr(changed, path, getattr(request.job, path))
        if not request.validate_only:
            self.change(changed)
        return changed

    async def DeleteJob(self, request: job_service_pb2.DeleteJobRequest, context: Any) -> Empty:
        await self._asked(request, context)
        self.change(await self._found(request.name, context), Event.KIND_DELETED)
        return Empty()

    async def StartJob(self, request: job_service_pb2.StartJobRequest, context: Any) -> job_pb2.Job:
        await self._asked(request, context)
        job = await self._found(request.name, context)
        if request.etag and request.etag != job.etag:
            info = details.ErrorInfo(reason="ETAG_MISMATCH", domain="lading")
            await abort(context, grpc.StatusCode.ABORTED, "somebody else was faster", info)
        if job.state == job_pb2.STATE_FINISHED:
            info = details.ErrorInfo(reason="COMMAND_NOT_ALLOWED", domain="lading")
            info.metadata.update({"state": "FINISHED", "command": "start", "allowed": ""})
            await abort(context, grpc.StatusCode.FAILED_PRECONDITION, "it is FINISHED", info)
        job.attempt += 1
        self.move(request.name, job_pb2.STATE_QUEUED)
        queued = self.jobs[request.name]
        for state in self.course:
            self.move(request.name, state)
        if self.answers_lost:
            self.answers_lost -= 1
            await abort(context, grpc.StatusCode.UNAVAILABLE, "the answer is lost")
        return queued

    async def PauseJob(self, request: job_service_pb2.PauseJobRequest, context: Any) -> job_pb2.Job:
        await self._asked(request, context)
        await self._found(request.name, context)
        self.move(request.name, job_pb2.STATE_PAUSING)
        return self.jobs[request.name]

    async def CancelJob(self, request: job_service_pb2.CancelJobRequest, context: Any) -> job_pb2.Job:
        await self._asked(request, context)
        await self._found(request.name, context)
        self.move(request.name, job_pb2.STATE_CANCELING)
        return self.jobs[request.name]

    async def WatchJobs(self, request: job_service_pb2.WatchJobsRequest, context: Any) -> AsyncIterator[Event]:
        await self._asked(request, context)
        left = self.break_after.pop(0) if self.break_after else None
        heard = self.stall_after.pop(0) if self.stall_after else -1
        self.watchers += 1
        try:
            async for event in self._events(request, context):
                if heard == 0:
                    await asyncio.Event().wait()
                heard -= 1
                if left == 0:
                    break
                if left is not None:
                    left -= 1
                yield event
        finally:
            self.watchers -= 1
        await abort(context, grpc.StatusCode.UNAVAILABLE, "broken off")

    async def _events(self, request: job_service_pb2.WatchJobsRequest, context: Any) -> AsyncIterator[Event]:
        after = request.revision
        # Before the first event: once a client has it, the test may break the watch before the next event.
        breaks, progress = self.breaks, self.latest
        if after == 0:
            after = self.revision
            if request.name:
                await self._found(request.name, context)
            for job in list(self.jobs.values()):
                if request.name in ("", job.name) and holds(request.filter, job):
                    yield Event(kind=Event.KIND_SNAPSHOT, revision=after, job=job)
            yield Event(kind=Event.KIND_BOOKMARK, revision=after)
        elif after < self.compacted or after > self.revision:
            info = details.ErrorInfo(reason="REVISION_COMPACTED", domain="lading")
            info.metadata["oldest"] = str(min(self.compacted or self.revision, self.revision))
            await abort(context, grpc.StatusCode.OUT_OF_RANGE, "no longer kept", info)
        while True:
            news = self._news
            if breaks < self.breaks or after < self.compacted:
                await abort(context, grpc.StatusCode.UNAVAILABLE, "broken off")
            for event in list(self.changes):
                if event.revision > after:
                    after = event.revision
                    before = self.before.get(event.revision, event.job)
                    concerns = holds(request.filter, event.job) or holds(request.filter, before)
                    if request.name in ("", event.job.name) and concerns:
                        yield event
            if self.latest is not progress:
                progress = self.latest
                if progress is not None and request.name in ("", progress.job.name):
                    yield progress
            await news.wait()

    async def ListJournalEntries(
        self, request: job_service_pb2.ListJournalEntriesRequest, context: Any
    ) -> job_service_pb2.ListJournalEntriesResponse:
        await self._asked(request, context)
        items, token = page(self.journal, request)
        return job_service_pb2.ListJournalEntriesResponse(journal_entries=items, next_page_token=token)

    async def WatchJournal(
        self, request: job_service_pb2.WatchJournalRequest, context: Any
    ) -> AsyncIterator[job_service_pb2.WatchJournalResponse]:
        await self._asked(request, context)
        left = self.break_after.pop(0) if self.break_after else None
        for entry in self.journal:
            if entry.sequence > request.sequence:
                if left == 0:
                    await abort(context, grpc.StatusCode.UNAVAILABLE, "broken off")
                if left is not None:
                    left -= 1
                yield job_service_pb2.WatchJournalResponse(journal_entry=entry)

    async def WatchRejects(
        self, request: job_service_pb2.WatchRejectsRequest, context: Any
    ) -> AsyncIterator[job_service_pb2.WatchRejectsResponse]:
        await self._asked(request, context)
        left = self.break_after.pop(0) if self.break_after else None
        for sequence, reject in enumerate(self.rejects, 1):
            if sequence > request.sequence:
                if left == 0:
                    await abort(context, grpc.StatusCode.UNAVAILABLE, "broken off")
                if left is not None:
                    left -= 1
                yield job_service_pb2.WatchRejectsResponse(sequence=sequence, reject=reject)

    async def ListTables(
        self, request: table_service_pb2.ListTablesRequest, context: Any
    ) -> table_service_pb2.ListTablesResponse:
        await self._asked(request, context)
        return table_service_pb2.ListTablesResponse(tables=[spec_pb2.Table(schema="s", table="t")])

    async def GetTable(
        self, request: table_service_pb2.GetTableRequest, context: Any
    ) -> table_service_pb2.TableDescription:
        await self._asked(request, context)
        column = table_service_pb2.TableColumn(name="a", declared="INTEGER", type="integer", required=True)
        return table_service_pb2.TableDescription(table=request.table, columns=[column], notes=["a note"])

    async def SuggestMapping(
        self, request: table_service_pb2.SuggestMappingRequest, context: Any
    ) -> table_service_pb2.SuggestMappingResponse:
        await self._asked(request, context)
        mapping = spec_pb2.ColumnMapping(source="A", target="a", default_value="")
        suggestion = table_service_pb2.MappingSuggestion(mapping=mapping, type="text", guessed=True)
        return table_service_pb2.SuggestMappingResponse(suggestions=[suggestion], unused_source_columns=["x"])

    async def ListAuditEntries(
        self, request: audit_service_pb2.ListAuditEntriesRequest, context: Any
    ) -> audit_service_pb2.ListAuditEntriesResponse:
        await self._asked(request, context)
        items, token = page(self.audit, request)
        return audit_service_pb2.ListAuditEntriesResponse(audit_entries=items, next_page_token=token)

    async def ListRejects(
        self, request: job_service_pb2.ListRejectsRequest, context: Any
    ) -> job_service_pb2.ListRejectsResponse:
        await self._asked(request, context)
        if self.rejects_are_anothers:
            await abort(context, grpc.StatusCode.PERMISSION_DENIED, "that takes the role admin")
        asked = {name: getattr(request, name) for name in ("group", "column", "code")}
        wanted = [
            each for each in self.rejects if all(value in ("", getattr(each, name)) for name, value in asked.items())
        ]
        items, token = page(wanted, request)
        return job_service_pb2.ListRejectsResponse(rejects=items, next_page_token=token)

    async def ListRejectGroups(
        self, request: job_service_pb2.ListRejectGroupsRequest, context: Any
    ) -> job_service_pb2.ListRejectGroupsResponse:
        await self._asked(request, context)
        groups = [
            job_pb2.RejectGroup(
                id="0a1b2c3d",
                type=first.type,
                connector=first.connector,
                column=first.column,
                code=first.code,
                pattern="a9",
                count=len(self.rejects),
                places=[job_pb2.RejectGroup.Place(file="in.csv", line=each.line) for each in self.rejects[:3]],
                values=[each.value for each in self.rejects[:3]],
                message=first.message,
            )
            for first in self.rejects[:1]
        ]
        return job_service_pb2.ListRejectGroupsResponse(groups=groups, read=10 * len(self.rejects))


def page(items: list[Any], request: Any) -> tuple[list[Any], str]:
    """A page of items, and the token of the next page."""
    begin = int(request.page_token or 0)
    end = begin + (request.page_size or 100)
    return items[begin:end], str(end) if end < len(items) else ""


def holds(text: str, job: job_pb2.Job) -> bool:
    """Whether a filter selects a job: `state = A|B` or `label = "begins*"`, joined by AND."""
    for condition in text.split(" AND ") if text else ():
        field, values = condition.split(" = ")
        if field == "state":
            if job_pb2.State.Name(job.state).removeprefix("STATE_") not in values.split("|"):
                return False
        elif not job.label.startswith(values.strip('"*')):
            return False
    return True


async def abort(context: Any, code: grpc.StatusCode, message: str, *messages: Message) -> None:
    """End the call with a rich status."""
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in messages:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    await context.abort_with_status(to_status(status))


async def serve(service: FakeService, socket: Path) -> grpc.aio.Server:
    """Start a server on the socket."""
    server = serving(service)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    return server


def serving(service: FakeService) -> grpc.aio.Server:
    """A server that does not listen yet."""
    server = grpc.aio.server()
    job_service_pb2_grpc.add_JobServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    audit_service_pb2_grpc.add_AuditServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    table_service_pb2_grpc.add_TableServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    return server
