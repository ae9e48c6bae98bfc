"""The staging of a job: a table for each slice, in the schema of the ledger. It outlives a crash of the daemon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from ladingd.core.errors import TargetChanged
from ladingd.data.databases.duckdb.session import BATCH, Database, quoted, statement
from ladingd.data.databases.duckdb.violations import Search
from ladingd.data.databases.staging import PLACE, places, slices
from ladingd.data.rejects.fault import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ladingd.core.plan import ImportPlan, Merge
    from ladingd.data.databases.duckdb.catalog import TableColumn, TableShape
    from ladingd.data.mapping.batch import Batch

# The tables of a job's staging.
_TABLES = """
SELECT table_name FROM duckdb_tables()
WHERE database_name = current_database() AND schema_name = ? AND starts_with(table_name, ?)
"""
# The columns have the types of the table's, and their collations, which the catalog does not show.
_CREATE = """
CREATE TABLE {stage} AS SELECT CAST(0 AS BIGINT) AS {place}, {columns} FROM {table} LIMIT 0
"""
_DROP = "DROP TABLE {stage}"
# Adds the bound records.
_APPEND = "INSERT INTO {stage} ({place}, {names}) SELECT {place}, {values} FROM {batch}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Staging:
    """The staging of one job in one transaction."""

    database: Database
    schema: str
    job_uid: str

    @property
    def exists(self) -> bool:
        """Whether there are tables."""
        return any(True for _ in self._names())

    def create(self, shape: TableShape, plan: ImportPlan) -> None:
        """Create the tables with the columns of the target's table. They replace those of an earlier plan."""
        self.drop()
        names = [column.name for column in _columns(shape, [column.target for column in plan.columns])]
        for number in range(plan.merge.slices if plan.merge else 0):
            self.database.run(
                _CREATE.format(
                    stage=self.table(number),
                    place=quoted(PLACE),
                    columns=", ".join(map(quoted, names)),
                    table=shape.identifier,
                )
            )

    def append(self, shape: TableShape, batch: Batch, merge: Merge) -> Faults:
        """Add the records of a batch. Returns the faults of those whose values the columns refuse."""
        search = Search.of(self.database, shape, batch.records)
        search.convert()
        kept = batch
        if search.left.size < batch.records.num_rows:
            left = pa.array(search.left)
            kept = batch.with_records([each.take(left) for each in batch.records.columns], batch.indexes[search.left])
        columns = _columns(shape, batch.records.schema.names)
        for number, rows in slices(kept, merge):
            records = kept.records.take(pa.array(rows)) if rows.size < kept.records.num_rows else kept.records
            numbers = pa.array(places(batch.chunk.ordinal, kept.indexes[rows]))
            names = [PLACE, *records.schema.names]
            self.database.bind(pa.RecordBatch.from_arrays([numbers, *records.columns], names=names))
            self.database.run(
                _APPEND.format(
                    stage=self.table(number),
                    place=quoted(PLACE),
                    names=", ".join(quoted(column.name) for column in columns),
                    values=", ".join(column.type.value(column.name) for column in columns),
                    batch=BATCH,
                )
            )
        faults = Faults.of([])
        for verdict in search.verdicts:
            faults += verdict.faults(batch)
        return faults

    def drop(self) -> None:
        """Drop the tables that exist."""
        for name in self._names():
            self.database.run(_DROP.format(stage=self._identifier(name)))

    def table(self, number: int) -> str:
        """The table of a slice in SQL."""
        return self._identifier(f"{self._prefix}{number}")

    @property
    def _prefix(self) -> str:
        return f"stage {self.job_uid} "

    def _identifier(self, name: str) -> str:
        return statement("{schema}.{name}", schema=self.schema, name=name)

    def _names(self) -> Iterator[str]:
        for (name,) in self.database.rows(_TABLES, (self.schema, self._prefix)):
            yield name


def _columns(shape: TableShape, names: Sequence[str]) -> list[TableColumn]:
    columns = []
    for name in names:
        column = shape.column(name)
        if column is None:
            raise TargetChanged(f"table {shape.name} has no column {name!r} to write into any more")
        columns.append(column)
    return columns
