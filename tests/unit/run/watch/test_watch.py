"""The fan-out: every watcher gets every change once and in order, and no progress older than the last change."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import JobNotFound, RejectsLost, RevisionCompacted, ShuttingDown
from ladingd.core.job import Failure, Level, Progress
from ladingd.core.plan import Chunk, CommittedChunk
from ladingd.core.selection import Comparison, Condition, Field, Selection
from ladingd.core.state import Event, State
from ladingd.run.watch import change_cache, progress_pulse
from ladingd.run.watch import snapshot as snapshots
from ladingd.run.watch.events import WatchKind
from tests.integration.api.fakes import eventually
from tests.unit.run.conftest import watch_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ladingd.core.job import Job
    from ladingd.core.ports import Page
    from ladingd.run.watch.events import WatchEvent
    from tests.unit.run.conftest import Rig

pytestmark = pytest.mark.timeout(30)


async def take(events: AsyncGenerator[WatchEvent, None], number: int) -> list[WatchEvent]:
    return [await anext(events) for _ in range(number)]


async def test_a_snapshot_then_every_change(rig: Rig) -> None:
    job = await rig.queued(1)
    events = rig.watch.jobs()
    first, bookmark = await take(events, 2)
    assert (first.kind, first.job) == (WatchKind.SNAPSHOT, job)
    assert (bookmark.kind, bookmark.revision) == (WatchKind.BOOKMARK, job.revision)
    await rig.command(job.id, Event.PAUSE)
    await rig.command(job.id, Event.START)
    changes = await take(events, 2)
    assert [event.job.state for event in changes if event.job] == [State.PAUSED, State.QUEUED]
    await rig.store.command(job.id, Event.CANCEL)
    await rig.store.delete(job.id)
    rig.notifier.notify(job.id)
    kinds = [event.kind for event in await take(events, 2)]
    assert kinds == [WatchKind.CHANGED, WatchKind.DELETED]
    await events.aclose()


async def test_a_watch_of_one_job_ends_when_it_is_deleted(rig: Rig) -> None:
    job = await rig.queued(1)
    events = rig.watch.jobs(revision=job.revision, job_id=job.id)
    await rig.command(job.id, Event.CANCEL)
    await rig.store.delete(job.id)
    rig.notifier.notify(job.id)
    assert [event.kind for event in await take(events, 2)] == [WatchKind.CHANGED, WatchKind.DELETED]
    with pytest.raises(JobNotFound):
        await anext(events)
    with pytest.raises(JobNotFound):
        await anext(rig.watch.jobs(revision=job.revision + 2, job_id=job.id))


async def test_a_revision_that_never_was(rig: Rig) -> None:
    job = await rig.queued(1)
    with pytest.raises(RevisionCompacted):
        await anext(rig.watch.jobs(revision=job.revision + 1))


async def test_a_watch_goes_on_after_its_revision(rig: Rig) -> None:
    job = await rig.queued(1)
    paused = await rig.command(job.id, Event.PAUSE)
    events = rig.watch.jobs(revision=job.revision)
    (change,) = await take(events, 1)
    assert (change.kind, change.job) == (WatchKind.CHANGED, paused)
    await events.aclose()


async def test_only_the_job_that_is_named(rig: Rig) -> None:
    one, other = await rig.queued(1), await rig.queued(2)
    events = rig.watch.jobs(job_id=one.id)
    await take(events, 2)
    await rig.command(other.id, Event.PAUSE)
    await rig.command(one.id, Event.PAUSE)
    (change,) = await take(events, 1)
    assert change.job is not None
    assert change.job.id == one.id
    await events.aclose()
    with pytest.raises(JobNotFound):
        await anext(rig.watch.jobs(job_id="nobody"))


async def test_a_watcher_that_lags_reads_the_store(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_cache, "Recent", partial(change_cache.Recent, most=4))
    watch = watch_of(rig.store, rig.notifier, rig.rejects)
    job = await rig.queued(1)
    slow = watch.jobs(revision=job.revision)
    await rig.command(job.id, Event.PAUSE)
    assert (await take(slow, 1))[0].revision == job.revision + 1
    for _ in range(10):
        await rig.command(job.id, Event.START)
        await rig.command(job.id, Event.PAUSE)
        await take(watch.jobs(revision=job.revision), 1)
    revisions = [event.revision for event in await take(slow, 20)]
    assert revisions == list(range(job.revision + 2, job.revision + 22))
    await slow.aclose()


async def test_watchers_that_come_back_after_a_restart_cost_the_store_one_reading(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_cache, "BATCH", 3)
    job = await rig.queued(1)
    for _ in range(5):
        await rig.command(job.id, Event.PAUSE)
        await rig.command(job.id, Event.START)
    restarted = watch_of(rig.store, rig.notifier, rig.rejects)
    read: list[int] = []
    changes = rig.store.changes

    async def counted(after: int, *, limit: int) -> Any:
        read.append(after)
        return await changes(after, limit=limit)

    monkeypatch.setattr(rig.store, "changes", counted)
    expected = list(range(job.revision + 1, job.revision + 11))
    first = await take(restarted.jobs(revision=job.revision), 10)
    reading = len(read)
    later = await take(restarted.jobs(revision=job.revision + 2), 8)
    assert [event.revision for event in first] == expected
    assert [event.revision for event in later] == expected[2:]
    assert len(read) == reading


async def test_progress_is_merged_and_never_older_than_the_last_change(rig: Rig) -> None:
    job = await rig.queued(1)
    running = await rig.store.move(job.id, Event.SLOT_FREE)
    assert running is not None
    events = rig.watch.jobs(revision=running.revision)
    waiting = asyncio.create_task(anext(events))
    await asyncio.sleep(0)
    for percent in range(50):
        rig.watch.progressed(replace(running, progress=Progress(fraction=percent / 100)))
    first = await waiting
    assert first.kind is WatchKind.PROGRESS
    assert first.job is not None
    assert first.job.progress.fraction == 0.49
    await rig.command(job.id, Event.PAUSE)
    rig.watch.progressed(replace(running, progress=Progress(fraction=0.9)))
    assert (await anext(events)).kind is WatchKind.CHANGED
    closing = asyncio.get_running_loop().call_later(2 * progress_pulse.PULSE_SECONDS, rig.watch.close)
    with pytest.raises(ShuttingDown):  # and no progress from before the pause
        await anext(events)
    closing.cancel()


async def test_a_close_ends_a_watch_after_the_last_change(rig: Rig) -> None:
    job = await rig.queued(1)
    events = rig.watch.jobs(revision=job.revision)
    await rig.store.command(job.id, Event.PAUSE)
    rig.watch.close()
    assert (await anext(events)).kind is WatchKind.CHANGED
    with pytest.raises(ShuttingDown):
        await anext(events)


async def test_a_journal_ends_with_its_job(rig: Rig) -> None:
    job = await rig.queued(1)
    seen: list[str] = []

    async def follow() -> None:
        async for entry in rig.watch.journal(job.id):
            seen.append(entry.code)  # noqa: PERF401 - what was seen so far counts

    following = asyncio.create_task(follow())
    await rig.store.write_journal(job.id, Level.INFO, "NOTE", "hello")
    rig.notifier.notify(job.id)
    await rig.command(job.id, Event.CANCEL)
    await following
    assert seen == ["CREATED", "QUEUED", "NOTE", "CANCELED"]


def selected(field: Field, *values: str, prefix: bool = False) -> Selection:
    return Selection(conditions=(Condition(field=field, comparison=Comparison.IS, values=values, prefix=prefix),))


async def test_only_selected_jobs_and_the_change_by_which_one_leaves(rig: Rig) -> None:
    one, other = await rig.queued(1), await rig.queued(2)
    await rig.command(other.id, Event.PAUSE)
    events = rig.watch.jobs(selection=selected(Field.STATE, "QUEUED", "RUNNING"))
    snapshot, bookmark = await take(events, 2)
    assert (snapshot.job, bookmark.kind) == (one, WatchKind.BOOKMARK)
    await rig.command(other.id, Event.CANCEL)
    await rig.command(one.id, Event.PAUSE)
    await rig.command(one.id, Event.CANCEL)
    await rig.command((await rig.queued(3)).id, Event.PAUSE)
    seen = [(event.job.id, event.job.state) for event in await take(events, 3) if event.job]
    assert seen == [(one.id, State.PAUSED), ("job3", State.QUEUED), ("job3", State.PAUSED)]
    await events.aclose()


async def test_a_change_of_texts_is_told_whatever_the_label(rig: Rig) -> None:
    job = await rig.queued(1)
    events = rig.watch.jobs(selection=selected(Field.LABEL, "nightly", prefix=True))
    assert [event.kind for event in await take(events, 1)] == [WatchKind.BOOKMARK]
    await rig.store.edit(job.id, label="nightly load")
    await rig.store.edit(job.id, label="other")
    await rig.command(job.id, Event.PAUSE)
    await rig.store.edit(job.id, label="nightly again")
    rig.notifier.notify(job.id)
    labels = [event.job.label for event in await take(events, 3) if event.job]
    assert labels == ["nightly load", "other", "nightly again"]
    await events.aclose()


async def test_rejects_by_number_as_soon_as_all_chunks_before_are_committed(rig: Rig) -> None:
    job = await running_with_chunks(rig, {0: 3, 1: 0, 2: 1, 3: 2})
    rejects = rig.watch.rejects(job.id)
    first = asyncio.ensure_future(anext(rejects))
    await commit(rig, job, 2)
    await asyncio.sleep(0)
    assert not first.done()
    await commit(rig, job, 0)
    numbered = [await first, *[await anext(rejects) for _ in range(2)]]
    assert [(number, reject.line, reject.record) for number, reject in numbered] == [(1, 0, 0), (2, 0, 1), (3, 0, 2)]
    await commit(rig, job, 1)
    assert (await anext(rejects))[0] == 4
    await commit(rig, job, 3)
    assert [(await anext(rejects))[0] for _ in range(2)] == [5, 6]
    await rig.store.move(job.id, Event.COMPLETE, settled=True)
    rig.notifier.notify(job.id)
    with pytest.raises(StopAsyncIteration):
        await anext(rejects)
    later = [(number, reject.line, reject.record) async for number, reject in rig.watch.rejects(job.id, after=2)]
    assert later == [(3, 0, 2), (4, 2, 0), (5, 3, 0), (6, 3, 1)]
    assert [each async for each in rig.watch.rejects(job.id, after=6)] == []


async def test_rejects_of_a_cancelled_job_leave_out_what_never_came(rig: Rig) -> None:
    job = await running_with_chunks(rig, {0: 1, 1: 1, 2: 1})
    await commit(rig, job, 0)
    await commit(rig, job, 2)
    await rig.command(job.id, Event.CANCEL)
    await rig.store.move(job.id, Event.QUIESCENT, settled=True)
    assert [(number, reject.line) async for number, reject in rig.watch.rejects(job.id)] == [(1, 0), (2, 2)]


async def test_rejects_of_a_failed_job_wait_for_those_before(rig: Rig) -> None:
    job = await running_with_chunks(rig, {0: 1, 1: 1, 2: 1})
    await commit(rig, job, 0)
    await commit(rig, job, 2)
    await rig.store.move(job.id, Event.ERROR, failure=Failure(code="GONE", message="gone"), settled=True)
    assert [number async for number, _ in rig.watch.rejects(job.id)] == [1]


async def test_rejects_that_somebody_removed_are_told_at_the_end(rig: Rig) -> None:
    job = await running_with_chunks(rig, {0: 1, 1: 2, 2: 1})
    for ordinal in (0, 1, 2):
        await commit(rig, job, ordinal)
    await rig.store.move(job.id, Event.COMPLETE, settled=True)
    rig.rejects.lost.add(1)
    rejects = rig.watch.rejects(job.id)
    told = [await anext(rejects) for _ in range(2)]
    assert [(number, reject.line) for number, reject in told] == [(1, 0), (4, 2)]
    with pytest.raises(RejectsLost):
        await anext(rejects)


async def test_rejects_end_with_the_daemon_and_with_the_job(rig: Rig) -> None:
    job = await running_with_chunks(rig, {0: 1})
    rejects = rig.watch.rejects(job.id)
    waiting = asyncio.ensure_future(anext(rejects))
    await asyncio.sleep(0)
    rig.watch.close()
    with pytest.raises(ShuttingDown):
        await waiting
    with pytest.raises(JobNotFound):
        await anext(rig.watch.rejects("none"))


async def running_with_chunks(rig: Rig, rejected: dict[int, int]) -> Job:
    """A running job whose chunks have these numbers of rejects when they are committed."""
    queued = await rig.queued(len(rejected))
    job = await rig.store.move(queued.id, Event.SLOT_FREE)
    assert job is not None
    rig.rejects.numbers = rejected
    await rig.store.add_chunks(job.id, [Chunk(ordinal=n, start=n, end=n + 1) for n in rejected])
    return job


async def commit(rig: Rig, job: Job, ordinal: int) -> None:
    number = rig.rejects.numbers[ordinal]
    counts = Counts(read=number, rejected=number, errors=number)
    progressed = await rig.store.commit_chunks(job.id, [CommittedChunk(ordinal=ordinal, counts=counts)], Progress())
    rig.watch.progressed(progressed)


async def test_watchers_that_come_together_are_shown_one_list(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await rig.queued(1)
    reads = 0
    listing = rig.store.list

    async def counted(**asked: Any) -> Page[Job]:
        nonlocal reads
        reads += 1
        return await listing(**asked)

    monkeypatch.setattr(rig.store, "list", counted)
    watches = [rig.watch.jobs() for _ in range(5)]
    assert [event.job for event in await asyncio.gather(*map(anext, watches))] == [job] * 5
    assert reads == 1
    paused = await rig.command(job.id, Event.PAUSE)
    assert (await anext(rig.watch.jobs())).job == paused, "what has changed is listed anew"
    rig.watch.progressed(replace(paused, progress=Progress(fraction=0.5)))
    await rig.store.commit_chunks(job.id, [], Progress(fraction=0.5))
    event = await anext(rig.watch.jobs())
    assert event.job is not None
    assert event.job.progress.fraction == 0.5, "and so is progress"
    for watch in watches:
        await watch.aclose()


async def test_a_watch_that_begins_holds_one_page_of_jobs(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change during the list is shown once, and never out of order."""
    monkeypatch.setattr(snapshots, "PAGE", 2)
    made = [await rig.queued(number) for number in range(1, 6)]
    begun = await rig.store.revision()
    events = rig.watch.jobs()
    told = [await anext(events) for _ in range(2)]
    first, last = made[0], made[-1]
    gone = await rig.command(made[2].id, Event.CANCEL)
    await rig.store.delete(gone.id)
    await rig.command(first.id, Event.PAUSE)
    paused = await rig.command(last.id, Event.PAUSE)
    late = await rig.queued(6)
    rig.notifier.notify_all()
    told += await take(events, 7)
    seen = [(event.kind, event.job.id if event.job else None, event.job.state if event.job else None) for event in told]
    assert seen == [
        (WatchKind.SNAPSHOT, made[0].id, State.QUEUED),
        (WatchKind.SNAPSHOT, made[1].id, State.QUEUED),
        (WatchKind.SNAPSHOT, made[3].id, State.QUEUED),
        (WatchKind.SNAPSHOT, last.id, paused.state),
        (WatchKind.SNAPSHOT, late.id, State.QUEUED),
        (WatchKind.BOOKMARK, None, None),
        (WatchKind.CHANGED, gone.id, State.CANCELED),
        (WatchKind.DELETED, gone.id, State.CANCELED),
        (WatchKind.CHANGED, first.id, State.PAUSED),
    ]
    assert {event.revision for event in told[:6]} == {begun}
    assert [event.revision for event in told] == sorted(event.revision for event in told)
    await events.aclose()


async def test_who_watches_after_much_was_forgotten_sees_what_comes(rig: Rig) -> None:
    job = await rig.queued(1)
    events = rig.watch.jobs()
    await take(events, 2)
    await events.aclose()
    for _ in range(3):
        await rig.store.command(job.id, Event.PAUSE)
        await rig.store.command(job.id, Event.START)
    assert await rig.store.compact(keep=1) > 3
    events = rig.watch.jobs()
    snapshot, bookmark = await take(events, 2)
    assert (snapshot.kind, bookmark.kind) == (WatchKind.SNAPSHOT, WatchKind.BOOKMARK)
    paused = await rig.command(job.id, Event.PAUSE)
    assert [event.job for event in await take(events, 1)] == [paused]
    await events.aclose()


async def test_rejects_of_an_id_that_was_given_out_again_are_another_job_s(rig: Rig) -> None:
    job = await rig.queued(1)
    rejects = rig.watch.rejects(job.id)
    waiting = asyncio.ensure_future(anext(rejects))
    await asyncio.sleep(0.01)
    await rig.command(job.id, Event.CANCEL)
    await rig.store.delete(job.id)
    await rig.store.create(replace(job, uid="another", state=State.EDITING))
    rig.notifier.notify(job.id)
    with pytest.raises((JobNotFound, StopAsyncIteration)):
        await waiting


async def test_a_list_that_is_forgotten_while_somebody_comes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await rig.queued(1)
    assert (await anext(rig.watch.jobs())).job == job
    revision = rig.store.revision
    asked = 0

    async def slow() -> int:
        nonlocal asked
        asked += 1
        current = await revision()
        if asked == 2:  # The first call is for the watcher's own revision, the second for the list's.
            rig.watch._snapshots.forget()  # Like the next progress pulse.
        return current

    monkeypatch.setattr(rig.store, "revision", slow)
    assert (await anext(rig.watch.jobs())).job == job


class Listed(tuple[Any, ...]):
    """A list of jobs. Counts its living instances."""

    alive = 0

    def __new__(cls, jobs: Any) -> Listed:
        cls.alive += 1
        return super().__new__(cls, jobs)

    def __del__(self) -> None:
        Listed.alive -= 1


async def test_a_watch_that_lasts_does_not_hold_the_list_it_began_with(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a daemon with many watchers would hold all jobs once for each watcher."""
    job = await rig.queued(1)
    listing = rig.store.list

    async def marked(**asked: Any) -> Page[Job]:
        page = await listing(**asked)
        return replace(page, items=Listed(page.items))

    monkeypatch.setattr(rig.store, "list", marked)
    monkeypatch.setattr(snapshots, "LISTED_SECONDS", 0.001)
    watches = []
    for _ in range(3):
        watches.append(rig.watch.jobs())
        await take(watches[-1], 2)
        await rig.command(job.id, Event.PAUSE)
        await rig.command(job.id, Event.START)
        await take(watches[-1], 2)
    assert Listed.alive <= 3
    await eventually(lambda: gc.collect() >= 0 and not Listed.alive)
    for watch in watches:
        await watch.aclose()
