"""What people and programs tell the daemon to do with jobs.

A command is an intent written to the store and then announced; scheduler and executions act on it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import uuid
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

from ladingd.core.clock import utc_now
from ladingd.core.errors import EtagMismatch, LadingError, ShuttingDown, TargetUnavailable
from ladingd.core.job import Job
from ladingd.core.maintenance import Discard
from ladingd.core.origin import effect
from ladingd.core.state import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from ladingd.core.plan import Plan
    from ladingd.core.ports import Check, JobStore, Transfer
    from ladingd.core.spec import JobSpec
    from ladingd.run.disk_space import DiskSpace
    from ladingd.run.upkeep.cleanup import Cleanup
    from ladingd.run.watch.notifier import Notifier
    from ladingd.run.workers.pool import Workers

P = ParamSpec("P")
T = TypeVar("T")

TIMEOUT = 60.0
"""How many seconds source and target have to say what a plan needs to know."""

ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without characters that people mistake for one another."""
ID_LENGTH = 12

log = logging.getLogger(__name__)


Permit: TypeAlias = "Callable[[JobSpec], Awaitable[None]]"
"""Whether somebody may use what a spec names: it raises where they may not."""


class Control:
    """Makes, edits, commands and deletes jobs. ``workers`` are not those of chunks: nobody waits for an import to have
    a spec checked."""

    def __init__(
        self,
        *,
        store: JobStore,
        transfer: Transfer,
        workers: Workers,
        notifier: Notifier,
        cleanup: Cleanup,
        disk_space: DiskSpace,
    ) -> None:
        self._store = store
        self._transfer = transfer
        self._workers = workers
        self._notifier = notifier
        self._cleanup = cleanup
        self._disk_space = disk_space
        self._closed = False
        self._under_way: set[asyncio.Task[Any]] = set()

    def close(self) -> None:
        """Take no more jobs and commands."""
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
        where source or target cannot be reached.
        """
        self._check_open()
        if request_id and (earlier := await self._store.made_by(owner, request_id, request_digest)):
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
        return await self._told(self._store.create(job, request_id=request_id, request_digest=request_digest))

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
        """Change what is not None.

        ``permit`` is asked for the spec that a new one replaces. Raises what it and ``check`` raise, and JobNotFound,
        EtagMismatch, CommandNotAllowed, InvalidSpec.
        """
        self._check_open()
        plan = None
        if spec is not None:
            check = await self._permitted(job_id, check, permit)
            plan = await self._plan(spec)
        return await self._told(
            self._store.edit(
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
        """Make a job with the spec and the texts of another one; its label may be a new one.

        ``check`` is called for that one. Raises like ``create``, and what ``permit`` raises where the caller may not
        have a job with this spec.
        """
        self._check_open()
        if request_id and (earlier := await self._store.made_by(owner, request_id, request_digest)):
            return earlier  # What was cloned may be gone by now.
        model = await self._store.get(job_id)
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
        """Remove a job and all that it left but its records; that is not waited for where nobody wants to.

        Raises JobNotFound, EtagMismatch, CommandNotAllowed.
        """
        self._check_open()
        try:
            job = await self._told(self._store.delete(job_id, etag=etag, check=check))
        except asyncio.CancelledError:
            self._cleanup.wake()  # It may be gone.
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
            # The job is gone all the same: what stays in an unreachable target is cleared away when it is back.
            log.warning("jobs/%s is deleted, what it left is cleared away later: %s", job.id, error.message)

    async def command(
        self,
        job_id: str,
        command: Event,
        *,
        etag: str = "",
        check: Check | None = None,
        permit: Permit | None = None,
    ) -> Job:
        """Start, pause or cancel. ``permit`` is asked for the spec of a job that is to start.

        Raises what it and ``check`` raise, and JobNotFound, EtagMismatch, CommandNotAllowed, ShuttingDown, DiskFull.
        """
        self._check_open()
        if command is Event.START:
            self._disk_space.check()
            check = await self._permitted(job_id, check, permit)
        return await self._told(self._store.command(job_id, command, etag=etag, check=check))

    async def _permitted(self, job_id: str, check: Check | None, permit: Permit | None) -> Check | None:
        """A check that also holds the job to the spec that was permitted: somebody may edit it meanwhile."""
        if permit is None:
            return check
        job = await self._store.get(job_id)
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
        """Write and notify. Whoever gives up waiting for it does not undo what is written, nor keep it from the
        others, and knows its effect all the same."""

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
                log.error("what a caller has given up has failed", exc_info=error)
            raise

    def _keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _plan(self, spec: JobSpec) -> Plan:
        return await self._work(self._transfer.plan, spec)

    async def _work(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._workers.call(function, *args, **kwargs)
        except TimeoutError:
            raise TargetUnavailable(f"no answer within {TIMEOUT:g} s") from None

    def _check_open(self) -> None:
        if self._closed:
            raise ShuttingDown
