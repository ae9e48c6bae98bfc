"""The staging of a job: a table for each slice, in the schema of the ledger. It outlives a crash of the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
import pyarrow as pa
from psycopg import sql

from ladingd.core.errors import TargetChanged, TargetRefused
from ladingd.core.spec import Table
from ladingd.data.databases.postgres.bulk_load import Load
from ladingd.data.databases.postgres.catalog import TableShape, read_shape
from ladingd.data.databases.postgres.refusal import faults_of
from ladingd.data.databases.postgres.session import Session
from ladingd.data.databases.staging import PLACE, places, slices
from ladingd.data.rejects.fault import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ladingd.core.plan import ImportPlan, Merge
    from ladingd.data.databases.postgres.catalog import PgColumn
    from ladingd.data.databases.postgres.key_locks import Common
    from ladingd.data.mapping.batch import Batch

# The tables of a job's staging.
_TABLES = """
SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND starts_with(c.relname, %s) AND c.relkind = 'r'
"""
# Its rows are read once and deleted with the table, so it needs no vacuum; the merge needs its statistics.
_CREATE = "CREATE TABLE {stage} ({columns}) WITH (autovacuum_enabled = off)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Staging:
    """The staging of one job in one transaction."""

    session: Session
    schema: str
    job_uid: str

    @property
    def exists(self) -> bool:
        """Whether there are tables."""
        return any(True for _ in self._names())

    def create(self, shape: TableShape, plan: ImportPlan) -> None:
        """Create the tables with the columns of the target's table. They replace those of an earlier plan."""
        self.drop()
        columns = [sql.SQL("{} bigint NOT NULL").format(sql.Identifier(PLACE))]
        columns += [_definition(shape, column.target) for column in plan.columns]
        try:
            for number in range(plan.merge.slices if plan.merge else 0):
                query = sql.SQL(_CREATE).format(stage=self.table(number), columns=sql.SQL(", ").join(columns))
                self.session.run(query)
        except psycopg.errors.InsufficientPrivilege as error:
            raise TargetRefused(forbidden(self.session, self.schema)) from error

    def append(self, batch: Batch, merge: Merge) -> Faults:
        """Add the records of a batch. Returns the faults of those whose values the columns refuse."""
        faults = Faults.of([])
        target = {column.target: place for place, column in enumerate(batch.plan.columns)}
        for number, rows in slices(batch, merge):
            taken = batch
            if rows.size < batch.records.num_rows:
                chosen = pa.array(rows)
                taken = batch.with_records([each.take(chosen) for each in batch.records.columns], batch.indexes[rows])
            shape = self._shape(number)
            numbers = pa.array(places(batch.chunk.ordinal, taken.indexes))
            records = pa.RecordBatch.from_arrays(
                [numbers, *taken.records.columns], names=[PLACE, *taken.records.schema.names]
            )
            refusals = Load.of(records, shape, probed=False).run(self.session, _no_keys, _no_wait)
            faults += faults_of(refusals, taken, target)
        return faults

    def drop(self) -> None:
        """Drop the tables that exist."""
        for name in self._names():
            self.session.run(sql.SQL("DROP TABLE {}").format(sql.Identifier(self.schema, name)))

    def table(self, number: int) -> sql.Identifier:
        """The table of a slice."""
        return sql.Identifier(self.schema, self._name(number))

    def _name(self, number: int) -> str:
        return f"stage {self.job_uid} {number}"

    def _names(self) -> Iterator[str]:
        for (name,) in self.session.rows(_TABLES, (self.schema, f"stage {self.job_uid} ")):
            yield name

    def _shape(self, number: int) -> TableShape:
        shape = read_shape(self.session, Table(schema=self.schema, table=self._name(number)))
        if shape is None:
            raise TargetChanged(
                f"there is no table {self.table(number).as_string()} any more, which has staged records"
            )
        return shape


def forbidden(session: Session, schema: str) -> str:
    """The message for an account that may not create the staging."""
    grant = sql.SQL("GRANT CREATE ON SCHEMA {} TO {}").format(sql.Identifier(schema), sql.Identifier(session.user))
    return (
        f"the account {session.user} may not stage records in schema {schema}; an administrator can run: "
        f"{grant.as_string()};"
    )


def _definition(shape: TableShape, name: str) -> sql.Composed:
    column: PgColumn | None = shape.column(name)
    if column is None:
        raise TargetChanged(f"table {shape.name} has no column {name!r} to write into any more")
    collation = f" COLLATE {column.collation}" if column.collation else ""
    return sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(f"{column.type.declared}{collation}"))


def _no_keys(keys: pa.Table | None) -> Common:
    raise AssertionError("the staging has no unique keys")


def _no_wait(session: Session, chunks: Sequence[int]) -> None:
    raise AssertionError("chunks of the staging do not wait for each other")
