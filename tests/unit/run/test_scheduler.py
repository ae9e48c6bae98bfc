"""Slots: how many jobs run at the same time, and which is next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from ladingd.core.state import Event, State
from ladingd.run.attempt.execution import Execution
from ladingd.run.attempt.timeouts import Timeouts
from ladingd.run.scheduler import Scheduler
from tests.harness.waiting import until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ladingd.run.workers.pool import Workers
    from tests.unit.run.conftest import Rig

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
async def scheduler(rig: Rig) -> AsyncIterator[Scheduler]:
    scheduler = Scheduler(
        slots=2,
        timeouts=Timeouts(pause_grace=60.0, cancel_grace=60.0, target=60.0),
        jobs=rig.store,
        chunks=rig.store,
        journal=rig.store,
        transfer=rig.transfer,
        workers=cast("Workers", rig.workers),
        notifier=rig.notifier,
        watch=rig.watch,
        disk_space=rig.disk_space,
        rested=rig.cleanup.wake,
    )
    task = asyncio.create_task(scheduler.run())
    yield scheduler
    await scheduler.close()
    await task


async def states(rig: Rig, *states: State) -> list[str]:
    return [job.id for job in await rig.store.in_states(set(states))]


async def test_jobs_get_their_slots_in_the_order_they_wait(rig: Rig, scheduler: Scheduler) -> None:
    rig.workers.hold("begin")
    for chunks in (3, 1, 2):
        job = await rig.queued(chunks)
        rig.notifier.notify(job.id)
    await until_async(lambda: states(rig, State.RUNNING), "a job runs")
    await until_async(lambda: both(rig), "both slots are taken")
    assert await states(rig, State.QUEUED) == ["job2"]
    assert scheduler.busy
    rig.workers.gates["begin"].set()
    await until_async(lambda: three(rig), "all jobs are done")
    assert sorted(await states(rig, State.FINISHED)) == ["job1", "job2", "job3"]


async def both(rig: Rig) -> bool:
    return await states(rig, State.RUNNING) == ["job3", "job1"]


async def three(rig: Rig) -> bool:
    return len(await states(rig, State.FINISHED)) == 3


async def test_a_job_that_is_cancelled_while_it_waits_gets_no_slot(rig: Rig, scheduler: Scheduler) -> None:
    rig.workers.hold("begin")
    for chunks in (1, 2, 3):
        rig.notifier.notify((await rig.queued(chunks)).id)
    await until_async(lambda: states(rig, State.RUNNING), "a job runs")
    await rig.command("job3", Event.CANCEL)
    rig.workers.gates["begin"].set()
    await until_async(lambda: two(rig), "the others are done")
    canceled = await rig.store.get("job3")
    assert (canceled.state, canceled.attempt) == (State.CANCELED, 0)


async def two(rig: Rig) -> bool:
    return len(await states(rig, State.FINISHED)) == 2


async def test_a_defect_in_the_run_of_one_job_stops_that_job_alone(
    rig: Rig, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = await rig.queued(1), await rig.queued(2)
    collect = Execution._collect

    async def sometimes(execution: Execution) -> None:
        if execution._job.id == broken.id:
            raise OverflowError("a secret date value out of range")
        await collect(execution)

    monkeypatch.setattr(Execution, "_collect", sometimes)
    for job in (broken, sound):
        rig.notifier.notify(job.id)

    async def both_rest() -> bool:
        return {(await rig.store.get(job.id)).state for job in (broken, sound)} == {State.FAILED, State.FINISHED}

    await until_async(both_rest, "both jobs rest")
    failed = await rig.store.get(broken.id)
    assert failed.failure is not None
    assert failed.failure.message.startswith("internal error, id ")
    assert "a secret date" in caplog.text
    assert not failed.settled


async def test_nothing_is_kept_of_jobs_that_nobody_watched(rig: Rig, scheduler: Scheduler) -> None:
    job = await rig.queued(3)
    rig.notifier.notify(job.id)
    await until_async(lambda: states(rig, State.FINISHED), "the job is done")

    async def idle() -> bool:
        return not scheduler.busy

    await until_async(idle, "its run is over")
    assert (rig.watch._pulse._shown, rig.watch._pulse._fresh) == ({}, {})
    assert not rig.notifier._each
