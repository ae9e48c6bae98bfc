"""What is checked before records are merged."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import EmptyReplacement
from ladingd.core.plan import ImportPlan, Merge
from ladingd.core.spec import Doubles, Duplicates, Operation, Table
from ladingd.run.attempt.reckoning import check_replacement


@pytest.mark.parametrize(("replaces", "staged", "fails"), [(True, 0, True), (True, 1, False), (False, 0, False)])
def test_a_replacement_without_a_record_fails(replaces: bool, staged: int, fails: bool) -> None:
    merge = Merge(operation=Operation.INSERT, key=(), doubles=Doubles.UPDATE, duplicates=Duplicates.UPDATE)
    plan = ImportPlan(
        files=(),
        columns=(),
        target=Table(table="t"),
        create_table=False,
        chunk_bytes=1,
        merge=replace(merge, replace=replaces),
    )
    with pytest.raises(EmptyReplacement, match="table t, so it was left as it is") if fails else nullcontext():
        check_replacement(plan, Counts(read=1, pending=staged, filtered=1 - staged))
