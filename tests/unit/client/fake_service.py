"""A small JobService in memory: jobs run as they are told to, and everything asked of it is written down."""

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

from lading.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from google.protobuf.message import Message

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
Event = job_service_pb2.WatchJobsResponse


class FakeService(job_service_pb2_grpc.JobServiceServicer):
    """Holds jobs and changes. ``course`` is what a started job goes through."""

    def __init__(self) -> None:
        self.jobs: dict[str, job_pb2.Job] = {}
        self.changes: list[Event] = []
        self.revision = 0
        self.compacted = 0
        self.journal: list[job_pb2.JournalEntry] = []
        self.rejects: list[job_pb2.Reject] = []
        self.course: tuple[int, ...] = (job_pb2.STATE_RUNNING, job_pb2.STATE_FINISHED)
        self.final: Callable[[job_pb2.Job], None] = lambda job: None
        self.requests: list[Message] = []
        self.failures: list[tuple[grpc.StatusCode, Sequence[Message]]] = []
        self.break_after: list[int] = []
        """For each watch to come, after how many events it breaks off."""
        self.hangs = False
        self.watchers = 0
        self._news = asyncio.Event()
        self._ids = itertools.count(1)

    # What tests do

    def put(self, job_id: str, **fields: Any) -> job_pb2.Job:
        """A job is made, as a change."""
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
        """The job is now like this, at a new revision."""
        self.revision += 1
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
        """The job's state changes."""
        job = job_pb2.Job()
        job.CopyFrom(self.jobs[name])
        job.state = state  # type: ignore[assignment]
        if state in (job_pb2.STATE_FINISHED, job_pb2.STATE_FAILED):
            job.duration.FromTimedelta(timedelta(seconds=0.5))
            self.final(job)
        self.change(job)

    def fail_next(self, code: grpc.StatusCode, *messages: Message) -> None:
        """The next call fails."""
        self.failures.append((code, messages))

    def ring(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    # The service

    async def _asked(self, request: Message, context: Any) -> None:
        self.requests.append(request)
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
        job = job_pb2.Job()
        job.CopyFrom(request.job)
        job.name = f"jobs/{request.job_id or next(self._ids)}"
        job.state = job_pb2.STATE_EDITING
        job.create_time.FromDatetime(NOW)
        if not request.validate_only:
            self.change(job)
        return job

    async def GetJob(self, request: job_service_pb2.GetJobRequest, context: Any) -> job_pb2.Job:
        await self._asked(request, context)
        return await self._found(request.name, context)

    async def ListJobs(
        self, request: job_service_pb2.ListJobsRequest, context: Any
    ) -> job_service_pb2.ListJobsResponse:
        await self._asked(request, context)
        items, token = page(list(reversed(self.jobs.values())), request)
        return job_service_pb2.ListJobsResponse(jobs=items, next_page_token=token)

    async def UpdateJob(self, request: job_service_pb2.UpdateJobRequest, context: Any) -> job_pb2.Job:
        await self._asked(request, context)
        job = await self._found(request.job.name, context)
        for path in request.update_mask.paths:
            setattr(job, path, getattr(request.job, path))
        self.change(job)
        return job

    async def DeleteJob(self, request: job_service_pb2.DeleteJobRequest, context: Any) -> Empty:
        await self._asked(request, context)
        self.change(await self._found(request.name, context), Event.KIND_DELETED)
        return Empty()

    async def StartJob(self, request: job_service_pb2.StartJobRequest, context: Any) -> job_pb2.Job:
        await self._asked(request, context)
        job = await self._found(request.name, context)
        if job.state == job_pb2.STATE_FINISHED:
            info = details.ErrorInfo(reason="COMMAND_NOT_ALLOWED", domain="lading")
            info.metadata.update({"state": "FINISHED", "command": "start", "allowed": ""})
            await abort(context, grpc.StatusCode.FAILED_PRECONDITION, "it is FINISHED", info)
        self.move(request.name, job_pb2.STATE_QUEUED)
        queued = self.jobs[request.name]
        for state in self.course:
            self.move(request.name, state)
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
        self.watchers += 1
        try:
            async for event in self._events(request, context):
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
        if after == 0:
            after = self.revision
            for job in list(self.jobs.values()):
                if request.name in ("", job.name):
                    yield Event(kind=Event.KIND_SNAPSHOT, revision=after, job=job)
            yield Event(kind=Event.KIND_BOOKMARK, revision=after)
        elif after < self.compacted:
            info = details.ErrorInfo(reason="REVISION_COMPACTED", domain="lading")
            info.metadata["oldest"] = str(self.compacted)
            await abort(context, grpc.StatusCode.OUT_OF_RANGE, "no longer kept", info)
        while True:
            news = self._news
            for event in self.changes:
                if event.revision > after:
                    after = event.revision
                    if request.name in ("", event.job.name):
                        yield event
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

    async def ListRejects(
        self, request: job_service_pb2.ListRejectsRequest, context: Any
    ) -> job_service_pb2.ListRejectsResponse:
        await self._asked(request, context)
        items, token = page(self.rejects, request)
        return job_service_pb2.ListRejectsResponse(rejects=items, next_page_token=token)


def page(items: list[Any], request: Any) -> tuple[list[Any], str]:
    """One page of the items, and the token of the next."""
    begin = int(request.page_token or 0)
    end = begin + (request.page_size or 100)
    return items[begin:end], str(end) if end < len(items) else ""


async def abort(context: Any, code: grpc.StatusCode, message: str, *messages: Message) -> None:
    """End the call with a rich status."""
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in messages:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    await context.abort_with_status(to_status(status))


async def serve(service: FakeService, socket: Path) -> grpc.aio.Server:
    """A server on the socket that has begun to serve."""
    server = grpc.aio.server()
    job_service_pb2_grpc.add_JobServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    return server
