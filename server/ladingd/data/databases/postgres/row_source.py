"""PostgreSQL as the source of exports. The server writes the records itself."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import psycopg
import pyarrow as pa
from psycopg import sql

from ladingd.core.errors import (
    InvalidSpec,
    SourceChanged,
    SourceUnreadable,
    TargetBusy,
    TargetRefused,
    TargetUnavailable,
)
from ladingd.core.plan import Column
from ladingd.core.report import report
from ladingd.data.databases.postgres.backends import end_sessions
from ladingd.data.databases.postgres.catalog import DEFAULT_SCHEMA, read_shape
from ladingd.data.databases.postgres.identity import Identity, read_identity
from ladingd.data.databases.postgres.session import Address, connected, technical
from ladingd.data.databases.postgres.snapshots import keep_snapshot
from ladingd.data.databases.row_source import (
    FIELD,
    FIRST_KEY,
    LAST_KEY,
    Moment,
    MomentLost,
    RowSource,
    SourceTable,
    chunk_sizes,
)
from ladingd.data.formats.csv.dialect import Dialect
from ladingd.data.formats.csv.parser import parse
from ladingd.data.values.types import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from psycopg.abc import Buffer

    from ladingd.core.plan import Chunk, ExportPlan
    from ladingd.core.spec import Table
    from ladingd.data.databases.postgres.catalog import TableShape
    from ladingd.data.databases.postgres.session import Session

_SOURCES = ("table", "view", "materialized view", "foreign table")
_INTEGERS = ("int2", "int4", "int8")

SPARSE = 2
"""If there are more keys per row than this, rows are counted to find ranges of the wanted size."""

# A parent table also shows the rows of inheriting tables, to which its own indexes and constraints do not apply.
_KEYS = """
SELECT a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indnkeyatts = 1 AND i.indpred IS NULL AND a.attnotnull
    AND (c.relkind = 'p' OR NOT c.relhassubclass)
ORDER BY i.indisprimary DESC, a.attnum
"""
_BOUNDS = "SELECT min({key}), max({key}) FROM {table}"
_COUNT = "SELECT count(*) FROM {table}"
_NOTHING = "SELECT {fields} FROM {table} LIMIT 0"
# As of the last ANALYZE or VACUUM; -1 if there was none.
_ROWS = """
SELECT c.reltuples::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""
_EXPECTED = "EXPLAIN (FORMAT JSON) SELECT * FROM {table}"
# Each key is found from the one before it, by reading only the index.
_ENDS = """
WITH RECURSIVE edge(key, number) AS (
    SELECT ({start})::bigint, 0::bigint
    UNION ALL
    SELECT (SELECT {key} FROM {table} WHERE {key} >= edge.key ORDER BY {key} OFFSET size.rows LIMIT 1)::bigint,
        size.number
    FROM edge JOIN unnest({sizes}::bigint[]) WITH ORDINALITY AS size(rows, number) ON size.number = edge.number + 1
    WHERE edge.key IS NOT NULL
)
SELECT key FROM edge WHERE number > 0 ORDER BY number
"""
_COPY = """
COPY (SELECT {fields} FROM {table}{rows}) TO STDOUT (FORMAT csv, DELIMITER {delimiter}, QUOTE {quote}, ESCAPE {quote})
"""
_ADVICE = "restore that table under this name and start the job again, or export the new one: lading clone"
_BOM = "\ufeff".encode()
_DIALECT = Dialect(delimiter=",", quote='"')
_AT_ONCE = 4 << 20
"""The number of bytes of delimited text that are parsed at a time."""
_REPORTED = 1 << 12

_counted: dict[str, Identity] = {}
"""For plans whose table has new storage: the identity with which the table had all its rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PostgresSource(RowSource):
    """A database on a server. Chunks are ranges of an integer key with about equally many rows."""

    keeps_moments: ClassVar[bool] = True

    address: Address
    moment: Moment | None = None
    """The moment that reads see; None: each read sees the rows at its beginning."""

    def inspect(self, table: Table) -> SourceTable:
        name = sql.Identifier(table.schema or DEFAULT_SCHEMA, table.table)
        with connected(self.address, read_only=True, table=name) as session:
            shape = None if "\0" in table.schema + table.table else read_shape(session, table)
            if shape is None:
                schema = f" in schema {table.schema or DEFAULT_SCHEMA!r}"
                raise InvalidSpec(
                    FIELD, f"there is no table {table.table!r}{schema} of connection {table.connection!r}"
                )
            if shape.kind not in _SOURCES:
                raise InvalidSpec(FIELD, f"{shape.name} is a {shape.kind}; it has no records to export")
            if not shape.columns:
                raise InvalidSpec(FIELD, f"{shape.name} has no columns")
            columns = tuple(
                Column(
                    source=column.name,
                    target=column.name,
                    type=str(column.type.field_type),
                    nullable=column.nullable,
                    length=column.type.longest_text,
                )
                for column in shape.columns
            )
            key = _key(session, shape)
            identity = read_identity(session, shape.identifier)
            if identity is None:
                raise InvalidSpec(FIELD, f"table {shape.name} was dropped or renamed while it was inspected")
            try:
                start, end = _bounds(session, shape, columns, key)
            except psycopg.Error as error:
                trouble = technical(self.address, error)
                if isinstance(trouble, TargetUnavailable):
                    raise
                raise InvalidSpec(FIELD, f"{shape.name} cannot be read: {trouble.message}") from error
        return SourceTable(
            name=shape.name,
            columns=columns,
            key=key,
            start=start,
            end=end,
            notes=_notes(shape, key),
            identity=identity.encode(),
        )

    def verify(self, plan: ExportPlan, exported: Callable[[], int]) -> None:
        if not plan.identity:
            return
        planned = Identity.decode(plan.identity)
        with _reading(plan), connected(self.address, read_only=True, table=_identifier(plan)) as session:
            now = _same(session, plan, planned)
            if now.holds(planned) or _counted.get(plan.identity) == now:
                return
            (there,) = session.rows(sql.SQL(_COUNT).format(table=_identifier(plan)))[0]
        if there < (known := exported()):
            raise SourceChanged(
                f"rows were removed from table {plan.source.table} by TRUNCATE, or with a partition: {known:,} are "
                f"exported and {there:,} are in the table; to export it as it is now: lading clone"
            )
        _counted[plan.identity] = now

    def end_sessions(self, job_uid: str, attempt: int) -> None:
        with connected(self.address, read_only=True) as session:
            end_sessions(session, job_uid, attempt)

    def ends(self, plan: ExportPlan, previous: Chunk | None, limit: int) -> Sequence[int]:
        if plan.key is None:
            return (LAST_KEY,)
        start = FIRST_KEY if previous is None else previous.end
        sizes = chunk_sizes(plan, previous, limit)
        with _reading(plan), connected(self.address, read_only=True, table=_identifier(plan)) as session:
            if _is_dense(session, plan):
                found = list(accumulate(sizes, initial=max(start, plan.start)))[1:]
            else:
                # Literals instead of bound values: with bound values psycopg would interpret a % in a name.
                query = sql.SQL(_ENDS).format(
                    key=sql.Identifier(plan.key),
                    table=_identifier(plan),
                    start=sql.Literal(start),
                    sizes=sql.Literal(sizes),
                )
                found = [key for (key,) in session.rows(query) if key is not None]
        ends = [key for key in found if key < plan.end]
        return ends if len(ends) == limit else [*ends, LAST_KEY]

    def hold_moment(self, plan: ExportPlan) -> Moment | None:
        with _reading(plan):
            found = keep_snapshot(self.address, _identifier(plan))
        if found is None:
            return None
        table = "" if found.identity is None else found.identity.encode()
        return Moment(name=f"{found.seen} {table}", snapshot=json.dumps([found.id, table]), time=found.time)

    def at(self, moment: Moment) -> PostgresSource:
        return replace(self, moment=moment)

    def read(self, plan: ExportPlan, chunk: Chunk) -> Generator[pa.RecordBatch, None, None]:
        # A second field: a record of a single NULL would be an empty line.
        fields = [*_fields(plan.columns), sql.SQL("0")]
        names = [column.source for column in plan.columns]
        with self._copying(plan, chunk, fields, _DIALECT) as (_, records):
            for data in _blocks(records):
                columns = parse(data, _DIALECT, len(fields)).columns[:-1]
                yield pa.RecordBatch.from_arrays(columns, names)

    def write_text(self, plan: ExportPlan, chunk: Chunk, file: BinaryIO) -> int:
        dialect = Dialect.of(plan.layout)
        fields = _fields(plan.columns)
        if len(plan.columns) == 1 and plan.columns[0].nullable:
            fields = [sql.SQL("concat({})").format(*fields)]  # NULL becomes an empty text, which is quoted.
        with self._copying(plan, chunk, fields, dialect) as (session, records):
            for number, some in enumerate(records):
                if not number:
                    some[0] = _unlike_mark(bytes(some[0]), dialect)
                file.write(b"".join(some))
            return session.copied

    @contextmanager
    def _copying(
        self, plan: ExportPlan, chunk: Chunk, fields: Sequence[sql.Composable], dialect: Dialect
    ) -> Iterator[tuple[Session, Iterator[list[Buffer]]]]:
        """Copy the rows of a chunk out as delimited records. Yields the records that have arrived."""
        query = sql.SQL(_COPY).format(
            fields=sql.SQL(", ").join(fields),
            table=_identifier(plan),
            rows=_rows(plan.key, chunk),
            delimiter=sql.Literal(dialect.delimiter),
            quote=sql.Literal(dialect.quote),
        )
        with _reading(plan), connected(self.address, read_only=True, table=_identifier(plan)) as session:
            self._begin_reading(session, plan)
            expected = None if plan.key else _estimate(session, plan)
            records = session.copy_out(query)
            yield session, records if expected is None else _reported(records, expected)

    def _begin_reading(self, session: Session, plan: ExportPlan) -> None:
        """Set the session to the moment, and check that the table is the planned one. Raises MomentLost,
        SourceChanged."""
        snapshot, table = ("", "") if self.moment is None else json.loads(self.moment.snapshot)
        if snapshot and not session.join(snapshot):
            raise MomentLost
        # Locks the table: until the end of the transaction nobody can drop, rename or rewrite it.
        session.rows(sql.SQL(_NOTHING).format(fields=sql.SQL(""), table=_identifier(plan)))
        if plan.identity:
            now = _same(session, plan, Identity.decode(plan.identity))
            if table and not now.holds(Identity.decode(table)):
                raise MomentLost  # The snapshot is older than the table's storage and may see no rows.


def _blocks(records: Iterator[list[Buffer]]) -> Iterator[bytes]:
    """Joins records into blocks of about _AT_ONCE bytes."""
    waiting: list[Buffer] = []
    size = 0
    for some in records:
        waiting += some
        size += sum(map(len, some))
        if size >= _AT_ONCE:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    if waiting:
        yield b"".join(waiting)


def _reported(records: Iterator[list[Buffer]], expected: int) -> Iterator[list[Buffer]]:
    """Passes records on, and reports the progress every few thousand records."""
    read = reported = 0
    for some in records:
        read += len(some)
        if read >= reported + _REPORTED:
            report(read, expected)
            reported = read
        yield some


def _estimate(session: Session, plan: ExportPlan) -> int:
    """The planner's estimate of the number of rows, also for a view."""
    query = sql.SQL(_EXPECTED).format(table=_identifier(plan))
    return int(session.rows(query)[0][0][0]["Plan"]["Plan Rows"])


def _same(session: Session, plan: ExportPlan, planned: Identity) -> Identity:
    """The identity of the current table. Raises SourceChanged if it is not the planned one."""
    now = read_identity(session, _identifier(plan))
    if now is None:
        raise SourceChanged(f"there is no table {plan.source.table} any more: it was dropped or renamed; {_ADVICE}")
    if not planned.is_same(now):
        raise SourceChanged(f"{plan.source.table} is another table than the planned one; {_ADVICE}")
    return now


def _identifier(plan: ExportPlan) -> sql.Identifier:
    return sql.Identifier(plan.source.schema or DEFAULT_SCHEMA, plan.source.table)


def _key(session: Session, shape: TableShape) -> str | None:
    """The column for ranges: an integer without NULL and with a unique index; None if there is none."""
    integers = {column.name for column in shape.columns if column.type.base in _INTEGERS and not column.type.is_array}
    return next((name for (name,) in session.rows(_KEYS, (shape.oid,)) if name in integers), None)


def _bounds(session: Session, shape: TableShape, columns: Sequence[Column], key: str | None) -> tuple[int, int]:
    """Check that the table can be read, and return the range of its keys. Raises psycopg's errors."""
    session.rows(sql.SQL(_NOTHING).format(fields=sql.SQL(", ").join(_fields(columns)), table=shape.identifier))
    if key is None:
        return 0, 1
    lowest, highest = session.rows(sql.SQL(_BOUNDS).format(key=sql.Identifier(key), table=shape.identifier))[0]
    return (0, 0) if lowest is None else (lowest, min(highest + 1, LAST_KEY))


def _is_dense(session: Session, plan: ExportPlan) -> bool:
    """Whether ranges of keys contain about as many rows as keys. They never contain more, because the key is unique."""
    found = session.rows(_ROWS, (plan.source.schema or DEFAULT_SCHEMA, plan.source.table))
    return bool(found) and plan.end - plan.start <= SPARSE * found[0][0]


def _notes(shape: TableShape, key: str | None) -> tuple[str, ...]:
    notes = []
    if shape.policed:
        notes.append(f"row-level security is active on {shape.name}: only rows that the account may see are exported")
    if key is None:
        notes.append(
            f"{shape.name} has no unique key of integers: it is exported in one chunk, a restart starts over,"
            " and its progress follows the planner's estimate of its rows"
        )
    return tuple(notes)


def _fields(columns: Sequence[Column]) -> list[sql.Composable]:
    """The expressions to select, converted if the server's text differs from that of our files."""
    fields: list[sql.Composable] = []
    for column in columns:
        field: sql.Composable = sql.Identifier(column.source)
        if column.type == Kind.BOOLEAN:
            field = sql.SQL("{}::text").format(field)  # The server would write t.
        fields.append(field)
    return fields


def _rows(key: str | None, chunk: Chunk) -> sql.Composed:
    if key is None:
        return sql.Composed([])
    conditions = []
    if chunk.start != FIRST_KEY:
        conditions.append(sql.SQL("{} >= {}").format(sql.Identifier(key), chunk.start))
    if chunk.end != LAST_KEY:
        conditions.append(sql.SQL("{} < {}").format(sql.Identifier(key), chunk.end))
    where = sql.SQL(" WHERE ") if conditions else sql.SQL("")
    return where + sql.SQL(" AND ").join(conditions) + sql.SQL(" ORDER BY {}").format(sql.Identifier(key))


def _unlike_mark(record: bytes, dialect: Dialect) -> bytes:
    """Quote the first field of a record that begins with a byte order mark, so that the mark is read as data."""
    if not record.startswith(_BOM):
        return record
    quote = dialect.quote.encode()
    # A field that begins with the mark is unquoted, so it contains no delimiter and no line end.
    end = min(place for stop in (dialect.delimiter.encode(), b"\n") if (place := record.find(stop)) >= 0)
    return quote + record[:end] + quote + record[end:]


@contextmanager
def _reading(plan: ExportPlan) -> Iterator[None]:
    """Turns errors of the target into errors of a source: an export only reads."""
    try:
        yield
    except TargetBusy:
        raise  # Its message names the table.
    except TargetUnavailable as error:
        raise TargetUnavailable(f"table {plan.source.table} cannot be read for now: {error.message}") from error
    except TargetRefused as error:
        raise SourceUnreadable(f"table {plan.source.table} cannot be read: {error.message}") from error
