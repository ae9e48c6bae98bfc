"""If there is too little space, the daemon pauses jobs, and continues them by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from ladingd.core.errors import DiskFull
from ladingd.core.state import Event, State
from ladingd.run import disk_space as disk_space_module
from ladingd.run.attempt.timeouts import Timeouts
from ladingd.run.control import Control
from ladingd.run.disk_space import DiskSpace
from ladingd.run.scheduler import Scheduler
from ladingd.store.holds import SqlHoldStore
from tests.contract.conftest import FAILURE
from tests.harness.listing import everything
from tests.unit.run.conftest import RESERVE

if TYPE_CHECKING:
    from ladingd.core.job import Job
    from ladingd.run.workers.pool import Workers
    from tests.unit.run.conftest import Rig

pytestmark = pytest.mark.timeout(30)

LITTLE = RESERVE - 1
NEARLY = RESERVE + RESERVE // 2 - 1
ENOUGH = NEARLY + 1


async def running(rig: Rig, chunks: int = 1) -> Job:
    """A job with a slot."""
    job = await rig.queued(chunks)
    moved = await rig.store.move(job.id, Event.SLOT_FREE)
    assert moved is not None
    return moved


async def state(rig: Rig, job: Job) -> State:
    return (await rig.store.get(job.id)).state


async def test_what_runs_is_paused_and_goes_on_when_there_is_more_than_just_enough(rig: Rig) -> None:
    job = await running(rig)
    rig.disk.free = RESERVE
    await rig.disk_space.look()
    assert await state(rig, job) is State.RUNNING
    rig.disk.free = LITTLE
    rung = rig.notifier.listen(job.id)
    await rig.disk_space.look()
    assert rung.is_set()
    assert rig.disk_space.busy
    assert await state(rig, job) is State.PAUSING
    await rig.store.move(job.id, Event.QUIESCENT)
    rig.disk.free = NEARLY
    await rig.disk_space.look()
    assert await state(rig, job) is State.PAUSED
    rig.disk.free = ENOUGH
    await rig.disk_space.look()
    assert await state(rig, job) is State.QUEUED
    assert not rig.disk_space.busy
    assert [code for code in await rig.codes(job.id) if code in ("DISK_FULL", "ROOM_AGAIN")] == [
        "DISK_FULL",
        "ROOM_AGAIN",
    ]
    said = next(e.message for e in await rig.store.journal(job.id, limit=100) if e.code == "DISK_FULL")
    assert said.startswith("only 999 bytes are free in ")
    assert "of the 1,000 that the daemon needs: free some space; at 1,500 everything goes on by itself" in said


async def test_a_pause_of_people_is_never_undone(rig: Rig) -> None:
    before, meanwhile, after = [await running(rig, chunks) for chunks in (1, 2, 3)]
    await rig.command(before.id, Event.PAUSE)
    rig.disk.free = LITTLE
    await rig.disk_space.look()
    await rig.command(meanwhile.id, Event.PAUSE)
    await rig.store.move(after.id, Event.QUIESCENT)
    await rig.command(after.id, Event.PAUSE)
    assert (await rig.store.journal(after.id, limit=100))[-1].message == (
        "pause: the job stays paused even when there is space"
    )
    rig.disk.free = ENOUGH
    await rig.disk_space.look()
    assert [await state(rig, job) for job in (before, meanwhile, after)] == [
        State.PAUSING,
        State.PAUSING,
        State.PAUSED,
    ]


async def test_what_has_come_to_another_end_is_not_started(rig: Rig) -> None:
    failed, canceled, deleted = [await running(rig, chunks) for chunks in (1, 2, 3)]
    rig.disk.free = LITTLE
    await rig.disk_space.look()
    await rig.store.move(failed.id, Event.ERROR, failure=FAILURE)
    await rig.command(canceled.id, Event.CANCEL)
    await rig.store.move(deleted.id, Event.QUIESCENT)
    await rig.store.delete(deleted.id)
    rig.disk.free = ENOUGH
    await rig.disk_space.look()
    assert [await state(rig, job) for job in (failed, canceled)] == [State.FAILED, State.CANCELING]


async def test_another_daemon_knows_what_was_held(rig: Rig, tmp_path: Path) -> None:
    job = await running(rig)
    rig.disk.free = LITTLE
    await rig.disk_space.look()
    await rig.store.move_all({State.PAUSING}, Event.ORPHAN)
    rig.disk.free = ENOUGH
    holds = SqlHoldStore(rig.store._database)
    await DiskSpace(holds, rig.notifier, directory=tmp_path, reserve=RESERVE, free=rig.disk.free_at).look()
    assert await state(rig, job) is State.QUEUED
    assert await holds.held() == ()


async def test_nothing_is_made_or_started_and_no_slot_is_given_meanwhile(rig: Rig) -> None:
    job = await rig.queued(1)
    rig.disk.free = LITTLE
    await rig.disk_space.look()
    await rig.disk_space.look()
    assert (await rig.codes(job.id)).count("DISK_FULL") == 1
    workers = cast("Workers", rig.workers)
    control = Control(
        jobs=rig.store,
        transfer=rig.transfer,
        workers=workers,
        notifier=rig.notifier,
        cleanup=rig.cleanup,
        disk_space=rig.disk_space,
    )
    with pytest.raises(DiskFull, match="free some space"):
        await control.create(job.spec, label="", description="")
    with pytest.raises(DiskFull, match="free some space"):
        await control.command(job.id, Event.START)
    scheduler = Scheduler(
        slots=1,
        timeouts=Timeouts(pause_grace=1, cancel_grace=1, target=0),
        jobs=rig.store,
        chunks=rig.store,
        journal=rig.store,
        transfer=rig.transfer,
        workers=workers,
        notifier=rig.notifier,
        watch=rig.watch,
        disk_space=rig.disk_space,
        rested=rig.cleanup.wake,
    )
    scheduling = asyncio.create_task(scheduler.run())
    await rig.command(job.id, Event.PAUSE)
    await rig.store.command(job.id, Event.START)
    rig.notifier.notify(job.id)
    for _ in range(20):  # Give the scheduler several turns.
        await rig.store.get(job.id)
    assert await state(rig, job) is State.QUEUED
    rig.disk.free = ENOUGH
    await rig.disk_space.look()
    async with asyncio.timeout(10):
        while await state(rig, job) is not State.FINISHED:
            await rig.notifier.listen(job.id).wait()
    await scheduler.close()
    await scheduling


async def test_a_job_whose_chunk_meets_a_full_disk_is_held_and_loses_nothing(rig: Rig) -> None:
    job = await rig.queued(3)
    rig.transfer.errors["process"] = [DiskFull("the table is full")]
    execution = await rig.execution(job.id)
    await execution.run()
    assert await state(rig, job) is State.PAUSED
    held = [entry for entry in await rig.store.journal(job.id, limit=100) if entry.code == "DISK_FULL"]
    assert [entry.message for entry in held] == [
        "the table is full; the job is paused and goes on by itself when there is space: free some"
    ]
    await rig.disk_space.look()
    assert await state(rig, job) is State.PAUSED, "it was only just tried"
    room_of_tries = rig.disk_space._tries[job.id]
    room_of_tries.since -= disk_space_module.FIRST_WAIT
    await rig.disk_space.look()
    assert await state(rig, job) is State.QUEUED
    await (await rig.execution(job.id)).run()
    finished = await rig.store.get(job.id)
    assert (finished.state, finished.counts.read) == (State.FINISHED, 30)


@pytest.mark.parametrize("method", ["begin", "cut", "finish"])
async def test_so_is_one_whose_step_does(rig: Rig, method: str) -> None:
    job = await rig.queued(2)
    rig.transfer.errors[method] = [DiskFull("full")]
    await (await rig.execution(job.id)).run()
    assert await state(rig, job) is State.PAUSED
    rig.disk_space._tries[job.id].since -= disk_space_module.FIRST_WAIT
    await rig.disk_space.look()
    said = next(e.message for e in await rig.store.journal(job.id, limit=100) if e.code == "ROOM_AGAIN")
    assert said == "the job checks again whether there is space"
    await (await rig.execution(job.id)).run()
    assert await state(rig, job) is State.FINISHED


async def test_a_disk_that_can_be_seen_is_tried_when_it_is_emptier(rig: Rig) -> None:
    place = Path("/somewhere")
    rig.disk.apart[place] = 10
    job = await running(rig)
    await rig.disk_space.full(job, DiskFull("full", str(place / "not" / "made")))
    rig.disk.apart[place / "not" / "made"] = 10
    await rig.store.move(job.id, Event.QUIESCENT)
    rig.disk_space._tries[job.id].since -= disk_space_module.LONGEST_WAIT
    await rig.disk_space.look()
    assert await state(rig, job) is State.PAUSED
    rig.disk.apart[place / "not" / "made"] = 10 + (2 << 20)
    await rig.disk_space.look()
    assert await state(rig, job) is State.QUEUED


async def test_in_vain_it_is_tried_ever_more_seldom_until_something_was_written(rig: Rig) -> None:
    job = await running(rig)
    waits = []
    for _ in range(8):
        await rig.disk_space.full(job, DiskFull("full"))
        waits.append(rig.disk_space._tries[job.id].wait)
        await rig.store.command(job.id, Event.START)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert rig.disk.refilled == 0
    await rig.disk_space.look()
    assert rig.disk.refilled == 1


async def test_so_it_is_where_others_are_held_meanwhile(rig: Rig) -> None:
    jobs = [await running(rig, chunks) for chunks in (1, 2)]
    waits: dict[str, list[float]] = {job.id: [] for job in jobs}
    for _ in range(4):
        for job in jobs:
            await rig.disk_space.full(job, DiskFull("full"))
            await rig.disk_space.look()
            waits[job.id].append(rig.disk_space._tries[job.id].wait)
            await rig.store.command(job.id, Event.START)
    assert waits == {job.id: [1, 2, 4, 8] for job in jobs}


def test_a_disk_that_can_take_no_further_file_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk_space_module.free_bytes(tmp_path) > 0
    names = ("f_files", "f_favail", "f_bavail", "f_frsize")
    for numbers, free in (((100, 0, 5, 4096), 0), ((100, 1, 5, 4096), 20_480), ((0, 0, 5, 4096), 20_480)):
        found = SimpleNamespace(**dict(zip(names, numbers, strict=True)))
        monkeypatch.setattr(disk_space_module.os, "statvfs", lambda _, found=found: found)
        assert disk_space_module.free_bytes(tmp_path) == free


async def test_a_start_without_room_writes_nothing_and_begins_nothing(rig: Rig) -> None:
    """On a completely full disk the daemon would wait for ever before it serves."""
    await rig.queued(1)
    rig.disk.free = RESERVE - 1
    before = await everything(rig.store)
    await rig.disk_space.begin()
    assert rig.disk_space.short
    assert await everything(rig.store) == before
    await rig.disk_space.look()
    codes = [entry.code for entry in await rig.store.journal("job1", limit=10)]
    assert codes[-1] == "DISK_FULL", "who waits is told by the first look"
