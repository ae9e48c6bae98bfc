"""Lets any number of watchers follow jobs, journals and rejects.

A watcher is a cursor, not a queue. It reads changes, which are kept once for all watchers; a watcher that lags behind
reads them from the store. It also reads the latest progress of each job. A watcher that does not read costs nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from ladingd.core.clock import utc_now
from ladingd.core.errors import JobNotFound, RejectsLost, RevisionCompacted, ShuttingDown
from ladingd.core.selection import EVERY
from ladingd.core.state import ENDED, State
from ladingd.run.watch.change_cache import ChangeCache
from ladingd.run.watch.events import WatchEvent, WatchKind, bookmark, event_of
from ladingd.run.watch.permission import Permission
from ladingd.run.watch.progress_pulse import ProgressPulse
from ladingd.run.watch.snapshot import Snapshots

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ladingd.core.job import Job, JournalEntry, Reject
    from ladingd.core.ports import ChangeStore, Check, ChunkStore, JobStore, JournalStore, RejectReader
    from ladingd.core.selection import Selection
    from ladingd.run.watch.notifier import Notifier

BOOKMARK_SECONDS = 15.0
BATCH = 500
"""Journal entries or rejects that are read at once."""


class Watch:
    """The streams. Runs report progress; changes are read from the store when the notifier rings."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        changes: ChangeStore,
        chunks: ChunkStore,
        journal: JournalStore,
        rejects: RejectReader,
        notifier: Notifier,
    ) -> None:
        self._jobs = jobs
        self._revisions = changes
        self._chunks = chunks
        self._journal = journal
        self._rejects = rejects
        self._notifier = notifier
        self._closed = False
        self._pulse = ProgressPulse(notifier, on_beat=self._forget_pages)
        self._changes = ChangeCache(changes, notifier, self._pulse)
        self._snapshots = Snapshots(jobs, changes, notifier, outdated=lambda: self._pulse.pending)

    def progressed(self, job: Job) -> None:
        """Show this progress to watchers, at the next pulse; the latest of each job wins."""
        self._pulse.progressed(job)

    def rested(self, job_id: str) -> None:
        """Show no more progress of this job for now. Its changes show the result."""
        self._pulse.rested(job_id)

    def still(self) -> None:
        """Show no more progress at all: many watchers wait for the last changes."""
        self._pulse.still()

    def close(self) -> None:
        """End all watches, each after the last change."""
        self.still()
        self._closed = True
        self._notifier.notify_all()

    async def jobs(
        self, *, revision: int = 0, job_id: str = "", selection: Selection = EVERY, check: Check | None = None
    ) -> AsyncGenerator[WatchEvent, None]:
        """Follow all jobs, or one. From revision 0: a snapshot, then every change; otherwise the changes after it.

        The snapshot shows each job as it is when its turn comes; changes that it includes are not sent again.
        ``selection`` limits the jobs by state, type, label, owner and shared. A change by which a job leaves the
        selection is sent, too; if the watcher may no longer see the job, as WITHDRAWN. ``check`` is called with the one
        job. Ends with ShuttingDown, or with JobNotFound if the one job does not exist or is deleted. Raises
        RevisionCompacted if changes after ``revision`` are gone.
        """
        restricted = selection.visible_to
        pulse = self._pulse.number
        current = await self._revisions.revision()
        if revision > current:
            # From another store, or from this one before it was restored from a copy.
            raise RevisionCompacted(revision, current)
        known = not job_id
        ahead: dict[str, int] = {}
        if revision == 0:
            revision = current
            async with aclosing(self._snapshot(revision, job_id, selection, check)) as listed:
                async for shown in listed:
                    if shown.job is not None and shown.job.revision > revision:
                        ahead[shown.job.id] = shown.job.revision
                    yield shown
            yield bookmark(revision)
            known = True
        loop = asyncio.get_running_loop()
        bookmark_due = loop.time() + BOOKMARK_SECONDS
        while True:
            rung = self._notifier.listen()
            last = self._closed
            changes = await self._changes.after(revision)
            for change in changes:
                revision = change.revision
                if job_id not in ("", change.job.id):
                    continue
                if revision <= ahead.get(change.job.id, 0):
                    continue  # The snapshot included this change.
                if restricted is not None and await self._changes.hides(change.job, revision, restricted, rung):
                    continue
                if (event := event_of(change, selection)) is not None:
                    yield event
                    if job_id and event.kind in (WatchKind.DELETED, WatchKind.WITHDRAWN):
                        raise JobNotFound(job_id)
            if not changes:
                if not known:
                    job = await self._jobs.get(job_id)
                    if check is not None:
                        check(job)
                    known = True
                for job in self._pulse.since(pulse, job_id):
                    if self._pulse.quiet:
                        break
                    if job.revision <= revision and selection.holds(job):
                        yield WatchEvent(kind=WatchKind.PROGRESS, revision=revision, time=utc_now(), job=job)
                pulse = self._pulse.number
                if last:
                    raise ShuttingDown
                try:
                    async with asyncio.timeout_at(bookmark_due):
                        await rung.wait()
                except TimeoutError:
                    bookmark_due = loop.time() + BOOKMARK_SECONDS
                    yield bookmark(revision)

    async def journal(
        self, job_id: str, *, after: int = 0, check: Check | None = None
    ) -> AsyncGenerator[JournalEntry, None]:
        """Follow the journal of one job. Ends when the job has ended and everything is sent.

        ``check`` is repeated whenever something has happened to the job. Raises what it raises, ShuttingDown, and
        JobNotFound, also if the job is deleted meanwhile.
        """
        permission = Permission(self._jobs, self._notifier, job_id, check)
        await permission.ask()
        while True:
            rung = self._notifier.listen(job_id)
            last = self._closed or (await permission.ask()).state in ENDED
            entries = await self._journal.journal(job_id, after=after, limit=BATCH, check=check)
            for entry in entries:
                await permission.renew()
                after = entry.sequence
                yield entry
            if not entries:
                if self._closed:
                    raise ShuttingDown
                if last:
                    return
                await rung.wait()

    async def rejects(
        self, job_id: str, *, after: int = 0, check: Check | None = None
    ) -> AsyncGenerator[tuple[int, Reject], None]:
        """Follow the rejects of one job, numbered from 1 in the order of the source. Ends like ``journal``.

        A chunk's rejects are sent when all chunks before it are committed, so the numbers never change. Raises
        RejectsLost at the end.
        """
        ordinal = number = 0
        lost: RejectsLost | None = None
        permission = Permission(self._jobs, self._notifier, job_id, check)
        uid = (await permission.ask()).uid
        while True:
            rung = self._notifier.listen(job_id)
            last = self._closed
            job = await permission.ask()
            if job.uid != uid:
                raise JobNotFound(job_id)  # Its id is in use again.
            # Nothing more can be committed: chunks that are missing in between do not come.
            final = job.settled and job.state in (State.FINISHED, State.CANCELED)
            for kept in await self._chunks.chunks(job_id, first=ordinal):
                if kept.counts is None:
                    if final:
                        continue
                    break
                ordinal = kept.chunk.ordinal + 1
                told = kept.counts.rejected + kept.counts.warnings
                token = None if told and number + told > after else ""
                while token != "":
                    try:
                        page = await self._rejects.read(job.uid, [kept.chunk.ordinal], size=BATCH, token=token or "")
                    except RejectsLost as error:
                        lost = lost or error
                        break
                    for place, reject in enumerate(page.items, number + 1):
                        if place > after:
                            await permission.renew()
                            yield place, reject
                    number, told, token = number + len(page.items), told - len(page.items), page.next_token
                number += told
            if last:
                raise ShuttingDown
            if job.settled and job.state in ENDED:
                if lost is not None:
                    await permission.ask()  # The rejects of a deleted job are deleted with it.
                    raise lost
                return
            await rung.wait()

    async def _snapshot(
        self, revision: int, job_id: str, selection: Selection, check: Check | None
    ) -> AsyncGenerator[WatchEvent, None]:
        one = bool(job_id)
        pages = self._snapshots.of_one(job_id, check) if one else self._snapshots.of_all(selection, revision)
        async with aclosing(pages):
            async for page in pages:
                for job in filter(selection.holds, page.jobs):
                    viewer = selection.visible_to
                    if viewer is not None and await self._changes.hides(job, page.revision, viewer, page.rung):
                        continue
                    yield WatchEvent(kind=WatchKind.SNAPSHOT, revision=revision, time=job.update_time, job=job)

    def _forget_pages(self) -> None:
        self._snapshots.forget()
