"""Carries out what users and programs ask of jobs.

A command is an intent: it is written to the store, then the notifier wakes the scheduler and the executions.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import uuid
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ladingd.core.clock import utc_now
from ladingd.core.errors import EtagMismatch, LadingError, ShuttingDown
from ladingd.core.job import Job
from ladingd.core.maintenance import Discard
from ladingd.core.origin import effect
from ladingd.core.state import Event, State
from ladingd.run.workers.calls import answer_within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from ladingd.core.plan import Plan
    from ladingd.core.ports import Check, JobStore, Transfer
    from ladingd.core.preview import Preview
    from ladingd.core.spec import ImportSpec, JobSpec, Table
    from ladingd.core.tables import Suggestion, TableDescription
    from ladingd.run.disk_space import DiskSpace
    from ladingd.run.upkeep.cleanup import Cleanup
    from ladingd.run.watch.notifier import Notifier
    from ladingd.run.workers.pool import Workers

T = TypeVar("T")

TIMEOUT = 60.0
"""Seconds that source and target have to answer the queries of a plan."""

ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without characters that people mistake for one another."""
ID_LENGTH = 12

log = logging.getLogger(__name__)


Permit: TypeAlias = "Callable[[JobSpec], Awaitable[None]]"
"""Raises if the caller may not use what a spec names."""


class Control:
    """Creates, edits, commands and deletes jobs.

    ``workers`` are not those of chunks: the check of a spec must not wait for an import.
    """

    def __init__(
        self,
        *,
        jobs: JobStore,
        transfer: Transfer,
        workers: Workers,
        notifier: Notifier,
        cleanup: Cleanup,
        disk_space: DiskSpace,
    ) -> None:
        self._jobs = jobs
        self._transfer = transfer
        self._workers = workers
        self._notifier = notifier
        self._cleanup = cleanup
        self._disk_space = disk_space
        self._closed = False
        self._under_way: set[asyncio.Task[Any]] = set()

    def close(self) -> None:
        """Refuse jobs and commands from now on."""
        self._closed = True

    async def create(
        self,
        spec: JobSpec,
        *,
        label: str,
        description: str,
        owner: str = "",
        shared: bool = False,
        job_id: str = "",
        request_id: str = "",
        request_digest: str = "",
        validate_only: bool = False,
    ) -> Job:
        """Check the spec against its real source and target, and store a job in EDITING.

        Raises InvalidSpec, JobExists, RequestIdReused, RequestJobDeleted, ShuttingDown, DiskFull, and TechnicalError
        if source or target cannot be reached.
        """
        self._check_open()
        if request_id and (earlier := await self._jobs.made_by(owner, request_id, request_digest)):
            return earlier
        self._disk_space.check()
        plan = await self._plan(spec)
        now = utc_now()
        job = Job(
            id=job_id or "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH)),
            uid=str(uuid.uuid4()),
            owner=owner,
            shared=shared,
            label=label,
            description=description,
            spec=spec,
            plan=plan,
            create_time=now,
            update_time=now,
        )
        if validate_only:
            return job
        return await self._told(self._jobs.create(job, request_id=request_id, request_digest=request_digest))

    async def preview(self, spec: ImportSpec, records: int) -> Preview:
        """What an import would do. Raises InvalidSpec, ShuttingDown, and TechnicalError if source or target cannot be
        reached."""
        self._check_open()
        async with answer_within(TIMEOUT):
            return await self._workers.call(self._transfer.preview, spec, records)

    async def suggest(self, spec: ImportSpec) -> Suggestion:
        """How an import would fill its table. Raises like ``preview``."""
        self._check_open()
        async with answer_within(TIMEOUT):
            return await self._workers.call(self._transfer.suggest, spec)

    async def tables(self, connection: str) -> tuple[Table, ...]:
        """The tables of a connection. Raises InvalidSpec, ShuttingDown, TechnicalError."""
        self._check_open()
        async with answer_within(TIMEOUT):
            return await self._workers.call(self._transfer.tables, connection)

    async def describe(self, table: Table) -> TableDescription:
        """An existing table. Raises InvalidSpec, TableNotFound, ShuttingDown, TechnicalError."""
        self._check_open()
        async with answer_within(TIMEOUT):
            return await self._workers.call(self._transfer.describe, table)

    async def edit(
        self,
        job_id: str,
        *,
        label: str | None = None,
        description: str | None = None,
        shared: bool | None = None,
        spec: JobSpec | None = None,
        etag: str = "",
        validate_only: bool = False,
        check: Check | None = None,
        permit: Permit | None = None,
    ) -> Job:
        """Change every argument that is not None.

        ``permit`` is asked about the spec that a new one replaces. Raises what ``permit`` and ``check`` raise, and
        JobNotFound, EtagMismatch, CommandNotAllowed, InvalidSpec.
        """
        self._check_open()
        plan = None
        if spec is not None:
            check = await self._permitted(job_id, check, permit)
            plan = await self._plan(spec)
        return await self._told(
            self._jobs.edit(
                job_id,
                label=label,
                description=description,
                shared=shared,
                spec=spec,
                plan=plan,
                etag=etag,
                validate_only=validate_only,
                check=check,
            )
        )

    async def clone(
        self,
        job_id: str,
        *,
        permit: Permit,
        check: Check | None = None,
        owner: str = "",
        label: str = "",
        new_id: str = "",
        request_id: str = "",
        request_digest: str = "",
    ) -> Job:
        """Create a job with the spec and the texts of another job; ``label`` replaces its label.

        ``check`` is called with the other job. Raises like ``create``, and what ``check`` and ``permit`` raise.
        """
        self._check_open()
        if request_id and (earlier := await self._jobs.made_by(owner, request_id, request_digest)):
            return earlier  # The cloned job may be gone by now.
        model = await self._jobs.get(job_id)
        if check is not None:
            check(model)
        await permit(model.spec)
        return await self.create(
            model.spec,
            label=label or model.label,
            description=model.description,
            owner=owner,
            job_id=new_id,
            request_id=request_id,
            request_digest=request_digest,
        )

    async def delete(self, job_id: str, *, etag: str = "", wait: bool = True, check: Check | None = None) -> None:
        """Remove a job and everything that it left, except its records. ``wait`` until all is gone.

        Raises JobNotFound, EtagMismatch, CommandNotAllowed.
        """
        self._check_open()
        try:
            job = await self._told(self._jobs.delete(job_id, etag=etag, check=check))
        except asyncio.CancelledError:
            self._cleanup.wake()  # The job may be deleted.
            raise
        if not job.attempt:
            return  # It has left nothing.
        if wait:
            await asyncio.shield(self._keep(self._discard(job)))
        else:
            self._cleanup.wake()

    async def _discard(self, job: Job) -> None:
        try:
            await self._cleanup.discard(Discard(job_id=job.id, uid=job.uid, plan=job.plan))
        except LadingError as error:
            # The job is deleted nevertheless. Its traces in an unreachable target are removed when the target is back.
            log.warning("jobs/%s is deleted; what it left is removed later: %s", job.id, error.message)

    async def command(
        self,
        job_id: str,
        command: Event,
        *,
        etag: str = "",
        check: Check | None = None,
        permit: Permit | None = None,
    ) -> Job:
        """Start, pause or cancel. ``permit`` is asked about the spec of a job that is to start.

        Raises what ``permit`` and ``check`` raise, and JobNotFound, EtagMismatch, CommandNotAllowed, ShuttingDown,
        DiskFull.
        """
        self._check_open()
        if command is Event.START:
            self._disk_space.check()
            check = await self._permitted(job_id, check, permit)
        job = await self._told(self._jobs.command(job_id, command, etag=etag, check=check))
        if job.state is State.CANCELED:
            self._cleanup.wake()
        return job

    async def _permitted(self, job_id: str, check: Check | None, permit: Permit | None) -> Check | None:
        """A check that also refuses a job whose spec is no longer the permitted one: it may be edited meanwhile."""
        if permit is None:
            return check
        job = await self._jobs.get(job_id)
        if check is not None:
            check(job)
        await permit(job.spec)

        def still(now: Job) -> None:
            if check is not None:
                check(now)
            if now.spec != job.spec:
                raise EtagMismatch(job_id)

        return still

    async def _told(self, writing: Coroutine[Any, Any, Job]) -> Job:
        """Write to the store, then notify.

        A caller that stops waiting does not stop either, and its call still records the effect.
        """

        async def write() -> Job:
            job = await writing
            self._notifier.notify(job.id)
            if (wanted := effect.get(None)) is not None:
                wanted.job = job
            return job

        task = self._keep(write())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()) and not isinstance(error, LadingError):
                log.error("a call that its caller gave up has failed", exc_info=error)
            raise

    def _keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _plan(self, spec: JobSpec) -> Plan:
        async with answer_within(TIMEOUT):
            return await self._workers.call(self._transfer.plan, spec)

    def _check_open(self) -> None:
        if self._closed:
            raise ShuttingDown
