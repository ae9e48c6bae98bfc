"""Puts the table's defaults into empty fields of columns that may not be empty.

The database evaluates a default once for each of these fields, before the records are written. So sequences, ``now()``
and random values come from where inserts of other programs take them, and the records are loaded like all others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.values.casting import cast
from ladingd.data.values.texts import as_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.databases.target import Target
    from ladingd.data.mapping.batch import Batch
    from ladingd.data.values.converters import Reading
    from ladingd.data.values.positions import Positions


def with_defaults(batch: Batch, target: Target, readings: Sequence[Reading]) -> Batch:
    """The batch with defaults for the nulls of columns that may not be empty. A default that is no value of the planned
    type stays null, and the table refuses the record."""
    empty = {
        place: values.null_count
        for place, (column, values) in enumerate(zip(batch.plan.columns, batch.records.columns, strict=True))
        if batch.plan.takes_default(column) and values.null_count
    }
    if not empty:
        return batch
    found = target.defaults(batch.plan, {batch.plan.columns[place].target: count for place, count in empty.items()})
    columns = list(batch.records.columns)
    for place in empty:
        texts, times = zip(*found[batch.plan.columns[place].target], strict=True)
        values = cast(pa.array(texts, pa.string()), readings[place]).values
        columns[place] = _filled(columns[place], values, np.repeat(np.arange(len(times)), times))
    return replace(batch, records=pa.RecordBatch.from_arrays(columns, names=batch.records.schema.names))


def _filled(values: pa.Array, defaults: pa.Array, chosen: Positions) -> pa.Array:
    """The values with the ``chosen`` defaults in place of their nulls, one after the other."""
    if defaults.type != values.type:
        try:
            defaults = defaults.cast(values.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            # The database parses the values. They are text because of special ones, such as infinity.
            values, defaults = as_text(values), as_text(defaults)
    places = np.arange(len(values))
    places[pc.is_null(values).to_numpy(zero_copy_only=False)] = len(values) + chosen
    return pa.concat_arrays([values, defaults]).take(pa.array(places))
