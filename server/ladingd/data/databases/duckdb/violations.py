"""Finds the records of a batch that a table would reject, by queries over the whole batch.

DuckDB aborts a transaction at the first record that violates a constraint, and has no savepoints. So the offenders are
found before the insert, by one query for each constraint. The result is the same as if records were inserted one by
one: a rejected record does not occupy its keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.core.job import Connector
from ladingd.data.databases.duckdb.catalog import TableShape
from ladingd.data.databases.duckdb.session import BATCH, Database, quoted, statement
from ladingd.data.rejects.fault import Faults
from ladingd.data.rejects.lines import shortened
from ladingd.data.values.casting import VALUE_CAP
from ladingd.data.values.positions import Positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.databases.duckdb.catalog import ForeignKey, Unique
    from ladingd.data.mapping.batch import Batch

ROW = "lading row"
"""The additional column with the position of each record."""

# The bound records with all columns of the table, as the table will store them.
_RECORDS = "SELECT {row}, {columns} FROM {batch}"
# Records whose text DuckDB cannot convert to the column's type.
_UNCONVERTED = """
SELECT {row} FROM {batch} WHERE {column} IS NOT NULL AND TRY(CAST({column} AS {type})) IS NULL ORDER BY {row}
"""
# Records that fail a CHECK.
_FAILED_CHECK = "SELECT {row} FROM ({records}) WHERE NOT ({expression}) ORDER BY {row}"
# Records whose foreign key has no row in the referenced table.
_WITHOUT_PARENT = "SELECT {row} FROM ({keys}) ANTI JOIN ({others}) USING ({names}) ORDER BY {row}"
# Records whose key is in the table already.
_TAKEN = "SELECT {row} FROM ({keys}) SEMI JOIN ({others}) USING ({names}) ORDER BY {row}"
# Records that share a key with other records of the batch, and the number of the key.
_SHARED = """
SELECT {row}, dense_rank() OVER (ORDER BY {names}) FROM ({keys})
QUALIFY count(*) OVER (PARTITION BY {names}) > 1 ORDER BY {row}
"""
_KEYS = "SELECT {row}, {keys} FROM ({records}) WHERE {present}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The reason why the table rejects some records of a batch."""

    rows: Positions
    """In order."""
    code: str
    message: str
    column: str = ""
    """The column of the target that caused it."""
    holders: Positions | None = None
    """For each row the record of the batch that has the same key."""

    def faults(self, batch: Batch) -> Faults:
        """The faults of the rows."""
        place = next((p for p, column in enumerate(batch.plan.columns) if column.target == self.column), None)
        message: str | pa.Array = self.message
        if self.holders is not None:
            lines = pa.array(batch.lines(self.holders)).cast(pa.string())
            message = pc.binary_join_element_wise(f"{self.message} (line ", lines, " of the file has the same key)", "")
        return Faults.alike(
            batch.indexes[self.rows],
            code=self.code,
            message=message,
            column="" if place is None else batch.plan.columns[place].source,
            value="" if place is None else shortened(batch.texts(self.rows, place), VALUE_CAP),
            connector=Connector.DATABASE,
        )


@dataclass(kw_only=True, slots=True)
class Search:
    """The search through one batch. ``left`` are the records that are good so far."""

    database: Database
    shape: TableShape
    records: pa.RecordBatch
    left: Positions
    verdicts: list[Verdict]
    bound: int = -1
    """The number of bound records. They were ``left`` when they were bound."""

    @classmethod
    def of(cls, database: Database, shape: TableShape, records: pa.RecordBatch) -> Search:
        """A new search."""
        return cls(database=database, shape=shape, records=records, left=np.arange(records.num_rows), verdicts=[])

    def convert(self) -> None:
        """Find the texts that DuckDB cannot convert."""
        for name in self.records.schema.names:
            column = self.shape.column(name)
            if column is not None and not column.type.native:
                self.bind()
                rows = self._rows(_UNCONVERTED, column=quoted(name), type=column.type.declared)
                self._refuse(rows, "INVALID_VALUE", f"the value is not of type {column.type.declared}", name)

    def refuse(self) -> None:
        """Find the records that violate a constraint."""
        for column in self.shape.columns:
            if not column.nullable and column.name in self.records.schema.names:
                nulls = np.flatnonzero(pc.is_null(self.records.column(column.name)).to_numpy(zero_copy_only=False))
                message = f"column {column.name} of table {self.shape.name} may not be empty"
                self._refuse(np.intersect1d(self.left, nulls), "NOT_NULL", message, column.name)
        for expression in self.shape.checks:
            self.bind()
            rows = self._rows(_FAILED_CHECK, records=self._typed(), expression=expression)
            self._refuse(rows, "CHECK", f"CHECK {expression} of table {self.shape.name} failed")
        for key in self.shape.foreign_keys:
            self.bind()
            self._refuse_orphans(key)
        for unique in self.shape.uniques:
            self.bind()
            others = f"SELECT {_named(unique.expressions)} FROM {self.shape.identifier}"  # noqa: S608 - quoted
            rows = self._rows(_TAKEN, keys=self._keys(unique.expressions), others=others, names=_names(unique))
            self._refuse(rows, "UNIQUE", self._taken(unique), unique.columns[0] if len(unique.columns) == 1 else "")
        self._refuse_doubles()

    def _refuse_orphans(self, key: ForeignKey) -> None:
        others = f"SELECT {_named(map(quoted, key.referenced))} FROM "  # noqa: S608 - quoted
        others += statement("{schema}.{table}", schema=self.shape.schema, table=key.table)
        expressions = tuple(map(quoted, key.columns))
        names = ", ".join(f"k{place}" for place in range(len(expressions)))
        rows = self._rows(_WITHOUT_PARENT, keys=self._keys(expressions), others=others, names=names)
        message = f"table {key.table} has no row with these values in ({', '.join(key.referenced)})"
        self._refuse(rows, "FOREIGN_KEY", message, key.columns[0] if len(key.columns) == 1 else "")

    def _refuse_doubles(self) -> None:
        """Find the records whose key an earlier record has. Only records with shared keys are examined one by one."""
        self.bind()
        groups: dict[int, list[tuple[Unique, int]]] = {}
        for unique in self.shape.uniques:
            sql = self._sql(_SHARED, keys=self._keys(unique.expressions), names=_names(unique))
            for row, group in self.database.rows(sql):
                groups.setdefault(row, []).append((unique, group))
        holders: dict[tuple[Unique, int], int] = {}
        doubles: dict[Unique, dict[int, int]] = {}
        for row in sorted(groups):
            broken = next((key for key in groups[row] if key in holders), None)
            if broken is None:
                holders.update((key, row) for key in groups[row])
            else:
                doubles.setdefault(broken[0], {})[row] = holders[broken]
        for unique, found in doubles.items():
            column = unique.columns[0] if len(unique.columns) == 1 else ""
            rows, kept = np.array(list(found), np.int64), np.array(list(found.values()), np.int64)
            self._refuse(rows, "UNIQUE", self._taken(unique), column, kept)

    def _taken(self, unique: Unique) -> str:
        return f"{unique.said} of table {self.shape.name} is taken"

    def _refuse(
        self, rows: Positions, code: str, message: str, column: str = "", holders: Positions | None = None
    ) -> None:
        if rows.size:
            self.left = np.setdiff1d(self.left, rows, assume_unique=True)
            self.verdicts.append(Verdict(rows=rows, code=code, message=message, column=column, holders=holders))

    def bind(self) -> None:
        """Bind the records that are left."""
        if self.bound != self.left.size:
            bind_rows(self.database, self.records, self.left)
            self.bound = self.left.size

    def _rows(self, text: str, **words: str) -> Positions:
        return np.array([row for (row,) in self.database.rows(self._sql(text, **words))], np.int64)

    def _sql(self, text: str, **words: str) -> str:
        return text.format(row=quoted(ROW), batch=BATCH, **words)

    def _typed(self) -> str:
        """A query for the bound records with every column of the table, so that all expressions can be evaluated."""
        there = set(self.records.schema.names)
        columns = []
        for column in self.shape.columns:
            if not column.generated:
                value = column.type.value(column.name) if column.name in there else column.default or "NULL"
                columns.append(f"CAST({value} AS {column.type.declared}) AS {quoted(column.name)}")
        return self._sql(_RECORDS, columns=", ".join(columns))

    def _keys(self, expressions: Sequence[str]) -> str:
        """A query for the keys of the bound records, except keys with NULL."""
        present = " AND ".join(f"{expression} IS NOT NULL" for expression in expressions)
        return self._sql(_KEYS, keys=_named(expressions), records=self._typed(), present=present)


def bind_rows(database: Database, records: pa.RecordBatch, rows: Positions) -> None:
    """Bind these records together with their positions."""
    chosen = records if rows.size == records.num_rows else records.take(pa.array(rows))
    names = [*records.schema.names, ROW]
    database.bind(pa.RecordBatch.from_arrays([*chosen.columns, pa.array(rows, pa.int64())], names=names))


def _named(expressions: Sequence[str] | map[str]) -> str:
    return ", ".join(f"{expression} AS k{place}" for place, expression in enumerate(expressions))


def _names(unique: Unique) -> str:
    return ", ".join(f"k{place}" for place in range(len(unique.expressions)))
