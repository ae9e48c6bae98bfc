"""Merges by real processes: a pause between two slices, two jobs at one table, and the number of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lading_client.model import State
from tests.chaos.changes import Change
from tests.chaos.failpoint import Action, Moment
from tests.chaos.forms import Form
from tests.chaos.outcome import Difference
from tests.chaos.striking import IN_CHUNK
from tests.harness.waiting import until_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.trial import Trial

CHUNKS = 10
UPSERT = Form(change=Change.UPSERT)


@pytest.mark.parametrize("kind", [*IN_CHUNK])
async def test_a_job_that_is_paused_between_two_slices_goes_on_after_a_restart(
    trials: Callable[..., Trial], kind: str
) -> None:
    trial = trials(kind, 1)  # The other slices wait for this worker.
    undisturbed = await trial.undisturbed(CHUNKS, UPSERT)
    trial.failpoints.arm(Moment.BEFORE_COMMIT, Action.HANG, passing=CHUNKS)
    run = await trial.begin(CHUNKS, form=UPSERT)

    async def hangs() -> bool:
        return bool(trial.failpoints.strikes())

    await until_async(hangs, "the first slice is being merged")
    await trial.ask(lambda client: client.pause_job(run.name))
    # The slice that hangs is killed, and merged by another process.
    job = await trial.until(run, lambda job: job.state is State.PAUSED)
    assert 0 < job.bill.pending < job.bill.read - job.bill.rejected
    assert trial.daemon.stop() == 0
    trial.revive()
    assert (await trial.look(run)).state is State.PAUSED
    await trial.ask(lambda client: client.start_job(run.name))
    outcome = await trial.finish(run)
    assert not (difference := Difference.between(undisturbed, outcome)), difference


@pytest.mark.parametrize("trial", [*IN_CHUNK], indirect=True)
async def test_two_jobs_merge_into_one_table_at_once(trial: Trial) -> None:
    alone = await trial.undisturbed(CHUNKS, UPSERT)
    first = await trial.begin(CHUNKS, form=UPSERT)
    second = await trial.begin(CHUNKS, form=UPSERT, table=first.table)
    outcomes = [await trial.finish(run) for run in (first, second)]
    assert sorted(outcomes[1].rows) == sorted(Change.UPSERT.rows(CHUNKS))
    bills = [outcome.bill for outcome in outcomes]
    assert sum(bill.inserted for bill in bills) == alone.bill.inserted, "each row is inserted by one of them"
    assert sum(bill.updated for bill in bills) == alone.bill.updated, "and updated by one of them"
    assert [outcome.rejects for outcome in outcomes] == [alone.rejects] * 2


@pytest.mark.parametrize("kind", [*IN_CHUNK])
async def test_four_processes_do_what_one_does(trials: Callable[..., Trial], kind: str) -> None:
    outcomes = [await trials(kind, workers).undisturbed(CHUNKS, UPSERT) for workers in (1, 4)]
    assert not (difference := Difference.between(*outcomes)), difference
    assert sorted(outcomes[0].rows) == sorted(Change.UPSERT.rows(CHUNKS))
