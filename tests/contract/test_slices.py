"""The contract of staging and merging, tested with every registered kind of database.

Like `test_targets.py`, it uses only the port, and strikes between the steps of the exactly-once protocol.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import AttemptSuperseded, TargetUnavailable
from ladingd.core.plan import Chunk, ImportPlan, Merge, Phase
from ladingd.core.spec import Doubles, Duplicates, Operation
from ladingd.data.databases.commit import Conflict, OutcomeUnknown
from tests.contract.test_targets import FIRST, JOB, Arm, Dock, Strike, dock, fails_at, strike

if TYPE_CHECKING:
    from collections.abc import Callable

    from ladingd.data.mapping.batch import Batch
    from ladingd.data.rejects.fault import Faults

__all__ = ["dock", "strike"]

MERGE = Merge(operation=Operation.UPDATE_OR_INSERT, key=("id",), doubles=Doubles.UPDATE, duplicates=Duplicates.UPDATE)
SLICE = Chunk(ordinal=1, start=0, end=1, phase=1)
RECORDS = (("1", "a"), ("2", "b"), ("2", "c"), ("3", "bad"))
STAGED = Counts(read=4, pending=4)
MERGED = Counts(pending=-4, inserted=1, updated=1, rejected=1, errors=1, ignored_doubles=1, doubles=1, duplicates=1)
ROWS = [(1, "a"), (2, "c")]
STEPS = ("claim", "check_attempt", "merge", "count", "commit")


@pytest.fixture(params=[MERGE, replace(MERGE, second_key=("v",))], ids=["one key", "two keys"])
def plan(request: pytest.FixtureRequest, dock: Dock) -> ImportPlan:
    """A begun merge into a table with a row."""
    dock.sql("CREATE TABLE t (id {key}, v VARCHAR(9) UNIQUE CHECK (v <> 'bad'))", "INSERT INTO t VALUES (1, 'old')")
    plan = replace(dock.plan("id", "v"), merge=request.param, phases=(Phase.LOAD, Phase.MERGE))
    assert dock.target.begin(JOB, 1, plan) == ()
    return plan


def merge(dock: Dock, plan: ImportPlan, attempt: int = 1, keep: Callable[[], None] = lambda: None) -> Counts:
    def keep_rejects(faults: Faults) -> None:
        dock.rejects[SLICE.ordinal] = list(faults)
        keep()

    return dock.target.merge(JOB, attempt, plan, SLICE, keep_rejects, nothing_is_lost)


def nothing_is_lost(ordinal: int) -> Batch:
    raise AssertionError(f"chunk {ordinal} is read again")


def rows(dock: Dock) -> list[tuple[object, ...]]:
    return dock.sql("SELECT id, v FROM t ORDER BY id")


@pytest.fixture
def staged(dock: Dock, plan: ImportPlan) -> ImportPlan:
    """A merge whose records are staged."""
    assert dock.write(plan, *RECORDS) == STAGED
    dock.target.begin_merge(JOB, 1, plan)
    return plan


def finished(dock: Dock, plan: ImportPlan) -> None:
    assert rows(dock) == ROWS
    assert [(fault.index, fault.column) for fault in dock.rejects[SLICE.ordinal]] in ([(3, "")], [(3, "s_v")])
    for _ in range(2):
        dock.target.end_merge(JOB, plan)
    assert not [name for name in dock.database.tables() if "stage" in name]


def test_staged_records_are_in_no_table_before_the_merge(dock: Dock, staged: ImportPlan) -> None:
    assert rows(dock) == [(1, "old")]
    dock.target.begin_merge(JOB, 1, staged)
    assert merge(dock, staged) == MERGED
    assert merge(dock, staged) == MERGED, "a slice is merged once"
    finished(dock, staged)


@pytest.mark.parametrize("moment", [f"{side} {step}" for step in STEPS for side in ("before", "after")])
def test_a_slice_that_is_struck_at_any_moment_is_merged_once(
    dock: Dock, staged: ImportPlan, strike: Arm, moment: str
) -> None:
    strike(fails_at(moment, Strike(moment)))
    with pytest.raises(Strike):
        merge(dock, staged)
    assert rows(dock) == (ROWS if moment == "after commit" else [(1, "old")])
    assert len(dock.target.begin(JOB, 2, staged)) == (2 if moment == "after commit" else 1)
    dock.target.begin_merge(JOB, 2, staged)
    assert merge(dock, staged, 2) == MERGED
    finished(dock, staged)


@pytest.mark.parametrize("moment", ["after stage", "before commit", "after commit"])
def test_a_chunk_that_is_struck_while_it_is_staged_is_staged_once(
    dock: Dock, plan: ImportPlan, strike: Arm, moment: str
) -> None:
    strike(fails_at(moment, Strike(moment)))
    with pytest.raises(Strike):
        dock.write(plan, *RECORDS)
    dock.target.begin(JOB, 2, plan)
    assert dock.write(plan, *RECORDS, attempt=2) == STAGED
    dock.target.begin_merge(JOB, 2, plan)
    assert merge(dock, plan, 2) == MERGED
    finished(dock, plan)


@pytest.mark.parametrize("moment", ["before commit", "after commit"])
def test_a_slice_whose_commit_has_an_unknown_outcome_is_merged_once(
    dock: Dock, staged: ImportPlan, strike: Arm, moment: str
) -> None:
    strike(fails_at(moment, OutcomeUnknown(TargetUnavailable("the connection broke"))))
    if moment == "before commit":
        with pytest.raises(TargetUnavailable):
            merge(dock, staged)
    assert merge(dock, staged) == MERGED
    finished(dock, staged)


def test_a_slice_that_the_database_rolls_back_is_merged_again(dock: Dock, staged: ImportPlan, strike: Arm) -> None:
    strike(fails_at("after merge", Conflict("a conflict"), times=2))
    assert merge(dock, staged) == MERGED
    finished(dock, staged)


def test_rejects_that_cannot_be_kept_leave_the_slice_staged(dock: Dock, staged: ImportPlan) -> None:
    def fail() -> None:
        raise Strike

    with pytest.raises(Strike):
        merge(dock, staged, keep=fail)
    assert rows(dock) == [(1, "old")]
    assert merge(dock, staged) == MERGED
    finished(dock, staged)


def test_an_earlier_attempt_merges_nothing(dock: Dock, staged: ImportPlan) -> None:
    dock.target.begin(JOB, 2, staged)
    for late in (lambda: merge(dock, staged), lambda: dock.target.begin_merge(JOB, 1, staged)):
        with pytest.raises(AttemptSuperseded):
            late()
    assert rows(dock) == [(1, "old")]
    assert merge(dock, staged, 2) == MERGED
    finished(dock, staged)


def test_a_discarded_job_leaves_no_staged_records(dock: Dock, staged: ImportPlan) -> None:
    for _ in range(2):
        dock.target.discard(JOB)
    assert not [name for name in dock.database.tables() if "stage" in name]
    with pytest.raises(AttemptSuperseded):
        dock.write(staged, *RECORDS, chunk=replace(FIRST, ordinal=5))


def test_a_plan_that_is_made_anew_begins_with_an_empty_staging(dock: Dock, plan: ImportPlan) -> None:
    other = replace(plan, columns=plan.columns[:1], merge=MERGE)
    assert dock.target.begin(JOB, 2, other) == ()
    assert dock.write(other, ("7",), attempt=2) == Counts(read=1, pending=1)
    dock.target.begin_merge(JOB, 2, other)
    assert merge(dock, other, 2) == Counts(pending=-1, inserted=1)
