"""The records that a table has rejected, and the reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.job import Connector
from ladingd.data.rejects.fault import Faults
from ladingd.data.rejects.lines import shortened
from ladingd.data.values.casting import VALUE_CAP
from ladingd.data.values.positions import Positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.mapping.batch import Batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The reason why the table rejected some records of a batch.

    ``message`` is SQLite's own message unless there is a ``code``. ``holders``, if known, are the rows of the batch
    that have the same keys.
    """

    rows: Positions
    """In order."""
    message: str
    code: str = ""
    holders: Positions | None = None


def faults(batch: Batch, table: str, verdicts: Sequence[Verdict]) -> Faults:
    """The faults of the rejected records."""
    places = {
        f"{kind} constraint failed: {table}.{column.target}": place
        for place, column in enumerate(batch.plan.columns)
        for kind in ("UNIQUE", "NOT NULL")
    }
    found = Faults.of([])
    for verdict in verdicts:
        place = places.get(verdict.message)
        message: str | pa.Array = verdict.message
        if verdict.holders is not None:
            lines = pa.array(batch.lines(verdict.holders)).cast(pa.string())
            message = pc.binary_join_element_wise(
                f"{verdict.message} (line ", lines, " of the file has the same key)", ""
            )
        found += Faults.alike(
            batch.indexes[verdict.rows],
            code=verdict.code or ("NOT_NULL" if verdict.message.startswith("NOT NULL") else "CONSTRAINT"),
            message=message,
            column="" if place is None else batch.plan.columns[place].source,
            value="" if place is None else shortened(batch.texts(verdict.rows, place), VALUE_CAP),
            connector=Connector.DATABASE,
        )
    return found
