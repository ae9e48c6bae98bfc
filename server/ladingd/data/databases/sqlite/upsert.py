"""Writes the packed records of a slice one by one, in the order of their keys: SQLite inserts each, or updates the row
that has its key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.bill import Counts
from ladingd.core.plan import Column, Merge
from ladingd.core.spec import Doubles
from ladingd.data.databases.commit import Merged
from ladingd.data.databases.sqlite.bulk_load import OnlyTryingTells
from ladingd.data.databases.sqlite.packing import Packing, Part
from ladingd.data.databases.sqlite.session import Database, RecordRefused, TableShape, statement
from ladingd.data.databases.sqlite.slice_statements import CACHE, DEFAULTS, RowValues
from ladingd.data.rejects.fault import Faults

if TYPE_CHECKING:
    from ladingd.data.values.positions import Positions

_ROWS = "SELECT count(*) FROM main.{table}"
_CHANGES = "SELECT total_changes()"


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceUpsert:
    """The packed records of one slice on their way into the table."""

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
        rows, changes = self._rows(), self._changes()
        staged = kept = 0
        defaults = dict(database.rows(DEFAULTS, (self.shape.name,)))

        def sql(fields: Sequence[str]) -> str:
            own = {column.target: field for column, field in zip(self.columns, fields, strict=True)}
            values = RowValues(shape=self.shape, merge=self.merge, columns=self.columns, defaults=defaults, own=own)
            return values.upsert()

        for parts in ranges:
            staged += sum(part.rows.size for part in parts)
            for records in self._ordered(parts):
                kept += records.num_rows
                try:
                    database.write_each(sql, records)
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

    def _ordered(self, parts: Sequence[Part]) -> list[pa.RecordBatch]:
        """The records that count, in the order of their keys."""
        if not parts:
            return []
        keys = pa.Table.from_batches([part.keys for part in parts]).combine_chunks()
        codes = [_codes(column.chunk(0)) for column in keys.columns]
        ascending = _is_ascending(codes)
        order = np.arange(keys.num_rows)
        if not ascending:
            # The last one of equal keys comes last, because the sort is stable and chunks are in their order.
            order = np.lexsort(tuple(reversed(codes)))
            order = order[_counting([code[order] for code in codes], self.merge.doubles)]
        if ascending:
            return [self._fields(part) for part in parts]
        starts = np.cumsum([0, *(part.rows.size for part in parts)])
        counting = np.zeros(keys.num_rows, np.bool_)
        counting[order] = True
        pieces = []
        for part, start in zip(parts, starts[:-1], strict=True):
            chosen = counting[start : start + part.rows.size]
            records = self._fields(part)
            pieces.append(records if chosen.all() else records.filter(pa.array(chosen)))
        places = np.cumsum(counting) - 1
        if (
            any(pa.types.is_union(kind) for piece in pieces for kind in piece.schema.types)
            or len({piece.schema for piece in pieces}) > 1
        ):
            return pieces  # Arrow cannot put these into one order.
        table = pa.Table.from_batches(pieces)
        return list(table.take(pa.array(places[order])).combine_chunks().to_batches())

    def _fields(self, part: Part) -> pa.RecordBatch:
        records = self.packing.records(part)
        return records.select([column.target for column in self.columns])

    def _rows(self) -> int:
        return int(self.database.rows(statement(_ROWS, table=self.shape.name))[0][0])

    def _changes(self) -> int:
        return int(self.database.rows(_CHANGES)[0][0])


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
