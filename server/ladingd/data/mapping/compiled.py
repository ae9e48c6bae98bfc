"""Turns the columns of a file into those of the table.

The order: the window (skip, limit, lines); null words, transformations and types of the columns that the filter needs;
the filter; the same for all columns; defaults; calculated columns. So expressions see a column as it is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.job import Connector
from ladingd.core.plan import Chunk, ImportPlan
from ladingd.data.formats.format import Piece
from ladingd.data.mapping import expressions
from ladingd.data.mapping.batch import Batch, leave_out
from ladingd.data.mapping.column_reading import ColumnReading, is_text
from ladingd.data.mapping.evaluator import Expression
from ladingd.data.rejects.fault import Fault
from ladingd.data.values import types as field_type
from ladingd.data.values.alteration import altered
from ladingd.data.values.casting import Known
from ladingd.data.values.converters import natural, typed
from ladingd.data.values.notation import Written

if TYPE_CHECKING:
    from ladingd.core.plan import Column
    from ladingd.data.mapping.evaluator import Evaluated
    from ladingd.data.values.converters import Reading


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledMapping:
    """The mapping of a plan, ready for its chunks."""

    plan: ImportPlan
    columns: Sequence[ColumnReading]
    """How each column of the plan is read."""
    known: Sequence[Known]
    """What earlier chunks have revealed about each column."""
    filter: Expression | None = None
    calculated: Mapping[int, Expression] = field(default_factory=dict)
    """The expressions of columns, by their place in the plan."""

    @classmethod
    def of(cls, plan: ImportPlan, readings: Sequence[Reading], known: Sequence[Known] = ()) -> CompiledMapping:
        """The mapping of a plan. ``readings``: how the target wants the values of each column."""
        pairs = zip(plan.columns, readings, strict=True)
        return cls(
            plan=plan,
            columns=[ColumnReading.of(plan, column, reading) for column, reading in pairs],
            known=known or [Known() for _ in plan.columns],
            filter=expressions.parsed(plan, plan.filter, "the filter") if plan.filter else None,
            calculated={
                place: expressions.parsed(plan, column.filled.expression, expressions.title_of(column.target))
                for place, column in enumerate(plan.columns)
                if column.filled.expression
            },
        )

    def apply(self, piece: Piece, chunk: Chunk) -> Batch:
        """Convert the values; refuse each record with a value that cannot be converted."""
        records = piece.indexes.size + len(piece.faults) + piece.empty
        if not self.plan.window.is_open:
            piece = within(self.plan, piece, chunk)
        filtered = records - piece.indexes.size - len(piece.faults) - piece.empty
        if self.filter is not None:
            before = piece.indexes.size + len(piece.faults)
            piece = self._filtered(self.filter, piece, chunk)
            filtered += before - piece.indexes.size - len(piece.faults)
        rows = _Rows(mapping=self, piece=piece, chunk=chunk)
        converted = [rows.column(place) for place in range(len(self.columns))]
        for row in self._without_key(converted):
            rows.refuse(row, "NO_KEY", "a record without its key cannot be found in the table", self._key[0])
        indexes = piece.indexes
        if rows.refused:
            converted, indexes = leave_out(converted, indexes, np.array(sorted(rows.refused), np.int64))
        return Batch(
            plan=self.plan,
            chunk=chunk,
            records=pa.RecordBatch.from_arrays(converted, names=[column.target for column in self.plan.columns]),
            indexes=indexes,
            origins=piece.origins,
            faults=[*piece.faults, *rows.refused.values()],
            warnings=piece.warnings,
            empty=piece.empty,
            filtered=filtered,
            nulls=rows.nulls,
        )

    def _without_key(self, converted: Sequence[pa.Array]) -> list[int]:
        """The rows that have an empty field in the key, and in the second key if there is one."""
        merge = self.plan.merge
        if merge is None or not merge.key:
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

    def _filtered(self, condition: Expression, piece: Piece, chunk: Chunk) -> Piece:
        """The records for which the filter is true. Those for which it fails have a fault."""
        rows = _Rows(mapping=self, piece=piece, chunk=chunk)
        outcome = rows.evaluated(condition, "")
        kept = pc.fill_null(outcome.values.cast(pa.bool_()), False).to_numpy(zero_copy_only=False).copy()
        kept[list(rows.refused)] = False
        faults = [*piece.faults, *rows.refused.values()]
        if kept.all():
            return piece
        mask = pa.array(kept)
        # The warning about a record that is filtered stays away with it.
        left = set(piece.indexes[kept].tolist()) | {fault.index for fault in faults} if piece.warnings else set()
        return replace(
            piece,
            columns=[column.filter(mask) for column in piece.columns],
            indexes=piece.indexes[kept],
            faults=faults,
            warnings=[warning for warning in piece.warnings if warning.index in left],
        )


def within(plan: ImportPlan, piece: Piece, chunk: Chunk) -> Piece:
    """The records of a piece that are in the window of a plan."""
    window, number = plan.window, chunk.records or 0
    records = np.arange(number, dtype=np.int64)
    counted = chunk.earlier_records + chunk.first_record + records
    inside = counted > window.skip
    if window.limit:
        inside &= counted <= window.skip + window.limit
    if window.first_line or window.last_line:
        lines = piece.origins.lines(records)
        inside &= lines >= window.first_line
        if window.last_line:
            inside &= lines <= window.last_line
    if inside.all():
        return piece
    filled = np.zeros(number, np.bool_)
    filled[piece.indexes] = True
    filled[[fault.index for fault in piece.faults]] = True
    kept = inside[piece.indexes]
    mask = pa.array(kept)
    return replace(
        piece,
        columns=[column.filter(mask) for column in piece.columns],
        indexes=piece.indexes[kept],
        faults=[fault for fault in piece.faults if inside[fault.index]],
        warnings=[warning for warning in piece.warnings if inside[warning.index]],
        empty=int((inside & ~filled).sum()),
    )


@dataclass(kw_only=True, slots=True)
class _Rows:
    """The records of a piece while their columns are converted, one after the other."""

    mapping: CompiledMapping
    piece: Piece
    chunk: Chunk
    refused: dict[int, Fault] = field(default_factory=dict)
    """The first fault of each row."""
    nulls: dict[str, int] = field(default_factory=dict)
    _converted: dict[int, pa.Array] = field(default_factory=dict)
    _inputs: dict[str, pa.Array] = field(default_factory=dict)
    _fields: dict[str, int] = field(init=False)
    """The places of the fields in the piece, by name."""

    def column(self, place: int) -> pa.Array:
        """The values of a column of the plan."""
        if place not in self._converted:
            self._converted[place] = self._column(place)
        return self._converted[place]

    def _column(self, place: int) -> pa.Array:
        column, reading = self.mapping.plan.columns[place], self.mapping.columns[place]
        expression = self.mapping.calculated.get(place)
        if expression is None:
            values = self._values(column, reading, self.mapping.known[place])
        else:
            values = self._values(column, reading, self.mapping.known[place], self.evaluated(expression, column.source))
        if self.mapping.plan.requires(column) and values.null_count:
            message = f"the target's column {column.target} may not be empty"
            for row in pc.indices_nonzero(pc.is_null(values)).to_pylist():
                self.refuse(row, "NOT_NULL", message, column.source, connector=Connector.DATABASE)
        return values

    def _values(
        self, column: Column, reading: ColumnReading, known: Known | None, calculated: Evaluated | None = None
    ) -> pa.Array:
        """The values of a column with its default. Other values are refused."""
        if calculated is None:
            values, nul, nulled = self._field(column.source), self.piece.nul, self.piece.nulled
        else:
            values, nul, nulled = calculated.values, True, False
        outcome = reading.read(values, known, nul=nul, nulled=nulled)
        misfits = outcome.misfits
        if column.inferred and is_text(values):
            texts = outcome.texts if isinstance(outcome, Written) else values
            misfits = {**altered(texts, outcome.values, reading.reading.kind, column.source), **misfits}
        null = outcome.values.null_count - len(outcome.misfits)
        if null and calculated is None:
            self.nulls[column.source] = null
        for row, misfit in misfits.items():
            self.refuse(row, misfit.code, misfit.message, column.source, misfit.value)
        return reading.filled(outcome.values)

    def evaluated(self, expression: Expression, column: str) -> Evaluated:
        """The values of an expression. Records for which it fails are refused."""
        inputs = {name: self._input(name) for name in expression.needs.columns if name in self._fields}
        outcome = expressions.evaluated(self.mapping.plan, expression, inputs, self.piece, self.chunk)
        for row, problem in outcome.failed.items():
            self.refuse(row, expressions.EXPRESSION_FAILED, f"{expression.title} fails: {problem}", column)
        return outcome

    def __post_init__(self) -> None:
        self._fields = {each.name: place for place, each in enumerate(self.mapping.plan.file_columns)}

    def _field(self, name: str) -> pa.Array:
        return self.piece.columns[self._fields[name]]

    def _input(self, name: str) -> pa.Array:
        """The values of a field as expressions see them."""
        if name not in self._inputs:
            self._inputs[name] = self._as_seen(name)
        return self._inputs[name]

    def _as_seen(self, name: str) -> pa.Array:
        plan = self.mapping.plan
        column = expressions.source_columns(plan)[name]
        kind = expressions.seen_kind(field_type.parse(column.type))
        places = [place for place, each in enumerate(plan.columns) if each is column]
        if places and self.column(places[0]).type == natural(kind):
            return self.column(places[0])
        return self._values(column, ColumnReading.of(plan, column, typed(kind)), None)

    def refuse(
        self, row: int, code: str, message: str, column: str, value: str = "", connector: Connector = Connector.TEXT
    ) -> None:
        """Refuse a record, unless it is refused already."""
        if row not in self.refused:
            index = int(self.piece.indexes[row])
            self.refused[row] = Fault(
                index=index, code=code, message=message, column=column, value=value, connector=connector
            )
