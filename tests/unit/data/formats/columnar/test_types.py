"""A new table gets the types that a file declares, unless they would lose values."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ladingd.core.bill import Counts
from ladingd.core.spec import ImportSpec, Table

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard

WHOLE = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("values", "declared", "stored"),
    [
        (pa.array([1, None], pa.uint64()), "decimal(20,0)", [(1,), (None,)]),
        (pa.array([2**64 - 1, 0], pa.uint64()), "text", [("18446744073709551615",), ("0",)]),
        (pa.array([WHOLE, None], pa.timestamp("ns")), "timestamp", [("2024-01-01 00:00:00",), (None,)]),
        (pa.array([WHOLE + 1], pa.timestamp("ns")), "text", [("2024-01-01 00:00:00.000000001",)]),
        (pa.array([1_001], pa.time64("ns")), "text", [("00:00:00.000001001",)]),
    ],
)
def test_values_that_a_declared_type_would_lose_are_text(
    yard: Yard, values: pa.Array, declared: str, stored: list[tuple[object, ...]]
) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"a": values}), file)
    plan = yard.transfer.plan(ImportSpec(files=(yard.write(file.getvalue(), "in.parquet"),), target=Table(table="t")))
    assert plan.kind == "import"
    assert [column.type for column in plan.columns] == [declared]
    assert yard.run(plan) == Counts(read=len(values), inserted=len(values), nulls={"a": 1} if values.null_count else {})
    assert yard.sql("SELECT a FROM t") == stored
