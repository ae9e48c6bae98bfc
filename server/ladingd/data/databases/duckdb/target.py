"""DuckDB as the target of imports."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec, TargetChanged, TargetRefused, TargetUnavailable, TechnicalError
from ladingd.data.databases.commit import Conflict, Merged, OutcomeUnknown, Transaction
from ladingd.data.databases.duckdb.bulk_load import Experience, RecordRefused, experience, load
from ladingd.data.databases.duckdb.catalog import DEFAULT_SCHEMA, has_schema, read_shape
from ladingd.data.databases.duckdb.hooks import DuckdbHook
from ladingd.data.databases.duckdb.keys import check_unique, is_exact, is_guarded, uniques
from ladingd.data.databases.duckdb.ledger import Ledger
from ladingd.data.databases.duckdb.merge import SliceMerge
from ladingd.data.databases.duckdb.session import Database, connected, is_there, quoted, statement
from ladingd.data.databases.duckdb.staging import Staging
from ladingd.data.databases.duckdb.types import declaration, of_declaration
from ladingd.data.databases.slice_rejects import SliceRejects
from ladingd.data.databases.staging import check_kept
from ladingd.data.databases.target import Attempt, Defaults, Target, TargetColumn, TargetTable
from ladingd.data.mapping.matching import FIELD, check_table, missing_columns, no_table
from ladingd.data.storage.work_dir import WorkDir
from ladingd.data.values.types import FieldType, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ladingd.core.bill import Counts
    from ladingd.core.plan import Chunk, CommittedChunk, ImportPlan
    from ladingd.core.spec import Table
    from ladingd.data.databases.commit import Opening
    from ladingd.data.databases.duckdb.catalog import TableColumn, TableShape
    from ladingd.data.databases.hooks import HookTransaction
    from ladingd.data.mapping.batch import Batch
    from ladingd.data.rejects.fault import Faults
    from ladingd.data.values.converters import Reading

# The number of rows. DuckDB knows it without reading the rows.
_ROWS = "SELECT count(*) FROM {table}"
# The values of a default, as text.
_DEFAULTS = """
SELECT CAST({text} AS VARCHAR), count(*) FROM (SELECT CAST(({default}) AS {type}) AS value FROM range(?)) GROUP BY 1
"""
# All tables but those of the ledger, with an empty name of the default schema.
_TABLES = """
SELECT CASE schema_name WHEN ? THEN '' ELSE schema_name END, table_name FROM duckdb_tables()
WHERE database_name = current_database() AND NOT internal AND NOT temporary AND lower(schema_name) <> lower(?)
ORDER BY 1, 2
"""
# Adds a column that is NULL in all rows.
_ADD_COLUMN = "ALTER TABLE {table} ADD COLUMN {name} {type}"
_CREATE = "CREATE TABLE {table} ({columns})"


@dataclass(frozen=True, kw_only=True, slots=True)
class DuckdbTarget(Target):
    """A database file. The processes of the daemon take turns to write to it."""

    path: Path
    work_dir: WorkDir
    ledger_schema: str = "lading"

    dialect = "duckdb"
    slice_bytes = 64 << 20
    column_limit = 10_000  # DuckDB has no limit; with more columns a chunk holds few records.

    def table(self, table: Table) -> TargetTable | None:
        schema = table.schema or DEFAULT_SCHEMA
        if schema.lower() == self.ledger_schema.lower():
            raise InvalidSpec("target.schema", f"the schema {schema} is reserved for Lading's ledger")
        if not table.table or "\0" in table.table:
            raise InvalidSpec(FIELD, "the table needs a name")
        if not is_there(self.path):
            if schema != DEFAULT_SCHEMA:
                raise InvalidSpec("target.schema", f"there is no schema {schema!r}; create it first")
            return None
        if not os.access(self.path, os.W_OK) or not os.access(self.path.parent, os.W_OK | os.X_OK):
            # DuckDB creates its write-ahead log beside the file.
            raise InvalidSpec(
                "target.connection", f"{self.path.name}: the daemon may not write to the file or into its directory"
            )
        with connected(self.path, self.work_dir, read_only=True) as database:
            shape = read_shape(database, table)
            if shape is None and not has_schema(database, schema):
                raise InvalidSpec("target.schema", f"there is no schema {schema!r}; create it first")
            if shape is None:
                return None
            if shape.kind != "table":
                raise InvalidSpec(FIELD, no_table(shape.name, shape.kind))
            return _judged(database, shape)

    def tables(self) -> Sequence[tuple[str, str]]:
        if not is_there(self.path):
            return []
        with self._connected(read_only=True) as database:
            return [(schema, name) for schema, name in database.rows(_TABLES, (DEFAULT_SCHEMA, self.ledger_schema))]

    def check_type(self, kind: FieldType) -> None:
        """Accepts every type."""

    def readings(self, plan: ImportPlan, attempt: Attempt | None = None) -> Sequence[Reading]:
        declared = {} if plan.create_table else self._declared_types(plan, attempt)
        kinds = [parse(column.type) for column in plan.columns]
        return [
            of_declaration(declared.get(column.target) or declaration(kind)).reading(kind, inferred=column.inferred)
            for kind, column in zip(kinds, plan.columns, strict=True)
        ]

    @contextmanager
    def hooking(self, job_uid: str, attempt: int) -> Iterator[HookTransaction]:
        with self._connected(create=True) as database:
            database.begin()
            ledger = self._ledger(database)
            ledger.create()
            ledger.raise_attempt(job_uid, attempt)
            yield DuckdbHook(database=database, ledger=ledger)

    def check_addable(self, table: Table) -> None:
        """Every table can be changed."""

    def add_columns(self, job_uid: str, attempt: int, plan: ImportPlan) -> tuple[str, ...]:
        with self._connected() as database:
            database.begin()
            ledger = self._ledger(database)
            ledger.create()
            ledger.raise_attempt(job_uid, attempt)
            missing = []
            if not ledger.entries(job_uid):
                shape = read_shape(database, plan.target)
                missing = missing_columns(plan, None if shape is None else _as_target(shape), _declarations(plan))
            for name, kind in missing:
                database.run(_ADD_COLUMN.format(table=_identifier(plan.target), name=quoted(name), type=kind))
            database.commit()
        return tuple(name for name, _ in missing)

    def begin(self, job_uid: str, attempt: int, plan: ImportPlan) -> tuple[CommittedChunk, ...]:
        with self._connected(create=True) as database:
            database.begin()
            ledger = self._ledger(database)
            ledger.create()
            ledger.raise_attempt(job_uid, attempt)
            entries = ledger.entries(job_uid)
            _prepare_table(database, plan, used=bool(entries))
            if plan.columns:
                shape = _shape(database, plan)
                if plan.merge is not None:
                    staging = self._staging(database, job_uid)
                    if entries:
                        check_kept(entries, exists=staging.exists)
                    else:
                        staging.create(shape, plan)
                _recognise(database, ledger, job_uid, shape)
            database.commit()
        return entries

    def committed(self, job_uid: str, attempt: int) -> tuple[CommittedChunk, ...]:
        if not self._exists():
            return ()
        with self._connected() as database:
            ledger = self._ledger(database)
            if not ledger.exists():
                return ()
            database.begin()
            ledger.raise_attempt(job_uid, attempt)
            entries = ledger.entries(job_uid)
            database.commit()
        return entries

    def defaults(self, plan: ImportPlan, numbers: Mapping[str, int]) -> Defaults:
        with self._connected(linger=True) as database:
            shape = _shape(database, plan)
            columns = [column for column in shape.columns if column.name in numbers]
            return {column.name: _evaluated(database, column, numbers[column.name]) for column in columns}

    def opening(self, job_uid: str, plan: ImportPlan, chunk: Chunk) -> AbstractContextManager[Opening]:
        return nullcontext(partial(self._opened, job_uid, plan.merge is not None))

    @contextmanager
    def _opened(self, job_uid: str, limited: bool, batch: Batch | None) -> Iterator[Transaction]:
        with self._connected(linger=True) as database:
            if limited:
                database.limit_memory()
            database.begin()
            yield DuckdbTransaction(
                database=database,
                ledger=self._ledger(database),
                staging=self._staging(database, job_uid),
                job_uid=job_uid,
                known=experience(self.path, job_uid),
            )

    def check_merge(self, plan: ImportPlan) -> None:
        with self._connected(read_only=True) as database:
            shape, merge = _shape(database, plan), plan.merge
            if merge is not None and not is_guarded(database, shape, merge):
                try:
                    check_unique(database, shape, merge)
                except TargetRefused as refused:
                    raise InvalidSpec("reconciliation.key", refused.message) from refused

    def begin_merge(self, job_uid: str, attempt: int, plan: ImportPlan) -> None:
        with self._connected(linger=True) as database:
            self._ledger(database).check_attempt(job_uid, attempt)

    def end_merge(self, job_uid: str, plan: ImportPlan) -> None:
        if not self._exists():
            return
        with self._connected() as database:
            database.begin()
            self._staging(database, job_uid).drop()
            database.commit()

    def verify(self, job_uid: str, plan: ImportPlan) -> None:
        if plan.columns:
            with self._connected() as database:
                _recognise(database, self._ledger(database), job_uid, _shape(database, plan))

    def discard(self, job_uid: str) -> None:
        if not self._exists():
            return
        with self._connected() as database:
            ledger = self._ledger(database)
            if ledger.exists():
                database.begin()
                self._staging(database, job_uid).drop()
                ledger.forget(job_uid)
                database.commit()

    def _connected(self, **options: bool) -> AbstractContextManager[Database]:
        return connected(self.path, self.work_dir, **options)

    def _ledger(self, database: Database) -> Ledger:
        return Ledger(database=database, schema=self.ledger_schema)

    def _staging(self, database: Database, job_uid: str) -> Staging:
        return Staging(database=database, schema=self.ledger_schema, job_uid=job_uid)

    def _exists(self) -> bool:
        """Whether the file exists. Raises TargetUnavailable if its directory is missing too."""
        if is_there(self.path):
            return True
        if not self.path.parent.is_dir():
            raise TargetUnavailable(f"the directory of the database {self.path.name} is missing")
        return False

    def _declared_types(self, plan: ImportPlan, attempt: Attempt | None) -> dict[str, str]:
        types = {} if attempt is None else seen_types(self.path, attempt)
        if not types:
            with self._connected(linger=True) as database:
                types.update((column.name, column.type.declared) for column in _shape(database, plan).columns)
        return types


@lru_cache(maxsize=16)
def seen_types(path: Path, attempt: Attempt) -> dict[str, str]:
    """The declared types of the columns that this process has seen in an attempt. Empty: it has not looked yet."""
    return {}


@dataclass(kw_only=True, slots=True)
class DuckdbTransaction(Transaction):
    """The only running transaction of a database."""

    database: Database
    ledger: Ledger
    staging: Staging
    job_uid: str
    known: Experience
    claimed: tuple[str, int, int] | None = None
    """The job, the attempt and the chunk."""

    def claim(self, job_uid: str, attempt: int, chunk: int) -> bool:
        self.claimed = job_uid, attempt, chunk
        return self.ledger.claim(job_uid, attempt, chunk)

    def check_attempt(self, job_uid: str, attempt: int) -> None:
        self.ledger.check_attempt(job_uid, attempt)

    def entry(self, job_uid: str, chunk: int) -> Counts | None:
        return self.ledger.entry(job_uid, chunk)

    def insert(self, batch: Batch) -> Faults:
        shape = _shape(self.database, batch.plan)
        _recognise(self.database, self.ledger, self.job_uid, shape)
        try:
            return load(self.database, shape, batch, self.known)
        except RecordRefused:
            self._begin_again()
            return load(self.database, shape, batch, self.known)

    def _begin_again(self) -> None:
        """Begin a new transaction. This process has the turn, so nobody else has written in between."""
        self.database.end()
        self.database.begin()
        if self.claimed is not None:
            self.ledger.claim(*self.claimed)

    def stage(self, batch: Batch) -> Faults:
        if batch.plan.merge is None:
            raise AssertionError("the batch is not for the staging")
        shape = _shape(self.database, batch.plan)
        _recognise(self.database, self.ledger, self.job_uid, shape)
        return self.staging.append(shape, batch, batch.plan.merge)

    def merge(self, plan: ImportPlan, number: int) -> Merged:
        try:
            return self._merge(plan, number, careful=False)
        except RecordRefused:
            self._begin_again()
            return self._merge(plan, number, careful=True)

    def _merge(self, plan: ImportPlan, number: int, *, careful: bool) -> Merged:
        if plan.merge is None:
            raise AssertionError("the plan has no merge")
        shape = _shape(self.database, plan)
        _recognise(self.database, self.ledger, self.job_uid, shape)
        merge = SliceMerge(
            database=self.database,
            shape=shape,
            stage=self.staging.table(number),
            merge=plan.merge,
            columns=plan.columns,
            careful=careful,
            rejects=SliceRejects(columns=plan.columns),
        )
        return merge.run()

    def count(self, job_uid: str, chunk: int, counts: Counts) -> None:
        self.ledger.count(job_uid, chunk, counts)

    def commit(self) -> None:
        try:
            self.database.commit()
        except Conflict:
            raise
        except TechnicalError as error:
            raise OutcomeUnknown(error) from error


def _judged(database: Database, shape: TableShape) -> TargetTable:
    """The table with what merges must know."""
    table, found = _as_target(shape), uniques(database, shape)
    itself = any(key.table.lower() == shape.name.lower() for key in shape.foreign_keys)
    return replace(
        table,
        columns=tuple(replace(column, exact=is_exact(database, shape, column.name)) for column in table.columns),
        uniques=tuple(found),
        entangled=itself or len(found) < len(shape.uniques),
    )


def _as_target(shape: TableShape) -> TargetTable:
    return TargetTable(
        name=shape.name,
        columns=tuple(
            TargetColumn(
                name=column.name,
                declared=column.type.declared,
                type=column.type.field_type,
                nullable=column.nullable,
                optional=column.optional,
                generated=column.generated,
                defaulted=column.default is not None and not column.nullable,
            )
            for column in shape.columns
        ),
    )


def _evaluated(database: Database, column: TableColumn, number: int) -> list[tuple[str | None, int]]:
    """The values of the default of a column as text, evaluated so many times, and how often each was the result."""
    text = column.type.expression("value")
    values = _DEFAULTS.format(text=text, default=column.default or "NULL", type=column.type.declared)
    return [(value, times) for value, times in database.rows(values, (number,))]


def _shape(database: Database, plan: ImportPlan) -> TableShape:
    """The existing table. Raises TargetChanged."""
    shape = database.seen.get(plan.target) or read_shape(database, plan.target)
    if shape is None:
        raise TargetChanged(f"there is no table {plan.target.table} any more: it was dropped or renamed")
    if shape.kind != "table":
        raise TargetChanged(f"{shape.name} has become a {shape.kind}")
    database.seen[plan.target] = shape
    return shape


def _recognise(database: Database, ledger: Ledger, job_uid: str, shape: TableShape) -> None:
    """Check that the table can still contain what the job has inserted. Raises TargetChanged.

    A table of DuckDB has no identity that outlives the process, so its number of rows decides.
    """
    if ("recognised", job_uid) in database.seen:
        return  # Nobody else can have written since.
    committed = ledger.inserted(job_uid)
    there = int(database.rows(_ROWS.format(table=shape.identifier))[0][0])
    if there < committed:
        raise TargetChanged(
            f"rows were removed from table {shape.name}, or it is another table now: this job has inserted "
            f"{committed:,} records and the table has {there:,}; restore the table and start the job again, or load "
            f"all records again: lading clone"
        )
    database.seen["recognised", job_uid] = True


def _prepare_table(database: Database, plan: ImportPlan, *, used: bool) -> None:
    """Check that the table is the planned one, or create it. Raises TargetChanged."""
    shape = read_shape(database, plan.target)
    if shape is not None and shape.kind != "table":
        raise TargetChanged(f"{shape.name} has become a {shape.kind}")
    if check_table(plan, None if shape is None else _as_target(shape), _declarations(plan), used=used):
        parts = [
            f"{quoted(column.target)} {kind}" for column, kind in zip(plan.columns, _declarations(plan), strict=True)
        ]
        if plan.primary_key:
            parts.append(f"PRIMARY KEY ({', '.join(map(quoted, plan.primary_key))})")
        database.run(_CREATE.format(table=_identifier(plan.target), columns=", ".join(parts)))


def _declarations(plan: ImportPlan) -> list[str]:
    return [declaration(parse(column.type)) for column in plan.columns]


def _identifier(table: Table) -> str:
    return statement("{schema}.{table}", schema=table.schema or DEFAULT_SCHEMA, table=table.table)
