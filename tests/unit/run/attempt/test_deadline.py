"""Hung workers: when they are killed, and what is reported."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from ladingd.core.state import Event, State
from ladingd.run.attempt import reckoning
from tests.harness.waiting import until_async
from tests.unit.run.conftest import RECORDS

if TYPE_CHECKING:
    from tests.unit.run.conftest import Rig

pytestmark = pytest.mark.timeout(30)


@pytest.mark.parametrize("command", [Event.PAUSE, Event.CANCEL])
async def test_the_deadline_is_shown_as_soon_as_there_is_one(rig: Rig, command: Event) -> None:
    job = await rig.queued(4)
    rig.workers.hold("process")
    running = asyncio.create_task((await rig.execution(job.id)).run())
    await rig.workers.reached["process"].wait()
    await rig.command(job.id, command)

    async def shown() -> str | None:
        entries = await rig.store.journal(job.id, limit=1000)
        return next((entry.message for entry in entries if entry.code == "KILL_DEADLINE"), None)

    message = await until_async(shown, "the deadline is shown")
    assert message is not None
    # The execution may be cutting the last chunk at that moment.
    pattern = r"in flight: chunk 0, chunk 1, chunk 2(, cut)?; their workers are killed at \d\d:\d\d:\d\d UTC"
    assert re.fullmatch(pattern, message)
    rig.workers.gates["process"].set()
    await running
    assert "WORKERS_KILLED" not in await rig.codes(job.id)


async def test_a_worker_that_hangs_is_killed_after_a_pause_and_its_chunk_is_done_later(rig: Rig) -> None:
    job = await rig.queued(4)
    rig.workers.hold("process")
    running = asyncio.create_task((await rig.execution(job.id, pause_grace=0.01)).run())
    await rig.workers.reached["process"].wait()
    rig.transfer.ledger(job.uid)[0] = rig.transfer.counts  # it was committed before it hung
    await rig.command(job.id, Event.PAUSE)
    await running
    paused = await rig.store.get(job.id)
    assert (paused.state, paused.counts.read) == (State.PAUSED, RECORDS)
    assert rig.workers.killed == rig.workers.size + 1
    assert "WORKERS_KILLED" in await rig.codes(job.id)
    rig.workers.gates.clear()
    await rig.command(job.id, Event.START)
    await (await rig.execution(job.id)).run()
    done = await rig.store.get(job.id)
    assert (done.state, done.settled, done.counts.read) == (State.FINISHED, True, 4 * RECORDS)


async def test_a_pause_that_is_called_off_after_the_kill_goes_on_with_the_same_attempt(rig: Rig) -> None:
    job = await rig.queued(4)
    for method in ("process", "committed"):
        rig.workers.hold(method)
    running = asyncio.create_task((await rig.execution(job.id, pause_grace=0.01)).run())
    await rig.workers.reached["process"].wait()
    await rig.command(job.id, Event.PAUSE)
    await rig.workers.reached["committed"].wait()
    await rig.command(job.id, Event.START)
    for gate in rig.workers.gates.values():
        gate.set()
    await running
    done = await rig.store.get(job.id)
    assert (done.state, done.attempt, done.counts.read) == (State.FINISHED, 1, 4 * RECORDS)
    assert set(rig.transfer.attempts) == {1}, "it was not shut out of its own ledger"


async def test_a_pause_that_is_called_off_takes_the_deadline_with_it(rig: Rig) -> None:
    job = await rig.queued(4)
    rig.workers.hold("process")
    running = asyncio.create_task((await rig.execution(job.id, pause_grace=60.0, cancel_grace=0.01)).run())
    await rig.workers.reached["process"].wait()
    for command in (Event.PAUSE, Event.START, Event.PAUSE):
        await rig.command(job.id, command)
    await rig.command(job.id, Event.CANCEL)
    async with asyncio.timeout(20):
        await running  # The cancel's own grace counts.
    assert (await rig.store.get(job.id)).state is State.CANCELED


async def test_a_ledger_that_does_not_answer_keeps_no_job_from_its_rest(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reckoning, "LEDGER_TIMEOUT", 0.01)
    job = await rig.queued(4)
    for method in ("process", "committed"):
        rig.workers.hold(method)
    running = asyncio.create_task((await rig.execution(job.id, cancel_grace=0.01)).run())
    await rig.workers.reached["process"].wait()
    await rig.command(job.id, Event.CANCEL)
    async with asyncio.timeout(20):
        await running
    canceled = await rig.store.get(job.id)
    assert (canceled.state, canceled.settled) == (State.CANCELED, False)
    assert "LEDGER_UNREADABLE" in await rig.codes(job.id)
