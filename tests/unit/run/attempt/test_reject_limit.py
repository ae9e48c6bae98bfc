"""A job stops if more records are rejected than it allows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import TooManyRejects
from ladingd.core.job import Failure
from ladingd.core.spec import ExportSpec, File, RejectLimit, Table
from ladingd.core.state import Event, State
from ladingd.run.attempt.reckoning import check_reject_limit
from tests.unit.run.conftest import RECORDS, SPEC

if TYPE_CHECKING:
    from tests.unit.run.conftest import Rig


@pytest.mark.parametrize(
    ("limit", "rejected", "read", "complete", "stops"),
    [
        (RejectLimit(), 10**6, 10**6 + 1, True, False),
        (RejectLimit(records=3), 3, 10, False, False),
        (RejectLimit(records=3), 4, 10, False, True),
        (RejectLimit(records=0), 0, 10, True, False),
        (RejectLimit(records=0), 1, 10, False, True),
        (RejectLimit(percent=10), 999, 999, False, False),
        (RejectLimit(percent=10), 999, 999, True, True),
        (RejectLimit(percent=10), 100, 1_000, False, False),
        (RejectLimit(percent=10), 101, 1_000, False, True),
        (RejectLimit(percent=0), 1, 1_000, False, True),
        (RejectLimit(percent=100), 1_000, 1_000, True, False),
        (RejectLimit(percent=0.1), 2, 2_000, False, False),
        (RejectLimit(percent=0.1), 3, 2_000, False, True),
        (RejectLimit(percent=10), 0, 0, True, False),
        (RejectLimit(records=5, percent=50), 6, 100, False, True),
        (RejectLimit(records=500, percent=5), 100, 1_000, False, True),
    ],
)
def test_what_a_limit_allows(limit: RejectLimit, rejected: int, read: int, complete: bool, stops: bool) -> None:
    spec = replace(SPEC, reject_limit=limit)
    counts = Counts(read=read, inserted=read - rejected, rejected=rejected, errors=rejected)
    if not stops:
        check_reject_limit(spec, counts, complete=complete)
        return
    with pytest.raises(TooManyRejects, match=rf"^{rejected:,} of {read:,} records are rejected"):
        check_reject_limit(spec, counts, complete=complete)


def test_exports_have_no_limit() -> None:
    spec = ExportSpec(source=Table(table="t"), file=File(path="a.csv"))
    check_reject_limit(spec, Counts(read=9, rejected=9, errors=9), complete=True)


async def test_a_job_stops_behind_the_chunk_that_exceeds_the_limit(rig: Rig) -> None:
    job = await rig.queued(40, replace(SPEC, reject_limit=RejectLimit(records=4)))
    rig.transfer.counts = Counts(read=RECORDS, inserted=RECORDS - 2, rejected=2, errors=2)
    await (await rig.execution(job.id)).run()
    stopped = await rig.store.get(job.id)
    assert (stopped.state, stopped.settled) == (State.FAILED, True)
    assert stopped.counts.balances
    assert 6 <= stopped.counts.rejected < 2 * 40, "what was in flight is counted, and no more"
    assert stopped.failure == Failure(
        code="TOO_MANY_REJECTS",
        message="6 of 30 records are rejected (20 %), and the job allows 4; what was written stays",
    )
    before = stopped.counts
    await rig.store.command(job.id, Event.START)
    await (await rig.execution(job.id)).run()
    again = await rig.store.get(job.id)
    assert (again.state, again.counts) == (State.FAILED, before), "nothing more is written"


async def test_a_percentage_of_few_records_counts_at_the_end(rig: Rig) -> None:
    job = await rig.queued(3, replace(SPEC, reject_limit=RejectLimit(percent=10)))
    rig.transfer.counts = Counts(read=RECORDS, inserted=RECORDS - 2, rejected=2, errors=2)
    await (await rig.execution(job.id)).run()
    failed = await rig.store.get(job.id)
    assert (failed.state, failed.counts.read) == (State.FAILED, 3 * RECORDS)
    assert failed.failure is not None
    assert failed.failure.code == "TOO_MANY_REJECTS"
    assert "BILL" in await rig.codes(job.id)


async def test_a_job_within_its_limit_finishes(rig: Rig) -> None:
    job = await rig.queued(3, replace(SPEC, reject_limit=RejectLimit(records=6, percent=20)))
    rig.transfer.counts = Counts(read=RECORDS, inserted=RECORDS - 2, rejected=2, errors=2)
    await (await rig.execution(job.id)).run()
    assert (await rig.store.get(job.id)).state is State.FINISHED
