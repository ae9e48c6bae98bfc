"""SQLite as the target of imports."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec, TargetChanged, TargetRefused, TargetUnavailable
from ladingd.data.databases.sqlite import ledger
from ladingd.data.databases.sqlite.attempts import attempting
from ladingd.data.databases.sqlite.bulk_load import experience
from ladingd.data.databases.sqlite.converters import sqlite_reading
from ladingd.data.databases.sqlite.hooks import SqliteHook
from ladingd.data.databases.sqlite.identity import keep, recognise
from ladingd.data.databases.sqlite.keys import check_unique, exact_columns, is_guarded, uniques
from ladingd.data.databases.sqlite.session import Session, connected, is_there, quoted, statement
from ladingd.data.databases.sqlite.slice_statements import DEFAULTS
from ladingd.data.databases.sqlite.staging import Staging
from ladingd.data.databases.sqlite.suitability import check_name, unusable
from ladingd.data.databases.sqlite.transaction import Beginning, shape_of
from ladingd.data.databases.staging import check_kept
from ladingd.data.databases.target import Attempt, Defaults, Target, TargetColumn, TargetTable
from ladingd.data.mapping.matching import FIELD, check_table, missing_columns
from ladingd.data.storage.work_dir import WorkDir
from ladingd.data.values.types import EXACT_DIGITS, FieldType, Kind, of_declaration, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ladingd.core.plan import Chunk, CommittedChunk, ImportPlan
    from ladingd.core.spec import Table
    from ladingd.data.databases.commit import Opening
    from ladingd.data.databases.hooks import HookTransaction
    from ladingd.data.databases.sqlite.session import TableShape
    from ladingd.data.values.converters import Reading


# All tables but those of SQLite and of the ledger.
_TABLES = r"""
SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'
    AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name NOT LIKE 'lading\_%' ESCAPE '\' ORDER BY name
"""
# Adds a column that is NULL in all rows. Its type follows.
_ADD_COLUMN = "ALTER TABLE {table} ADD COLUMN {name} "
# The values of a default, as text.
_EVALUATED = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?),
    made (value) AS MATERIALIZED (SELECT ({default}) FROM numbers)
SELECT CASE typeof(value) WHEN 'blob' THEN '\\x' || hex(value) ELSE CAST(value AS TEXT) END, count(*)
FROM made GROUP BY 1
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class SqliteTarget(Target):
    """A database file. Writers hold our own lock, because SQLite allows one writer at a time and has no fair queue."""

    path: Path
    work_dir: WorkDir

    dialect = "sqlite"
    column_limit = 2000  # sqlite.org/limits.html
    # The packed records of a slice are in memory at once.
    slice_bytes = 136 << 20

    def table(self, table: Table) -> TargetTable | None:
        check_name(table)
        if not is_there(self.path):
            return None
        if not os.access(self.path, os.W_OK) or not os.access(self.path.parent, os.W_OK | os.X_OK):
            # SQLite creates its journal beside the file.
            raise InvalidSpec(
                "target.connection", f"{self.path.name}: the daemon may not write to the file or into its directory"
            )
        with connected(self.path, read_only=True) as database:
            shape = database.shape(table.table)
            keys = database.rows('SELECT DISTINCT "table" FROM pragma_foreign_key_list(?)', (table.table,))
            if shape is None:
                return None
            found, odd = ([], False) if unusable(shape) else uniques(database, shape)
            exact = frozenset() if unusable(shape) else exact_columns(database, shape)
        problem = unusable(shape)
        if problem is not None:
            raise InvalidSpec(FIELD, problem)
        others = ", ".join(sorted(str(other) for (other,) in keys))
        note = f"foreign keys of {shape.name} (to {others}) are not checked, as SQLite does not by default"
        return replace(
            _as_target(shape, exact),
            uniques=tuple(found),
            entangled=odd or bool(shape.triggers),
            notes=(note,) if others else (),
        )

    def tables(self) -> Sequence[tuple[str, str]]:
        if not is_there(self.path):
            return []
        with connected(self.path, read_only=True) as database:
            return [("", name) for (name,) in database.rows(_TABLES)]

    def check_type(self, kind: FieldType) -> None:
        if kind.kind is Kind.DECIMAL and kind.scale > EXACT_DIGITS:
            raise ValueError(
                f"{kind} has more than the {EXACT_DIGITS} decimal places that SQLite stores exactly; text keeps all"
            )

    def readings(self, plan: ImportPlan, attempt: Attempt | None = None) -> Sequence[Reading]:
        return [sqlite_reading(parse(column.type), inferred=column.inferred) for column in plan.columns]

    @contextmanager
    def hooking(self, job_uid: str, attempt: int) -> Iterator[HookTransaction]:
        if not self._exists():
            with connected(self.path, create=True):
                """Makes the file."""
        with self.work_dir.locked(str(self.path.resolve())), attempting(self.path) as session:
            ledger.create(session)
            ledger.raise_attempt(session, job_uid, attempt)
            yield SqliteHook(session)

    def check_addable(self, table: Table) -> None:
        """Every table that can be a target can be changed."""

    def add_columns(self, job_uid: str, attempt: int, plan: ImportPlan) -> tuple[str, ...]:
        with self.work_dir.locked(str(self.path.resolve())), connected(self.path) as database:
            database.begin_writing()
            ledger.create(database)
            ledger.raise_attempt(database, job_uid, attempt)
            missing = []
            if not ledger.entries(database, job_uid):
                shape = database.shape(plan.target.table)
                missing = missing_columns(plan, None if shape is None else _as_target(shape), _declarations(plan))
            for name, kind in missing:
                database.run(
                    statement("ALTER TABLE {table} ADD COLUMN {name} ", table=plan.target.table, name=name) + kind
                )
            database.commit()
        return tuple(name for name, _ in missing)

    def begin(self, job_uid: str, attempt: int, plan: ImportPlan) -> tuple[CommittedChunk, ...]:
        with self.work_dir.locked(str(self.path.resolve())), connected(self.path, create=True) as database:
            database.begin_writing()
            ledger.create(database)
            ledger.raise_attempt(database, job_uid, attempt)
            entries = ledger.entries(database, job_uid)
            _prepare_table(database, plan, used=bool(entries))
            if plan.columns:
                shape = shape_of(database, plan)
                if plan.merge is not None:
                    staging = self._staging(database, job_uid)
                    if entries:
                        check_kept(entries, exists=staging.exists)
                    else:
                        staging.create(shape, plan)
                        self.work_dir.forget_staged(job_uid)
                if entries and ledger.identity(database, job_uid) is not None:
                    recognise(database, self.path, job_uid, shape)
                else:  # The job has no rows yet, or an older version of the daemon began it.
                    keep(database, self.path, job_uid, shape)
            database.commit()
        return entries

    def committed(self, job_uid: str, attempt: int) -> tuple[CommittedChunk, ...]:
        if not self._exists():
            return ()
        with self.work_dir.locked(str(self.path.resolve())), connected(self.path) as database:
            database.begin_writing()
            if not ledger.exists(database):
                return ()
            ledger.raise_attempt(database, job_uid, attempt)
            entries = ledger.entries(database, job_uid)
            database.commit()
        return entries

    def defaults(self, plan: ImportPlan, numbers: Mapping[str, int]) -> Defaults:
        with connected(self.path, read_only=True) as database:
            known = database.rows(DEFAULTS, (plan.target.table,))
            return {
                name: [
                    (value, times)
                    for value, times in database.rows(_EVALUATED.format(default=default), (numbers[name],))
                ]
                for name, default in known
                if name in numbers
            }

    @contextmanager
    def opening(self, job_uid: str, plan: ImportPlan, chunk: Chunk) -> Iterator[Opening]:
        known = experience(self.path, job_uid)
        beginning = Beginning(
            path=self.path,
            work_dir=self.work_dir,
            job_uid=job_uid,
            known=known,
            ordinal=chunk.ordinal,
            merges=plan.merge is not None,
            each=known.attempt(chunk.ordinal),
        )
        yield beginning.begin

    def check_merge(self, plan: ImportPlan) -> None:
        with connected(self.path, read_only=True) as database:
            shape, merge = shape_of(database, plan), plan.merge
            if merge is not None and not is_guarded(database, shape, merge):
                try:
                    check_unique(database, shape, merge)
                except TargetRefused as refused:
                    raise InvalidSpec("reconciliation.key", refused.message) from refused

    def begin_merge(self, job_uid: str, attempt: int, plan: ImportPlan) -> None:
        with self.work_dir.locked(str(self.path.resolve())), connected(self.path) as database:
            database.begin_writing()
            ledger.check_attempt(database, job_uid, attempt)
            packing = self._staging(database, job_uid).packing
            if packing is not None and plan.merge is not None:
                packing.divide(plan.merge)
            database.commit()

    def end_merge(self, job_uid: str, plan: ImportPlan) -> None:
        if self._exists():
            with self.work_dir.locked(str(self.path.resolve())), connected(self.path) as database:
                database.begin_writing()
                self._staging(database, job_uid).drop()
                database.commit()
        self.work_dir.forget_staged(job_uid)

    def verify(self, job_uid: str, plan: ImportPlan) -> None:
        with self.work_dir.locked(str(self.path.resolve())), connected(self.path) as database:
            database.begin_writing()
            if plan.columns:
                recognise(database, self.path, job_uid, shape_of(database, plan))
            database.commit()

    def discard(self, job_uid: str) -> None:
        if not self._exists():
            return
        with self.work_dir.locked(str(self.path.resolve())), connected(self.path) as database:
            database.begin_writing()
            if ledger.exists(database):
                self._staging(database, job_uid).drop()
                ledger.forget(database, job_uid)
                database.commit()

    def _staging(self, session: Session, job_uid: str) -> Staging:
        return Staging(session=session, job_uid=job_uid, directory=self.work_dir.staged(job_uid))

    def _exists(self) -> bool:
        """Whether the file exists. Raises TargetUnavailable if its directory is missing too."""
        if is_there(self.path):
            return True
        if not self.path.parent.is_dir():
            raise TargetUnavailable(f"the directory of the database {self.path.name} is missing")
        return False


def _as_target(shape: TableShape, exact: frozenset[str] = frozenset()) -> TargetTable:
    return TargetTable(
        name=shape.name,
        columns=tuple(
            TargetColumn(
                name=column.name,
                declared=column.declared,
                type=of_declaration(column.declared),
                nullable=column.nullable,
                optional=column.optional,
                generated=column.generated,
                defaulted=column.optional and not column.nullable,
                exact=column.name in exact,
            )
            for column in shape.columns
        ),
    )


def _prepare_table(database: Session, plan: ImportPlan, *, used: bool) -> None:
    """Check that the table is the planned one, or create it. Raises TargetChanged."""
    shape = database.shape(plan.target.table)
    problem = unusable(shape) if shape is not None else None
    if problem is not None:
        raise TargetChanged(problem)
    if check_table(plan, None if shape is None else _as_target(shape), _declarations(plan), used=used):
        parts = [
            # A primary key of SQLite may be NULL, unless it is declared otherwise.
            f"{quoted(column.target)} {kind}{'' if column.nullable else ' NOT NULL'}"
            for column, kind in zip(plan.columns, _declarations(plan), strict=True)
        ]
        if plan.primary_key:
            parts.append(f"PRIMARY KEY ({', '.join(map(quoted, plan.primary_key))})")
        database.run(statement("CREATE TABLE {table}", table=plan.target.table) + f" ({', '.join(parts)})")


def _declarations(plan: ImportPlan) -> list[str]:
    return [parse(column.type).declaration for column in plan.columns]
