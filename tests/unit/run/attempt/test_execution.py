"""One attempt of one job: the chunks that it starts, the events that it obeys, and its final state."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import LadingError, ShuttingDown, SourceChanged, TargetUnavailable
from ladingd.core.state import Event, State
from ladingd.run.recovery import interrupt
from tests.unit.run.conftest import RECORDS

if TYPE_CHECKING:
    from ladingd.core.plan import Chunk, Plan
    from tests.unit.run.conftest import Rig

pytestmark = pytest.mark.timeout(30)


async def test_all_chunks_are_done_and_counted(rig: Rig) -> None:
    job = await rig.queued(40)
    await (await rig.execution(job.id)).run()
    done = await rig.store.get(job.id)
    assert (done.state, done.settled, done.total) == (State.FINISHED, True, 40 * RECORDS)
    assert done.counts == Counts(read=40 * RECORDS, inserted=40 * RECORDS)
    assert done.progress.fraction == 1.0
    assert rig.transfer.finished == 1


async def test_a_chunk_that_says_how_far_it_is_is_shown(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await rig.queued(1)
    shown: list[tuple[float, int]] = []
    monkeypatch.setattr(rig.watch, "progressed", lambda job: shown.append((job.progress.fraction, job.counts.read)))
    await (await rig.execution(job.id)).run()
    assert shown == [(0.5, 0), (1.0, RECORDS)], "nothing counts before it is committed"


async def test_a_source_without_records(rig: Rig) -> None:
    job = await rig.queued(0)
    await (await rig.execution(job.id)).run()
    done = await rig.store.get(job.id)
    assert (done.state, done.total, done.counts) == (State.FINISHED, 0, Counts())


async def test_pause_lets_chunks_in_flight_finish(rig: Rig) -> None:
    job = await rig.queued(40)
    rig.workers.hold("process")
    running = asyncio.create_task((await rig.execution(job.id)).run())
    await rig.workers.reached["process"].wait()
    assert (await rig.command(job.id, Event.PAUSE)).state is State.PAUSING
    rig.workers.gates["process"].set()
    await running
    paused = await rig.store.get(job.id)
    in_flight = rig.workers.size + 1
    assert (paused.state, paused.counts.read, paused.settled) == (State.PAUSED, in_flight * RECORDS, True)
    await rig.command(job.id, Event.START)
    await (await rig.execution(job.id)).run()
    done = await rig.store.get(job.id)
    assert (done.state, done.counts.read, done.attempt) == (State.FINISHED, 40 * RECORDS, 2)


async def test_start_during_a_pause_goes_on_with_the_same_attempt(rig: Rig) -> None:
    job = await rig.queued(40)
    rig.workers.hold("process")
    running = asyncio.create_task((await rig.execution(job.id)).run())
    await rig.workers.reached["process"].wait()
    await rig.command(job.id, Event.PAUSE)
    await rig.command(job.id, Event.START)
    rig.workers.gates["process"].set()
    await running
    done = await rig.store.get(job.id)
    assert (done.state, done.attempt) == (State.FINISHED, 1)


async def test_a_worker_that_hangs_is_killed_after_a_cancel(rig: Rig) -> None:
    job = await rig.queued(4)
    rig.workers.hold("process")
    running = asyncio.create_task((await rig.execution(job.id, cancel_grace=0.01)).run())
    await rig.workers.reached["process"].wait()
    rig.transfer.ledger(job.uid)[0] = rig.transfer.counts  # it was committed before it hung
    await rig.command(job.id, Event.CANCEL)
    await running
    canceled = await rig.store.get(job.id)
    assert (canceled.state, canceled.counts.read, canceled.settled) == (State.CANCELED, RECORDS, True)
    assert rig.workers.killed == rig.workers.size + 1
    assert rig.transfer.attempts == [1, 2], "the ledger is asked, and what hung is shut out"
    assert "WORKERS_KILLED" in await rig.codes(job.id)


@pytest.mark.parametrize("method", ["begin", "cut", "process", "finish"])
async def test_a_technical_error_fails_the_job_and_start_tries_again(rig: Rig, method: str) -> None:
    job = await rig.queued(4)
    rig.transfer.errors[method] = [TargetUnavailable("the database is away")]
    await (await rig.execution(job.id)).run()
    failed = await rig.store.get(job.id)
    assert failed.state is State.FAILED
    assert failed.failure is not None
    assert (failed.failure.code, failed.failure.message) == ("TARGET_UNAVAILABLE", "the database is away")
    await rig.command(job.id, Event.START)
    await (await rig.execution(job.id)).run()
    assert (await rig.store.get(job.id)).state is State.FINISHED


async def test_a_defect_fails_the_job_without_showing_its_text(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await rig.queued(1)

    def process(*_: object) -> Counts:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(rig.transfer, "process", process)
    await (await rig.execution(job.id)).run()
    failed = await rig.store.get(job.id)
    assert failed.failure is not None
    assert failed.failure.code == LadingError.code
    assert "secret" not in failed.failure.message
    error_id = failed.failure.message.split("id ")[1].split(":")[0]
    assert error_id in caplog.text
    assert "a secret" in caplog.text


async def test_a_job_whose_every_record_was_rejected_fails(rig: Rig) -> None:
    job = await rig.queued(4)
    rig.transfer.counts = Counts(read=RECORDS, rejected=RECORDS - 1, errors=RECORDS - 1, empty=1)
    await (await rig.execution(job.id)).run()
    failed = await rig.store.get(job.id)
    assert (failed.state, failed.settled, failed.total) == (State.FAILED, True, 4 * RECORDS)
    assert (failed.counts.rejected, failed.counts.empty) == (4 * (RECORDS - 1), 4)
    assert failed.failure is not None
    assert failed.failure.code == "ALL_REJECTED"
    assert failed.failure.message == "all 36 records were rejected; nothing was loaded"
    assert "BILL" in await rig.codes(job.id)


async def test_of_one_record_it_is_not_said_that_all_were_rejected(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await rig.queued(1)
    monkeypatch.setattr("tests.unit.run.conftest.RECORDS", 1)
    rig.transfer.counts = Counts(read=1, rejected=1, errors=1)
    await (await rig.execution(job.id)).run()
    failure = (await rig.store.get(job.id)).failure
    assert failure is not None
    assert (failure.code, failure.message) == ("ALL_REJECTED", "the only record was rejected; nothing was loaded")


async def test_one_record_that_went_in_is_enough_to_finish(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await rig.queued(2)

    def process(_uid: str, _attempt: int, _plan: Plan, chunk: Chunk) -> Counts:
        inserted = 1 if chunk.ordinal == 0 else 0
        return Counts(read=RECORDS, inserted=inserted, rejected=RECORDS - inserted, errors=RECORDS - inserted)

    monkeypatch.setattr(rig.transfer, "process", process)
    await (await rig.execution(job.id)).run()
    assert (await rig.store.get(job.id)).state is State.FINISHED


async def test_a_source_of_empty_records_alone_finishes(rig: Rig) -> None:
    job = await rig.queued(2)
    rig.transfer.counts = Counts(read=RECORDS, empty=RECORDS)
    await (await rig.execution(job.id)).run()
    assert (await rig.store.get(job.id)).state is State.FINISHED


async def test_a_bill_that_does_not_balance_fails_the_job(rig: Rig) -> None:
    job = await rig.queued(2)
    rig.transfer.counts = replace(rig.transfer.counts, inserted=RECORDS - 1)
    await (await rig.execution(job.id)).run()
    failed = await rig.store.get(job.id)
    assert failed.state is State.FAILED
    assert failed.failure is not None
    assert failed.failure.code == "BILL_IMBALANCE"
    assert rig.transfer.finished == 0


async def test_records_that_are_missing_fail_the_job(rig: Rig) -> None:
    job = await rig.queued(2)
    rig.transfer.counts = Counts(read=RECORDS - 1, inserted=RECORDS - 1)
    await (await rig.execution(job.id)).run()
    failed = await rig.store.get(job.id)
    assert failed.failure is not None
    assert failed.failure.code == "BILL_IMBALANCE"


async def test_a_source_that_changed_before_the_first_chunk_is_planned_anew(rig: Rig) -> None:
    job = await rig.queued(5)
    rig.transfer.errors["begin"] = [SourceChanged("it is another file now")]
    await (await rig.execution(job.id)).run()
    done = await rig.store.get(job.id)
    assert (done.state, done.counts.read) == (State.FINISHED, 2 * RECORDS), "the new plan has two chunks"
    assert "PLANNED_ANEW" in await rig.codes(job.id)


async def test_a_source_that_changed_later_fails_the_job(rig: Rig) -> None:
    job = await rig.queued(5)
    await rig.store.add_chunks(job.id, rig.transfer.cut(job.uid, job.plan, None, 1))
    rig.transfer.ledger(job.uid)[0] = rig.transfer.counts
    rig.transfer.errors["begin"] = [SourceChanged("it is another file now")]
    await (await rig.execution(job.id)).run()
    failed = await rig.store.get(job.id)
    assert failed.failure is not None
    assert failed.failure.code == "SOURCE_CHANGED"


async def test_a_ledger_that_knows_more_than_the_store_fails_the_job(rig: Rig) -> None:
    job = await rig.queued(5)
    rig.transfer.ledger(job.uid)[3] = rig.transfer.counts
    await (await rig.execution(job.id)).run()
    failed = await rig.store.get(job.id)
    assert failed.failure is not None
    assert "chunk 3" in failed.failure.message


async def test_a_ledger_that_lost_what_was_committed_fails_the_job_untouched(rig: Rig) -> None:
    job = await rig.queued(40)
    rig.workers.hold("process")
    running = asyncio.create_task((await rig.execution(job.id)).run())
    await rig.workers.reached["process"].wait()
    await rig.command(job.id, Event.PAUSE)
    rig.workers.gates["process"].set()
    await running
    paused = await rig.store.get(job.id)
    rig.transfer.ledgers.clear()  # the database was replaced
    await rig.settlement().settle()
    await rig.command(job.id, Event.START)
    await (await rig.execution(job.id)).run()
    failed = await rig.store.get(job.id)
    assert failed.failure is not None
    assert failed.failure.code == "LEDGER_LOST"
    assert failed.counts == paused.counts
    assert rig.transfer.attempts == [1, 2], "begin was not reached"


async def test_an_error_before_a_kill_is_not_forgotten(rig: Rig) -> None:
    job = await rig.queued(1)
    rig.transfer.errors["process"] = [TargetUnavailable("gone in the middle of a commit")]
    execution = await rig.execution(job.id, cancel_grace=0.01)
    await execution.run()
    assert (await rig.store.get(job.id)).state is State.FAILED
    assert rig.transfer.attempts == [1, 2], "the ledger was asked"


async def test_workers_that_are_gone_interrupt_what_still_runs(rig: Rig) -> None:
    job = await rig.queued(4)
    rig.transfer.errors["process"] = [ShuttingDown() for _ in range(8)]
    async with asyncio.timeout(20):
        await (await rig.execution(job.id)).run()
    assert (await rig.store.get(job.id)).state is State.INTERRUPTED


async def test_after_a_crash_only_what_the_ledger_lacks_is_done_again(rig: Rig) -> None:
    job = await rig.queued(6)
    rig.workers.hold("process")
    running = asyncio.create_task((await rig.execution(job.id)).run())
    await rig.workers.reached["process"].wait()
    running.cancel()  # the daemon dies
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0)
    assert rig.workers.killed == rig.workers.size + 1, "no call goes on without the run that began it"
    rig.transfer.ledger(job.uid)[1] = replace(rig.transfer.counts, inserted=RECORDS - 2, rejected=2, errors=2)
    rig.workers.gates.clear()
    await rig.store.move_all({State.RUNNING}, Event.ORPHAN)
    await rig.store.move(job.id, Event.RESUME)
    await (await rig.execution(job.id)).run()
    done = await rig.store.get(job.id)
    assert done.state is State.FINISHED
    assert (done.counts.read, done.counts.rejected) == (6 * RECORDS, 2), "the first try of chunk 1 counts"
    assert "CONTINUES" in await rig.codes(job.id)


async def test_a_shutdown_leaves_the_job_unsettled_for_the_next_start(rig: Rig) -> None:
    job = await rig.queued(4)
    rig.workers.hold("process")
    running = asyncio.create_task((await rig.execution(job.id)).run())
    await rig.workers.reached["process"].wait()
    await interrupt(rig.store, rig.notifier)
    assert (await rig.store.get(job.id)).state is State.INTERRUPTED
    rig.transfer.errors["process"] = [ShuttingDown() for _ in range(8)]
    rig.workers.gates["process"].set()
    await running
    left = await rig.store.get(job.id)
    assert (left.state, left.settled) == (State.INTERRUPTED, False)
