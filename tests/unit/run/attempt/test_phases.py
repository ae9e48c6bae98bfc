"""A job of two phases: records are staged first, then merged."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import LadingError, TargetUnavailable, WorkerLost
from ladingd.core.plan import Chunk, Phase
from ladingd.core.state import Event, State
from ladingd.run.attempt import outage as outages
from ladingd.run.attempt.supply import CUT_AHEAD
from tests.unit.run.conftest import RECORDS, FakeTransfer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.job import Job, Note
    from ladingd.core.plan import Plan
    from tests.unit.run.conftest import Rig

pytestmark = pytest.mark.timeout(30)

LOADS = 3 * CUT_AHEAD + 1
MERGES = 5


class StagingTransfer(FakeTransfer):
    """Stages the records of every chunk of phase 0, and merges them in the few chunks of phase 1."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []
        """The called methods in order, with their phases."""

    def cut(self, job_uid: str, plan: Plan, previous: Chunk | None, limit: int, phase: int = 0) -> tuple[Chunk, ...]:
        self.calls.append(("cut", phase))
        if phase == 0:
            return super().cut(job_uid, plan, previous, limit)
        self._raise("cut of phase 1")
        assert previous is not None
        first = previous.ordinal + 1
        begin = LOADS if previous.phase == 0 else first
        assert begin == first, "ordinals continue"
        return tuple(
            Chunk(ordinal=ordinal, start=ordinal, end=ordinal + 1, phase=1)
            for ordinal in range(first, min(LOADS + MERGES, first + limit))
        )

    def process(self, job_uid: str, attempt: int, plan: Plan, chunk: Chunk) -> Counts:
        self.calls.append(("process", chunk.phase))
        if chunk.phase == 0:
            self._raise("process")
            counts = Counts(read=RECORDS, pending=RECORDS - 1, rejected=1, errors=1)
        else:
            self._raise("process of phase 1")
            merged = LOADS * (RECORDS - 1) // MERGES + (chunk.ordinal == LOADS) * (LOADS * (RECORDS - 1) % MERGES)
            counts = Counts(updated=merged, pending=-merged)
        assert counts.balances
        return self.ledger(job_uid).setdefault(chunk.ordinal, counts)

    def advance(self, job_uid: str, attempt: int, plan: Plan, phase: int, chunks: Sequence[Chunk]) -> tuple[Note, ...]:
        self.calls.append(("advance", phase))
        assert [chunk.phase for chunk in chunks] == [0] * LOADS
        notes = super().advance(job_uid, attempt, plan, phase, chunks)
        assert len(self.ledger(job_uid)) == LOADS, "all chunks of the phase before are committed"
        return notes

    def finish(self, job_uid: str, plan: Plan, chunks: Sequence[Chunk]) -> tuple[Note, ...]:
        assert [chunk.phase for chunk in chunks] == [1] * MERGES
        return super().finish(job_uid, plan, chunks)

    @property
    def advanced(self) -> list[int]:
        return [phase for name, phase in self.calls if name == "advance"]


@pytest.fixture
def transfer(rig: Rig) -> StagingTransfer:
    rig.transfer = StagingTransfer()
    return rig.transfer


async def queued(rig: Rig) -> Job:
    job = await rig.queued(LOADS)
    await rig.store.replan(job.id, replace(job.plan, files=job.plan.files * 2, phases=(Phase.LOAD, Phase.LOAD)))
    return await rig.store.get(job.id)


async def die(rig: Rig, job_id: str) -> None:
    """Like the death of a daemon and the start of its successor."""
    await rig.store.move_all({State.RUNNING}, Event.ORPHAN)
    await rig.store.move(job_id, Event.RESUME)


async def finished(rig: Rig, job_id: str) -> Job:
    done = await rig.store.get(job_id)
    assert done.state is State.FINISHED, done.failure
    merged = LOADS * (RECORDS - 1)
    assert done.counts == Counts(read=LOADS * RECORDS, updated=merged, rejected=LOADS, errors=LOADS)
    assert done.total == LOADS * RECORDS
    return done


async def test_a_phase_begins_when_the_one_before_it_is_committed(rig: Rig, transfer: StagingTransfer) -> None:
    job = await queued(rig)
    await (await rig.execution(job.id)).run()
    await finished(rig, job.id)
    assert transfer.advanced == [1]
    at = transfer.calls.index(("advance", 1))
    assert {phase for _, phase in transfer.calls[:at]} == {0}
    assert {phase for _, phase in transfer.calls[at:]} == {1}
    assert [kept.chunk.phase for kept in await rig.store.chunks(job.id)] == [0] * LOADS + [1] * MERGES


async def test_what_is_staged_is_pending_until_it_is_merged(rig: Rig, transfer: StagingTransfer) -> None:
    job = await queued(rig)
    rig.workers.hold("advance")
    running = asyncio.create_task((await rig.execution(job.id)).run())
    await rig.workers.reached["advance"].wait()
    await rig.command(job.id, Event.PAUSE)
    rig.workers.gates["advance"].set()
    await running
    paused = await rig.store.get(job.id)
    assert (paused.state, paused.counts.pending) == (State.PAUSED, LOADS * (RECORDS - 1))
    assert paused.counts.balances
    await rig.command(job.id, Event.START)
    await (await rig.execution(job.id)).run()
    await finished(rig, job.id)
    assert transfer.advanced == [1, 1], "no chunk of the phase was cut before the pause"


@pytest.mark.parametrize("method", ["advance", "cut of phase 1", "process of phase 1"])
async def test_an_error_between_the_phases_and_a_new_start(rig: Rig, transfer: StagingTransfer, method: str) -> None:
    job = await queued(rig)
    transfer.errors[method] = [WorkerLost("killed")]
    await (await rig.execution(job.id)).run()
    assert (await rig.store.get(job.id)).state is State.FAILED
    transfer.calls.clear()
    await rig.command(job.id, Event.START)
    await (await rig.execution(job.id)).run()
    await finished(rig, job.id)
    assert ("process", 0) not in transfer.calls, "the first phase stays committed"
    assert transfer.advanced == ([] if method == "process of phase 1" else [1])


@pytest.mark.parametrize("method", ["advance", "cut", "process"])
async def test_a_crash_at_any_call_of_either_phase(rig: Rig, transfer: StagingTransfer, method: str) -> None:
    job = await queued(rig)
    for crash in range(3):
        rig.workers.hold(method)
        running = asyncio.create_task((await rig.execution(job.id)).run())
        await rig.workers.reached[method].wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await asyncio.sleep(0)
        rig.workers.gates.clear()
        await die(rig, job.id)
        if crash == 1 and method != "advance":  # Continue in the second phase.
            await to_second_phase(rig, transfer, job.id)
    await (await rig.execution(job.id)).run()
    await finished(rig, job.id)


async def to_second_phase(rig: Rig, transfer: StagingTransfer, job_id: str) -> None:
    transfer.errors["process of phase 1"] = [LadingError("stop here")]
    await (await rig.execution(job_id)).run()
    assert (await rig.store.get(job_id)).state is State.FAILED
    await rig.command(job_id, Event.START)


async def test_a_target_that_is_away_between_the_phases_is_tried_again(
    rig: Rig, transfer: StagingTransfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "FIRST_WAIT", 0.001)
    job = await queued(rig)
    transfer.errors["advance"] = [TargetUnavailable("away"), TargetUnavailable("away")]
    await (await rig.execution(job.id, target=60.0)).run()
    assert (await finished(rig, job.id)).attempt == 1
    assert transfer.advanced == [1, 1, 1]


async def test_a_job_does_not_finish_with_pending_records(
    rig: Rig, transfer: StagingTransfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await queued(rig)
    monkeypatch.setattr(transfer, "counts", Counts())
    merge = transfer.process

    def process(job_uid: str, attempt: int, plan: Plan, chunk: Chunk) -> Counts:
        if chunk.ordinal == LOADS + 1:
            return transfer.ledger(job_uid).setdefault(chunk.ordinal, Counts())
        return merge(job_uid, attempt, plan, chunk)

    monkeypatch.setattr(transfer, "process", process)
    await (await rig.execution(job.id)).run()
    failed = await rig.store.get(job.id)
    assert failed.failure is not None
    assert (failed.state, failed.failure.code) == (State.FAILED, "BILL_IMBALANCE")
    assert "records are staged and were not merged" in failed.failure.message
    assert (failed.counts.pending > 0, failed.counts.balances, transfer.finished) == (True, True, 0)
