"""The client of a daemon."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Self

from lading.v1 import audit_service_pb2, job_pb2, job_service_pb2, table_service_pb2
from lading_client.errors import NotFound
from lading_client.files import download, upload
from lading_client.job_run import Run
from lading_client.messages import job as messages
from lading_client.messages.preview import preview
from lading_client.messages.spec import spec_message, table_from, table_message
from lading_client.messages.tables import description, suggested
from lading_client.spec import JobSpec
from lading_client.transport.calls import Calls
from lading_client.transport.channel import GrpcTransport
from lading_client.watch import follow_jobs, follow_numbered

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from os import PathLike

    from lading_client.files.upload import StoredFile
    from lading_client.model import (
        AuditEntry,
        Job,
        JournalEntry,
        Preview,
        Reject,
        RejectEvent,
        RejectGroups,
        SuggestedMapping,
        TableDescription,
        WatchEvent,
    )
    from lading_client.spec import ExportSpec, File, ImportSpec, Table
    from lading_client.transport.credentials import Tls
    from lading_client.transport.transport import Transport

SILENCE_SECONDS = 60.0
"""Silence after which a watch of jobs counts as broken. The daemon sends a bookmark every 15 s."""
_PAGE = 1000


class Client:
    """Commands and watches the jobs of one daemon. ``timeout`` is for each call that is not a watch, in seconds.

    An address is `unix:/path` or `host:port`. The latter is always encrypted by TLS; ``tls`` says whom to trust, by
    default the well-known authorities. ``token`` is sent with every call. A ``transport`` takes the place of the
    address, the token and TLS, for example in a test.

    Every method raises `DaemonError` and its subclasses. Names of jobs are `jobs/ID`. Calls that read and calls that
    create a job are repeated automatically while the daemon cannot be reached or has too many calls; commands are not.
    If the daemon turns out to be gone or to be shutting down, ``renew`` is awaited, once. It returns the address at
    which a daemon serves now, or anything else to stay with the present address. Then the call is made again.
    """

    def __init__(
        self,
        address: str = "",
        *,
        token: str | None = None,
        tls: Tls | None = None,
        timeout: float = 30.0,
        renew: Callable[[], Awaitable[object]] | None = None,
        transport: Transport | None = None,
    ) -> None:
        if transport is not None and (address or token is not None or tls is not None or renew is not None):
            raise ValueError("a transport takes the place of address, token, tls and renew: pass one or the other")
        self.address = address
        self._token = token
        self._tls = tls
        self._renew = renew
        self._calls = Calls(
            transport or self._connection(), timeout=timeout, renew=None if renew is None else self._renewed
        )

    def _connection(self) -> Transport:
        return GrpcTransport(self.address, token=self._token, tls=self._tls)

    async def _renewed(self) -> Transport | None:
        address = None if self._renew is None else await self._renew()
        if not isinstance(address, str) or address == self.address:
            return None
        self.address = address
        return self._connection()

    async def __aenter__(self) -> Self:
        self._calls.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect. Open watches end."""
        await self._calls.close()

    # Jobs

    async def create_job(
        self,
        spec: JobSpec | ImportSpec | ExportSpec,
        *,
        label: str = "",
        description: str = "",
        shared: bool = False,
        job_id: str = "",
        request_id: str = "",
        validate_only: bool = False,
    ) -> Job:
        """Create a job in EDITING. Raises InvalidArgument for a spec that could not run.

        The job belongs to the caller. If it is ``shared``, callers who may not see the jobs of others can read it too.
        The same ``request_id``, a UUID, returns the same job again. If that job was deleted, FailedPrecondition is
        raised (reason REQUEST_JOB_DELETED). ``validate_only`` checks everything but stores nothing.
        """
        request = job_service_pb2.CreateJobRequest(
            job=job_pb2.Job(label=label, description=description, shared=shared, spec=spec_message(_whole(spec))),
            job_id=job_id,
            # With an id, the request can be repeated and still creates only one job.
            request_id=request_id or str(uuid.uuid4()),
            validate_only=validate_only,
        )
        return messages.job(await self._calls.repeatable("CreateJob", request))

    async def preview_import(self, spec: ImportSpec, *, records: int = 0) -> Preview:
        """What an import would do: how the file is read, and its first records; at most 200, 0 means 20.

        Raises InvalidArgument for a spec that could not run.
        """
        message = spec_message(JobSpec(kind=spec)).import_spec
        request = job_service_pb2.PreviewImportRequest(spec=message, records=records)
        return preview(await self._calls.repeatable("PreviewImport", request))

    async def suggest_mapping(self, spec: ImportSpec) -> SuggestedMapping:
        """How an import would fill its table. Columns without a counterpart are listed and not refused.

        Raises InvalidArgument for a spec that could not run for another reason.
        """
        message = spec_message(JobSpec(kind=spec)).import_spec
        request = table_service_pb2.SuggestMappingRequest(spec=message)
        return suggested(await self._calls.repeatable("SuggestMapping", request))

    async def tables(self, connection: str = "local") -> AsyncGenerator[Table, None]:
        """The tables that imports through a connection can go into, by schema and name."""
        request = table_service_pb2.ListTablesRequest(connection=connection, page_size=_PAGE)
        async for response in self._calls.pages("ListTables", request):
            for message in response.tables:
                yield table_from(message)

    async def table(self, table: Table) -> TableDescription:
        """The columns of a table. Raises NotFound."""
        request = table_service_pb2.GetTableRequest(table=table_message(table))
        return description(await self._calls.repeatable("GetTable", request))

    async def get_job(self, name: str) -> Job:
        """The present job."""
        return messages.job(await self._calls.repeatable("GetJob", job_service_pb2.GetJobRequest(name=name)))

    async def clone_job(self, name: str, *, label: str = "", job_id: str = "", request_id: str = "") -> Job:
        """Create a new job in EDITING with the spec and the texts of another job. An empty label copies its label."""
        request = job_service_pb2.CloneJobRequest(
            name=name, job_id=job_id, request_id=request_id or str(uuid.uuid4()), label=label
        )
        return messages.job(await self._calls.repeatable("CloneJob", request))

    async def list_jobs(self, *, filter: str = "", order_by: str = "", page_size: int = 0) -> AsyncGenerator[Job, None]:
        """The jobs; by default, the newest first.

        A filter is like `state = RUNNING|PAUSED AND type = import AND label = "nightly*" AND create_time >=
        2026-03-01T00:00:00Z`, an order like `label` or `end_time desc`. Raises InvalidArgument.
        """
        request = job_service_pb2.ListJobsRequest(filter=filter, order_by=order_by, page_size=page_size)
        async for response in self._calls.pages("ListJobs", request):
            for message in response.jobs:
                yield messages.job(message)

    async def update_job(
        self,
        name: str,
        *,
        label: str | None = None,
        description: str | None = None,
        shared: bool | None = None,
        spec: JobSpec | ImportSpec | ExportSpec | None = None,
        etag: str = "",
        validate_only: bool = False,
    ) -> Job:
        """Change the fields that are not None; the spec only while the job is EDITING. Raises Aborted for an old etag.

        ``validate_only`` checks everything but changes nothing.
        """
        request = job_service_pb2.UpdateJobRequest(job=job_pb2.Job(name=name, etag=etag), validate_only=validate_only)
        if label is not None:
            request.job.label = label
            request.update_mask.paths.append("label")
        if description is not None:
            request.job.description = description
            request.update_mask.paths.append("description")
        if shared is not None:
            request.job.shared = shared
            request.update_mask.paths.append("shared")
        if spec is not None:
            request.job.spec.CopyFrom(spec_message(_whole(spec)))
            request.update_mask.paths.append("spec")
        return messages.job(await self._calls.once("UpdateJob", request))

    async def delete_job(self, name: str, *, etag: str = "") -> None:
        """Delete the job with its journal and rejects."""
        await self._calls.once("DeleteJob", job_service_pb2.DeleteJobRequest(name=name, etag=etag))

    # Commands. They are not retried automatically: a start may have succeeded, and the job may have failed since.

    async def start_job(self, name: str, *, etag: str = "") -> Job:
        """Queue the job, continue a paused one, or retry a failed one. Raises CommandNotAllowed."""
        return messages.job(await self._calls.once("StartJob", job_service_pb2.StartJobRequest(name=name, etag=etag)))

    async def pause_job(self, name: str, *, etag: str = "") -> Job:
        """Pause the job: PAUSING at once, PAUSED when the chunks in flight are done. Raises CommandNotAllowed."""
        return messages.job(await self._calls.once("PauseJob", job_service_pb2.PauseJobRequest(name=name, etag=etag)))

    async def cancel_job(self, name: str, *, etag: str = "") -> Job:
        """Cancel the job: CANCELING at once, CANCELED when no part of it runs any more. Raises CommandNotAllowed."""
        return messages.job(await self._calls.once("CancelJob", job_service_pb2.CancelJobRequest(name=name, etag=etag)))

    def run(
        self,
        spec: JobSpec | ImportSpec | ExportSpec,
        *,
        label: str = "",
        description: str = "",
        job_id: str = "",
        request_id: str = "",
        cancel_on_error: bool = True,
        give_up_after: float | None = None,
    ) -> Run:
        """A whole job: `async with client.run(spec) as run` creates and starts it, and waits for its end.

        At the end of the block it raises JobFailed, JobCanceled or JobDeleted if the job was not successful. An
        exception in the block cancels the job, unless ``cancel_on_error=False``, and does not wait. If the
        ``request_id`` was used before, the block follows the job that was created then.
        """
        request_id = request_id or str(uuid.uuid4())

        async def make() -> Job:
            return await self.create_job(
                spec, label=label, description=description, job_id=job_id, request_id=request_id
            )

        return Run(self, make, cancel_on_error=cancel_on_error, give_up_after=give_up_after)

    # Watching

    def watch(
        self,
        name: str = "",
        *,
        filter: str = "",
        revision: int = 0,
        bookmarks: bool = False,
        give_up_after: float | None = None,
    ) -> AsyncGenerator[WatchEvent, None]:
        """A snapshot, or the changes after a revision; then every change, each once.

        ``filter`` is as in `list_jobs`, by state, type, label, owner and shared. A change by which a job stops matching
        is also shown. A job that the caller may no longer see is shown as deleted.

        The watch reconnects and resumes by itself. After ``give_up_after`` seconds without success it raises
        Unavailable. If the daemon no longer keeps the missed changes, the jobs that differ are shown as snapshots or as
        deleted.
        """

        def stream(after: int) -> AsyncGenerator[WatchEvent, None]:
            request = job_service_pb2.WatchJobsRequest(name=name, filter=filter, revision=after)
            return self._calls.stream("WatchJobs", request, messages.watch_event, silence=SILENCE_SECONDS)

        return follow_jobs(
            stream,
            look_up=self._look_up if filter else None,
            revision=revision,
            bookmarks=bookmarks,
            give_up_after=give_up_after,
        )

    async def _look_up(self, name: str) -> Job | None:
        try:
            return await self.get_job(name)
        except NotFound:
            return None

    async def journal(self, name: str, *, page_size: int = _PAGE) -> AsyncGenerator[JournalEntry, None]:
        """The present entries of a job's journal, in order."""
        request = job_service_pb2.ListJournalEntriesRequest(parent=name, page_size=page_size)
        async for response in self._calls.pages("ListJournalEntries", request):
            for message in response.journal_entries:
                yield messages.journal_entry(message)

    def watch_journal(
        self, name: str, *, sequence: int = 0, give_up_after: float | None = None
    ) -> AsyncGenerator[JournalEntry, None]:
        """The entries of a job's journal after a sequence number, as they are written, until the job has ended."""

        def stream(after: int) -> AsyncGenerator[JournalEntry, None]:
            request = job_service_pb2.WatchJournalRequest(parent=name, sequence=after)
            return self._calls.stream("WatchJournal", request, messages.watched_entry)

        return follow_numbered(stream, sequence=sequence, give_up_after=give_up_after)

    async def reject_groups(self, name: str) -> RejectGroups:
        """The groups of the rejects of a job so far: 40,000 rejects may be three problems."""
        request = job_service_pb2.ListRejectGroupsRequest(parent=name)
        return messages.reject_groups(await self._calls.repeatable("ListRejectGroups", request))

    async def rejects(
        self, name: str, *, limit: int | None = None, group: str = "", column: str = "", code: str = ""
    ) -> AsyncGenerator[Reject, None]:
        """The rejects of a job in the order of the source, at most ``limit``; only those with this group, column and
        code, if given."""
        left = limit
        request = job_service_pb2.ListRejectsRequest(
            parent=name, page_size=min(_PAGE, limit or _PAGE), group=group, column=column, code=code
        )
        async for response in self._calls.pages("ListRejects", request):
            for message in response.rejects:
                if left is not None:
                    if left <= 0:
                        return
                    left -= 1
                yield messages.reject(message)
            if left == 0:
                return

    def watch_rejects(
        self, name: str, *, sequence: int = 0, give_up_after: float | None = None
    ) -> AsyncGenerator[RejectEvent, None]:
        """The rejects of a job after a sequence number, in the order of the source, until the job has ended.

        A reject is shown as soon as all chunks before its own are committed.
        """

        def stream(after: int) -> AsyncGenerator[RejectEvent, None]:
            request = job_service_pb2.WatchRejectsRequest(parent=name, sequence=after)
            return self._calls.stream("WatchRejects", request, messages.reject_event)

        return follow_numbered(stream, sequence=sequence, give_up_after=give_up_after)

    # Files

    async def upload(
        self,
        path: str | PathLike[str],
        *,
        file_name: str = "",
        upload_id: str = "",
        progress: Callable[[int, int], None] | None = None,
    ) -> StoredFile:
        """Upload a file of this machine. Specs name it by the result's ``file``. A broken upload continues by itself.

        With the ``upload_id``, a UUID, of an abandoned upload, it continues that upload. ``progress`` is called with
        the bytes sent so far and the size of the file. Raises OSError, FileChanged, QuotaExceeded.
        """
        return await upload.upload(self._calls, path, file_name=file_name, upload_id=upload_id, progress=progress)

    async def delete_upload(self, name: str) -> None:
        """Delete `uploads/ID`. The daemon does so by itself when no job has named the file for a while."""
        await upload.delete_upload(self._calls, name)

    async def download(
        self,
        file: File,
        to: str | PathLike[str],
        *,
        overwrite: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> int:
        """Download a file beneath a root of the daemon and return its size. The file gets its name when it is complete.

        Raises OSError, FileNotFound, FileChanged.
        """
        return await download.download(self._calls, file, to, overwrite=overwrite, progress=progress)

    # For admins

    async def audit(self, *, limit: int | None = None) -> AsyncGenerator[AuditEntry, None]:
        """Who did what, the newest first, at most ``limit``. Raises PermissionDenied."""
        left = limit
        request = audit_service_pb2.ListAuditEntriesRequest(page_size=min(_PAGE, limit or _PAGE))
        async for response in self._calls.pages("ListAuditEntries", request):
            for message in response.audit_entries:
                if left is not None:
                    if left <= 0:
                        return
                    left -= 1
                yield messages.audit_entry(message)
            if left == 0:
                return


def _whole(spec: JobSpec | ImportSpec | ExportSpec) -> JobSpec:
    return spec if isinstance(spec, JobSpec) else JobSpec(kind=spec)
