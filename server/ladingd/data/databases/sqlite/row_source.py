"""SQLite as the source of exports."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from ladingd.core.errors import InvalidSpec, SourceChanged, SourceUnreadable, TargetRefused
from ladingd.core.plan import Column
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
from ladingd.data.databases.sqlite.changes import written_last
from ladingd.data.databases.sqlite.identity import Identity, read_identity
from ladingd.data.databases.sqlite.misfits import misfits
from ladingd.data.databases.sqlite.session import connected, is_there, statement
from ladingd.data.databases.sqlite.suitability import check_schema
from ladingd.data.databases.sqlite.table_rows import CAREFUL_COLUMNS, Rows, read_text
from ladingd.data.databases.sqlite.text_columns import text_columns
from ladingd.data.values.types import Affinity, declared_length, of_declaration

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from ladingd.core.plan import Chunk, ExportPlan
    from ladingd.core.spec import Table
    from ladingd.data.databases.sqlite.session import Database, TableShape

_NAMES = 5
# SQLite steps over the keys without reading the rows, in about a twentieth of the time of exporting them.
_ENDS = "SELECT {key} FROM {table} WHERE {key} >= ? ORDER BY {key} LIMIT 1 OFFSET ?"

_counted: dict[str, Identity] = {}
"""For plans whose schema has changed: the identity with which the table had all its rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SqliteSource(RowSource):
    """A database file. Chunks are ranges of the rowid with equally many rows."""

    path: Path
    moment: Moment | None = None
    """The moment that reads see; None: each read sees the rows at its beginning."""

    def inspect(self, table: Table) -> SourceTable:
        check_schema(table, "source")
        missing = InvalidSpec(FIELD, f"there is no table {table.table!r} in connection {table.connection!r}")
        if not is_there(self.path):
            raise missing
        with connected(self.path, read_only=True) as database:
            shape = database.shape(table.table)
            if shape is None:
                raise missing
            key = shape.rowid
            if key is None and len(shape.columns) > CAREFUL_COLUMNS:
                raise InvalidSpec(
                    FIELD, f"{shape.name} has no rowid; then at most {CAREFUL_COLUMNS:,} columns can be exported"
                )
            identity = read_identity(database, self.path, shape, ends=False)
            start, end = 0, 1
            if key is not None:
                text = statement("SELECT min({key}), max({key}) FROM {table}", key=key, table=shape.name)
                lowest, highest = database.rows(text)[0]
                start, end = (0, 0) if lowest is None else (lowest, min(highest + 1, LAST_KEY))
            notes = _notes(shape, key) + (() if shape.is_view or shape.is_virtual else misfits(database, shape))
        return SourceTable(
            name=shape.name,
            columns=tuple(
                Column(
                    source=column.name,
                    target=column.name,
                    type=str(of_declaration(column.declared)),
                    nullable=column.nullable,
                    length=declared_length(column.declared),
                )
                for column in shape.columns
            ),
            key=key,
            start=start,
            end=end,
            notes=notes,
            identity=identity.encode(),
        )

    def verify(self, plan: ExportPlan, exported: Callable[[], int]) -> None:
        if not plan.identity:
            return
        with _reading(plan), connected(self.path, read_only=True) as database:
            shape = _shape(database, plan)
            now = self._same(database, plan, shape)
            if now.schema == Identity.decode(plan.identity).schema or _counted.get(plan.identity) == now:
                return
            there = database.rows(statement("SELECT count(*) FROM {table}", table=shape.name))[0][0]
        if there < (known := exported()):
            raise SourceChanged(
                f"rows were removed from table {shape.name}, or it is another table now: {known:,} are exported and "
                f"{there:,} are in the table; to export it as it is now: lading clone"
            )
        _counted[plan.identity] = now

    def end_sessions(self, job_uid: str, attempt: int) -> None:
        """Does nothing: an embedded database has no sessions on a server."""

    def ends(self, plan: ExportPlan, previous: Chunk | None, limit: int) -> Sequence[int]:
        if plan.key is None:
            return (LAST_KEY,)
        start = FIRST_KEY if previous is None else previous.end
        query = statement(_ENDS, key=plan.key, table=plan.source.table)
        with _reading(plan), connected(self.path, read_only=True) as database:
            shape = _shape(database, plan)
            if plan.identity:
                self._same(database, plan, shape)
            ends: list[int] = []
            for size in chunk_sizes(plan, previous, limit):
                found = database.rows(query, (start, size))
                if not found or found[0][0] >= plan.end:
                    break
                start = found[0][0]
                ends.append(start)
        return ends if len(ends) == limit else [*ends, LAST_KEY]

    def hold_moment(self, plan: ExportPlan) -> Moment | None:
        return Moment(name=written_last(self.path), time=datetime.now(UTC))

    def at(self, moment: Moment) -> SqliteSource:
        return replace(self, moment=moment)

    def read(self, plan: ExportPlan, chunk: Chunk) -> Generator[pa.RecordBatch, None, None]:
        with _reading(plan), connected(self.path, read_only=True) as database:
            shape = _shape(database, plan)
            # The transaction has begun. If nothing was written until now, it sees the same rows as the other chunks.
            if self.moment is not None and written_last(self.path) != self.moment.name:
                raise MomentLost
            if plan.identity:
                self._same(database, plan, shape)
            found = text_columns(shape)
            gone = [column.source for column in plan.columns if column.source not in found]
            if gone:
                raise SourceUnreadable(f"table {plan.source.table} has no column {gone[0]} any more")
            last = chunk.end if chunk.end == LAST_KEY else chunk.end - 1
            rows = Rows(table=shape.name, key=plan.key, first=chunk.start, last=last)
            with closing(read_text(database, rows, [found[column.source] for column in plan.columns])) as batches:
                for texts in batches:
                    yield pa.RecordBatch.from_arrays(texts, [column.source for column in plan.columns])

    def _same(self, database: Database, plan: ExportPlan, shape: TableShape) -> Identity:
        """The identity of the current table. Raises SourceChanged if it is not the planned one, or after a VACUUM,
        which may change the rowids that chunks refer to."""
        now, planned = read_identity(database, self.path, shape, ends=False), Identity.decode(plan.identity)
        if (now.file, now.root) != (planned.file, planned.root):
            raise SourceChanged(
                f"{shape.name} is another table than the planned one, or the database was vacuumed or replaced; "
                f"to export the current table: lading clone"
            )
        return now


def _shape(database: Database, plan: ExportPlan) -> TableShape:
    shape = database.shape(plan.source.table)
    if shape is None:
        raise SourceChanged(f"there is no table {plan.source.table} any more: it was dropped or renamed")
    if shape.rowid != plan.key:
        # A new table can have the root page of the planned one.
        raise SourceChanged(f"{shape.name} is another table than the planned one: it has another key")
    return shape


def _notes(shape: TableShape, key: str | None) -> tuple[str, ...]:
    notes = []
    if key is None:
        notes.append(f"{shape.name} has no rowid: it is exported in one chunk, and a restart starts over")
    kept_as_they_are = [column.name for column in shape.columns if column.affinity is Affinity.BLOB]
    if kept_as_they_are and not shape.is_view and not shape.is_virtual:
        names = ", ".join(kept_as_they_are[:_NAMES]) + (", ..." if len(kept_as_they_are) > _NAMES else "")
        notes.append(
            f"columns for values of any kind ({names}): an import of the file stores bytes as bytes, all else as text"
        )
    return tuple(notes)


@contextmanager
def _reading(plan: ExportPlan) -> Iterator[None]:
    """Turns errors of the target into errors of a source: an export only reads."""
    try:
        yield
    except TargetRefused as error:
        raise SourceUnreadable(f"table {plan.source.table} cannot be read: {error.message}") from error
    except pa.ArrowException as error:
        raise SourceUnreadable(f"table {plan.source.table} cannot be written as text: {error}") from error
