"""Watches that outlive their connection: where they resume, and what they have already shown."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Protocol, TypeVar

from lading_client.errors import NotFound, RevisionCompacted, TooManyCalls, Unavailable
from lading_client.model import WatchEvent, WatchKind
from lading_client.transport.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from lading_client.model import Job


class Numbered(Protocol):
    """An event from which a watch can resume."""

    @property
    def sequence(self) -> int:
        """A number that grows with each event."""


N = TypeVar("N", bound=Numbered)


class Reconnection:
    """Waits between attempts, and gives up after ``give_up_after`` seconds without an answer; None means never."""

    def __init__(self, give_up_after: float | None) -> None:
        self._give_up_after = give_up_after
        self._backoff = Backoff()
        self._since: float | None = None
        self._ever = False

    def answered(self) -> None:
        """The daemon has sent something."""
        self._since = None
        self._ever = True
        self._backoff.reset()

    async def wait(self, error: Unavailable | TooManyCalls) -> None:
        """Wait before the next attempt, or raise the error if it has taken too long.

        If a new watch is refused because there are too many, the error is raised. A reconnecting watch waits instead.
        """
        if isinstance(error, TooManyCalls) and not self._ever:
            raise error
        now = monotonic()
        if self._since is None:
            self._since = now
        pause = self._backoff.after(error.retry_delay if isinstance(error, TooManyCalls) else None)
        if self._give_up_after is not None and now + pause - self._since > self._give_up_after:
            raise error
        await asyncio.sleep(pause)


class Cursor:
    """What a watch of jobs has shown. After a break the watch resumes from ``revision``.

    A snapshot that breaks off does not change the revision: only the bookmark after a snapshot says that it is
    complete. A snapshot can be older than what was shown before. Then it is not shown, and the changes after it are
    not repeated.
    """

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self._known: dict[str, Job] = {}
        self._listed: set[str] | None = None
        self._left: set[str] = set()
        self._deleted: set[tuple[str, str]] = set()

    @property
    def known(self) -> list[Job]:
        """The jobs that were shown and have not been deleted since."""
        return list(self._known.values())

    def begin(self) -> None:
        """A new stream begins. From revision 0, it begins with a snapshot."""
        self._listed = set() if self.revision == 0 else None

    def missing(self, event: WatchEvent) -> list[Job]:
        """The jobs that were shown before but are missing from the complete snapshot before this bookmark."""
        if self._listed is None or event.kind is not WatchKind.BOOKMARK:
            return []
        listed, self._listed = self._listed, None
        return [job for name, job in self._known.items() if name not in listed and name not in self._left]

    def deleted(self, job: Job, event: WatchEvent) -> WatchEvent:
        """A job was deleted during a break. If the change itself still arrives, it is not shown again."""
        self._known.pop(job.name, None)
        self._deleted.add((job.name, job.uid))
        return replace(event, kind=WatchKind.DELETED, job=job)

    def left(self, job: Job, revision: int) -> bool:
        """A job did not match the watch at a revision. Returns whether the job has changed since it was shown.

        If it changed after that revision, it may match again: only later changes can tell.
        """
        shown = self._known[job.name]
        self._known[job.name] = job
        if job.revision <= revision:
            self._left.add(job.name)
        return _newer(job, shown)

    def compacted(self, oldest: int) -> None:
        """The daemon no longer keeps the changes after the revision, or has never reached the revision.

        In the second case it has another store or an old copy, and its revisions say nothing about the jobs shown.
        """
        if oldest < self.revision:
            self._known = {name: replace(job, revision=-1) for name, job in self._known.items()}
        self.revision = 0

    def accept(self, event: WatchEvent) -> list[WatchEvent]:
        """The events to show for an incoming event: only what is new."""
        match event.kind:
            case WatchKind.SNAPSHOT:
                return self._snapshot(event)
            case WatchKind.PROGRESS:
                return self._progress(event)
            case WatchKind.BOOKMARK:
                self.revision = max(self.revision, event.revision)
                return [event]
            case _:
                return self._change(event)

    def _snapshot(self, event: WatchEvent) -> list[WatchEvent]:
        job = event.job
        if job is None:
            return []
        if self._listed is not None:
            self._listed.add(job.name)
        self._left.discard(job.name)
        before = self._known.get(job.name)
        if before is not None and not _newer(job, before):
            return []
        self._known[job.name] = job
        return [event]

    def _progress(self, event: WatchEvent) -> list[WatchEvent]:
        job = event.job
        if job is None:
            return []
        before = self._known.get(job.name)
        if before is not None:
            if job.revision < before.revision:
                return []
            if (job.revision, job.progress, job.counters) == (before.revision, before.progress, before.counters):
                return []
        self._known[job.name] = job
        return [event]

    def _change(self, event: WatchEvent) -> list[WatchEvent]:
        if event.revision <= self.revision:
            return []
        if self._listed is None:
            self.revision = event.revision
        job = event.job
        if job is None:
            return [event]
        before = self._known.get(job.name)
        if event.kind is WatchKind.DELETED:
            if (job.name, job.uid) in self._deleted:
                self._deleted.remove((job.name, job.uid))
                return []
            self._known.pop(job.name, None)
            return [event]
        self._left.discard(job.name)
        if before is not None and not _newer(job, before):
            return []
        self._known[job.name] = job
        return [event]


def _newer(job: Job, before: Job) -> bool:
    """Whether a job is newer than an earlier one of the same name. A different uid means a new job."""
    return job.revision > before.revision or job.uid != before.uid


async def follow_jobs(
    open_stream: Callable[[int], AsyncGenerator[WatchEvent, None]],
    *,
    look_up: Callable[[str], Awaitable[Job | None]] | None,
    revision: int,
    bookmarks: bool,
    give_up_after: float | None,
) -> AsyncGenerator[WatchEvent, None]:
    """Every event once, over as many streams as needed.

    ``look_up`` finds out whether a missing job was deleted or only no longer matches. None: all jobs are watched.
    """
    cursor = Cursor(revision)
    reconnection = Reconnection(give_up_after)
    broken: Unavailable | TooManyCalls
    while True:
        cursor.begin()
        try:
            async with aclosing(open_stream(cursor.revision)) as stream:
                async for event in stream:
                    reconnection.answered()
                    for job in cursor.missing(event):
                        found = None if look_up is None else await look_up(job.name)
                        if found is None or found.uid != job.uid:
                            yield cursor.deleted(job, event)
                        elif cursor.left(found, event.revision):
                            yield replace(event, kind=WatchKind.SNAPSHOT, job=found)
                    for shown in cursor.accept(event):
                        if bookmarks or shown.kind is not WatchKind.BOOKMARK:
                            yield shown
            broken = Unavailable("the watch ended without an error", code="UNAVAILABLE")
        except RevisionCompacted as error:
            reconnection.answered()
            cursor.compacted(error.oldest)
            continue
        except NotFound:
            # The watched job was deleted, and the daemon no longer keeps that change.
            for job in cursor.known:
                yield WatchEvent(kind=WatchKind.DELETED, revision=cursor.revision, job=job, time=None)
            raise
        except (Unavailable, TooManyCalls) as error:
            broken = error
        await reconnection.wait(broken)


async def follow_numbered(
    open_stream: Callable[[int], AsyncGenerator[N, None]],
    *,
    sequence: int,
    give_up_after: float | None,
) -> AsyncGenerator[N, None]:
    """Every entry once, over as many streams as needed, until the job has ended."""
    reconnection = Reconnection(give_up_after)
    while True:
        try:
            async with aclosing(open_stream(sequence)) as stream:
                async for entry in stream:
                    reconnection.answered()
                    if entry.sequence > sequence:
                        sequence = entry.sequence
                        yield entry
            return
        except (Unavailable, TooManyCalls) as error:
            await reconnection.wait(error)
