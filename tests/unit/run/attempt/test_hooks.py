"""Hooks run before the first and after the last chunk of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import TargetChanged, TargetRefused, TargetUnavailable, WorkerLost
from ladingd.core.plan import Column
from ladingd.core.state import Event, State
from ladingd.run.attempt import outage as outages
from tests.unit.run.conftest import RECORDS

if TYPE_CHECKING:
    from tests.unit.run.conftest import Rig

pytestmark = pytest.mark.timeout(30)

HOOKS = {"before": ("A", "B"), "after": ("C", "D")}
EVERY = ["before 0", "before 1", "process", "process", "finish", "after 0", "after 1"]


async def test_hooks_run_before_the_first_and_after_the_last_chunk(rig: Rig) -> None:
    job = await rig.queued(2, **HOOKS)
    await (await rig.execution(job.id)).run()
    assert (await rig.store.get(job.id)).state is State.FINISHED
    assert rig.transfer.steps == EVERY
    entries = await rig.store.journal(job.id, limit=99)
    told = ["hook before 1", "hook before 2", "hook after 1", "hook after 2"]
    assert [entry.message for entry in entries if entry.code == "HOOK"] == told


@pytest.mark.parametrize("error", [TargetRefused("hook failed: no such table"), WorkerLost("killed")])
@pytest.mark.parametrize("skipped", [0, 1, 2, 3])
async def test_a_job_continues_with_the_hook_that_failed(rig: Rig, error: Exception, skipped: int) -> None:
    job = await rig.queued(2, **HOOKS)
    waiting, run_hook = [skipped], rig.transfer._raise

    def fail(method: str) -> None:
        if method == "run_hook" and waiting:
            waiting[0] -= 1
            if waiting[0] < 0:
                waiting.clear()
                raise error
        run_hook(method)

    rig.transfer._raise = fail  # type: ignore[method-assign]
    await (await rig.execution(job.id)).run()
    failed = await rig.store.get(job.id)
    assert failed.state is State.FAILED
    assert failed.failure is not None
    assert failed.failure.message == str(error)
    assert len(rig.transfer.hooks) == skipped
    await rig.command(job.id, Event.START)
    await (await rig.execution(job.id)).run()
    done = await rig.store.get(job.id)
    assert (done.state, done.counts.read) == (State.FINISHED, 2 * RECORDS)
    assert [step for step in rig.transfer.steps if step != "finish"] == [step for step in EVERY if step != "finish"]


@pytest.mark.parametrize("skipped", [1, 3])
async def test_a_target_that_is_away_during_a_hook_is_tried_again_and_nothing_is_said_twice(
    rig: Rig, skipped: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "FIRST_WAIT", 0.01)
    job = await rig.queued(2, **HOOKS)
    waiting, go_on = [skipped], rig.transfer._raise

    def fail(method: str) -> None:
        if method == "run_hook" and waiting:
            waiting[0] -= 1
            if waiting[0] < 0:
                if waiting[0] < -2:
                    waiting.clear()
                raise TargetUnavailable("the database is away")
        go_on(method)

    rig.transfer._raise = fail  # type: ignore[method-assign]
    await (await rig.execution(job.id, target=20.0)).run()
    assert (await rig.store.get(job.id)).state is State.FINISHED
    codes = await rig.codes(job.id)
    assert [codes.count(code) for code in ("HOOK", "BILL")] == [4, 1]
    assert rig.transfer.steps == EVERY


async def test_hooks_after_do_not_run_if_all_records_were_rejected(rig: Rig) -> None:
    rig.transfer.counts = Counts(read=RECORDS, rejected=RECORDS, errors=RECORDS)
    job = await rig.queued(2, **HOOKS)
    await (await rig.execution(job.id)).run()
    assert (await rig.store.get(job.id)).state is State.FAILED
    assert rig.transfer.steps == EVERY[:-2]


async def test_a_job_without_records_has_hooks(rig: Rig) -> None:
    job = await rig.queued(0, **HOOKS)
    await (await rig.execution(job.id)).run()
    assert rig.transfer.steps == [step for step in EVERY if step != "process"]


async def test_columns_are_added_after_the_hooks_before(rig: Rig) -> None:
    columns = (Column(source="a", target="a", type="text"), Column(source="b", target="b", type="text", added=True))
    job = await rig.queued(2, **HOOKS, columns=columns)
    rig.transfer.errors["add_columns"] = [TargetChanged("column b has another type now")]
    await (await rig.execution(job.id)).run()
    assert (await rig.store.get(job.id)).state is State.FINISHED, "the job was planned again, without this column"
    assert rig.transfer.steps == [step for step in EVERY if not step.startswith("after")]
    rig.transfer.steps.clear()
    job = await rig.queued(3, columns=columns)
    await (await rig.execution(job.id)).run()
    assert rig.transfer.steps == ["add_columns", "process", "process", "process", "finish"]
    assert "TABLE_CHANGED" in await rig.codes(job.id)
