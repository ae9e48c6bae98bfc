"""Writes the packed records of a slice one by one, in the order of their keys: SQLite inserts each, or updates the row
that has its key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.bill import Counts
from ladingd.core.plan import Column, Merge
from ladingd.core.spec import Doubles
from ladingd.data.databases.commit import Merged
from ladingd.data.databases.sqlite.bulk_load import OnlyTryingTells
from ladingd.data.databases.sqlite.comparison import Comparison
from ladingd.data.databases.sqlite.packing import Packing, Part
from ladingd.data.databases.sqlite.session import Database, RecordRefused, TableShape, statement
from ladingd.data.databases.sqlite.slice_statements import CACHE, DEFAULTS, RowValues
from ladingd.data.rejects.fault import Faults
from ladingd.data.values.positions import Positions

_ROWS = "SELECT count(*) FROM main.{table}"
_CHANGES = "SELECT total_changes()"


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceUpsert:
    """The packed records of one slice on their way into the table."""

    path: Path
    database: Database
    shape: TableShape
    packing: Packing
    merge: Merge
    columns: Sequence[Column]
    """The columns of the plan."""

    def run(self, number: int) -> Merged:
        """Write the records of a slice. Raises OnlyTryingTells if the table refuses one."""
        database = self.database
        database.rows(CACHE)
        ranges = self.packing.ranges(self.merge, number)
        staged = sum(part.rows.size for parts in ranges for part in parts)
        choices = [self._choice(parts) for parts in ranges]
        batches: Sequence[pa.RecordBatch] = []
        for choice, found in zip(choices, self._pieces(choices), strict=True):
            batches = [*batches, *choice.ordered(found)]
            found.clear()
        kept = sum(batch.num_rows for batch in batches)
        defaults = dict(database.rows(DEFAULTS, (self.shape.name,)))

        def values(fields: Sequence[str]) -> RowValues:
            own = {column.target: field for column, field in zip(self.columns, fields, strict=True)}
            return RowValues(shape=self.shape, merge=self.merge, columns=self.columns, defaults=defaults, own=own)

        comparison = Comparison(path=self.path, sql=lambda fields: values(fields[:-1]).writes(fields[-1]))
        batches = comparison.changing(batches)
        rows, changes = self._rows(), self._changes()
        for batch in batches:
            try:
                database.write_each(lambda fields: values(fields).upsert(), batch)
            except RecordRefused as refusal:
                raise OnlyTryingTells from refusal
        written = self._changes() - changes
        inserted = self._rows() - rows if written else 0
        updated = written - inserted
        counts = Counts(
            pending=-staged,
            inserted=inserted,
            updated=updated,
            unchanged=kept - inserted - updated,
            ignored_doubles=staged - kept,
            doubles=staged - kept,
            duplicates=kept - inserted,
        )
        return Merged(counts=counts, faults=Faults.of([]))

    def _choice(self, parts: Sequence[Part]) -> _Choice:
        """Which records of a range count, and the order of their keys."""
        if not parts:
            return _Choice(parts=[], order=None)
        keys = pa.Table.from_batches([part.keys for part in parts]).combine_chunks()
        codes = [_codes(column.chunk(0)) for column in keys.columns]
        if _is_ascending(codes):
            return _Choice(parts=parts, order=None)
        # The sort is stable and chunks are in their order: the last one of equal keys comes last.
        order = np.lexsort(tuple(reversed(codes)))
        order = order[_counting([code[order] for code in codes], self.merge.doubles)]
        counting = np.zeros(keys.num_rows, np.bool_)
        counting[order] = True
        starts = np.cumsum([part.rows.size for part in parts])[:-1]
        kept = [
            replace(part, rows=part.rows[chosen])
            for part, chosen in zip(parts, np.split(counting, starts), strict=True)
        ]
        return _Choice(parts=kept, order=(np.cumsum(counting) - 1)[order])

    def _pieces(self, choices: Sequence[_Choice]) -> list[list[pa.RecordBatch]]:
        """The records that count, for each range."""
        pieces: list[list[pa.RecordBatch]] = [[] for _ in choices]
        names = [column.target for column in self.columns]
        for place, choice in enumerate(choices):
            for part in choice.parts:
                if part.rows.size:
                    pieces[place].append(part.of(self.packing.records(part.file).select(names)))
        return pieces

    def _rows(self) -> int:
        return int(self.database.rows(statement(_ROWS, table=self.shape.name))[0][0])

    def _changes(self) -> int:
        return int(self.database.rows(_CHANGES)[0][0])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Choice:
    """The records of a range that count. ``order``: their places by key; None if they are in order."""

    parts: Sequence[Part]
    order: Positions | None

    def ordered(self, pieces: Sequence[pa.RecordBatch]) -> Sequence[pa.RecordBatch]:
        """Their records in the order of their keys, unless Arrow cannot put them into one order."""
        schemas = {piece.schema for piece in pieces}
        if self.order is None or len(schemas) != 1 or any(map(pa.types.is_union, pieces[0].schema.types)):
            return pieces
        table = pa.Table.from_batches(pieces).take(pa.array(self.order))
        batches: list[pa.RecordBatch] = table.combine_chunks().to_batches()
        return batches


def _codes(keys: pa.Array) -> Positions:
    """Numbers that are ordered as the keys are."""
    if pa.types.is_integer(keys.type):
        codes: Positions = keys.to_numpy()
        return codes
    encoded = keys.dictionary_encode()
    ranks = pc.rank(encoded.dictionary, tiebreaker="dense").to_numpy().astype(np.int64)
    ranked: Positions = ranks[encoded.indices.to_numpy()]
    return ranked


def _is_ascending(codes: Sequence[Positions]) -> bool:
    if len(codes) > 1:
        return False
    return bool(np.all(codes[0][1:] > codes[0][:-1]))


def _counting(codes: Sequence[Positions], doubles: Doubles) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which of sorted keys count: the last one of equal ones, or the first."""
    differ = np.zeros(codes[0].size - 1, np.bool_)
    for code in codes:
        differ |= code[1:] != code[:-1]
    edge = np.ones(1, np.bool_)
    return np.concatenate([differ, edge] if doubles is Doubles.UPDATE else [edge, differ])
