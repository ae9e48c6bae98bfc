"""Leftovers of deleted jobs are cleared away despite interruptions."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import pytest

from ladingd.core.errors import DestinationRefused, InvalidSpec, LadingError, TargetUnavailable
from ladingd.core.plan import Merge
from ladingd.core.spec import Doubles, Duplicates, Operation
from ladingd.core.state import Event
from ladingd.run.control import Control
from ladingd.run.upkeep import cleanup as discards_module
from ladingd.store.discards import SqlDiscardStore
from tests.contract.conftest import FAILURE
from tests.harness.waiting import until_async

if TYPE_CHECKING:
    from ladingd.core.job import Job
    from ladingd.run.workers.pool import Workers
    from tests.unit.run.conftest import Rig

pytestmark = pytest.mark.timeout(30)

MERGE = Merge(operation=Operation.DELETE, key=("id",), doubles=Doubles.UPDATE, duplicates=Duplicates.UPDATE)


async def ended(rig: Rig, chunks: int = 1) -> Job:
    """A job with leftovers."""
    job = await rig.queued(chunks)
    await rig.store.move(job.id, Event.SLOT_FREE)
    await rig.store.move(job.id, Event.ERROR, failure=FAILURE)
    rig.transfer.ledger(job.uid)[0] = rig.transfer.counts
    return job


def control_of(rig: Rig) -> Control:
    return Control(
        jobs=rig.store,
        transfer=rig.transfer,
        workers=cast("Workers", rig.workers),
        notifier=rig.notifier,
        cleanup=rig.cleanup,
        disk_space=rig.disk_space,
    )


async def pending(rig: Rig) -> list[str]:
    return [discard.job_id for discard in await SqlDiscardStore(rig.store._database).pending()]


async def test_it_is_noted_in_the_transaction_that_deletes_the_job(rig: Rig) -> None:
    """So a daemon that dies right after it leaves nothing behind permanently."""
    job = await ended(rig)
    await rig.store.delete(job.id)
    assert await pending(rig) == [job.id]
    await rig.cleanup.clear()
    assert rig.transfer.discarded == [job.uid]
    assert await pending(rig) == []


async def test_a_job_that_never_ran_has_left_nothing(rig: Rig) -> None:
    job = await rig.queued(1)
    await rig.store.command(job.id, Event.CANCEL)
    await control_of(rig).delete(job.id)
    assert await pending(rig) == []
    assert rig.transfer.discarded == []


async def test_a_deletion_waits_for_it_where_it_can_be(rig: Rig) -> None:
    job = await ended(rig)
    await control_of(rig).delete(job.id)
    assert rig.transfer.discarded == [job.uid]
    assert await pending(rig) == []


@pytest.mark.parametrize("error", [TargetUnavailable("away"), InvalidSpec("target.connection", "there is none")])
async def test_a_target_that_is_away_is_asked_again_once_a_time(
    rig: Rig, caplog: pytest.LogCaptureFixture, error: LadingError
) -> None:
    jobs = [await ended(rig, chunks) for chunks in (1, 2)]
    rig.transfer.errors["discard"] = [error] * 4
    for job in jobs:
        await control_of(rig).delete(job.id)
    await rig.cleanup.clear()
    await rig.cleanup.clear()
    assert rig.transfer.errors["discard"] == [], "one call for both jobs, twice"
    assert await pending(rig) == [job.id for job in jobs]
    await rig.cleanup.clear()
    assert rig.transfer.discarded == [job.uid for job in jobs]
    assert caplog.text.count("cannot be removed yet") == 1


async def test_the_files_of_all_its_jobs_go_while_a_target_is_away(rig: Rig) -> None:
    jobs = [await ended(rig, chunks) for chunks in (1, 2, 3)]
    rig.files.there = {job.uid: 1 for job in jobs}
    for job in jobs:
        await rig.store.delete(job.id)
    rig.transfer.errors["discard"] = [TargetUnavailable("away")]
    await rig.cleanup.clear()
    assert rig.files.there == {}
    assert await pending(rig) == [job.id for job in jobs]


async def test_one_that_cannot_be_now_holds_up_no_other(rig: Rig) -> None:
    jobs = [await ended(rig, chunks) for chunks in (1, 2, 3)]
    for job in jobs:
        await rig.store.delete(job.id)
    rig.transfer.errors["discard"] = [DestinationRefused("no right to"), ValueError("a defect")]
    await rig.cleanup.clear()
    assert await pending(rig) == [job.id for job in jobs[:2]]


async def test_a_target_that_does_not_answer_is_not_waited_for_for_ever(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discards_module, "TIMEOUT", 0.01)
    job = await ended(rig)
    rig.workers.hold("discard")
    await control_of(rig).delete(job.id)
    assert await pending(rig) == [job.id]
    assert rig.workers.killed == 1


async def test_files_of_jobs_that_nobody_knows_are_set_aside_at_start(rig: Rig) -> None:
    known, deleted = await ended(rig, 1), await ended(rig, 2)
    await rig.store.delete(deleted.id)
    rig.files.there = {known.uid: 1, deleted.uid: 1, "stranger": 1}
    rig.workers.hold("discard")
    running = asyncio.create_task(rig.cleanup.run())
    await rig.workers.reached["discard"].wait()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert rig.files.there.keys() == {known.uid, deleted.uid}
    assert rig.files.aside.keys() == {"stranger"}


async def test_it_looks_at_once_when_it_is_woken(rig: Rig) -> None:
    running = asyncio.create_task(rig.cleanup.run())
    job = await ended(rig)
    await control_of(rig).delete(job.id, wait=False)

    async def done() -> bool:
        return not await pending(rig)

    await until_async(done, "it is cleared away")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert rig.transfer.discarded == [job.uid]


async def cancelled(rig: Rig, chunks: int = 1) -> Job:
    """A job that was cancelled while it was paused, and that has staged records."""
    job = await rig.queued(chunks, merge=MERGE)
    for event in (Event.SLOT_FREE, Event.PAUSE, Event.QUIESCENT):
        await rig.store.move(job.id, event)
    await control_of(rig).command(job.id, Event.CANCEL)
    return job


async def test_a_job_that_is_cancelled_at_rest_leaves_nothing_staged(rig: Rig) -> None:
    running = asyncio.create_task(rig.cleanup.run())
    await asyncio.sleep(0)
    job = await cancelled(rig)

    async def done() -> bool:
        return not await pending(rig)

    await until_async(done, "it is cleared away")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert (rig.transfer.abandoned, rig.transfer.discarded) == ([job.uid], [])
    assert "NOT_CLEARED" not in await rig.codes(job.id)


@pytest.mark.parametrize("rest", [Event.QUIESCENT, Event.SHUTDOWN, Event.ORPHAN])
async def test_a_job_that_is_cancelled_at_work_leaves_nothing_staged(rig: Rig, rest: Event) -> None:
    job = await rig.queued(1, merge=MERGE)
    await rig.store.move(job.id, Event.SLOT_FREE)
    await rig.command(job.id, Event.CANCEL)
    assert await pending(rig) == []
    await rig.store.move(job.id, rest)
    await rig.cleanup.clear()
    assert rig.transfer.abandoned == [job.uid]


async def test_a_cancelled_job_without_staging_is_left_alone(rig: Rig) -> None:
    job = await rig.queued(1)
    await rig.store.move(job.id, Event.SLOT_FREE)
    await rig.store.move(job.id, Event.SHUTDOWN)
    await control_of(rig).command(job.id, Event.CANCEL)
    assert await pending(rig) == []


async def test_the_journal_of_a_cancelled_job_says_when_its_target_is_away(rig: Rig) -> None:
    jobs = [await cancelled(rig, chunks) for chunks in (1, 2)]
    rig.files.there = {job.uid: 1 for job in jobs}
    rig.transfer.errors["abandon"] = [TargetUnavailable("away")] * 2
    await rig.cleanup.clear()
    await rig.cleanup.clear()
    assert rig.files.there.keys() == {job.uid for job in jobs}, "its rejects stay"
    assert [(await rig.codes(job.id)).count("NOT_CLEARED") for job in jobs] == [1, 1]
    await rig.cleanup.clear()
    assert rig.transfer.abandoned == [job.uid for job in jobs]
    assert [(await rig.codes(job.id))[-1] for job in jobs] == ["CLEARED"] * 2


async def test_a_deletion_waits_for_what_a_cancel_removes(rig: Rig) -> None:
    """Both would remove the same tables and files, and the second one to do so would fail."""
    job = await cancelled(rig)
    rig.workers.hold("abandon")
    clearing = asyncio.create_task(rig.cleanup.clear())
    await rig.workers.reached["abandon"].wait()
    deleting = asyncio.create_task(control_of(rig).delete(job.id))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(deleting), 0.2)
    assert rig.transfer.discarded == []
    rig.workers.gates["abandon"].set()
    await asyncio.gather(clearing, deleting)
    assert rig.transfer.discarded == [job.uid]
    assert await pending(rig) == []


async def test_a_deletion_takes_the_place_of_a_cancel(rig: Rig) -> None:
    job = await cancelled(rig)
    rig.workers.hold("abandon")
    clearing = asyncio.create_task(rig.cleanup.clear())
    await rig.workers.reached["abandon"].wait()
    await rig.store.delete(job.id)
    rig.workers.gates["abandon"].set()
    await clearing
    assert await pending(rig) == [job.id], "the deletion is still to be carried out"
    await rig.cleanup.clear()
    assert rig.transfer.discarded == [job.uid]
