"""Old jobs are deleted in small steps, but never jobs that may continue."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from ladingd.core.access import Deed
from ladingd.core.errors import DiskFull, RequestJobDeleted, RevisionCompacted
from ladingd.core.job import ChangeKind, Job
from ladingd.core.state import Event, State
from ladingd.run.control import Control
from ladingd.run.upkeep.retention import Retention, Rules
from ladingd.store.audit import SqlAuditStore
from ladingd.store.jobs import SqlJobStore
from ladingd.store.retention import SqlRetentionStore
from tests.contract.conftest import FAILURE, WAYS
from tests.harness.listing import everything
from tests.harness.waiting import until_async
from tests.unit.run.conftest import SPEC, plan_of

if TYPE_CHECKING:
    from ladingd.run.workers.pool import Workers
    from tests.unit.run.conftest import Rig

pytestmark = pytest.mark.timeout(30)

FOR_EVER = Rules(jobs_days=0, jobs_most=0, failed_days=0, files_bytes=0, changes_most=0, audit_days=0, audit_most=0)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


class Clocks:
    """The wall clock, and a monotonic clock."""

    def __init__(self) -> None:
        self.now = NOW
        self.steady = 1_000_000.0

    def pass_by(self, seconds: float, *, leap: timedelta = timedelta()) -> None:
        self.now += timedelta(seconds=seconds) + leap
        self.steady += seconds


def retention_of(rig: Rig, rules: Rules, clocks: Clocks | None = None) -> Retention:
    clocks = clocks or Clocks()
    control = Control(
        jobs=rig.store,
        transfer=rig.transfer,
        workers=cast("Workers", rig.workers),
        notifier=rig.notifier,
        cleanup=rig.cleanup,
        disk_space=rig.disk_space,
    )
    return Retention(
        rules,
        pause=0.0,
        jobs=rig.store,
        changes=rig.store,
        old=SqlRetentionStore(rig.store._database),
        files=rig.files,
        deleter=control,
        breath=0.0,
        clock=lambda: clocks.now,
        steady=lambda: clocks.steady,
    )


async def make(rig: Rig, job_id: str, state: State, days_ago: int = 0) -> Job:
    """A job that entered its state ``days_ago`` days ago."""
    then = NOW - timedelta(days=days_ago)
    store = SqlJobStore(rig.store._database, now=lambda: then)
    job = Job(id=job_id, uid=f"uid-{job_id}", spec=SPEC, plan=plan_of(1), create_time=then, update_time=then)
    await store.create(job)
    for event in WAYS[state]:
        await store.move(job_id, event, failure=FAILURE)
    return await store.get(job_id)


async def left(rig: Rig) -> set[str]:
    return {job.id for job in (await everything(rig.store))[1]}


async def test_what_may_go_on_stays_however_old_it_is(rig: Rig) -> None:
    for state in State:
        await make(rig, state.lower(), state, days_ago=5_000)
    rules = replace(FOR_EVER, jobs_days=1, jobs_most=1, files_bytes=1)
    rig.files.there = {f"uid-{state.lower()}": 10 for state in State}
    retention = retention_of(rig, rules)
    await retention.forget_jobs()
    await retention.forget_files()
    assert await left(rig) == {state.lower() for state in State} - {"finished", "canceled"}
    failed = retention_of(rig, replace(FOR_EVER, failed_days=1))
    await failed.forget_jobs()
    assert await left(rig) == {state.lower() for state in State} - {"finished", "canceled", "failed"}


async def test_jobs_go_by_age(rig: Rig) -> None:
    for days in (1, 29, 30, 31, 400):
        await make(rig, f"d{days}", State.FINISHED, days_ago=days)
    await retention_of(rig, replace(FOR_EVER, jobs_days=30)).forget_jobs()
    assert await left(rig) == {"d1", "d29", "d30"}


async def test_nothing_goes_by_age_for_a_day_after_the_clock_went_forward(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    await make(rig, "job", State.FINISHED, days_ago=1)
    audit = SqlAuditStore(rig.store._database)
    await audit.add([Deed(time=NOW, principal="p", role="", peer="", method="m", resource="", outcome="OK")])
    clocks = Clocks()
    retention = retention_of(rig, replace(FOR_EVER, jobs_days=30, audit_days=30), clocks)

    async def look() -> tuple[set[str], int]:
        await retention.compare_clocks()
        await retention.forget_jobs()
        await retention.forget_audit()
        return await left(rig), len((await audit.list(size=9)).items)

    for leap in (timedelta(), timedelta(minutes=50), timedelta(days=-3), timedelta(days=300), timedelta(days=300)):
        clocks.pass_by(600, leap=leap)
        assert await look() == ({"job"}, 1)
    assert caplog.text.count("for 24 hours nothing is deleted for its age") == 2
    clocks.pass_by(86_000)
    assert await look() == ({"job"}, 1)
    clocks.pass_by(500)
    assert await look() == (set(), 0)


async def test_at_the_start_a_clock_far_ahead_of_all_jobs_is_doubted(rig: Rig) -> None:
    await make(rig, "old", State.FINISHED, days_ago=40)
    await make(rig, "new", State.FINISHED, days_ago=29)
    rules = replace(FOR_EVER, jobs_days=30)
    clocks = Clocks()
    clocks.pass_by(0, leap=timedelta(days=40))
    doubting = retention_of(rig, rules, clocks)
    await doubting.compare_clocks()
    await doubting.forget_jobs()
    assert await left(rig) == {"old", "new"}
    trusting = retention_of(rig, rules)
    await trusting.compare_clocks()
    await trusting.forget_jobs()
    assert await left(rig) == {"new"}


async def test_jobs_go_by_number_the_oldest_first(rig: Rig) -> None:
    for days in range(1, 251):
        await make(rig, f"d{days}", State.FINISHED if days % 2 else State.CANCELED, days_ago=days)
    await make(rig, "failed", State.FAILED, days_ago=900)
    await retention_of(rig, replace(FOR_EVER, jobs_most=20)).forget_jobs()
    assert await left(rig) == {f"d{days}" for days in range(1, 21)} | {"failed"}


async def test_where_some_are_too_old_the_others_are_not_too_many(rig: Rig) -> None:
    """Otherwise the limit of the number would never apply if each run finds a job that has just become too old."""
    for days in range(1, 31):
        await make(rig, f"d{days}", State.FINISHED, days_ago=days)
    await retention_of(rig, replace(FOR_EVER, jobs_days=29, jobs_most=10)).forget_jobs()
    assert await left(rig) == {f"d{days}" for days in range(1, 11)}


async def test_jobs_go_by_the_size_of_their_files_the_oldest_first(rig: Rig) -> None:
    for days in (1, 2, 3, 4):
        await make(rig, f"d{days}", State.FINISHED, days_ago=days)
    rig.files.there = {"uid-d1": 50, "uid-d3": 30, "uid-d4": 40, "uid-of-nobody": 0}
    await retention_of(rig, replace(FOR_EVER, files_bytes=80)).forget_files()
    assert await left(rig) == {"d1", "d2", "d3"}


async def test_watchers_hear_of_it_and_what_was_left_is_to_be_discarded(rig: Rig) -> None:
    job = await make(rig, "old", State.FINISHED, days_ago=9)
    revision = await rig.store.revision()
    await retention_of(rig, replace(FOR_EVER, jobs_days=1)).forget_jobs()
    (change,) = await rig.store.changes(revision, limit=10)
    assert (change.kind, change.job.id) == (ChangeKind.DELETED, "old")
    await rig.cleanup.clear()
    assert rig.transfer.discarded == [job.uid]


async def test_a_job_that_was_started_again_meanwhile_stays(rig: Rig) -> None:
    await make(rig, "again", State.FAILED, days_ago=9)
    store = SqlRetentionStore(rig.store._database)
    (found,) = await store.overdue({State.FAILED}, before=NOW, limit=10)
    for event in (Event.START, Event.SLOT_FREE, Event.ERROR):
        await rig.store.move("again", event, failure=FAILURE)
    assert not await retention_of(rig, FOR_EVER)._delete(found)
    assert await left(rig) == {"again"}


async def test_a_full_disk_does_not_end_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error would end the daemon."""
    await make(rig, "old", State.FINISHED, days_ago=9)
    delete, refusals = rig.store.delete, [DiskFull("full"), DiskFull("full")]

    async def sometimes(job_id: str, **more: Any) -> Job:
        if refusals:
            raise refusals.pop()
        return await delete(job_id, **more)

    monkeypatch.setattr(rig.store, "delete", sometimes)
    running = asyncio.create_task(retention_of(rig, replace(FOR_EVER, jobs_days=1)).run())

    async def gone() -> bool:
        assert not running.done(), running
        return not await left(rig)

    await until_async(gone, "the job is deleted when there is room")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_the_audit_trail_goes_by_age_and_number(rig: Rig) -> None:
    audit = SqlAuditStore(rig.store._database)
    deeds = [
        Deed(time=NOW - timedelta(hours=hours), principal="p", role="", peer="", method="m", resource="", outcome="OK")
        for hours in range(12_000, 0, -1)
    ]
    await audit.add(deeds)
    await retention_of(rig, replace(FOR_EVER, audit_days=400)).forget_audit()
    oldest = (await audit.list(size=20_000)).items[-1]
    assert oldest.deed.time == NOW - timedelta(days=400)
    await retention_of(rig, replace(FOR_EVER, audit_most=70)).forget_audit()
    assert [entry.sequence for entry in (await audit.list(size=20_000)).items] == list(range(12_000, 11_930, -1))
    await retention_of(rig, FOR_EVER).forget_audit()


async def test_a_watch_from_before_the_changes_that_are_kept_is_told_so(rig: Rig) -> None:
    job = await rig.queued(1)
    for _ in range(3):
        await rig.command(job.id, Event.PAUSE)
        await rig.command(job.id, Event.START)
    await retention_of(rig, replace(FOR_EVER, changes_most=3)).forget_changes()
    with pytest.raises(RevisionCompacted) as compacted:
        await rig.store.changes(4, limit=1)
    assert compacted.value.oldest == 6
    assert [change.revision for change in await rig.store.changes(5, limit=10)] == [6, 7, 8]
    with pytest.raises(RevisionCompacted):
        await anext(rig.watch.jobs(revision=4))


async def test_for_ever_is_for_ever(rig: Rig) -> None:
    await make(rig, "old", State.FINISHED, days_ago=50_000)
    rig.files.there = {"uid-old": 1 << 60}
    running = asyncio.create_task(retention_of(rig, FOR_EVER).run())
    for _ in range(100):
        await asyncio.sleep(0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert await left(rig) == {"old"}
    assert len(await rig.store.changes(0, limit=10)) == 4


async def test_requests_are_remembered_for_thirty_days_and_as_long_as_their_jobs(rig: Rig) -> None:
    for owner, days in (("anna", 31), ("robot", 29)):
        job = replace(await make(rig, f"of-{owner}", State.FINISHED, days_ago=0), owner=owner)
        rig.store._now = lambda days=days: NOW - timedelta(days=days)  # type: ignore[misc]
        for name in ("gone", "there"):
            made = replace(job, id=f"{name}-{owner}", uid=f"{name}-{owner}", state=State.EDITING)
            await rig.store.create(made, request_id=name, request_digest="d")
        await rig.store.delete(f"gone-{owner}")
    await retention_of(rig, FOR_EVER).forget_requests()
    assert await rig.store.made_by("anna", "gone", "d") is None
    assert (await rig.store.get("there-anna")) == await rig.store.made_by("anna", "there", "d")
    with pytest.raises(RequestJobDeleted):
        await rig.store.made_by("robot", "gone", "d")
