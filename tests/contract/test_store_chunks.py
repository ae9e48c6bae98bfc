"""The contract of stores for chunks and their counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import BillImbalance
from ladingd.core.job import Job, Progress
from ladingd.core.plan import Chunk, CommittedChunk
from ladingd.core.ports import JobStore, KeptChunk
from ladingd.core.state import Event, State

FIRST = Chunk(ordinal=0, start=3, end=1 << 45, first_record=1, first_line=2, records=10)
SECOND = Chunk(ordinal=1, start=1 << 45, end=1 << 46, first_record=11, first_line=15, refused="TOO_LONG")
THIRD = Chunk(ordinal=2, start=-(1 << 63), end=(1 << 63) - 1)
CUT = [FIRST, SECOND, THIRD]
TEN = Counts(read=10, inserted=9, rejected=1, errors=2)
ONE = Counts(read=1, empty=1)


def committed(chunk: Chunk, counts: Counts) -> CommittedChunk:
    return CommittedChunk(ordinal=chunk.ordinal, counts=counts)


@pytest.fixture
async def job(store: JobStore, bring: Any) -> Job:
    """A running job with three chunks, none committed."""
    running: Job = await bring(store, "a", State.RUNNING)
    await store.add_chunks("a", CUT)
    return running


@pytest.mark.usefixtures("job")
async def test_chunks_come_back_in_the_order_of_their_ordinals(store: JobStore, bring: Any) -> None:
    await bring(store, "b", State.RUNNING)
    await store.add_chunks("b", [THIRD])
    await store.add_chunks("b", [SECOND, FIRST])
    assert await store.chunks("b") == tuple(KeptChunk(chunk=chunk) for chunk in CUT)
    assert await store.chunks("a") == tuple(KeptChunk(chunk=chunk) for chunk in CUT)


async def test_chunks_survive_a_reopening(stores: Any, store: JobStore, job: Job) -> None:
    known = await store.commit_chunks("a", [committed(FIRST, TEN)], Progress(fraction=0.1))
    await stores.close(store)
    store = await stores.open()
    assert await store.get("a") == known
    assert [kept.counts for kept in await store.chunks("a")] == [TEN, None, None]


@pytest.mark.usefixtures("job")
async def test_the_same_chunks_again_change_nothing(store: JobStore) -> None:
    await store.commit_chunks("a", [committed(SECOND, ONE)], Progress())
    await store.add_chunks("a", [SECOND, THIRD, replace(THIRD, ordinal=3)])
    kept = await store.chunks("a")
    assert [(one.chunk.ordinal, one.counts) for one in kept] == [(0, None), (1, ONE), (2, None), (3, None)]


@pytest.mark.usefixtures("job")
async def test_a_chunk_that_was_cut_otherwise_is_refused(store: JobStore) -> None:
    with pytest.raises(BillImbalance, match="chunk 1 "):
        await store.add_chunks("a", [replace(THIRD, ordinal=3), replace(SECOND, end=SECOND.end + 1)])
    assert [kept.chunk for kept in await store.chunks("a")] == CUT


async def test_committed_chunks_add_up(store: JobStore, job: Job) -> None:
    progress = Progress(fraction=0.25, rate=1234.5, time_left=timedelta(days=2, microseconds=7))
    after = await store.commit_chunks("a", [committed(FIRST, TEN)], progress)
    assert after == replace(job, counts=TEN, progress=progress)
    assert await store.get("a") == after
    after = await store.commit_chunks("a", [committed(SECOND, ONE), committed(THIRD, TEN)], Progress(fraction=1.0))
    assert after.counts == TEN + ONE + TEN
    assert [kept.counts for kept in await store.chunks("a")] == [TEN, ONE, TEN]


async def test_progress_is_no_change(store: JobStore, job: Job) -> None:
    after = await store.commit_chunks("a", [committed(FIRST, TEN)], Progress(fraction=0.5))
    assert (after.revision, after.update_time, after.etag) == (job.revision, job.update_time, job.etag)
    assert await store.revision() == job.revision
    assert len(await store.changes(0, limit=100)) == job.revision


@pytest.mark.usefixtures("job")
async def test_a_chunk_that_is_noted_already_adds_nothing(store: JobStore) -> None:
    await store.commit_chunks("a", [committed(FIRST, TEN)], Progress())
    after = await store.commit_chunks(
        "a", [committed(FIRST, TEN), committed(SECOND, ONE), committed(SECOND, ONE)], Progress(fraction=0.5)
    )
    assert after.counts == TEN + ONE
    assert after.progress == Progress(fraction=0.5)
    after = await store.commit_chunks("a", [committed(FIRST, ONE)], Progress())
    assert after.counts == TEN + ONE


async def test_a_committed_chunk_that_was_never_cut_is_refused(store: JobStore, job: Job) -> None:
    stranger = CommittedChunk(ordinal=7, counts=ONE)
    with pytest.raises(BillImbalance, match="chunk 7 "):
        await store.commit_chunks("a", [committed(FIRST, TEN), stranger], Progress(fraction=0.5))
    with pytest.raises(BillImbalance, match="chunk 7 "):
        await store.settle(
            "a",
            [committed(FIRST, TEN), stranger],
            uid="uid of a",
            attempt=1,
            total=1,
            progress=Progress(),
            settled=True,
        )
    assert await store.get("a") == job
    assert [kept.counts for kept in await store.chunks("a")] == [None, None, None]


async def test_settle_believes_the_ledger(store: JobStore, job: Job) -> None:
    await store.commit_chunks("a", [committed(FIRST, TEN), committed(SECOND, ONE)], Progress(fraction=0.9))
    ledger = [committed(THIRD, TEN), committed(SECOND, TEN)]
    progress = Progress(fraction=0.7)
    after = await store.settle("a", ledger, uid="uid of a", attempt=1, total=21, progress=progress, settled=True)
    assert after == replace(job, counts=TEN + TEN, attempt=1, total=21, progress=progress, settled=True)
    assert await store.get("a") == after
    assert [kept.counts for kept in await store.chunks("a")] == [None, TEN, TEN]
    assert await store.revision() == job.revision
    # An uncommitted chunk can be committed again.
    assert (await store.commit_chunks("a", [committed(FIRST, ONE)], Progress())).counts == TEN + TEN + ONE


@pytest.mark.usefixtures("job")
async def test_settle_may_be_repeated_and_keeps_the_total(store: JobStore) -> None:
    ledger = [committed(FIRST, TEN)]
    once = await store.settle("a", ledger, uid="uid of a", attempt=1, total=10, progress=Progress(), settled=False)
    assert once.settled is False
    assert (
        await store.settle("a", ledger, uid="uid of a", attempt=1, total=None, progress=Progress(), settled=False)
        == once
    )
    assert (
        await store.settle("a", [], uid="uid of a", attempt=1, total=None, progress=Progress(), settled=True)
    ).counts == Counts()


async def test_a_new_plan_forgets_the_chunks(store: JobStore, job: Job, export_job: Any) -> None:
    await store.settle(
        "a",
        [committed(FIRST, TEN)],
        uid="uid of a",
        attempt=1,
        total=10,
        progress=Progress(fraction=1.0),
        settled=False,
    )
    plan = export_job("b").plan
    after = await store.replan("a", plan)
    assert after == replace(job, plan=plan, counts=Counts(), attempt=1, total=None, progress=Progress())
    assert await store.get("a") == after
    assert await store.chunks("a") == ()
    assert await store.revision() == job.revision
    await store.add_chunks("a", [replace(FIRST, end=99)])
    assert (await store.commit_chunks("a", [committed(FIRST, ONE)], Progress())).counts == ONE


async def test_a_deleted_job_leaves_no_chunks(store: JobStore, bring: Any) -> None:
    await bring(store, "b", State.PAUSED)
    await store.add_chunks("b", CUT)
    await store.delete("b")
    await bring(store, "b", State.RUNNING)
    assert await store.chunks("b") == ()


async def test_settling_changes_nothing_once_a_later_attempt_has_begun(store: JobStore, new_job: Any) -> None:
    await store.create(new_job("a"))
    await store.command("a", Event.START)
    running = await store.move("a", Event.SLOT_FREE)
    assert running is not None
    await store.add_chunks("a", [FIRST])
    late = await store.settle(
        "a", [committed(FIRST, TEN)], uid="uid of a", attempt=0, total=10, progress=Progress(fraction=1.0), settled=True
    )
    assert late == running
