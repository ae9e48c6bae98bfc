"""An unavailable target: what an execution does meanwhile, and for how long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import TargetBusy, TargetRefused, TargetUnavailable
from ladingd.core.state import Event, State
from ladingd.run.attempt import outage as outages
from ladingd.run.attempt.outage import LONGEST_WAIT, Outage
from ladingd.run.recovery import interrupt
from tests.harness.waiting import until_async
from tests.unit.run.conftest import RECORDS

if TYPE_CHECKING:
    from tests.unit.run.conftest import Rig

pytestmark = pytest.mark.timeout(30)


def away(times: int) -> list[TargetUnavailable]:
    return [TargetUnavailable("the database is away") for _ in range(times)]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without delay."""
    monkeypatch.setattr(outages, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(outages, "LONGEST_WAIT", 0.002)
    monkeypatch.setattr(outages, "LONGEST_BUSY_WAIT", 0.002)


async def lost(rig: Rig, job_id: str) -> bool:
    return "TARGET_LOST" in await rig.codes(job_id)


def test_waits_double_and_the_last_try_comes_when_patience_ends() -> None:
    now = 0.0
    outage = Outage(TargetUnavailable("away"), timeout=100.0, clock=lambda: now)
    waits = []
    while outage.seconds_left():
        waits.append(outage.seconds_to_try())
        now += waits[-1]
        outage.try_now()
        outage.failed(TargetUnavailable("away"))
    longest = [0.5, 1, 2, 4, 8, 16, *[LONGEST_WAIT] * 99]
    assert len(waits) >= 8
    assert sum(waits) == pytest.approx(100.0)
    for wait, most in zip(waits[:-1], longest, strict=False):
        assert most / 2 <= wait <= most
    assert "last try" in outage.loss()[2]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("method", ["begin", "committed", "cut", "process", "finish"])
async def test_a_call_that_loses_the_target_is_made_again_and_the_job_stays_running(rig: Rig, method: str) -> None:
    job = await rig.queued(40)
    if method == "committed":  # The ledger is queried separately only if an earlier attempt has cut chunks.
        await rig.store.add_chunks(job.id, rig.transfer.cut(job.uid, job.plan, None, 1))
    rig.transfer.errors[method] = [*away(4)]
    await (await rig.execution(job.id, target=60.0)).run()
    done = await rig.store.get(job.id)
    assert (done.state, done.settled, done.attempt) == (State.FINISHED, True, 1)
    assert done.counts == Counts(read=40 * RECORDS, inserted=40 * RECORDS)
    changes = [change.job.state for change in await rig.store.changes(0, limit=100)]
    assert changes == [State.EDITING, State.QUEUED, State.RUNNING, State.FINISHED]
    codes = await rig.codes(job.id)
    # Three chunks are in flight when the target disappears. They count as one failure.
    assert codes.count("TARGET_LOST") == (2 if method == "process" else 4)
    assert codes.count("TARGET_BACK") == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("method", ["begin", "cut", "process", "finish"])
@pytest.mark.parametrize("patience", [0.0, 60.0])
async def test_a_lock_is_waited_for_however_long_and_told_once(rig: Rig, method: str, patience: float) -> None:
    job = await rig.queued(40)
    rig.transfer.errors[method] = [TargetBusy("table t is locked by session 7") for _ in range(30)]
    await (await rig.execution(job.id, target=patience)).run()
    done = await rig.store.get(job.id)
    assert (done.state, done.attempt, done.counts.read) == (State.FINISHED, 1, 40 * RECORDS)
    codes = await rig.codes(job.id)
    assert (codes.count("TARGET_BUSY"), codes.count("TARGET_FREE"), codes.count("TARGET_LOST")) == (1, 1, 0)


@pytest.mark.usefixtures("impatient")
async def test_a_lock_and_an_outage_are_two_occasions(rig: Rig) -> None:
    job = await rig.queued(40)
    busy = [TargetBusy("table t is locked") for _ in range(5)]
    rig.transfer.errors["finish"] = [*busy, *away(2), *busy]
    await (await rig.execution(job.id, target=60.0)).run()
    codes = [code for code in await rig.codes(job.id) if code.startswith("TARGET_")]
    assert codes == ["TARGET_BUSY", "TARGET_LOST", "TARGET_LOST", "TARGET_BUSY", "TARGET_FREE"]


@pytest.mark.parametrize("method", ["begin", "cut", "process", "finish"])
async def test_whatever_is_given_up_is_ended_in_the_target_before_the_job_rests(rig: Rig, method: str) -> None:
    job = await rig.queued(1)
    rig.workers.hold(method)
    running = asyncio.create_task((await rig.execution(job.id, cancel_grace=0.1)).run())
    await rig.workers.reached[method].wait()
    rig.transfer.attempts.clear()
    await rig.command(job.id, Event.CANCEL)
    async with asyncio.timeout(20):
        await running
    done = await rig.store.get(job.id)
    assert (done.state, rig.workers.killed) == (State.CANCELED, 1)
    assert rig.transfer.attempts == [2], "the call that ends the sessions of earlier attempts"
    assert done.settled is (method != "begin")


@pytest.mark.usefixtures("impatient")
async def test_one_call_tries_for_the_whole_job(rig: Rig) -> None:
    job = await rig.queued(40)
    in_flight = rig.workers.size + 1
    rig.transfer.errors["process"] = [*away(in_flight + 5)]
    await (await rig.execution(job.id, target=60.0)).run()
    entries = await rig.store.journal(job.id, limit=1000)
    losses = [entry.message for entry in entries if entry.code == "TARGET_LOST"]
    assert len(losses) == 1 + 5
    assert losses[0].startswith("the database is away; next try in 0.0 s")
    (back,) = [entry.message for entry in entries if entry.code == "TARGET_BACK"]
    assert back.endswith("at try 6")


@pytest.mark.usefixtures("impatient")
async def test_a_job_whose_patience_is_over_fails_and_start_continues_it(rig: Rig) -> None:
    job = await rig.queued(40)
    rig.transfer.errors["process"] = away(1_000)
    await (await rig.execution(job.id, target=0.05)).run()
    failed = await rig.store.get(job.id)
    assert failed.failure is not None
    assert (failed.state, failed.failure.code) == (State.FAILED, "TARGET_UNAVAILABLE")
    assert not failed.settled
    assert rig.transfer.attempts == [1], "a ledger that is away is not asked"
    codes = await rig.codes(job.id)
    assert "LEDGER_UNREADABLE" in codes
    assert "TARGET_BACK" not in codes
    rig.transfer.errors.clear()
    rig.transfer.ledger(job.uid)[0] = rig.transfer.counts  # it was committed before its connection was lost
    await rig.command(job.id, Event.START)
    await (await rig.execution(job.id)).run()
    done = await rig.store.get(job.id)
    assert (done.state, done.settled, done.counts.read) == (State.FINISHED, True, 40 * RECORDS)


@pytest.mark.parametrize(
    ("what", "state"),
    [("pause", State.PAUSED), ("cancel", State.CANCELED), ("shutdown", State.INTERRUPTED)],
)
async def test_a_job_that_waits_for_its_target_comes_to_rest_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, what: str, state: State
) -> None:
    monkeypatch.setattr(outages, "FIRST_WAIT", 1_000.0)
    job = await rig.queued(40)
    rig.transfer.errors["process"] = [*away(rig.workers.size + 1)]
    running = asyncio.create_task((await rig.execution(job.id, target=10_000.0)).run())
    await until_async(lambda: lost(rig, job.id), "the target is missed")
    if what == "shutdown":
        await interrupt(rig.store, rig.notifier)
    else:
        await rig.command(job.id, Event(what.upper()))
    async with asyncio.timeout(20):
        await running
    assert (await rig.store.get(job.id)).state is state
    if state is not State.CANCELED:
        await rig.command(job.id, Event.START)
        await (await rig.execution(job.id)).run()
        assert (await rig.store.get(job.id)).counts.read == 40 * RECORDS


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("command", [Event.PAUSE, Event.CANCEL])
async def test_a_try_that_hangs_keeps_nobody_waiting(rig: Rig, command: Event) -> None:
    job = await rig.queued(1)
    rig.transfer.errors["process"] = [*away(1)]
    rig.workers.hold("process")
    running = asyncio.create_task((await rig.execution(job.id, target=10_000.0)).run())
    await rig.workers.reached["process"].wait()
    first = rig.workers.gates["process"]
    rig.workers.hold("process")  # the retry, not the call before it
    first.set()
    await rig.workers.reached["process"].wait()
    await rig.command(job.id, command)
    async with asyncio.timeout(20):
        await running
    assert rig.workers.killed == 1
    rest = await rig.store.get(job.id)
    assert (rest.state, rest.settled) == (State.PAUSED if command is Event.PAUSE else State.CANCELED, False)


@pytest.mark.usefixtures("impatient")
async def test_a_try_that_hangs_does_not_outlast_the_patience(rig: Rig) -> None:
    job = await rig.queued(1)
    rig.transfer.errors["process"] = [*away(1)]
    rig.workers.hold("process")
    running = asyncio.create_task((await rig.execution(job.id, target=0.05, cancel_grace=0.01)).run())
    await rig.workers.reached["process"].wait()
    first = rig.workers.gates["process"]
    rig.workers.hold("process")
    first.set()
    async with asyncio.timeout(20):
        await running
    failed = await rig.store.get(job.id)
    assert failed.failure is not None
    assert failed.failure.code == "TARGET_UNAVAILABLE"


@pytest.mark.usefixtures("impatient")
async def test_a_target_that_comes_back_and_refuses_fails_the_job(rig: Rig) -> None:
    job = await rig.queued(1)
    rig.transfer.errors["process"] = [*away(2), TargetRefused("the disk is full")]
    await (await rig.execution(job.id, target=10_000.0)).run()
    failed = await rig.store.get(job.id)
    assert failed.failure is not None
    assert failed.failure.code == "TARGET_REFUSED"
    assert (failed.settled, rig.transfer.attempts) == (True, [1, 2]), "it answers: its ledger was asked"


async def test_a_chunk_that_loses_the_target_during_a_pause_does_not_fail_the_job(rig: Rig) -> None:
    job = await rig.queued(1)
    rig.transfer.errors["process"] = [*away(1)]
    rig.workers.hold("process")
    running = asyncio.create_task((await rig.execution(job.id, target=10_000.0)).run())
    await rig.workers.reached["process"].wait()
    await rig.command(job.id, Event.PAUSE)
    rig.workers.gates["process"].set()
    await running
    assert (await rig.store.get(job.id)).state is State.PAUSED
