"""Jobs at rest whose end nobody saw."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import InvalidSpec, JobNotFound, TargetUnavailable
from ladingd.core.state import Event, State
from ladingd.run.upkeep import settlement
from tests.unit.run.conftest import RECORDS

if TYPE_CHECKING:
    from ladingd.core.job import Job
    from tests.unit.run.conftest import Rig

pytestmark = pytest.mark.timeout(30)


async def left_behind(rig: Rig, chunks: int) -> str:
    """A job of a daemon that died."""
    job = await rig.queued(chunks)
    await rig.store.move(job.id, Event.SLOT_FREE)
    await rig.store.move_all({State.RUNNING}, Event.ORPHAN)
    return job.id


async def test_what_is_deleted_meanwhile_is_left_alone(rig: Rig) -> None:
    job_id = await left_behind(rig, 4)
    rig.workers.hold("committed")
    settling = asyncio.create_task(rig.settlement().settle())
    await rig.workers.reached["committed"].wait()
    await rig.store.delete(job_id)
    rig.workers.gates["committed"].set()
    await settling
    with pytest.raises(JobNotFound):
        await rig.store.get(job_id)


async def test_a_connection_that_is_gone_is_noted_and_survived(rig: Rig) -> None:
    job_id = await left_behind(rig, 4)
    rig.transfer.errors["committed"] = [InvalidSpec("target.connection", "there is no connection 'old'")]
    await rig.settlement().settle()
    assert "LEDGER_UNREADABLE" in await rig.codes(job_id)
    assert not (await rig.store.get(job_id)).settled


async def test_a_target_that_is_away_is_asked_once_a_time_and_settled_when_it_is_back(rig: Rig) -> None:
    jobs = [await left_behind(rig, chunks) for chunks in (2, 3)]
    for job_id in jobs:
        job = await rig.store.get(job_id)
        await rig.store.add_chunks(job_id, rig.transfer.cut(job.uid, job.plan, None, 1))
        rig.transfer.ledger(job.uid)[0] = rig.transfer.counts
    rig.transfer.errors["committed"] = [TargetUnavailable("away") for _ in range(2)]
    settlement = rig.settlement()
    await settlement.settle()
    await settlement.settle()
    assert rig.transfer.errors["committed"] == [], "one call for both jobs, twice"
    for job_id in jobs:
        assert (await rig.codes(job_id)).count("LEDGER_UNREADABLE") == 1
        assert not (await rig.store.get(job_id)).settled
    await settlement.settle()
    for job_id in jobs:
        settled = await rig.store.get(job_id)
        assert (settled.settled, settled.counts.read) == (True, RECORDS)


async def test_a_defect_is_told_and_stops_nothing(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    job = await unsettled(rig)
    rig.transfer.errors["committed"] = [ValueError("invalid literal for int()")]
    await rig.settlement().settle()
    codes = await rig.codes(job.id)
    assert codes[-1] == "LEDGER_UNREADABLE"
    assert "invalid literal" in caplog.text
    last = (await rig.store.journal(job.id, limit=1000))[-1]
    assert "invalid literal" not in last.message
    assert "internal error, id " in last.message


async def test_a_ledger_that_does_not_answer_is_not_waited_for_for_ever(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "TIMEOUT", 0.01)
    job = await unsettled(rig)
    rig.workers.hold("committed")
    await rig.settlement().settle()
    assert (await rig.codes(job.id))[-1] == "LEDGER_UNREADABLE"
    assert rig.workers.killed == 1


async def test_counts_are_not_those_of_another_job_that_has_the_id_now(rig: Rig) -> None:
    job = await unsettled(rig)
    rig.workers.hold("committed")
    settling = asyncio.create_task(rig.settlement().settle())
    await rig.workers.reached["committed"].wait()
    await rig.store.delete(job.id)
    await rig.store.create(replace(job, uid="another", state=State.EDITING, attempt=0, start_time=None, failure=None))
    await rig.store.command(job.id, Event.START)
    another = await rig.store.move(job.id, Event.SLOT_FREE)
    assert another is not None
    rig.workers.gates["committed"].set()
    await settling
    assert await rig.store.get(job.id) == another


async def unsettled(rig: Rig) -> Job:
    """A job at rest whose ledger was not read."""
    queued = await rig.queued(1)
    await rig.store.move(queued.id, Event.SLOT_FREE)
    job = await rig.store.move(queued.id, Event.ORPHAN)
    assert job is not None
    assert not job.settled
    return job
