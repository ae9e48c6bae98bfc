"""One whole job, from its creation to its end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol, Self

from lading_client.errors import (
    Aborted,
    CommandNotAllowed,
    DaemonError,
    JobCanceled,
    JobDeleted,
    JobError,
    JobFailed,
    LadingError,
    Unavailable,
)
from lading_client.model import ENDED, State, WatchKind
from lading_client.transport.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from types import TracebackType

    from lading_client.model import Job, WatchEvent

_TRIES = 5


class Jobs(Protocol):
    """The calls that a run makes. `Client` has them."""

    async def get_job(self, name: str) -> Job: ...

    async def start_job(self, name: str, *, etag: str = "") -> Job: ...

    async def cancel_job(self, name: str) -> Job: ...

    def watch(self, name: str, *, revision: int, give_up_after: float | None) -> AsyncGenerator[WatchEvent, None]: ...


class Run:
    """A job that a block creates, starts and follows. `Client.run` creates a run.

    The job has ended when it is FINISHED, FAILED, CANCELED or deleted. A PAUSED or INTERRUPTED job has not ended:
    somebody, or the next start of the daemon, can continue it.
    """

    def __init__(
        self,
        jobs: Jobs,
        make: Callable[[], Awaitable[Job]],
        *,
        cancel_on_error: bool,
        give_up_after: float | None,
    ) -> None:
        self._jobs = jobs
        self._make = make
        self._cancel_on_error = cancel_on_error
        self._give_up_after = give_up_after
        self._job: Job | None = None
        self._task: asyncio.Task[None] | None = None
        self._changes: list[WatchEvent] = []
        self._progress: WatchEvent | None = None
        self._outcome: Job | LadingError | None = None
        self._told = False
        self._news = asyncio.Event()

    @property
    def name(self) -> str:
        """The job's name."""
        return self.job.name

    @property
    def job(self) -> Job:
        """The last known state of the job."""
        if self._job is None:
            raise RuntimeError("the job does not exist yet: use `async with client.run(spec) as run`")
        return self._job

    async def __aenter__(self) -> Self:
        made = await self._make()
        self._job = made
        try:
            await self._start(made)
        except BaseException as error:
            await self._give_up(error)
            raise
        if self.job.state in ENDED:
            self._end(self.job)
        else:
            # The watch begins before the start: it misses no state, however fast the job runs.
            self._task = asyncio.create_task(self._follow(made.name, made.revision), name=f"run of {made.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                if not self._told:
                    await self.finished()
            elif self._outcome is None:
                await self._give_up(error)
        except asyncio.CancelledError as canceled:
            if error is None:
                await self._give_up(canceled)
            raise
        finally:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])

    async def events(self) -> AsyncGenerator[WatchEvent, None]:
        """Every change since the job's creation, and its latest progress, until it has ended.

        Each iteration begins with the first change. Raises Unavailable if the daemon was unreachable for too long.
        """
        place = 0
        shown: WatchEvent | None = None
        while True:
            news = self._news
            if place < len(self._changes):
                place += 1
                yield self._changes[place - 1]
            elif self._progress is not None and self._progress is not shown:
                shown = self._progress
                yield shown
            elif isinstance(self._outcome, LadingError) and not isinstance(self._outcome, JobError):
                self._told = True
                raise self._outcome
            elif self._outcome is not None:
                return
            else:
                await news.wait()

    def __aiter__(self) -> AsyncGenerator[WatchEvent, None]:
        return self.events()

    async def finished(self) -> Job:
        """Wait for FINISHED and return the job. Raises JobFailed, JobCanceled, JobDeleted, and what a watch raises."""
        while self._outcome is None:
            await self._news.wait()
        self._told = True
        if isinstance(self._outcome, LadingError):
            raise self._outcome
        return self._outcome

    async def _start(self, job: Job) -> None:
        """Start a new job. The etag makes a retry safe: only one start with it can succeed."""
        backoff = Backoff()
        tries = _TRIES
        while job.state is State.EDITING:
            try:
                job = await self._jobs.start_job(job.name, etag=job.etag)
            except (Aborted, CommandNotAllowed):
                # An earlier attempt succeeded, or another client started the job.
                job = await self._jobs.get_job(job.name)
            except Unavailable as error:
                tries -= 1
                if error.reason or not tries:
                    raise
                await asyncio.sleep(backoff.next())
        self._job = job

    async def _follow(self, name: str, revision: int) -> None:
        try:
            watch = self._jobs.watch(name, revision=revision, give_up_after=self._give_up_after)
            async with aclosing(watch) as events:
                async for event in events:
                    if event.job is not None and self._note(event, event.job):
                        return
        except LadingError as error:
            self._end(error)
        except Exception as error:
            self._end(LadingError(f"the watch of {name} failed: {error!r}"))
            raise

    def _note(self, event: WatchEvent, job: Job) -> bool:
        """Record an event. Returns whether the job has ended."""
        self._job = job
        if event.kind is WatchKind.PROGRESS:
            self._progress = event
        else:
            self._progress = None
            self._changes.append(event)
        if event.kind is WatchKind.DELETED:
            self._end(JobDeleted(job))
        elif job.state in ENDED:
            self._end(job)
        else:
            self._ring()
        return self._outcome is not None

    def _end(self, outcome: Job | LadingError) -> None:
        if isinstance(outcome, LadingError) or outcome.state is State.FINISHED:
            self._outcome = outcome
        else:
            self._outcome = JobFailed(outcome) if outcome.state is State.FAILED else JobCanceled(outcome)
        self._ring()

    def _ring(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _give_up(self, error: BaseException) -> None:
        """Cancel the job because of an error. If that fails, add a note to the error."""
        if not self._cancel_on_error:
            return
        try:
            await self._jobs.cancel_job(self.name)
        except CommandNotAllowed as refusal:
            if refusal.state == State.EDITING:
                error.add_note(f"{self.name} was created but not started")
        except DaemonError as trouble:
            error.add_note(f"{self.name} could not be canceled: {trouble}")
