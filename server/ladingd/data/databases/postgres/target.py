"""PostgreSQL as the target of imports."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from psycopg import sql

from ladingd.core.errors import InvalidSpec, TargetChanged, TargetRefused
from ladingd.data.databases.commit import Conflict, Transaction
from ladingd.data.databases.postgres.backends import LAST_ATTEMPT, end_sessions
from ladingd.data.databases.postgres.bulk_load import Load
from ladingd.data.databases.postgres.catalog import (
    DEFAULT_SCHEMA,
    PgColumn,
    TableShape,
    is_entangled,
    is_unchanged,
    read_shape,
    read_uniques,
)
from ladingd.data.databases.postgres.characters import keepable
from ladingd.data.databases.postgres.defaults import evaluate
from ladingd.data.databases.postgres.hooks import PostgresHook
from ladingd.data.databases.postgres.key_locks import RECENT, InFlight
from ladingd.data.databases.postgres.key_order import in_key_order
from ladingd.data.databases.postgres.ledger import DDL_LOCK, Ledger
from ladingd.data.databases.postgres.merge_key import check_unique, check_visible
from ladingd.data.databases.postgres.recognition import check_unlogged, gone, keep, recognise
from ladingd.data.databases.postgres.sequences import ColumnSequence, column_sequences, immovable
from ladingd.data.databases.postgres.session import Address, Session, connected
from ladingd.data.databases.postgres.staging import Staging, forbidden
from ladingd.data.databases.postgres.transaction import (
    Loading,
    PostgresTransaction,
    ShapeOutdated,
    experience,
    is_guarded,
)
from ladingd.data.databases.postgres.types import admitting, declaration
from ladingd.data.databases.staging import check_kept
from ladingd.data.databases.target import Attempt, Defaults, ReadingsOutdated, Target, TargetColumn, TargetTable
from ladingd.data.mapping.column_names import cut
from ladingd.data.mapping.matching import FIELD, check_table, missing_columns, no_table
from ladingd.data.storage.work_dir import WorkDir
from ladingd.data.values import types as field_type
from ladingd.data.values.converters import typed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from ladingd.core.plan import Chunk, CommittedChunk, ImportPlan
    from ladingd.core.spec import Table
    from ladingd.data.databases.commit import Opening
    from ladingd.data.databases.hooks import HookTransaction
    from ladingd.data.mapping.batch import Batch
    from ladingd.data.values.converters import Reading
    from ladingd.data.values.types import FieldType

NAME_BYTES = 63

_PRIVILEGES = """
SELECT has_schema_privilege(relnamespace, 'USAGE'), has_table_privilege(oid, 'INSERT') FROM pg_class WHERE oid = %s
"""
# The tables that are no partitions, with an empty name of the default schema.
_TABLES = """
SELECT CASE n.nspname WHEN %s THEN '' ELSE n.nspname END, c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname NOT IN ('information_schema', %s)
    AND n.nspname !~ '^pg_' AND has_schema_privilege(n.oid, 'USAGE')
ORDER BY 1, 2
"""
# Whether the account may change the table, and who owns it.
_OWNER = "SELECT pg_has_role(relowner, 'USAGE'), relowner::regrole::text FROM pg_class WHERE oid = %s"
# What the account may do with the rows of a table, and whether it has rules.
_RIGHTS = """
SELECT has_table_privilege(oid, 'SELECT'), has_any_column_privilege(oid, 'UPDATE'), has_table_privilege(oid, 'DELETE'),
    relhasrules FROM pg_class WHERE oid = %s
"""
# Whether the account may create tables in a schema.
_MAY_STAGE = "SELECT has_schema_privilege(%s, 'CREATE')"
_KEY = "reconciliation.key"
_UNLOGGED = "table {table} is UNLOGGED: a crash of the server empties it, also after the job is FINISHED"

_EXACT = frozenset({"int2", "int4", "int8", "text", "varchar", "uuid"})

_shapes: dict[tuple[Address, Table], tuple[str | None, TableShape]] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class PostgresTarget(Target):
    """A database on a server. Its repr shows only the name."""

    address: Address
    work_dir: WorkDir
    ledger_schema: str = "lading"

    dialect = "postgres"
    column_limit = 1600  # "PostgreSQL Limits" in the manual
    name_bytes = NAME_BYTES
    reserved_names = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})

    def table(self, table: Table) -> TargetTable | None:
        if table.schema == self.ledger_schema:
            raise InvalidSpec("target.schema", f"the schema {table.schema} is reserved for Lading's ledger")
        _check_name(table.table, FIELD)
        if table.schema:
            _check_name(table.schema, "target.schema")
        with connected(self.address, brief=True, table=_identifier(table)) as session:
            try:
                self._ledger(session).create()  # Rolled back at the end: this only checks the permissions.
            except TargetRefused as refused:
                raise InvalidSpec("target.connection", refused.message) from refused
            shape = read_shape(session, table)
            if shape is None:
                _check_schema(session, table)
                return None
            _check_privileges(session, shape)
            sequences = column_sequences(session, shape, shape.columns)
            uniques, entangled = read_uniques(session, shape), is_entangled(session, shape)
        if shape.kind != "table":
            raise InvalidSpec(FIELD, no_table(table.table, shape.kind))
        return replace(_as_target(shape, sequences), uniques=uniques, entangled=entangled)

    def tables(self) -> Sequence[tuple[str, str]]:
        with connected(self.address, read_only=True) as session:
            found = session.rows(_TABLES, (DEFAULT_SCHEMA, self.ledger_schema))
        return [(schema, name) for schema, name in found]

    def check_type(self, kind: FieldType) -> None:
        """Accepts every type."""

    def readings(self, plan: ImportPlan, attempt: Attempt | None = None) -> Sequence[Reading]:
        kinds = [field_type.parse(column.type) for column in plan.columns]
        if plan.create_table:
            return [
                typed(kind) if column.inferred else admitting(typed(kind))
                for kind, column in zip(kinds, plan.columns, strict=True)
            ]
        shape = self._known_shape(plan, attempt and attempt[0])
        columns = [shape.column(column.target) for column in plan.columns]
        return [
            typed(kind) if column is None else column.type.reading(kind)
            for kind, column in zip(kinds, columns, strict=True)
        ]

    @contextmanager
    def hooking(self, job_uid: str, attempt: int) -> Iterator[HookTransaction]:
        with connected(self.address, own=True) as session:
            end_sessions(session, job_uid, attempt)
            ledger = self._ledger(session)
            ledger.create(hooks=True)
            ledger.raise_attempt(job_uid, attempt)
            yield PostgresHook(address=self.address, session=session, ledger=ledger)

    def check_addable(self, table: Table) -> None:
        with connected(self.address, brief=True, table=_identifier(table)) as session:
            shape = _shape(session, table)
            if shape.is_partition:
                raise InvalidSpec("add_columns", f"{table.table} is a partition: import into the table that it is of")
            ((is_owner, owner),) = session.rows(_OWNER, (shape.oid,))
            account = session.user
        if not is_owner:
            raise InvalidSpec(
                "add_columns",
                f"the account {account} may not add columns to table {table.table}, which belongs to {owner}; "
                f"add them as {owner}, or run: GRANT {owner} TO {account};",
            )

    def add_columns(self, job_uid: str, attempt: int, plan: ImportPlan) -> tuple[str, ...]:
        with connected(self.address, brief=True, table=_identifier(plan.target)) as session:
            end_sessions(session, job_uid, attempt)
            ledger = self._ledger(session)
            ledger.create()
            ledger.raise_attempt(job_uid, attempt)
            missing = []
            if not ledger.entries(job_uid):
                session.run("SELECT pg_advisory_xact_lock(%s)", (DDL_LOCK,))
                shape = read_shape(session, plan.target)
                missing = missing_columns(plan, None if shape is None else _as_target(shape), _declarations(plan))
            for name, kind in missing:
                session.run(_add_column(plan.target, name, kind))
            session.commit()
        return tuple(name for name, _ in missing)

    def begin(self, job_uid: str, attempt: int, plan: ImportPlan) -> tuple[CommittedChunk, ...]:
        with connected(self.address, brief=True, table=_identifier(plan.target)) as session:
            end_sessions(session, job_uid, attempt)
            ledger = self._ledger(session)
            ledger.create()
            ledger.raise_attempt(job_uid, attempt)
            entries = ledger.entries(job_uid)
            self._prepare_table(session, plan, used=bool(entries))
            if plan.columns:
                shape = _shape(session, plan.target)
                if plan.merge is not None:
                    staging = self._staging(session, job_uid)
                    if entries:
                        check_kept(entries, exists=staging.exists)
                    else:
                        staging.create(shape, plan)
                if entries and ledger.identity(job_uid) is not None:
                    recognise(session, ledger, job_uid, shape)
                    check_unlogged(session, ledger, job_uid, shape)
                else:  # The job has no rows yet, or an older version of the daemon began it.
                    keep(session, ledger, job_uid, shape)
            session.commit()
        self._in_flight(job_uid).clear()
        return entries

    def committed(self, job_uid: str, attempt: int) -> tuple[CommittedChunk, ...]:
        with connected(self.address, brief=True) as session:
            end_sessions(session, job_uid, attempt)
            ledger = self._ledger(session)
            if not ledger.exists():
                return ()
            ledger.raise_attempt(job_uid, attempt)
            entries = ledger.entries(job_uid)
            session.commit()
        return entries

    def verify(self, job_uid: str, plan: ImportPlan) -> None:
        with connected(self.address, brief=True, table=_identifier(plan.target)) as session:
            if plan.columns:
                shape = _shape(session, plan.target)
                recognise(session, self._ledger(session), job_uid, shape)
                check_unlogged(session, self._ledger(session), job_uid, shape)
            session.commit()

    def discard(self, job_uid: str) -> None:
        with connected(self.address, brief=True) as session:
            end_sessions(session, job_uid, LAST_ATTEMPT)
            ledger = self._ledger(session)
            self._staging(session, job_uid).drop()
            if ledger.exists():
                ledger.forget(job_uid)
            session.commit()

    def check_merge(self, plan: ImportPlan) -> None:
        with connected(self.address, brief=True, table=_identifier(plan.target)) as session:
            shape, merge = _shape(session, plan.target), plan.merge
            _check_changes(session, shape, plan)
            if merge is not None:
                guarded = is_guarded(session, shape, merge)
                try:
                    check_visible(session, shape, merge, guarded=guarded)
                    if not guarded:
                        check_unique(session, shape, merge)
                except TargetRefused as refused:
                    raise InvalidSpec("replace" if merge.replace else _KEY, refused.message) from refused
            self._ledger(session).create()  # Rolled back at the end.
            if not session.rows(_MAY_STAGE, (self.ledger_schema,))[0][0]:
                raise InvalidSpec("target.connection", forbidden(session, self.ledger_schema))

    def begin_merge(self, job_uid: str, attempt: int, plan: ImportPlan) -> None:
        with connected(self.address, table=_identifier(plan.target)) as session:
            self._ledger(session).check_attempt(job_uid, attempt)
            session.commit()

    def end_merge(self, job_uid: str, plan: ImportPlan) -> None:
        with connected(self.address, brief=True) as session:
            self._staging(session, job_uid).drop()
            session.commit()

    def defaults(self, plan: ImportPlan, numbers: Mapping[str, int]) -> Defaults:
        with connected(self.address, brief=True, table=_identifier(plan.target)) as session:
            found = evaluate(session, _shape(session, plan.target), numbers)
            session.commit()  # A rollback would not undo the use of a sequence, but that of other functions.
        return found

    def opening(self, job_uid: str, plan: ImportPlan, chunk: Chunk) -> AbstractContextManager[Opening]:
        return nullcontext(partial(self._opened, job_uid, plan, chunk))

    @contextmanager
    def _opened(self, job_uid: str, plan: ImportPlan, chunk: Chunk, batch: Batch | None) -> Iterator[Transaction]:
        """Prepare a batch, then begin a transaction."""
        loading = refusing = None
        if plan.merge is not None:
            refusing = self._known_shape(plan, job_uid)
        elif batch is not None and batch.records.num_rows:
            loading = self._loading(job_uid, plan, chunk, batch)
        elif batch is not None and batch.faults and not plan.create_table:
            refusing = self._known_shape(plan, job_uid)
        try:
            with connected(self.address, table=_identifier(plan.target)) as session, ExitStack() as until_committed:
                yield PostgresTransaction(
                    session=session,
                    ledger=self._ledger(session),
                    loading=loading,
                    refusing=refusing,
                    staging=self._staging(session, job_uid),
                    until_committed=until_committed,
                )
        except Conflict:
            self._in_flight(job_uid).remember(chunk.ordinal)
            raise
        except ShapeOutdated as outdated:
            _shapes.pop((self.address, plan.target), None)
            raise ReadingsOutdated(outdated.message) from outdated

    def _loading(self, job_uid: str, plan: ImportPlan, chunk: Chunk, batch: Batch) -> Loading:
        shape = self._known_shape(plan, job_uid)
        in_flight, known = self._in_flight(job_uid), experience(self.address, job_uid)
        kept = keepable(batch, shape.encoding)
        faults = kept.faults[len(batch.faults) :]
        kept = in_key_order(kept, shape.key)
        load = None
        if kept.records.num_rows:
            likely = in_flight.likely(chunk.ordinal)
            each = abs(chunk.ordinal - known.tried) <= RECENT
            load = Load.of(kept.records, shape, probed=likely and not shape.rewrites, each=each)
        return Loading(
            job_uid=job_uid, chunk=chunk, batch=kept, faults=faults, load=load, in_flight=in_flight, known=known
        )

    def _prepare_table(self, session: Session, plan: ImportPlan, *, used: bool) -> None:
        """Check that the table is the planned one, or create it. Raises TargetChanged."""
        if plan.create_table:
            session.run("SELECT pg_advisory_xact_lock(%s)", (DDL_LOCK,))
        shape = read_shape(session, plan.target)
        if shape is not None and shape.kind != "table":
            raise TargetChanged(f"{plan.target.table} has become a {shape.kind}")
        if check_table(plan, None if shape is None else _as_target(shape), _declarations(plan), used=used):
            session.run(_create_table(plan))

    def _known_shape(self, plan: ImportPlan, job_uid: str | None) -> TableShape:
        """The cached shape of the table, read again if it has changed. A job looks once: the transaction of each chunk
        notices later changes."""
        key = (self.address, plan.target)
        seen_by, known = _shapes.get(key, (None, None))
        is_seen = known is not None and job_uid is not None and seen_by == job_uid
        if known is not None and is_seen and all(known.column(column.target) for column in plan.columns):
            return known
        with connected(self.address) as session:
            shape = known if known is not None and is_unchanged(session, known) else _shape(session, plan.target)
        _shapes[key] = (job_uid, shape)
        return shape

    def _in_flight(self, job_uid: str) -> InFlight:
        return InFlight(work_dir=self.work_dir, job_uid=job_uid)

    def _staging(self, session: Session, job_uid: str) -> Staging:
        return Staging(session=session, schema=self.ledger_schema, job_uid=job_uid)

    def _ledger(self, session: Session) -> Ledger:
        return Ledger(session=session, schema=self.ledger_schema)


def _check_changes(session: Session, shape: TableShape, plan: ImportPlan) -> None:
    """Check that the account may find and change rows of a table. Raises InvalidSpec."""
    merge = plan.merge
    select, update, delete, ruled = session.rows(_RIGHTS, (shape.oid,))[0]
    needed = {"SELECT": not select}
    if merge is not None:
        needed |= {
            "UPDATE": merge.updates and bool(merge.key) and not update,
            "DELETE": (merge.deletes or merge.replace) and not delete,
        }
    if lacking := [right for right, lacks in needed.items() if lacks]:
        account = sql.Identifier(session.user)
        rights = sql.SQL(", ".join(lacking))
        grant = sql.SQL("GRANT {} ON {} TO {}").format(rights, shape.identifier, account)
        raise _forbidden(session, f"find and change rows of table {shape.name}", [grant])
    if ruled:
        raise InvalidSpec(
            FIELD, f"table {shape.name} has rules, which would make the counts wrong; use triggers instead"
        )


def _shape(session: Session, table: Table) -> TableShape:
    """The shape of the existing table. Raises TargetChanged."""
    shape = read_shape(session, table)
    if shape is None:
        raise TargetChanged(gone(table.table))
    if shape.kind != "table":
        raise TargetChanged(f"{table.table} has become a {shape.kind}")
    return shape


def _identifier(table: Table) -> sql.Identifier:
    return sql.Identifier(table.schema or DEFAULT_SCHEMA, table.table)


def _declarations(plan: ImportPlan) -> list[str]:
    return [declaration(field_type.parse(column.type)) for column in plan.columns]


def _create_table(plan: ImportPlan) -> sql.Composed:
    parts = [
        sql.SQL("{} {}").format(sql.Identifier(column.target), sql.SQL(kind))
        for column, kind in zip(plan.columns, _declarations(plan), strict=True)
    ]
    if plan.primary_key:
        parts.append(sql.SQL("PRIMARY KEY ({})").format(sql.SQL(", ").join(map(sql.Identifier, plan.primary_key))))
    return sql.SQL("CREATE TABLE {} ({})").format(_identifier(plan.target), sql.SQL(", ").join(parts))


def _add_column(table: Table, name: str, kind: str) -> sql.Composed:
    """Adds a column that is NULL in all rows. The server rewrites none of them."""
    return sql.SQL("ALTER TABLE {} ADD COLUMN {} {}").format(_identifier(table), sql.Identifier(name), sql.SQL(kind))


def _as_target(shape: TableShape, sequences: Sequence[ColumnSequence] = ()) -> TargetTable:
    return TargetTable(
        name=shape.name,
        columns=tuple(
            TargetColumn(
                name=column.name,
                declared=column.type.declared,
                type=column.type.field_type,
                # A trigger before inserts may fill the column.
                nullable=column.nullable or shape.rewrites,
                optional=column.optional or shape.rewrites,
                generated=column.generated,
                defaulted=column.has_default and not column.nullable,
                exact=_is_exact(column),
                note=immovable(column.name, sequences),
            )
            for column in shape.columns
        ),
        notes=(_UNLOGGED.format(table=shape.name),) if shape.unlogged else (),
    )


def _is_exact(column: PgColumn) -> bool:
    """Whether two fields of a column are equal for the server exactly if they are identical, in all chunks."""
    kind = column.type
    return not column.collation and kind.takes(kind.arrow) and kind.base in _EXACT


def _check_name(name: str, field: str) -> None:
    if not name or "\0" in name:
        raise InvalidSpec(field, "the table needs a name")
    if len(name.encode()) > NAME_BYTES:
        kept = cut(name, NAME_BYTES)
        raise InvalidSpec(field, f"PostgreSQL keeps at most {NAME_BYTES} bytes of a name; this one would become {kept}")


def _check_schema(session: Session, table: Table) -> None:
    schema = table.schema or DEFAULT_SCHEMA
    found = session.rows("SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = %s", (schema,))
    if not found:
        raise InvalidSpec("target.schema", f"there is no schema {schema!r}; an administrator can create it")
    if schema.startswith("pg_") or schema == "information_schema":
        raise InvalidSpec("target.schema", f"schema {schema} is the server's own; choose another one")
    if not found[0][0]:
        statement = sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}")
        grants = [statement.format(sql.Identifier(schema), sql.Identifier(session.user))]
        raise _forbidden(session, f"create the table {table.table} in schema {schema}", grants)


def _check_privileges(session: Session, shape: TableShape) -> None:
    account = sql.Identifier(session.user)
    ((usage, insert),) = session.rows(_PRIVILEGES, (shape.oid,))
    grants = []
    if not usage:
        grants.append(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(shape.schema), account))
    if not insert:
        grants.append(sql.SQL("GRANT INSERT ON {} TO {}").format(shape.identifier, account))
    if grants:
        raise _forbidden(session, f"insert into table {shape.name}", grants)


def _forbidden(session: Session, what: str, grants: Sequence[sql.Composed]) -> InvalidSpec:
    statements = "; ".join(grant.as_string() for grant in grants)
    return InvalidSpec(FIELD, f"the account {session.user} may not {what}; an administrator can run: {statements};")
