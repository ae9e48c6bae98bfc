"""Watches that outlive their connection: where they go on from, and what was shown already."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from time import monotonic
from typing import TYPE_CHECKING

from lading_client.backoff import Backoff
from lading_client.errors import RevisionCompacted, Unavailable
from lading_client.model import WatchEvent, WatchKind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from lading_client.model import Job, JournalEntry


class Reconnection:
    """Waits between tries, and gives up after ``give_up_after`` seconds without an answer; None means never."""

    def __init__(self, give_up_after: float | None) -> None:
        self._give_up_after = give_up_after
        self._backoff = Backoff()
        self._since: float | None = None

    def answered(self) -> None:
        """The daemon has sent something."""
        self._since = None
        self._backoff.reset()

    async def wait(self, error: Unavailable) -> None:
        """Wait before the next try, or raise the error where it has been too long."""
        now = monotonic()
        if self._since is None:
            self._since = now
        pause = self._backoff.next()
        if self._give_up_after is not None and now + pause - self._since > self._give_up_after:
            raise error
        await asyncio.sleep(pause)


class Cursor:
    """What a watch of jobs has shown. ``revision`` is where it goes on from after a break.

    A snapshot that breaks off leaves the revision as it was: only the bookmark after it says that it was whole.
    """

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self._known: dict[str, Job] = {}
        self._listed: set[str] | None = None

    def begin(self) -> None:
        """A new stream begins; from revision 0 it begins with a snapshot."""
        self._listed = set() if self.revision == 0 else None

    def accept(self, event: WatchEvent) -> list[WatchEvent]:
        """What of an event is new, to be shown."""
        match event.kind:
            case WatchKind.SNAPSHOT:
                return self._snapshot(event)
            case WatchKind.PROGRESS:
                return self._progress(event)
            case WatchKind.BOOKMARK:
                gone = self._gone(event)
                self.revision = max(self.revision, event.revision)
                return [*gone, event]
            case _:
                return self._change(event)

    def _snapshot(self, event: WatchEvent) -> list[WatchEvent]:
        job = event.job
        if job is None:
            return []
        if self._listed is not None:
            self._listed.add(job.name)
        before = self._known.get(job.name)
        self._known[job.name] = job
        return [event] if before is None or before.revision < job.revision else []

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
        if job is not None:
            before = self._known.get(job.name)
            if before is not None and event.kind is WatchKind.CHANGED and job.revision <= before.revision:
                return []
            if event.kind is WatchKind.DELETED:
                self._known.pop(job.name, None)
            else:
                self._known[job.name] = job
                if self._listed is not None:
                    self._listed.add(job.name)
        return [event]

    def _gone(self, event: WatchEvent) -> list[WatchEvent]:
        """The jobs that were shown before and that a whole snapshot lacks: deleted while nobody could say so."""
        if self._listed is None:
            return []
        gone = [job for name, job in self._known.items() if name not in self._listed]
        self._listed = None
        for job in gone:
            del self._known[job.name]
        return [WatchEvent(kind=WatchKind.DELETED, revision=event.revision, job=job, time=event.time) for job in gone]


async def follow_jobs(
    open_stream: Callable[[int], AsyncGenerator[WatchEvent, None]],
    *,
    revision: int,
    bookmarks: bool,
    give_up_after: float | None,
) -> AsyncGenerator[WatchEvent, None]:
    """Every event once, over as many streams as it takes."""
    cursor = Cursor(revision)
    reconnection = Reconnection(give_up_after)
    while True:
        cursor.begin()
        try:
            async with aclosing(open_stream(cursor.revision)) as stream:
                async for event in stream:
                    reconnection.answered()
                    for shown in cursor.accept(event):
                        if bookmarks or shown.kind is not WatchKind.BOOKMARK:
                            yield shown
            broken = Unavailable("the watch has ended by itself", code="UNAVAILABLE")
        except RevisionCompacted:
            reconnection.answered()
            cursor.revision = 0
            continue
        except Unavailable as error:
            broken = error
        await reconnection.wait(broken)


async def follow_journal(
    open_stream: Callable[[int], AsyncGenerator[JournalEntry, None]],
    *,
    sequence: int,
    give_up_after: float | None,
) -> AsyncGenerator[JournalEntry, None]:
    """Every entry once, over as many streams as it takes, until the job has ended."""
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
        except Unavailable as error:
            await reconnection.wait(error)
