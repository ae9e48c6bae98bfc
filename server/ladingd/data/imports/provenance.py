"""The columns that say where each row comes from: which job, file and line, and when.

They are the last columns of a plan. The mapping does not know them: they are put beside the columns that it makes. A
chunk that is written again gets the same values, so the time is that of the plan.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.clock import utc_now
from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import Column, Provenance
from ladingd.data.formats.format import UNKNOWN_LINE
from ladingd.data.values.names import fold
from ladingd.data.values.types import FieldType, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.plan import ImportPlan
    from ladingd.data.databases.target import TargetTable
    from ladingd.data.mapping.batch import Batch
    from ladingd.data.values.converters import Reading

FIELD = "provenance"
_KINDS = {
    Provenance.JOB: FieldType(kind=Kind.TEXT),
    Provenance.FILE: FieldType(kind=Kind.TEXT),
    Provenance.LINE: FieldType(kind=Kind.INTEGER),
    Provenance.TIME: FieldType(kind=Kind.TIMESTAMPTZ),
}
"""The types of new columns."""
_ALLOWED = {
    Provenance.JOB: {Kind.TEXT},
    Provenance.FILE: {Kind.TEXT},
    Provenance.LINE: {Kind.INTEGER, Kind.TEXT},
    Provenance.TIME: {Kind.TIMESTAMPTZ, Kind.TIMESTAMP, Kind.TEXT},
}
"""The types of existing columns that can hold the values."""


def with_provenance(plan: ImportPlan, table: TargetTable | None) -> ImportPlan:
    """The plan with the columns of provenance. ``table`` is the existing table.

    Raises InvalidSpec if something else fills such a column, or if one of the table has another type.
    """
    taken = {fold(column.target) for column in plan.columns}
    there = {fold(column.name): column for column in table.columns} if table is not None else {}
    columns = []
    for provenance, kind in _KINDS.items():
        if provenance in taken:
            raise InvalidSpec(FIELD, f"the file has a column {provenance} itself: import it without --provenance")
        column = Column(source=provenance, target=provenance, type=str(kind), provenance=provenance)
        found = there.get(provenance)
        if found is None:
            column = replace(column, added=table is not None)
        elif found.generated or found.type.kind not in _ALLOWED[provenance]:
            wanted = " or ".join(sorted(kind.value.lower() for kind in _ALLOWED[provenance]))
            raise InvalidSpec(
                FIELD,
                f"column {found.name} is of type {found.declared}; it must be {wanted} to hold the {provenance.what}",
            )
        else:
            column = replace(
                column, target=found.name, type=str(found.type), nullable=found.nullable, declared=found.declared
            )
        columns.append(column)
    time = utc_now().isoformat(sep=" ", timespec="seconds")
    return replace(plan, columns=(*plan.columns, *columns), time=time)


def without_provenance(table: TargetTable) -> TargetTable:
    """The table without the columns of provenance, which no column of a file fills."""
    return replace(table, columns=tuple(column for column in table.columns if fold(column.name) not in _KINDS))


def filled(batch: Batch, plan: ImportPlan, readings: Sequence[Reading], job_uid: str) -> Batch:
    """A batch of the mapping with the columns of provenance of its plan. ``readings`` are those of all columns."""
    mapped = len(batch.records.schema)
    arrays = [
        _values(column.provenance, batch, plan, reading, job_uid)
        for column, reading in zip(plan.columns[mapped:], readings[mapped:], strict=True)
        if column.provenance is not None
    ]
    if not arrays:
        return batch
    names = [column.target for column in plan.columns]
    return replace(batch, plan=plan, records=pa.RecordBatch.from_arrays([*batch.records.columns, *arrays], names=names))


def _values(provenance: Provenance, batch: Batch, plan: ImportPlan, reading: Reading, job_uid: str) -> pa.Array:
    rows = batch.records.num_rows
    if provenance is Provenance.LINE:
        lines = batch.lines(np.arange(rows))
        unknown = pa.array((lines == UNKNOWN_LINE) | (lines == 0))
        kind = reading.convert(pa.array(["1"])).type
        return pa.array(lines).cast(kind) if not unknown.true_count else _without(pa.array(lines), unknown).cast(kind)
    text = {Provenance.JOB: job_uid, Provenance.FILE: plan.file.path, Provenance.TIME: _time(plan, reading)}[provenance]
    return pa.repeat(reading.convert(pa.array([text]))[0], rows)


def _time(plan: ImportPlan, reading: Reading) -> str:
    """The time of the plan, in UTC. A type without a zone takes it without one."""
    return plan.time.partition("+")[0] if reading.kind.kind is Kind.TIMESTAMP else plan.time


def _without(values: pa.Array, left_out: pa.Array) -> pa.Array:
    return pc.if_else(left_out, pa.scalar(None, values.type), values)
