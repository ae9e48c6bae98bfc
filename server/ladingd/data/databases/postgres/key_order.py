"""Sorts the records of a batch by the table's key.

Records in the order of an index find its pages in the cache: a COPY of 2,000,000 unordered keys took a third less time
when each batch was sorted. Transactions that insert keys in the same order also cannot deadlock. The price: of two
records that are doubles in another unique index, the record with the smaller key is inserted, not the first in the
file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.mapping.batch import Batch


def in_key_order(batch: Batch, key: Sequence[str]) -> Batch:
    """The batch sorted by the key. Equal keys keep the order of the file. Unchanged if the batch lacks a column of the
    key."""
    records = batch.records
    if not key or not set(key) <= set(records.schema.names) or _is_sorted(records.column(key[0])):
        return batch
    order = pc.sort_indices(records, sort_keys=[(name, "ascending") for name in key])
    columns = [column.take(order) for column in records.columns]
    return batch.with_records(columns, batch.indexes[order.to_numpy()])


def _is_sorted(column: pa.Array) -> bool:
    """Whether the values strictly increase. Equal values do not count as sorted, because later columns may order
    them."""
    return column.null_count == 0 and pc.all(pc.less(column[:-1], column[1:]), min_count=0).as_py() is not False
