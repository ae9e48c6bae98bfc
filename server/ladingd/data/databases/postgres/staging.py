"""The staging of a job: a table for each slice, in the schema of the ledger.

The tables are unlogged, which takes half the time. A crash of the server empties them. Two more tables tell which
chunks have records in a slice: one that outlives a crash, and one that does not. What only the first one has is lost,
and the merge of the slice stages it again.
"""

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
# Its rows are read once and deleted with the table, so it needs no vacuum.
_CREATE = "CREATE UNLOGGED TABLE {stage} ({columns}) WITH (autovacuum_enabled = off)"
_CREATE_STAGED = "CREATE TABLE {staged} (slice integer NOT NULL, chunk bigint NOT NULL)"
_CREATE_PRESENT = "CREATE UNLOGGED TABLE {present} (slice integer NOT NULL, chunk bigint NOT NULL)"
# Tells which slices have records of a chunk.
_TELL = """
WITH told AS (INSERT INTO {staged} SELECT unnest(%s::integer[]), %s RETURNING slice, chunk)
INSERT INTO {present} SELECT slice, chunk FROM told
"""
_LOST = "SELECT chunk FROM {staged} WHERE slice = %s EXCEPT SELECT chunk FROM {present} WHERE slice = %s ORDER BY 1"
_TELL_AGAIN = "INSERT INTO {present} VALUES (%s, %s)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Staging:
    """The staging of one job in one transaction."""

    session: Session
    schema: str
    job_uid: str

    @property
    def exists(self) -> bool:
        """Whether there are tables, and those that tell what a crash has removed, which older versions lack."""
        return {self._name("staged"), self._name("present")} <= set(self._names())

    def create(self, shape: TableShape, plan: ImportPlan) -> None:
        """Create the tables with the columns of the target's table. They replace those of an earlier plan."""
        self.drop()
        columns = [sql.SQL("{} bigint NOT NULL").format(sql.Identifier(PLACE))]
        columns += [_definition(shape, column.target) for column in plan.columns]
        try:
            for number in range(plan.merge.slices if plan.merge else 0):
                query = sql.SQL(_CREATE).format(stage=self.table(number), columns=sql.SQL(", ").join(columns))
                self.session.run(query)
            self.session.run(sql.SQL(_CREATE_STAGED).format(staged=self._staged))
            self.session.run(sql.SQL(_CREATE_PRESENT).format(present=self._present))
        except psycopg.errors.InsufficientPrivilege as error:
            raise TargetRefused(forbidden(self.session, self.schema)) from error

    def lost(self, number: int) -> list[int]:
        """The chunks whose records of a slice a crash of the server has removed, in order."""
        query = sql.SQL(_LOST).format(staged=self._staged, present=self._present)
        return [chunk for (chunk,) in self.session.rows(query, (number, number))]

    def append(self, batch: Batch, merge: Merge, *, only: int | None = None) -> Faults:
        """Add the records of a batch, or those of it that one slice has lost. Returns the faults of those whose values
        the columns refuse."""
        faults, filled = Faults.of([]), []
        target = {column.target: place for place, column in enumerate(batch.plan.columns)}
        for number, rows in slices(batch, merge):
            if only not in (None, number):
                continue
            filled.append(number)
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
        chunk = batch.chunk.ordinal
        if only is not None:
            self.session.run(sql.SQL(_TELL_AGAIN).format(present=self._present), (only, chunk))
        elif filled:
            self.session.run(sql.SQL(_TELL).format(staged=self._staged, present=self._present), (filled, chunk))
        return faults

    def drop(self) -> None:
        """Drop the tables that exist."""
        for name in self._names():
            self.session.run(sql.SQL("DROP TABLE {}").format(sql.Identifier(self.schema, name)))

    def table(self, number: int) -> sql.Identifier:
        """The table of a slice."""
        return sql.Identifier(self.schema, self._name(number))

    @property
    def _staged(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self._name("staged"))

    @property
    def _present(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self._name("present"))

    def _name(self, number: int | str) -> str:
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
