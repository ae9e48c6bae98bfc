"""What a worker keeps of a table between the chunks of a job."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

from ladingd.core.bill import Counts
from ladingd.core.spec import File, ImportSpec, Table

if TYPE_CHECKING:
    from tests.unit.data.databases.duckdb.conftest import Pond

_BEGIN = "import pickle, sys; transfer, plan = pickle.load(sys.stdin.buffer); transfer.begin('second', 1, plan)"


def test_a_column_that_was_altered_after_a_job_is_read_as_it_is_now(pond: Pond) -> None:
    pond.sql("CREATE TABLE t (v INTEGER)")
    assert pond.load("v\n3000000000\n1\n", job="first") == Counts(read=2, inserted=1, rejected=1, errors=1)
    pond.sql("ALTER TABLE t ALTER v TYPE BIGINT")
    plan = pond.transfer.plan(ImportSpec(files=(File(path="in.csv"),), target=Table(connection="pond", table="t")))
    assert plan.notes == ()
    # Another worker begins the job.
    subprocess.run([sys.executable, "-c", _BEGIN], input=pickle.dumps((pond.transfer, plan)), check=True)
    chunks = pond.transfer.cut("job", plan, None, 100)
    assert [pond.transfer.process("second", 1, plan, chunk) for chunk in chunks] == [Counts(read=2, inserted=2)]
