"""Reads the unique keys of a table, and finds the records of a batch whose key is taken."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.databases.sqlite.session import quoted, statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.databases.sqlite.session import Database, TableShape
    from ladingd.data.values.positions import Positions

_KEY = "SELECT name, type FROM pragma_table_xinfo(?) WHERE pk > 0"
# An expression in an index has no name. The newest index comes first, in the order in which SQLite checks them.
_INDEXES = """
SELECT l.name, l.origin, x.name, x.coll FROM pragma_index_list(?) l, pragma_index_xinfo(l.name) x
WHERE l."unique" AND NOT l.partial AND x.key ORDER BY l.seq, x.seqno
"""
# Texts are equal in a collation of SQLite if these functions make them equal.
_FOLDED = {
    "NOCASE": pc.ascii_lower,
    "RTRIM": partial(pc.ascii_rtrim, characters=" "),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Unique:
    """A unique key. Keys with a NULL are not compared."""

    index: str
    """The index to look up keys; empty for the table itself."""
    columns: tuple[str, ...]
    collations: tuple[str, ...]
    is_rowid: bool = False

    def message(self, table: str) -> str:
        """SQLite's message for a violation."""
        return f"UNIQUE constraint failed: {', '.join(f'{table}.{column}' for column in self.columns)}"

    def taken(self, database: Database, table: str, records: pa.RecordBatch, rows: Positions) -> Positions:
        """The rows whose key is in the table already."""
        found: Positions
        keys = [records.column(name).take(pa.array(rows)) for name in self.columns]
        known = _known(keys)
        if not known.any():
            return rows[:0]
        if self.is_rowid and pa.types.is_integer(keys[0].type):
            there = self._in_range(database, table, keys[0])
            if there is not None:
                found = rows[pc.is_in(keys[0], value_set=there, skip_nulls=True).to_numpy(zero_copy_only=False)]
                return found
        bound = pa.RecordBatch.from_arrays(
            [*(key.filter(pa.array(known)) for key in keys), pa.array(rows[known], pa.int64())],
            names=[str(place) for place in range(len(keys) + 1)],
        )
        source = f"main.{quoted(table)}" + (f" INDEXED BY {quoted(self.index)}" if self.index else "")
        equal = " AND ".join(
            f"{quoted(column)} COLLATE {quoted(collation)} = ?{place}"
            for place, (column, collation) in enumerate(zip(self.columns, self.collations, strict=True), 1)
        )
        query = f"SELECT ?{len(keys) + 1} WHERE EXISTS (SELECT 1 FROM {source} WHERE {equal})"  # noqa: S608 - quoted
        found = database.chosen(query, bound).to_numpy()
        return found

    def _in_range(self, database: Database, table: str, keys: pa.Array) -> pa.ChunkedArray | None:
        """The rowids of the table from the smallest key to the largest; None if there are many more than keys.

        For dense keys, one query for all is ten times faster than one for each.
        """
        extent, most = pc.min_max(keys).as_py(), 2 * len(keys)
        bounds = pa.RecordBatch.from_pydict({name: [value] for name, value in (*extent.items(), ("most", most))})
        query = statement(
            "SELECT {key} FROM main.{table} WHERE {key} BETWEEN ?1 AND ?2", key=self.columns[0], table=table
        )
        there = database.chosen(f"{query} LIMIT ?3", bounds)
        return there.cast(keys.type) if len(there) < most else None

    def firsts(self, records: pa.RecordBatch, rows: Positions) -> dict[int, int]:
        """For each row whose key occurs several times: the first row with this key, which may be the row itself."""
        keys = [
            _FOLDED[collation](values) if collation in _FOLDED and pa.types.is_string(values.type) else values
            for collation, values in (
                (collation, records.column(name).take(pa.array(rows)))
                for name, collation in zip(self.columns, self.collations, strict=True)
            )
        ]
        known = _known(keys)
        if len(keys) == 1 and pa.types.is_integer(keys[0].type):
            values = keys[0].drop_null().to_numpy()
            if (values[1:] > values[:-1]).all():
                return {}  # Files are often sorted by key.
        rows, codes = rows[known], np.zeros(int(known.sum()), np.int64)
        for key in keys:
            encoded = key.filter(pa.array(known)).dictionary_encode()
            # Combine each pair of codes into one, below the number of rows.
            codes = codes * (len(encoded.dictionary) + 1) + encoded.indices.to_numpy()
            if len(keys) > 1:
                codes = np.unique(codes, return_inverse=True)[1]
        doubled = np.flatnonzero(np.bincount(codes)[codes] > 1) if codes.size else codes
        _, firsts, places = np.unique(codes[doubled], return_index=True, return_inverse=True)
        rows = rows[doubled]
        return dict(zip(rows.tolist(), rows[firsts[places]].tolist(), strict=True))


def read_uniques(database: Database, shape: TableShape, names: Sequence[str]) -> list[Unique]:
    """The unique keys over these columns, without partial indexes and expressions."""
    indexes: dict[str, list[tuple[str, str]]] = {}
    origins = set()
    for index, origin, column, collation in database.rows(_INDEXES, (shape.name,)):
        origins.add(origin)
        # A table without rowid is itself the index of its primary key.
        place = "" if origin == "pk" and not shape.has_rowid else index
        indexes.setdefault(place, []).append((column or "", collation.upper()))
    uniques = []
    key = database.rows(_KEY, (shape.name,))
    if shape.has_rowid and len(key) == 1 and key[0][1].upper() == "INTEGER" and "pk" not in origins:
        uniques.append(Unique(index="", columns=(key[0][0],), collations=("BINARY",), is_rowid=True))
    for index, parts in indexes.items():
        columns = tuple(column for column, _ in parts if column in names)
        collations = tuple(collation for _, collation in parts)
        if len(columns) == len(parts) and {"BINARY", *_FOLDED} >= set(collations):
            uniques.append(Unique(index=index, columns=columns, collations=collations))
    return uniques


def _known(keys: Sequence[pa.Array]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which keys contain no null."""
    known = keys[0].is_valid()
    for key in keys[1:]:
        known = pc.and_(known, key.is_valid())
    return known.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
