"""Finds the packed records of a slice that would change the table, with several connections at once.

SQLite has one writer, but many readers. While a transaction holds the write lock and has written nothing of the table
yet, nobody else can change it, so all readers see the rows that the transaction will find.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ladingd.data.databases.sqlite.session import connected

if TYPE_CHECKING:
    from ladingd.data.values.positions import Positions

_FEW = 10_000
"""So many records are written sooner than they are compared."""
_SAMPLED = 64
"""One record of so many tells whether a comparison is worth its time."""
_WORTH = 0.6
"""The part of the records that must be unchanged for that. An unchanged record costs about two thirds less to compare
than to write, and a changed one costs both."""
_READERS = 4
_PIECE = 16_384


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Compares records with the rows of a database whose write lock the caller holds."""

    path: Path
    sql: Callable[[Sequence[str]], str]
    """The query for the last of these fields of a record if the record would change the table."""

    def changing(self, batches: Sequence[pa.RecordBatch]) -> Sequence[pa.RecordBatch]:
        """The batches with at least those records that would change the table, in their order."""
        if sum(batch.num_rows for batch in batches) < _FEW or not self._is_worth_it(batches):
            return batches
        pieces = [batch.slice(first, _PIECE) for batch in batches for first in range(0, batch.num_rows, _PIECE)]
        readers = min(_READERS, len(os.sched_getaffinity(0)), len(pieces))
        shares = [pieces[len(pieces) * n // readers : len(pieces) * (n + 1) // readers] for n in range(readers)]
        with ThreadPoolExecutor(readers) as pool:
            return [batch for found in pool.map(self._read, shares) for batch in found if batch.num_rows]

    def _is_worth_it(self, batches: Sequence[pa.RecordBatch]) -> bool:
        samples = [batch.take(pa.array(np.arange(0, batch.num_rows, _SAMPLED))) for batch in batches]
        sampled = sum(batch.num_rows for batch in samples)
        changing = sum(batch.num_rows for batch in self._read(samples))
        return bool(sampled - changing >= _WORTH * sampled)

    def _read(self, batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
        with connected(self.path, read_only=True) as database:
            return [_taken(batch, database.found(self.sql, batch)) for batch in batches]


def _taken(batch: pa.RecordBatch, rows: Positions) -> pa.RecordBatch:
    return batch if rows.size == batch.num_rows else batch.take(pa.array(rows))
