"""The client of a daemon."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
import grpc.aio

from lading.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc
from lading_client import wire
from lading_client.backoff import Backoff
from lading_client.endpoint import target_of
from lading_client.errors import ShuttingDown, Unavailable
from lading_client.spec import JobSpec
from lading_client.status import error_from
from lading_client.watch import follow_jobs, follow_journal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from lading_client.model import Job, JournalEntry, Reject, WatchEvent
    from lading_client.spec import ExportSpec, ImportSpec

T = TypeVar("T")

_TRIES = 5
_PAGE = 1000

_OPTIONS: list[tuple[str, Any]] = [
    # The daemon allows a ping every 30 s; more often it would hang up.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A page of rejects holds whole records.
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.absolute_max_metadata_size", 64 << 10),
    ("grpc.max_metadata_size", 64 << 10),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]


class Client:
    """Commands and watches the jobs of one daemon. ``timeout`` is for each call that is no watch, in seconds.

    Every method raises `DaemonError` and its kinds. Names of jobs are `jobs/ID`. Where the daemon turns out to be
    going or gone, ``renew`` is awaited, once: another one serves at the address then, and the call is made again.
    """

    def __init__(
        self, address: str, *, timeout: float = 30.0, renew: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        self.address = address
        self._target = target_of(address)
        self._timeout = timeout
        self._renew = renew
        self._answered = False
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self._target, options=_OPTIONS)
        self._stub = job_service_pb2_grpc.JobServiceStub(self._channel)  # type: ignore[no-untyped-call]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up. Watches that are open end."""
        if self._channel is not None:
            await self._channel.close(grace=None)
            self._channel = self._stub = None

    # Jobs

    async def create_job(
        self,
        spec: JobSpec | ImportSpec | ExportSpec,
        *,
        label: str = "",
        description: str = "",
        job_id: str = "",
        request_id: str = "",
        validate_only: bool = False,
    ) -> Job:
        """Make a job in EDITING. Raises InvalidArgument for a spec that could not run."""
        whole = spec if isinstance(spec, JobSpec) else JobSpec(kind=spec)
        request = job_service_pb2.CreateJobRequest(
            job=job_pb2.Job(label=label, description=description, spec=wire.spec_message(whole)),
            job_id=job_id,
            # With an id of its own the request can be repeated: it makes one job.
            request_id=request_id or str(uuid.uuid4()),
            validate_only=validate_only,
        )
        return wire.job(await self._repeatable("CreateJob", request))

    async def get_job(self, name: str) -> Job:
        """The job as it is now."""
        return wire.job(await self._repeatable("GetJob", job_service_pb2.GetJobRequest(name=name)))

    async def list_jobs(self, *, page_size: int = 0) -> AsyncGenerator[Job, None]:
        """All jobs, the newest first."""
        request = job_service_pb2.ListJobsRequest(page_size=page_size)
        async for response in self._pages("ListJobs", request):
            for message in response.jobs:
                yield wire.job(message)

    async def update_job(
        self,
        name: str,
        *,
        label: str | None = None,
        description: str | None = None,
        spec: JobSpec | None = None,
        etag: str = "",
    ) -> Job:
        """Change what is not None; the spec only while the job is EDITING."""
        request = job_service_pb2.UpdateJobRequest(job=job_pb2.Job(name=name, etag=etag))
        if label is not None:
            request.job.label = label
            request.update_mask.paths.append("label")
        if description is not None:
            request.job.description = description
            request.update_mask.paths.append("description")
        if spec is not None:
            request.job.spec.CopyFrom(wire.spec_message(spec))
            request.update_mask.paths.append("spec")
        return wire.job(await self._once("UpdateJob", request))

    async def delete_job(self, name: str, *, etag: str = "") -> None:
        """Remove the job with its journal and rejects."""
        await self._once("DeleteJob", job_service_pb2.DeleteJobRequest(name=name, etag=etag))

    # Commands. They are not repeated by themselves: a start that has come through may have failed since.

    async def start_job(self, name: str, *, etag: str = "") -> Job:
        """Queue the job, continue a paused one, try a failed one again. Raises CommandNotAllowed."""
        return wire.job(await self._once("StartJob", job_service_pb2.StartJobRequest(name=name, etag=etag)))

    async def pause_job(self, name: str, *, etag: str = "") -> Job:
        """PAUSING at once; PAUSED when the chunks in flight are done. Raises CommandNotAllowed."""
        return wire.job(await self._once("PauseJob", job_service_pb2.PauseJobRequest(name=name, etag=etag)))

    async def cancel_job(self, name: str, *, etag: str = "") -> Job:
        """CANCELING at once; CANCELED when nothing of the job runs any more. Raises CommandNotAllowed."""
        return wire.job(await self._once("CancelJob", job_service_pb2.CancelJobRequest(name=name, etag=etag)))

    # Watching

    def watch(
        self, name: str = "", *, revision: int = 0, bookmarks: bool = False, give_up_after: float | None = None
    ) -> AsyncGenerator[WatchEvent, None]:
        """A snapshot, or with a revision the changes after it; then every change, each once.

        It reconnects and goes on where it was; after ``give_up_after`` seconds in vain it raises Unavailable. Where
        the daemon no longer keeps the changes in between, the jobs that differ are shown as snapshots.
        """

        def stream(after: int) -> AsyncGenerator[WatchEvent, None]:
            request = job_service_pb2.WatchJobsRequest(name=name, revision=after)
            return self._stream("WatchJobs", request, wire.watch_event)

        return follow_jobs(stream, revision=revision, bookmarks=bookmarks, give_up_after=give_up_after)

    async def journal(self, name: str, *, page_size: int = _PAGE) -> AsyncGenerator[JournalEntry, None]:
        """What the journal of a job holds now, in order."""
        request = job_service_pb2.ListJournalEntriesRequest(parent=name, page_size=page_size)
        async for response in self._pages("ListJournalEntries", request):
            for message in response.journal_entries:
                yield wire.journal_entry(message)

    def watch_journal(
        self, name: str, *, sequence: int = 0, give_up_after: float | None = None
    ) -> AsyncGenerator[JournalEntry, None]:
        """The journal of a job after a sequence number, as it is written, until the job has ended."""

        def stream(after: int) -> AsyncGenerator[JournalEntry, None]:
            request = job_service_pb2.WatchJournalRequest(parent=name, sequence=after)
            return self._stream("WatchJournal", request, lambda message: wire.journal_entry(message.journal_entry))

        return follow_journal(stream, sequence=sequence, give_up_after=give_up_after)

    async def rejects(self, name: str, *, limit: int | None = None) -> AsyncGenerator[Reject, None]:
        """The rejects of a job in the order of the source, at most ``limit``."""
        left = limit
        request = job_service_pb2.ListRejectsRequest(parent=name, page_size=min(_PAGE, limit or _PAGE))
        async for response in self._pages("ListRejects", request):
            for message in response.rejects:
                if left is not None:
                    if left <= 0:
                        return
                    left -= 1
                yield wire.reject(message)
            if left == 0:
                return

    # Calls

    async def _once(self, method: str, request: object) -> Any:
        try:
            return await self._call(method, request)
        except Unavailable as error:
            # A daemon that has answered and is gone now was stopped on purpose: it is not for us to bring it back.
            gone = not error.reason and not self._answered
            if self._renew is None or not (gone or isinstance(error, ShuttingDown)):
                raise
            renew, self._renew = self._renew, None
        await renew()
        # The channel may still be sure that nobody is there.
        return await self._call(method, request, wait_for_ready=True)

    async def _call(self, method: str, request: object, *, wait_for_ready: bool = False) -> Any:
        call = getattr(self._connected, method)
        try:
            answer = await call(request, timeout=self._timeout, wait_for_ready=wait_for_ready)
        except grpc.aio.AioRpcError as error:
            raise error_from(error) from error
        self._answered = True
        return answer

    async def _repeatable(self, method: str, request: object) -> Any:
        """A call that changes nothing when it is made twice: tried again while the daemon cannot be reached."""
        backoff = Backoff()
        for _ in range(_TRIES - 1):
            try:
                return await self._once(method, request)
            except Unavailable as error:
                if error.reason:
                    # The daemon itself has said so: it can be reached.
                    raise
                await asyncio.sleep(backoff.next())
        return await self._once(method, request)

    async def _pages(self, method: str, request: Any) -> AsyncGenerator[Any, None]:
        while True:
            response = await self._repeatable(method, request)
            yield response
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def _stream(self, method: str, request: object, convert: Callable[[Any], T]) -> AsyncGenerator[T, None]:
        call = getattr(self._connected, method)(request)
        try:
            async for message in call:
                yield convert(message)
        except grpc.aio.AioRpcError as error:
            raise error_from(error) from error
        finally:
            call.cancel()

    @property
    def _connected(self) -> Any:
        if self._stub is None:
            raise RuntimeError("the client is not open: use `async with Client(address) as client`")
        return self._stub
