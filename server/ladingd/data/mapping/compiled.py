"""Turns the columns of a file into those of the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.job import Connector
from ladingd.core.plan import ImportPlan
from ladingd.data.mapping.batch import Batch, leave_out
from ladingd.data.mapping.column_reading import ColumnReading, is_text
from ladingd.data.rejects.fault import Fault
from ladingd.data.values.alteration import altered
from ladingd.data.values.casting import Known
from ladingd.data.values.notation import Written

if TYPE_CHECKING:
    from ladingd.core.plan import Chunk
    from ladingd.data.formats.format import Piece
    from ladingd.data.values.converters import Reading


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledMapping:
    """The mapping of a plan, ready for its chunks."""

    plan: ImportPlan
    columns: Sequence[ColumnReading]
    """How each column of the plan is read."""
    known: Sequence[Known]
    """What earlier chunks have revealed about each column."""

    @classmethod
    def of(cls, plan: ImportPlan, readings: Sequence[Reading], known: Sequence[Known] = ()) -> CompiledMapping:
        """The mapping of a plan. ``readings``: how the target wants the values of each column."""
        pairs = zip(plan.columns, readings, strict=True)
        return cls(
            plan=plan,
            columns=[ColumnReading.of(plan, column, reading) for column, reading in pairs],
            known=known or [Known() for _ in plan.columns],
        )

    def apply(self, piece: Piece, chunk: Chunk) -> Batch:
        """Convert the values; refuse each record with a value that cannot be converted."""
        indexes = piece.indexes
        converted: list[pa.Array] = []
        refused: dict[int, Fault] = {}
        nulls: dict[str, int] = {}
        for column, reading, values, known in zip(
            self.plan.columns, self.columns, piece.columns, self.known, strict=True
        ):
            outcome = reading.read(values, known, nul=piece.nul, nulled=piece.nulled)
            misfits = outcome.misfits
            if column.inferred and is_text(values):
                texts = outcome.texts if isinstance(outcome, Written) else values
                misfits = {**altered(texts, outcome.values, reading.reading.kind, column.source), **misfits}
            converted.append(outcome.values)
            if null := outcome.values.null_count - len(outcome.misfits):
                nulls[column.source] = null
            for row, misfit in misfits.items():
                fault = Fault(
                    index=int(indexes[row]),
                    code=misfit.code,
                    message=misfit.message,
                    column=column.source,
                    value=misfit.value,
                )
                refused.setdefault(row, fault)
            if self.plan.requires(column) and outcome.values.null_count:
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
        for row in self._without_key(converted):
            message = "a record without its key cannot be found in the table"
            refused.setdefault(row, Fault(index=int(indexes[row]), code="NO_KEY", message=message, column=self._key[0]))
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
            nulls=nulls,
        )

    def _without_key(self, converted: Sequence[pa.Array]) -> list[int]:
        """The rows that have an empty field in the key, and in the second key if there is one."""
        merge = self.plan.merge
        if merge is None:
            return []
        places = {column.target: place for place, column in enumerate(self.plan.columns)}
        missing = [
            reduce(pc.or_, [pc.is_null(converted[places[name]]) for name in key])
            for key in (merge.key, merge.second_key)
            if key
        ]
        rows: list[int] = pc.indices_nonzero(reduce(pc.and_, missing)).to_pylist()
        return rows

    @property
    def _key(self) -> list[str]:
        """The columns of the source for the first key."""
        sources = {column.target: column.source for column in self.plan.columns}
        return [sources[name] for name in self.plan.merge.key] if self.plan.merge else []
