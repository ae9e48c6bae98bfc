"""DuckDB as the source of exports."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from ladingd.core.errors import InvalidSpec, SourceChanged, SourceUnreadable, TargetRefused
from ladingd.core.plan import Column
from ladingd.core.report import report
from ladingd.data.databases.duckdb.catalog import read_shape
from ladingd.data.databases.duckdb.session import connected, is_there, quoted
from ladingd.data.databases.row_source import FIELD, FIRST_KEY, LAST_KEY, RowSource, SourceTable, chunk_sizes
from ladingd.data.storage.work_dir import WorkDir

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from contextlib import AbstractContextManager

    from ladingd.core.plan import Chunk, ExportPlan
    from ladingd.core.spec import Table
    from ladingd.data.databases.duckdb.catalog import TableColumn, TableShape
    from ladingd.data.databases.duckdb.session import Database

_SIGNS = 8
"""The number of rows at each end of a table by which the table is recognised."""
_BATCH_ROWS = 16_384

_BOUNDS = "SELECT min({key}), max({key}) FROM {table}"
_ROWS = "SELECT count(*) FROM {table}"
# The key that is this many rows after another key.
_END = "SELECT {key} FROM {table} WHERE {key} >= ? ORDER BY {key} LIMIT 1 OFFSET ?"
_ALL = "SELECT {values} FROM {table}"
_RANGE = "SELECT {values} FROM {table} WHERE {key} BETWEEN ? AND ? ORDER BY {key}"
# Digests of the first rows, and of the rows at both ends.
_FIRST_SIGNS = "SELECT {sign} FROM {table} LIMIT {number}"
_OUTER_SIGNS = """
(SELECT {sign} FROM {table} ORDER BY {key} LIMIT {number}) UNION
(SELECT {sign} FROM {table} ORDER BY {key} DESC LIMIT {number})
"""
_HAS_SIGN = "SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {sign} IN (SELECT unnest($1::VARCHAR[])) LIMIT 1)"
_SIGN = "md5(CAST(ROW({columns}) AS VARCHAR))"


@dataclass(frozen=True, kw_only=True, slots=True)
class DuckdbSource(RowSource):
    """A database file. Chunks are ranges of an integer key with equally many rows."""

    path: Path
    work_dir: WorkDir

    def inspect(self, table: Table) -> SourceTable:
        missing = InvalidSpec(FIELD, f"there is no table {table.table!r} in connection {table.connection!r}")
        if not is_there(self.path):
            raise missing
        with self._connected() as database:
            shape = None if "\0" in table.schema + table.table else read_shape(database, table)
            if shape is None:
                raise missing
            start, end = 0, 1
            if shape.key is not None:
                lowest, highest = database.rows(_sql(_BOUNDS, shape))[0]
                start, end = (0, 0) if lowest is None else (lowest, min(highest + 1, LAST_KEY))
            try:
                signs = _signs(database, shape)
            except TargetRefused as error:
                raise InvalidSpec(FIELD, f"{shape.name} cannot be read: {error.message}") from error
        return SourceTable(
            name=shape.name,
            columns=tuple(
                Column(
                    source=column.name,
                    target=column.name,
                    type=str(column.type.field_type),
                    nullable=column.nullable,
                )
                for column in shape.columns
            ),
            key=shape.key,
            start=start,
            end=end,
            notes=_notes(shape),
            identity=json.dumps(sorted(signs)) if shape.kind == "table" else "",
        )

    def verify(self, plan: ExportPlan, exported: Callable[[], int]) -> None:
        with _reading(plan), self._connected() as database:
            _same(database, plan)

    def end_sessions(self, job_uid: str, attempt: int) -> None:
        """Does nothing: an embedded database has no sessions on a server."""

    def ends(self, plan: ExportPlan, previous: Chunk | None, limit: int) -> Sequence[int]:
        if plan.key is None:
            return (LAST_KEY,)
        start = FIRST_KEY if previous is None else previous.end
        with _reading(plan), self._connected(linger=True) as database:
            query = _sql(_END, _same(database, plan))
            ends: list[int] = []
            for size in chunk_sizes(plan, previous, limit):
                found = database.rows(query, (start, size))
                if not found or found[0][0] >= plan.end:
                    break
                start = found[0][0]
                ends.append(start)
        return ends if len(ends) == limit else [*ends, LAST_KEY]

    def read(self, plan: ExportPlan, chunk: Chunk) -> Generator[pa.RecordBatch, None, None]:
        names = [column.source for column in plan.columns]
        done = 0
        with _reading(plan), self._connected(linger=True) as database:
            shape = _same(database, plan)
            columns = _columns(shape, names)
            values = ", ".join(column.type.expression(column.name) for column in columns)
            if plan.key is None:
                expected = int(database.rows(_sql(_ROWS, shape))[0][0])
                reader = database.stream(_sql(_ALL, shape, values=values), rows=_BATCH_ROWS)
            else:
                last = chunk.end if chunk.end == LAST_KEY else chunk.end - 1
                bounds = (chunk.start, last)
                reader = database.stream(_sql(_RANGE, shape, values=values), bounds, rows=_BATCH_ROWS)
            for batch in reader:
                texts = [column.type.text(part) for column, part in zip(columns, batch.columns, strict=True)]
                yield pa.RecordBatch.from_arrays(texts, names)
                done += batch.num_rows
                if plan.key is None:
                    report(done, expected)

    def _connected(self, *, linger: bool = False) -> AbstractContextManager[Database]:
        return connected(self.path, self.work_dir, read_only=True, linger=linger)


def _sql(text: str, shape: TableShape, **words: str) -> str:
    return text.format(table=shape.identifier, key=quoted(shape.key or ""), number=_SIGNS, **words)


def _sign(shape: TableShape) -> str:
    return _SIGN.format(columns=", ".join(quoted(column.name) for column in shape.columns))


def _signs(database: Database, shape: TableShape) -> list[str]:
    """Digests of some rows, by which the table is recognised."""
    query = _FIRST_SIGNS if shape.key is None else _OUTER_SIGNS
    return [sign for (sign,) in database.rows(_sql(query, shape, sign=_sign(shape)))]


def _same(database: Database, plan: ExportPlan) -> TableShape:
    """The planned table as it is now. Raises SourceChanged.

    A table of DuckDB has no identity that outlives the process. It counts as another table if it has none of the rows
    that were at the ends of the planned one.
    """
    name = plan.source.table
    shape = read_shape(database, plan.source)
    if shape is None:
        raise SourceChanged(f"there is no table {name} any more: it was dropped or renamed")
    if shape.key != plan.key:
        raise SourceChanged(f"{name} is another table than the planned one: it has another key")
    planned = json.loads(plan.identity) if plan.identity else []
    if planned and not set(planned) & set(_signs(database, shape)):
        # Rows were added at both ends, or a column was changed, or the table was replaced.
        found = database.rows(_sql(_HAS_SIGN, shape, sign=_sign(shape)), (planned,))
        if not found[0][0]:
            raise SourceChanged(
                f"{name} is another table than the planned one, or all rows at its ends were removed or changed; "
                f"to export the current table: lading clone"
            )
    return shape


def _columns(shape: TableShape, names: Sequence[str]) -> list[TableColumn]:
    found = [(name, shape.column(name)) for name in names]
    gone = [name for name, column in found if column is None]
    if gone:
        raise SourceUnreadable(f"table {shape.name} has no column {gone[0]} any more")
    return [column for _, column in found if column is not None]


def _notes(shape: TableShape) -> tuple[str, ...]:
    if shape.key is not None:
        return ()
    return (f"{shape.name} has no integer key: it is exported in one chunk, and a restart starts over",)


@contextmanager
def _reading(plan: ExportPlan) -> Iterator[None]:
    """Turns errors of the target into errors of a source: an export only reads."""
    try:
        yield
    except TargetRefused as error:
        raise SourceUnreadable(f"table {plan.source.table} cannot be read: {error.message}") from error
    except pa.ArrowException as error:
        raise SourceUnreadable(f"table {plan.source.table} cannot be written as text: {error}") from error
