"""Which slice a staged record is in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ladingd.core.plan import Merge
from ladingd.core.spec import Doubles, Duplicates, Operation
from ladingd.data.databases.staging import by_chunk, extent, places, slices


def merge_of(number: int, *columns: str, bounds: tuple[int, ...] = ()) -> Merge:
    return Merge(
        operation=Operation.UPDATE_OR_INSERT,
        key=columns,
        doubles=Doubles.UPDATE,
        duplicates=Duplicates.UPDATE,
        slices=number,
        sliced_by=columns,
        bounds=bounds,
    )


def batch_of(**columns: pa.Array) -> Any:
    return SimpleNamespace(records=pa.RecordBatch.from_pydict(columns))


def numbers(batch: Any, merge: Merge) -> list[int]:
    """The slice of each record."""
    found = {int(row): number for number, rows in slices(batch, merge) for row in rows}
    return [found[row] for row in range(batch.records.num_rows)]


@pytest.mark.parametrize(
    "values",
    [
        pa.array(range(1000), pa.int64()),
        pa.array(range((1 << 63) - 500, (1 << 63) + 500), pa.uint64()),
        pa.array([f"name {number}" for number in range(1000)]),
        pa.array([b"%016d" % number for number in range(1000)], pa.binary(16)),
    ],
)
def test_equal_keys_meet_whatever_the_chunk(values: pa.Array) -> None:
    merge = merge_of(4, "k")
    whole = numbers(batch_of(k=values), merge)
    turned = numbers(batch_of(k=values.take(pa.array(range(999, -1, -1)))), merge)
    parts = [number for at in (0, 3, 700) for number in numbers(batch_of(k=values.slice(at, 300)), merge)]
    assert turned == whole[::-1]
    assert parts == [*whole[:300], *whole[3:303], *whole[700:1000]]
    assert min(np.bincount(whole, minlength=4)) > 200


def test_a_narrower_type_has_the_same_slice() -> None:
    merge = merge_of(8, "k")
    assert numbers(batch_of(k=pa.array([1, 2, 3], pa.int16())), merge) == numbers(
        batch_of(k=pa.array([1, 2, 3], pa.int64())), merge
    )


def test_bounds_are_the_last_values_of_slices() -> None:
    merge = merge_of(3, "k", bounds=(10, 20))
    assert numbers(batch_of(k=pa.array([-5, 10, 11, 20, 21, 99], pa.int32())), merge) == [0, 0, 1, 1, 2, 2]
    assert numbers(batch_of(k=pa.array([10, 11, (1 << 64) - 1], pa.uint64())), merge) == [0, 1, 2]
    assert [extent(merge, number) for number in range(3)] == [(None, 10), (10, 20), (20, None)]


def test_places_name_chunk_and_record() -> None:
    found = places(7, np.array([0, 5])).tolist() + places(6, np.array([4_000_000_000])).tolist()
    assert sorted(found) == [found[2], found[0], found[1]]
    told = [(ordinal, rows.tolist(), indexes.tolist()) for ordinal, rows, indexes in by_chunk(np.array(found))]
    assert told == [(6, [2], [4_000_000_000]), (7, [0, 1], [0, 5])]
