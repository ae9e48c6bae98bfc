"""Turns the columns of a file into those of the table."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.job import Connector
from ladingd.core.plan import ImportPlan
from ladingd.data.mapping.batch import Batch, leave_out
from ladingd.data.rejects.fault import Fault
from ladingd.data.values.casting import Cast, Known, cast
from ladingd.data.values.converters import Reading
from ladingd.data.values.inference import altered

if TYPE_CHECKING:
    from ladingd.core.plan import Chunk
    from ladingd.data.formats.format import Piece


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledMapping:
    """The mapping of a plan, ready for its chunks."""

    plan: ImportPlan
    readings: Sequence[Reading]
    """How the target wants the values of each column of the plan."""
    known: Sequence[Known]
    """What earlier chunks have revealed about each column."""

    @classmethod
    def of(cls, plan: ImportPlan, readings: Sequence[Reading]) -> CompiledMapping:
        """The mapping of a plan before its first chunk."""
        return cls(plan=plan, readings=readings, known=[Known() for _ in plan.columns])

    def apply(self, piece: Piece, chunk: Chunk) -> Batch:
        """Convert the values; refuse each record with a value that cannot be converted."""
        indexes = piece.indexes
        converted: list[pa.Array] = []
        refused: dict[int, Fault] = {}
        for column, reading, values, known in zip(
            self.plan.columns, self.readings, piece.columns, self.known, strict=True
        ):
            outcome = _converted(values, reading, known, nul=piece.nul)
            misfits = outcome.misfits
            if column.inferred and _is_text(values):
                misfits = {**altered(values, outcome.values, reading.kind, column.source), **misfits}
            converted.append(outcome.values)
            for row, misfit in misfits.items():
                fault = Fault(
                    index=int(indexes[row]),
                    code=misfit.code,
                    message=misfit.message,
                    column=column.source,
                    value=misfit.value,
                )
                refused.setdefault(row, fault)
            if not column.nullable and outcome.values.null_count:
                message = f"the target's column {column.target} may not be empty"
                for row in pc.indices_nonzero(pc.is_null(outcome.values)).to_pylist():
                    fault = Fault(
                        index=int(indexes[row]),
                        code="NOT_NULL",
                        message=message,
                        column=column.source,
                        connector=Connector.DATABASE,
                    )
                    refused.setdefault(row, fault)
        if refused:
            converted, indexes = leave_out(converted, indexes, np.array(sorted(refused), np.int64))
        return Batch(
            plan=self.plan,
            chunk=chunk,
            records=pa.RecordBatch.from_arrays(converted, names=[column.target for column in self.plan.columns]),
            indexes=indexes,
            origins=piece.origins,
            faults=[*piece.faults, *refused.values()],
            warnings=piece.warnings,
            empty=piece.empty,
        )


def _is_text(values: pa.Array) -> bool:
    return bool(pa.types.is_string(values.type) or pa.types.is_binary(values.type))


def _is_exact(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _converted(values: pa.Array, reading: Reading, known: Known, *, nul: bool) -> Cast:
    """The values as the target wants them. Values that the format has typed that way stay as they are."""
    if _is_text(values):
        return cast(values, reading, known, nul=nul)
    wanted = reading.convert(pa.array([], pa.string())).type
    if _is_exact(values.type) and _is_exact(wanted):
        with suppress(pa.ArrowInvalid):  # Out of range: converting the text finds the values.
            values = pc.cast(values, wanted)
    if values.type == wanted:
        return Cast(values=values, misfits={})
    return cast(pc.cast(values, pa.string()), reading, known, nul=False)
