"""The memory of recent changes is limited in bytes, because a limit of their number is not enough."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from ladingd.core.job import Change, ChangeKind
from ladingd.core.plan import Column, ImportPlan
from ladingd.core.state import Event, State
from ladingd.run.watch.recent import Recent
from ladingd.store import documents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ladingd.core.job import Job
    from tests.unit.run.conftest import Rig

pytestmark = pytest.mark.timeout(60)


def changes_of(job: Job, number: int, *, revision: int = 0) -> Iterator[Change]:
    """Changes as the store returns them: each with its own job, parsed from text."""
    text = documents.write(documents.JOB, job)
    for each in range(revision + 1, revision + number + 1):
        read = replace(documents.read(documents.JOB, text), revision=each)
        yield Change(revision=each, kind=ChangeKind.EDITED, job=read, time=datetime.now(UTC))


def wide(job: Job, columns: int) -> Job:
    """The same job with ``columns`` columns."""
    assert isinstance(job.plan, ImportPlan)
    made = tuple(
        Column(source=f"source column {n}", target=f"target column {n}", type="text", nullable=True)
        for n in range(columns)
    )
    return replace(job, plan=replace(job.plan, columns=made))


async def test_the_changes_of_wide_jobs_are_bounded_by_bytes(rig: Rig) -> None:
    job = wide(await rig.queued(1), 150)  # The store keeps longer texts for the next reading.
    recent = Recent(0, most_bytes=256 << 10)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(20):
            for change in changes_of(replace(job, id=f"job{number}"), 1, revision=number):
                recent.append(change)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.3 * recent.size < taken < 2 * recent.size
    assert taken < 512 << 10
    assert 1 <= len(recent) < 20
    assert recent.last == 20
    assert [change.revision for change in recent.after(recent.floor)] == [*range(recent.floor + 1, 21)]


async def test_the_changes_of_one_job_share_what_does_not_change(rig: Rig) -> None:
    job = await rig.queued(1)
    recent = Recent(0)
    for change in changes_of(job, 50):
        recent.append(change)
    kept = recent.after(0)
    assert all((change.job.spec, change.job.plan) == (job.spec, job.plan) for change in kept)
    assert len({id(change.job.plan) for change in kept}) == 1


async def test_what_is_forgotten_is_forgotten_whole(rig: Rig) -> None:
    job = await rig.queued(1)
    recent = Recent(0, most=10)
    for number in range(100):
        for change in changes_of(replace(job, id=f"job{number}"), 3, revision=3 * number):
            recent.append(change)
    assert (len(recent), recent.floor, recent.last, recent.room) == (10, 290, 300, 0)
    assert len(recent._shared) == 4
    few = Recent(290, most=10)
    for number in range(96, 100):
        for change in changes_of(replace(job, id=f"job{number}"), 3, revision=3 * number):
            if change.revision > 290:
                few.append(change)
    assert few.size == recent.size


async def test_a_job_that_rests_is_not_kept_in_mind_by_the_watch(rig: Rig) -> None:
    """The watch keeps data about a job only while the job is active."""
    events = rig.watch.jobs()
    await anext(events)
    first = await rig.queued(1)
    while (await anext(events)).job != first:
        pass
    for number in range(2, 7):
        job = await rig.queued(number)
        assert (await rig.store.move(job.id, Event.SLOT_FREE)) is not None
        rig.notifier.notify(job.id)
        while (event := await anext(events)).job is None or event.job.state is not State.RUNNING:
            pass
        rig.watch.progressed(event.job)
        assert rig.watch._pulse._revisions
        await rig.store.move(job.id, Event.COMPLETE)
        rig.notifier.notify(job.id)
        while (event := await anext(events)).job is None or event.job.state is not State.FINISHED:
            pass
        assert (rig.watch._pulse._revisions, rig.watch._pulse._fresh, rig.watch._pulse._shown) == ({}, {}, {})
    await events.aclose()
