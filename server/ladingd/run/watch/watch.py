"""Lets any number of watchers follow jobs and journals.

A watcher is a cursor, not a queue: over the changes, kept once for all watchers and read from the store by those that
lag behind, and over the latest progress of each job. One that does not read costs nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from ladingd.core.clock import utc_now
from ladingd.core.errors import JobNotFound, RejectsLost, RevisionCompacted, ShuttingDown
from ladingd.core.job import EDITS, ChangeKind, Job
from ladingd.core.selection import EVERY, OLDEST_FIRST, Field
from ladingd.core.state import ACTIVE, ENDED, State
from ladingd.run.watch.recent import Recent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ladingd.core.job import Change, JournalEntry, Reject
    from ladingd.core.ports import Check, JobStore, RejectReader
    from ladingd.core.selection import Selection
    from ladingd.run.watch.notifier import Notifier

BOOKMARK_SECONDS = 15.0
PULSE_SECONDS = 0.2
"""Progress is shown this often at most."""
LISTED_SECONDS = 2.0
"""So long a page of jobs is kept for further watchers: many come at once when a connection or a daemon was gone."""
PAGE = 100
"""Jobs that are read at once for a watch that begins."""
BATCH = 500

_LISTED = 20
"""Pages that are kept at most."""

_WITHDRAWN = 5_000
"""So many withdrawn jobs in memory, and so many more each time, have the store asked of which of them changes are still
kept."""


class WatchKind(StrEnum):
    """What a watch event tells."""

    SNAPSHOT = "SNAPSHOT"
    CHANGED = "CHANGED"
    PROGRESS = "PROGRESS"
    DELETED = "DELETED"
    WITHDRAWN = "WITHDRAWN"
    """The watcher may no longer see the job. Of ``job`` only the uid, the id and the type are meant for the watcher."""
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchEvent:
    """A fact about a job; a bookmark has none. A watch that broke off continues after ``revision``."""

    kind: WatchKind
    revision: int
    time: datetime
    job: Job | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Listed:
    """A page of jobs, read at this revision or after it; ``rung`` is the bell of that time."""

    revision: int
    jobs: tuple[Job, ...]
    next_token: str
    rung: asyncio.Event


class Watch:
    """The fan-out. ``progressed`` is told by the runs, changes are read from the store when announced."""

    def __init__(self, store: JobStore, notifier: Notifier, rejects: RejectReader) -> None:
        self._store = store
        self._notifier = notifier
        self._rejects = rejects
        self._closed = False
        self._quiet = False
        self._recent: Recent | None = None
        """None before the first reading."""
        self._reading = asyncio.Lock()
        self._read_for: asyncio.Event | None = None
        """The announcement that ``_recent`` is still waiting for: while it is not set, there is nothing new."""
        self._progress: dict[str, tuple[int, Job]] = {}
        self._revisions: dict[str, int] = {}
        """The last change of each job that is active: no other job has progress that could be older."""
        self._pulse = 0
        self._fresh: dict[str, Job] = {}
        self._last_pulse = 0.0
        self._pulse_due: asyncio.TimerHandle | None = None
        self._listing = asyncio.Lock()
        self._listed: dict[tuple[Selection, str], _Listed] = {}
        """The latest pages; none while what they show of progress is no longer true."""
        self._most_withdrawn = _WITHDRAWN
        self._withdrawn: dict[str, int] = {}
        """By uid, when jobs ceased to be shared: nobody but their owners is shown what was before."""

    def progressed(self, job: Job) -> None:
        """Show this progress to watchers, at the next pulse; the latest of each job wins."""
        if self._quiet:
            return
        self._fresh[job.id] = job
        if self._pulse_due is None:
            loop = asyncio.get_running_loop()
            self._pulse_due = loop.call_at(max(loop.time(), self._last_pulse + PULSE_SECONDS), self._beat)

    def rested(self, job_id: str) -> None:
        """There is no more progress of this job for now; what it came to stands in its changes."""
        self._progress.pop(job_id, None)
        self._fresh.pop(job_id, None)

    def _beat(self) -> None:
        self._pulse_due = None
        self._last_pulse = asyncio.get_running_loop().time()
        self._pulse += 1
        self._progress.update((job_id, (self._pulse, job)) for job_id, job in self._fresh.items())
        self._listed.clear()
        jobs = tuple(self._fresh)
        self._fresh.clear()
        self._notifier.notify(*jobs)

    def still(self) -> None:
        """Show no more progress: what matters now are the last changes, and many watchers want to hear of them."""
        self._quiet = True
        self._fresh.clear()
        self._progress.clear()
        if self._pulse_due is not None:
            self._pulse_due.cancel()

    def close(self) -> None:
        """End all watches, each after the last change there is."""
        self.still()
        self._closed = True
        self._notifier.notify_all()

    async def jobs(
        self, *, revision: int = 0, job_id: str = "", selection: Selection = EVERY, check: Check | None = None
    ) -> AsyncGenerator[WatchEvent, None]:
        """Follow all jobs, or one: from revision 0 a snapshot and then every change, else the changes after it.

        The snapshot shows each job as it is when its turn comes; changes that it shows already are not told again.
        ``selection``: only these, by state, type, label, owner and shared. A change by which a job leaves it is told as
        well; where the watcher may no longer see the job, as WITHDRAWN. ``check`` is called for the one job.
        Ends by ShuttingDown, and by JobNotFound where the one job is not there or no more. Raises RevisionCompacted
        where changes after ``revision`` are gone.
        """
        restricted = selection.visible_to
        pulse = self._pulse
        current = await self._store.revision()
        if revision > current:
            # Of another store, or of this one before it was put back from a copy.
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
            yield _bookmark(revision)
            known = True
        loop = asyncio.get_running_loop()
        bookmark_due = loop.time() + BOOKMARK_SECONDS
        while True:
            rung = self._notifier.listen()
            last = self._closed
            changes = await self._changes(revision)
            for change in changes:
                revision = change.revision
                if job_id not in ("", change.job.id):
                    continue
                if revision <= ahead.get(change.job.id, 0):
                    continue  # It was shown as it was after this change.
                if restricted is not None and await self._hidden(change.job, revision, restricted, rung):
                    continue
                if (event := _event(selection, change)) is not None:
                    yield event
                    if job_id and event.kind in (WatchKind.DELETED, WatchKind.WITHDRAWN):
                        raise JobNotFound(job_id)
            if not changes:
                if not known:
                    job = await self._store.get(job_id)
                    if check is not None:
                        check(job)
                    known = True
                for job in self._progress_since(pulse, job_id):
                    if self._quiet:
                        break
                    if job.revision <= revision and selection.holds(job):
                        yield WatchEvent(kind=WatchKind.PROGRESS, revision=revision, time=utc_now(), job=job)
                pulse = self._pulse
                if last:
                    raise ShuttingDown
                try:
                    async with asyncio.timeout_at(bookmark_due):
                        await rung.wait()
                except TimeoutError:
                    bookmark_due = loop.time() + BOOKMARK_SECONDS
                    yield _bookmark(revision)

    async def journal(
        self, job_id: str, *, after: int = 0, check: Check | None = None
    ) -> AsyncGenerator[JournalEntry, None]:
        """Follow the journal of one job; ends when the job has ended and all is sent.

        ``check`` is repeated whenever something has happened to the job. Raises what it raises, JobNotFound, also when
        the job is deleted meanwhile, and ShuttingDown.
        """
        permission = _Permission(self._store, self._notifier, job_id, check)
        await permission.ask()
        while True:
            rung = self._notifier.listen(job_id)
            last = self._closed or (await permission.ask()).state in ENDED
            entries = await self._store.journal(job_id, after=after, limit=BATCH, check=check)
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
        """Follow the rejects of one job, numbered from 1 in the order of the source; ends like ``journal``.

        A chunk's rejects are told when all chunks before it are committed: so the numbers never change. Raises
        RejectsLost at the end.
        """
        ordinal = number = 0
        lost: RejectsLost | None = None
        permission = _Permission(self._store, self._notifier, job_id, check)
        uid = (await permission.ask()).uid
        while True:
            rung = self._notifier.listen(job_id)
            last = self._closed
            job = await permission.ask()
            if job.uid != uid:
                raise JobNotFound(job_id)  # Its id has been given out again.
            # Then nothing of it can be committed any more, and what is missing in between does not come.
            final = job.settled and job.state in (State.FINISHED, State.CANCELED)
            for kept in await self._store.chunks(job_id, first=ordinal):
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
                    await permission.ask()  # A deleted job loses its rejects, too.
                    raise lost
                return
            await rung.wait()

    async def _hidden(self, job: Job, revision: int, viewer: str, rung: asyncio.Event) -> bool:
        """Whether a watcher may no longer be shown what a job of somebody else was at a revision.

        A watcher that reads slowly may be here long after it has read the store; ``rung`` is the bell of that time.
        """
        if job.owner == viewer or not job.shared:
            return False
        if rung.is_set():
            await self._read()
        return self._withdrawn.get(job.uid, 0) > revision

    async def _snapshot(
        self, revision: int, job_id: str, selection: Selection, check: Check | None
    ) -> AsyncGenerator[WatchEvent, None]:
        pages = self._one_page(job_id, check) if job_id else self._pages(selection, revision)
        async with aclosing(pages):
            async for page in pages:
                for job in filter(selection.holds, page.jobs):
                    viewer = selection.visible_to
                    if viewer is not None and await self._hidden(job, page.revision, viewer, page.rung):
                        continue
                    yield WatchEvent(kind=WatchKind.SNAPSHOT, revision=revision, time=job.update_time, job=job)

    async def _one_page(self, job_id: str, check: Check | None) -> AsyncGenerator[_Listed, None]:
        rung = self._notifier.listen()
        revision = await self._store.revision()
        job = await self._store.get(job_id)
        if check is not None:
            check(job)
        yield _Listed(revision=revision, jobs=(job,), next_token="", rung=rung)

    async def _pages(self, selection: Selection, revision: int) -> AsyncGenerator[_Listed, None]:
        """The selected jobs, the oldest first, each as it was at this revision or after it. A watcher that reads
        slowly holds one page: there may be any number of jobs."""
        token = ""
        while True:
            page = await self._page(selection, token, revision)
            yield page
            if not (token := page.next_token):
                return

    async def _page(self, selection: Selection, token: str, revision: int) -> _Listed:
        """A page, read once for all watchers that come at the same time."""
        async with self._listing:
            key = (selection, token)
            page = self._listed.get(key)
            if page is None or page.revision < revision or self._fresh:
                rung = self._notifier.listen()
                # Before the page: what is read after it is at least as new.
                known = await self._store.revision()
                found = await self._store.list(size=PAGE, token=token, selection=selection, order=OLDEST_FIRST)
                page = _Listed(revision=known, jobs=found.items, next_token=found.next_token, rung=rung)
                while len(self._listed) >= _LISTED:
                    del self._listed[next(iter(self._listed))]
                self._listed[key] = page
                asyncio.get_running_loop().call_later(LISTED_SECONDS, self._forget, key, page)
            return page

    def _forget(self, key: tuple[Selection, str], page: _Listed) -> None:
        if self._listed.get(key) is page:
            del self._listed[key]

    def _progress_since(self, pulse: int, job_id: str) -> list[Job]:
        """Progress newer than a pulse, less what a change that is known has overtaken."""
        wanted = [job_id] if job_id in self._progress else () if job_id else list(self._progress)
        latest = (self._progress[wanted_id] for wanted_id in wanted)
        return [job for seen, job in latest if seen > pulse and job.revision >= self._revisions.get(job.id, 0)]

    async def _changes(self, after: int) -> tuple[Change, ...]:
        """The next changes after a revision, from memory where it reaches back so far, or can."""
        recent = await self._read()
        if after < recent.floor:
            await self._reach_back(recent, after)
        if after < recent.floor:
            return await self._store.changes(after, limit=BATCH)
        return recent.after(after)

    async def _read(self) -> Recent:
        """Bring ``_recent`` up to date. Of many watchers woken by one announcement, one reads."""
        async with self._reading:
            recent = self._recent
            if recent is not None and self._read_for is not None and not self._read_for.is_set():
                return recent
            rung = self._notifier.listen()
            if recent is None:
                recent = self._recent = Recent(await self._store.revision())
                self._withdrawn = dict(await self._store.withdrawn())
            while True:
                try:
                    changes = await self._store.changes(recent.last, limit=BATCH)
                except RevisionCompacted:
                    # Nobody has watched for so long that what came in between is forgotten.
                    self._progress.clear()
                    self._revisions.clear()
                    recent = self._recent = Recent(await self._store.revision())
                    self._withdrawn = dict(await self._store.withdrawn())
                    continue
                if not changes:
                    break
                for change in changes:
                    recent.append(change)
                    self._note(change)
                if len(self._withdrawn) > self._most_withdrawn:
                    # Those that no change is kept of are no longer needed.
                    self._withdrawn = dict(await self._store.withdrawn())
                    self._most_withdrawn = len(self._withdrawn) + _WITHDRAWN
            self._read_for = rung
            return recent

    async def _reach_back(self, recent: Recent, after: int) -> None:
        """Have ``recent`` begin after a revision, where it has room for so many: after a restart all watchers come
        back with what they saw last. Raises RevisionCompacted."""
        async with self._reading:
            while after < recent.floor <= after + recent.room:
                first = max(after, recent.floor - BATCH)
                recent.prepend(await self._store.changes(first, limit=recent.floor - first), first)

    def _note(self, change: Change) -> None:
        job_id = change.job.id
        if change.kind is ChangeKind.WITHDRAWN:
            self._withdrawn[change.job.uid] = change.revision
        if change.kind is not ChangeKind.DELETED and change.job.state in ACTIVE:
            self._revisions[job_id] = change.revision
            return
        self._revisions.pop(job_id, None)
        if (fresh := self._fresh.get(job_id)) is not None and fresh.revision <= change.revision:
            del self._fresh[job_id]
        if (seen := self._progress.get(job_id)) is not None and seen[1].revision <= change.revision:
            del self._progress[job_id]


class _Permission:
    """Whether a job may still be read: asked again once something has happened to it."""

    def __init__(self, store: JobStore, notifier: Notifier, job_id: str, check: Check | None) -> None:
        self._store = store
        self._notifier = notifier
        self._job_id = job_id
        self._check = check
        self._bell = notifier.listen(job_id)

    async def ask(self) -> Job:
        """The job as it is. Raises JobNotFound, and what the check raises."""
        self._bell = self._notifier.listen(self._job_id)
        job = await self._store.get(self._job_id)
        if self._check is not None:
            self._check(job)
        return job

    async def renew(self) -> None:
        """Ask where the answer may be another one by now."""
        if self._check is not None and self._bell.is_set():
            await self.ask()


def _concerns(selection: Selection, change: Change) -> bool:
    """Whether the job is one of the selected with this change, or may have been before it."""
    if change.kind in EDITS:
        return selection.without(Field.LABEL, Field.TYPE, Field.SHARED).holds(change.job)
    if selection.holds(change.job):
        return True
    return change.from_state is not None and selection.holds(replace(change.job, state=change.from_state))


def _event(selection: Selection, change: Change) -> WatchEvent | None:
    """What a watcher is told of a change."""
    if change.kind is ChangeKind.WITHDRAWN and selection.visible_to not in (None, change.job.owner):
        kind = WatchKind.WITHDRAWN
    elif not _concerns(selection, change):
        return None
    else:
        kind = WatchKind.DELETED if change.kind is ChangeKind.DELETED else WatchKind.CHANGED
    return WatchEvent(kind=kind, revision=change.revision, time=change.time, job=change.job)


def _bookmark(revision: int) -> WatchEvent:
    return WatchEvent(kind=WatchKind.BOOKMARK, revision=revision, time=utc_now())
