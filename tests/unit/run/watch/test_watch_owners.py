"""Watches of callers who may not see all jobs: they see nothing of hidden jobs, and miss nothing of their own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.core.access import Act, Principal, Role
from ladingd.core.bill import Counts
from ladingd.core.errors import JobNotFound, PermissionDenied
from ladingd.core.job import Job, Level, Progress
from ladingd.core.plan import Chunk, CommittedChunk
from ladingd.core.selection import EVERY
from ladingd.core.state import Event, State
from ladingd.run.watch.events import WatchKind
from ladingd.store.jobs import SqlJobStore
from tests.unit.run.conftest import SPEC, plan_of, watch_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from ladingd.core.selection import Selection
    from ladingd.run.watch.events import WatchEvent
    from tests.unit.run.conftest import Rig

pytestmark = pytest.mark.timeout(30)

ANNA = Principal(name="anna", role=Role.SUBMITTER)
MAY_SEE = partial(ANNA.require_act, Act.SEE)
Told = list[tuple[WatchKind, str, int]]


async def make(rig: Rig, job_id: str, owner: str, *, shared: bool = False, uid: str = "") -> Job:
    now = rig.store._now()
    job = Job(
        id=job_id,
        uid=uid or job_id,
        owner=owner,
        shared=shared,
        spec=SPEC,
        plan=plan_of(2),
        create_time=now,
        update_time=now,
    )
    made = await rig.store.create(job)
    rig.notifier.notify(job_id)
    return made


async def edit(rig: Rig, job_id: str, **fields: Any) -> Job:
    job = await rig.store.edit(job_id, **fields)
    rig.notifier.notify(job_id)
    return job


def of_anna(rig: Rig, **more: Any) -> AsyncGenerator[WatchEvent, None]:
    selection: Selection = ANNA.visible(EVERY)
    return rig.watch.jobs(selection=selection, check=MAY_SEE, **more)


def facts(event: WatchEvent) -> tuple[WatchKind, str, int]:
    return event.kind, "" if event.job is None else event.job.id, event.revision


async def told(rig: Rig, events: AsyncGenerator[WatchEvent, None]) -> Told:
    """All events so far. A change of anna's own job marks the end."""
    last = await make(rig, "last", "anna")
    seen: Told = []
    async for event in events:
        seen.append(facts(event))
        if event.revision == last.revision and event.kind is WatchKind.CHANGED:
            break
    await rig.store.delete("last")
    rig.notifier.notify("last")
    return seen[:-1]


async def test_own_and_shared_jobs_and_no_others(rig: Rig) -> None:
    await make(rig, "mine", "anna")
    await make(rig, "ours", "ben", shared=True)
    await make(rig, "his", "ben")
    await make(rig, "old", "")
    for revision in (0, 1):
        events = of_anna(rig, revision=revision)
        first = await anext(events)
        if revision == 0:
            assert facts(first) == (WatchKind.SNAPSHOT, "mine", 4)
            assert facts(await anext(events)) == (WatchKind.SNAPSHOT, "ours", 4)
            assert facts(await anext(events)) == (WatchKind.BOOKMARK, "", 4)
        else:
            assert facts(first) == (WatchKind.CHANGED, "ours", 2)
        before = await rig.store.revision()
        for job_id in ("mine", "his", "ours", "old"):
            await rig.command(job_id, Event.START)
            await rig.command(job_id, Event.PAUSE)
        rig.watch.progressed(await rig.store.get("his"))
        assert await told(rig, events) == [
            (WatchKind.CHANGED, job_id, before + number)
            for number, job_id in ((1, "mine"), (2, "mine"), (5, "ours"), (6, "ours"))
        ]
        await events.aclose()
        for job_id in ("mine", "ours", "his", "old"):
            await rig.command(job_id, Event.CANCEL)
            await rig.store.delete(job_id)
            await make(rig, job_id, {"mine": "anna", "old": ""}.get(job_id, "ben"), shared=job_id == "ours")
        if revision == 0:
            break


async def test_progress_of_others_is_not_told(rig: Rig) -> None:
    for job_id, owner in (("his", "ben"), ("mine", "anna")):
        await make(rig, job_id, owner)
        await rig.store.command(job_id, Event.START)
        await rig.store.move(job_id, Event.SLOT_FREE)
    events = of_anna(rig, revision=await rig.store.revision())
    first = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    for job_id in ("his", "mine"):
        rig.watch.progressed(await rig.store.get(job_id))
    async with asyncio.timeout(10):
        assert facts(await first)[:2] == (WatchKind.PROGRESS, "mine")
    await events.aclose()


async def test_sharing_begins_and_ends_while_somebody_watches(rig: Rig) -> None:
    await make(rig, "his", "ben")
    events = of_anna(rig)
    assert (await anext(events)).kind is WatchKind.BOOKMARK
    shared = await edit(rig, "his", shared=True)
    event = await anext(events)
    assert (facts(event), event.job) == ((WatchKind.CHANGED, "his", shared.revision), shared)
    withdrawn = await edit(rig, "his", shared=False, label="secret")
    assert facts(await anext(events)) == (WatchKind.WITHDRAWN, "his", withdrawn.revision)
    await edit(rig, "his", label="more of it")
    await rig.store.delete("his")
    assert await told(rig, events) == []
    await events.aclose()


async def test_the_owner_and_those_who_see_all_are_told_that_sharing_ended(rig: Rig) -> None:
    await make(rig, "his", "ben", shared=True)
    selections = [EVERY, Principal(name="ben", role=Role.SUBMITTER).visible(EVERY)]
    watches = [rig.watch.jobs(revision=1, selection=selection) for selection in selections]
    withdrawn = await edit(rig, "his", shared=False)
    for events in watches:
        event = await anext(events)
        assert (facts(event), event.job) == ((WatchKind.CHANGED, "his", withdrawn.revision), withdrawn)
        await events.aclose()


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("again", [False, True])
async def test_what_was_shared_is_not_told_once_it_is_no_longer(rig: Rig, restarted: bool, again: bool) -> None:
    """A watch resumed after the sharing has ended, in the same daemon or in a later one."""
    await make(rig, "mine", "anna")
    await make(rig, "his", "ben", shared=True)
    await edit(rig, "his", label="personal")
    if not restarted:
        events = rig.watch.jobs(revision=1)
        await anext(events)
        await events.aclose()
    withdrawn = await edit(rig, "his", shared=False)
    await edit(rig, "his", label="more")
    expected = [(WatchKind.WITHDRAWN, "his", withdrawn.revision)]
    if again:
        shared = await edit(rig, "his", shared=True)
        later = await edit(rig, "his", label="for all")
        expected += [(WatchKind.CHANGED, "his", job.revision) for job in (shared, later)]
    else:
        await rig.store.delete("his")
    events = of_anna(rig, revision=1)
    assert await told(rig, events) == expected
    await events.aclose()


async def test_many_withdrawn_jobs_do_not_have_all_of_them_read_with_every_change(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ladingd.run.watch.change_cache._WITHDRAWN", 4)
    watch = watch_of(rig.store, rig.notifier, rig.rejects)
    asked = 0

    async def withdrawn() -> Mapping[str, int]:
        nonlocal asked
        asked += 1
        return await SqlJobStore.withdrawn(rig.store)

    monkeypatch.setattr(rig.store, "withdrawn", withdrawn)
    events = watch.jobs()
    await anext(events)
    for number in range(20):
        await make(rig, f"his{number}", "ben", shared=True)
        event = await anext(events)
        await edit(rig, f"his{number}", shared=False)
        event = await anext(events)
        assert event.job is not None
        assert (event.job.id, event.job.shared) == (f"his{number}", False)
    await events.aclose()
    assert asked < 8, "once at the beginning, and once for each five jobs"
    assert len(watch._changes._withdrawn) == 20, "of all of them changes are kept"


async def test_a_slow_watcher_is_not_told_what_is_no_longer_shared(rig: Rig) -> None:
    """The watch has read the changes, and the watcher takes them one by one."""
    await make(rig, "mine", "anna")
    await make(rig, "his", "ben", shared=True)
    for number in range(3):
        await edit(rig, "his", label=f"label {number}")
    for revision, first in ((1, (WatchKind.CHANGED, "his", 2)), (0, (WatchKind.SNAPSHOT, "mine", 5))):
        events = of_anna(rig, revision=revision)
        assert facts(await anext(events)) == first
        withdrawn = await edit(rig, "his", shared=False)
        rest = await told(rig, events)
        assert [each for each in rest if each[0] is not WatchKind.BOOKMARK] == [
            (WatchKind.WITHDRAWN, "his", withdrawn.revision)
        ]
        await events.aclose()
        await rig.store.delete("his")
        await make(rig, "his", "ben", shared=True, uid="another")
        if revision:
            first_again = await rig.store.revision()
            assert first_again > 5
            break


async def test_a_snapshot_stops_at_what_is_no_longer_shared(rig: Rig) -> None:
    await make(rig, "mine", "anna")
    await make(rig, "his", "ben", shared=True)
    events = of_anna(rig)
    assert facts(await anext(events)) == (WatchKind.SNAPSHOT, "mine", 2)
    withdrawn = await edit(rig, "his", shared=False)
    assert facts(await anext(events)) == (WatchKind.BOOKMARK, "", 2)
    assert facts(await anext(events)) == (WatchKind.WITHDRAWN, "his", withdrawn.revision)
    await events.aclose()


@pytest.mark.parametrize("revision", [0, 1])
@pytest.mark.parametrize("job_id", ["his", "nobodys"])
async def test_a_watch_of_a_job_of_another_is_as_of_one_that_is_not_there(rig: Rig, job_id: str, revision: int) -> None:
    await make(rig, "his", "ben")
    events = of_anna(rig, job_id=job_id, revision=revision)
    with pytest.raises(JobNotFound) as refused:
        await anext(events)
    assert refused.value.job_id == job_id


async def test_a_watch_of_one_job_ends_with_its_sharing(rig: Rig) -> None:
    await make(rig, "his", "ben", shared=True)
    events = of_anna(rig, job_id="his")
    assert [(await anext(events)).kind for _ in range(2)] == [WatchKind.SNAPSHOT, WatchKind.BOOKMARK]
    await edit(rig, "his", shared=False)
    assert (await anext(events)).kind is WatchKind.WITHDRAWN
    with pytest.raises(JobNotFound):
        await anext(events)


async def test_a_journal_ends_with_the_sharing(rig: Rig) -> None:
    await make(rig, "his", "ben", shared=True)
    for number in range(3):
        await rig.store.write_journal("his", Level.INFO, "X", f"{number}")
    waiting, slow = (rig.watch.journal("his", check=MAY_SEE) for _ in range(2))
    assert [(await anext(waiting)).code for _ in range(4)] == ["CREATED", "X", "X", "X"]
    assert (await anext(slow)).code == "CREATED"
    rest = asyncio.ensure_future(anext(waiting))
    await asyncio.sleep(0)
    await edit(rig, "his", shared=False)
    for following in (rest, anext(slow)):
        with pytest.raises(JobNotFound):
            async with asyncio.timeout(10):
                await following


@pytest.mark.parametrize(
    ("reader", "error"),
    [(ANNA, JobNotFound), (replace(ANNA, role=Role.OPERATOR), PermissionDenied)],
)
async def test_rejects_end_with_the_sharing(rig: Rig, reader: Principal, error: type[Exception]) -> None:
    await make(rig, "his", "ben", shared=True)
    await rig.store.command("his", Event.START)
    await rig.store.move("his", Event.SLOT_FREE)
    await rig.store.add_chunks("his", [Chunk(ordinal=0, start=0, end=1)])
    rig.rejects.numbers = {0: 3}
    committed = CommittedChunk(ordinal=0, counts=Counts(read=3, rejected=3, errors=3))
    await rig.store.commit_chunks("his", [committed], Progress())
    check = partial(reader.require_act, Act.READ_REJECTS)
    waiting, slow = (rig.watch.rejects("his", check=check) for _ in range(2))
    assert [(await anext(waiting))[0] for _ in range(3)] == [1, 2, 3]
    assert (await anext(slow))[0] == 1
    rest = asyncio.ensure_future(anext(waiting))
    await asyncio.sleep(0)
    await edit(rig, "his", shared=False)
    for following in (rest, anext(slow)):
        with pytest.raises(error):
            async with asyncio.timeout(10):
                await following
    assert (await rig.store.get("his")).state is State.RUNNING
