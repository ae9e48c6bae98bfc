"""The service of jobs: convert, call, return."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.empty_pb2 import Empty

from lading.v1 import job_pb2
from lading.v1 import job_service_pb2 as pb
from lading.v1.job_service_pb2_grpc import JobServiceServicer
from lading.v1.spec_pb2 import JobSpec as JobSpecMessage
from ladingd.api.caller import caller
from ladingd.api.messages import request as shape
from ladingd.api.messages.encoded_events import EncodedEvents
from ladingd.api.messages.filter import WATCHABLE, order_in, selection_in
from ladingd.api.messages.job import job_message, journal_entry_message, reject_group_message, reject_message
from ladingd.api.messages.paging import fitting, journal_token, sequence_in
from ladingd.api.messages.preview import preview_message
from ladingd.api.messages.spec import import_spec_from, named_in_request, spec_from, spec_message
from ladingd.core.access import Act
from ladingd.core.clock import utc_now
from ladingd.core.errors import RejectsLost, RequestIdReused
from ladingd.core.reject_group import RejectFilter
from ladingd.core.state import Event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from datetime import datetime

    import grpc

    from ladingd.api.permits import Permits
    from ladingd.core.job import Job
    from ladingd.core.ports import ChunkStore, JobStore, JournalStore, RejectReader
    from ladingd.core.spec import JobSpec
    from ladingd.run.control import Control
    from ladingd.run.watch.watch import Watch

    Context = grpc.aio.ServicerContext[Any, Any]

T = TypeVar("T")


class JobServicer(JobServiceServicer):
    """Makes no decisions: ``messages`` interprets requests, and ``run`` executes them."""

    def __init__(
        self,
        jobs: JobStore,
        chunks: ChunkStore,
        journal: JournalStore,
        rejects: RejectReader,
        control: Control,
        watch: Watch,
        permits: Permits,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._jobs = jobs
        self._chunks = chunks
        self._journal = journal
        self._rejects = rejects
        self._control = control
        self._watch = watch
        self._permits = permits
        self._shown = EncodedEvents()
        self._clock = clock

    def _message(self, job: Job) -> job_pb2.Job:
        return job_message(job, self._clock())

    async def CreateJob(self, request: pb.CreateJobRequest, context: Context) -> job_pb2.Job:
        shape.check_size(request.job)
        job_id = shape.wanted_job_id(request.job_id)
        request_id = shape.request_id_in(request.request_id)
        spec = spec_from(request.job.spec)
        with named_in_request(request.job.spec):
            job = await self._control.create(
                spec,
                label=request.job.label,
                description=request.job.description,
                owner=caller.get().principal.name,
                shared=request.job.shared,
                job_id=job_id,
                request_id=request_id,
                request_digest=shape.digest(request),
                validate_only=request.validate_only,
            )
        return self._made(job, request_id)

    async def PreviewImport(self, request: pb.PreviewImportRequest, context: Context) -> pb.PreviewImportResponse:
        records = shape.records_in(request.records)
        message = JobSpecMessage(import_spec=request.spec)
        with named_in_request(message, "spec"):
            return preview_message(await self._control.preview(import_spec_from(message.import_spec), records))

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> job_pb2.Job:
        job = await self._jobs.get(shape.job_id_in(request.name))
        caller.get().check(job)
        return self._message(job)

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        order = order_in(request.order_by)
        selection = caller.get().principal.visible(selection_in(request.filter))

        async def page_of(size: int) -> pb.ListJobsResponse:
            page = await self._jobs.list(size=size, token=request.page_token, selection=selection, order=order)
            return pb.ListJobsResponse(jobs=map(self._message, page.items), next_page_token=page.next_token)

        return await fitting(page_of, shape.page_size_in(request.page_size))

    async def UpdateJob(self, request: pb.UpdateJobRequest, context: Context) -> job_pb2.Job:
        shape.check_size(request.job)
        job_id = shape.job_id_in(request.job.name, "job.name")
        fields = shape.fields_to_edit(request)
        spec = spec_from(request.job.spec) if "spec" in fields else None
        with named_in_request(request.job.spec):
            job = await self._control.edit(
                job_id,
                label=request.job.label if "label" in fields else None,
                description=request.job.description if "description" in fields else None,
                shared=request.job.shared if "shared" in fields else None,
                spec=spec,
                etag=request.job.etag,
                validate_only=request.validate_only,
                check=caller.get().check,
                permit=self._permit,
            )
        return self._message(job)

    async def CloneJob(self, request: pb.CloneJobRequest, context: Context) -> job_pb2.Job:
        request_id = shape.request_id_in(request.request_id)
        job = await self._control.clone(
            shape.job_id_in(request.name),
            permit=lambda spec: self._permits.spec(caller.get().principal, spec_message(spec)),
            check=caller.get().check,
            owner=caller.get().principal.name,
            label=request.label,
            new_id=shape.wanted_job_id(request.job_id),
            request_id=request_id,
            request_digest=shape.digest(request),
        )
        return self._made(job, request_id)

    async def DeleteJob(self, request: pb.DeleteJobRequest, context: Context) -> Empty:
        await self._control.delete(shape.job_id_in(request.name), etag=request.etag, check=caller.get().check)
        return Empty()

    async def StartJob(self, request: pb.StartJobRequest, context: Context) -> job_pb2.Job:
        return await self._command(request, Event.START)

    async def PauseJob(self, request: pb.PauseJobRequest, context: Context) -> job_pb2.Job:
        return await self._command(request, Event.PAUSE)

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> job_pb2.Job:
        return await self._command(request, Event.CANCEL)

    async def _command(
        self, request: pb.StartJobRequest | pb.PauseJobRequest | pb.CancelJobRequest, command: Event
    ) -> job_pb2.Job:
        job_id = shape.job_id_in(request.name)
        check = caller.get().check
        return self._message(
            await self._control.command(job_id, command, etag=request.etag, check=check, permit=self._permit)
        )

    async def _permit(self, spec: JobSpec) -> None:
        """Raises PermissionDenied if the caller may not (or no longer) use what the spec of a job names."""
        await self._permits.spec(caller.get().principal, spec_message(spec), asks_only=True)

    def _made(self, job: Job, request_id: str) -> job_pb2.Job:
        """The job that a request made. A request from before requests had owners may have made another caller's job."""
        if not caller.get().principal.may(Act.SEE, job):
            raise RequestIdReused(request_id)
        return self._message(job)

    async def WatchJobs(self, request: pb.WatchJobsRequest, context: Context) -> AsyncGenerator[bytes, None]:
        revision = shape.not_negative(request.revision, "revision")
        job_id = shape.job_id_in(request.name) if request.name else ""
        selection = caller.get().principal.visible(selection_in(request.filter, WATCHABLE))
        watch = self._watch.jobs(revision=revision, job_id=job_id, selection=selection, check=caller.get().check)
        # Without aclosing, a cancelled call would leave its watch to the garbage collector.
        async with aclosing(watch) as events:
            async for event in events:
                yield self._shown.message(event)

    async def ListJournalEntries(
        self, request: pb.ListJournalEntriesRequest, context: Context
    ) -> pb.ListJournalEntriesResponse:
        job_id = shape.job_id_in(request.parent, "parent")
        after = sequence_in(request.page_token, job_id)

        async def page_of(size: int) -> pb.ListJournalEntriesResponse:
            entries = await self._journal.journal(job_id, after=after, limit=size + 1, check=caller.get().check)
            shown = entries[:size]
            return pb.ListJournalEntriesResponse(
                journal_entries=map(journal_entry_message, shown),
                next_page_token=journal_token(job_id, shown[-1].sequence) if len(entries) > size else "",
            )

        return await fitting(page_of, shape.page_size_in(request.page_size))

    async def WatchJournal(
        self, request: pb.WatchJournalRequest, context: Context
    ) -> AsyncGenerator[pb.WatchJournalResponse, None]:
        after = shape.not_negative(request.sequence, "sequence")
        job_id = shape.job_id_in(request.parent, "parent")
        async with aclosing(self._watch.journal(job_id, after=after, check=caller.get().check)) as entries:
            async for entry in entries:
                yield pb.WatchJournalResponse(journal_entry=journal_entry_message(entry))

    async def ListRejects(self, request: pb.ListRejectsRequest, context: Context) -> pb.ListRejectsResponse:
        job_id = shape.job_id_in(request.parent, "parent")
        size = shape.page_size_in(request.page_size)
        wanted = RejectFilter(group=request.group, column=request.column, code=request.code)
        job, chunks = await self._rejected(job_id)

        async def page_of(size: int) -> pb.ListRejectsResponse:
            async with self._unless_deleted(job_id):
                page = await self._rejects.read(job.uid, chunks, size=size, token=request.page_token, wanted=wanted)
            return pb.ListRejectsResponse(rejects=map(reject_message, page.items), next_page_token=page.next_token)

        return await fitting(page_of, size)

    async def ListRejectGroups(
        self, request: pb.ListRejectGroupsRequest, context: Context
    ) -> pb.ListRejectGroupsResponse:
        job_id = shape.job_id_in(request.parent, "parent")
        job, chunks = await self._rejected(job_id)
        async with self._unless_deleted(job_id):
            groups = await self._rejects.groups(job.uid, chunks)
        return pb.ListRejectGroupsResponse(groups=map(reject_group_message, groups), read=job.counts.read)

    async def _rejected(self, job_id: str) -> tuple[Job, list[int]]:
        """A job that the caller may read, and its committed chunks with rejects: a chunk in flight may have left
        rejects that its replay will replace."""
        job = await self._jobs.get(job_id)
        caller.get().check(job)
        kept = await self._chunks.chunks(job_id)
        return job, [k.chunk.ordinal for k in kept if k.counts and (k.counts.rejected or k.counts.warnings)]

    @asynccontextmanager
    async def _unless_deleted(self, job_id: str) -> AsyncIterator[None]:
        """Raises JobNotFound instead of RejectsLost if the job was deleted with its rejects."""
        try:
            yield
        except RejectsLost:
            await self._jobs.get(job_id)
            raise

    async def WatchRejects(
        self, request: pb.WatchRejectsRequest, context: Context
    ) -> AsyncGenerator[pb.WatchRejectsResponse, None]:
        after = shape.not_negative(request.sequence, "sequence")
        job_id = shape.job_id_in(request.parent, "parent")
        async with aclosing(self._watch.rejects(job_id, after=after, check=caller.get().check)) as rejects:
            async for sequence, reject in rejects:
                yield pb.WatchRejectsResponse(sequence=sequence, reject=reject_message(reject))
