"""Merges the staged records of a slice into their table, with a few statements for all of them.

Records that the options of the merge reject or ignore leave the staging first, then an update and an insert carry the
others into the table. If the table refuses one of them, the transaction begins anew and tries parts of the slice, down
to single records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ladingd.core.bill import Counts
from ladingd.core.errors import TargetRefused
from ladingd.core.plan import Column
from ladingd.data.databases.commit import Merged
from ladingd.data.databases.merge_keys import Key
from ladingd.data.databases.slice_decisions import COLUMN, SliceDecisions
from ladingd.data.databases.slice_rejects import (
    changes_keys,
    undeletable,
)
from ladingd.data.databases.sqlite.attempts import Attempts
from ladingd.data.databases.sqlite.bulk_load import OnlyTryingTells
from ladingd.data.databases.sqlite.keys import check_unique, is_guarded, shown
from ladingd.data.databases.sqlite.session import RecordRefused, TableShape, quoted
from ladingd.data.databases.sqlite.slice_statements import CACHE, DEFAULTS, SliceStatements

# The number of staged records.
_COUNT = "SELECT count(*) FROM {stage}"
# The records whose key another one has that is kept, or all records with such a key.
_DOUBLED = """
{place} IN (
    SELECT place FROM (SELECT {place} AS place, {rank} AS rank FROM {stage} AS s WHERE {present}) WHERE rank > 1
)
"""
# The records that the table lacks.
_MISSING = """
{place} IN (SELECT {place} FROM {stage} AS s LEFT JOIN {table} AS t ON {match} WHERE {complete} AND {mark} IS NULL)
"""
# The places of records, and a part of them as text.
_REFUSED = "SELECT {place}, {shown} FROM {stage} AS s WHERE {condition} ORDER BY 1"
# Deletes the rows that a replacement has no record for.
_DELETE_REPLACED = "DELETE FROM {table} AS t"
_WITHOUT_RECORD = "NOT coalesce(({key}) IN (SELECT {own} FROM {stage} AS s), 0)"
# Whether a record has no row.
_LACKS = """
SELECT EXISTS (SELECT 1 FROM {stage} AS s WHERE NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {match}))
"""
_REMOVE = "DELETE FROM {stage} AS s WHERE {condition}"
_ALL = "DELETE FROM {stage}"
# Guards the lookups of single records by a key without an index.
_INDEX = "CREATE INDEX main.lading_key ON {table} ({key})"
_DROP_INDEX = "DROP INDEX main.lading_key"
# The next places of records that are found by a key.
_PLACES = "SELECT {place} FROM {stage} AS s WHERE {complete} AND {place} > ? ORDER BY 1 LIMIT {block}"
_BLOCK = 4096
_IGNORED = "a trigger of table {name} ignores this record"


class _Skipped(Exception):
    """A trigger skipped some rows without an error."""


@dataclass(frozen=True, kw_only=True)
class SliceMerge(SliceDecisions):
    """The staged records of one slice on their way into the table."""

    doubled = _DOUBLED
    missing = _MISSING
    session: Attempts
    shape: TableShape
    columns: Sequence[Column]
    """The columns of the plan."""
    careful: bool
    """Whether to try parts of the slice, because the table refuses some records."""

    @property
    def name(self) -> str:
        return self.shape.name

    @property
    def table(self) -> str:
        return f"main.{quoted(self.shape.name)}"

    def rows(self, query: str) -> Sequence[Sequence[Any]]:
        return self.session.rows(query)

    def shown(self, alias: str, column: str) -> str:
        return shown(alias, column)

    def run(self) -> Merged:
        """Merge the slice. Raises OnlyTryingTells, and TargetRefused if a key is not unique in the table."""
        session = self.session
        session.rows(CACHE)
        staged = session.rows(_COUNT.format(stage=self.stage))[0][0]
        if staged:
            guarded = is_guarded(session, self.shape, self.merge)
            if not guarded:
                check_unique(session, self.shape, self.merge)
            key = Key.first(self.merge)
            if self.merge.replace:
                self.reject_outside(key)
                self._delete_replaced(key)
            self._merge_by(key, guarded=guarded)
            if self.merge.second_key:
                self._merge_by(Key.second(self.merge), guarded=guarded)
            if self.merge.replace:
                self._check_replaced(key)
            session.run(_ALL.format(stage=self.stage))
        faults = self.rejects.faults
        numbers: dict[str, Any] = dict(self.numbers)
        return Merged(
            counts=Counts(pending=-staged, rejected=len(faults), errors=len(faults), **numbers), faults=faults
        )

    def _merge_by(self, key: Key, *, guarded: bool) -> None:
        """Merge the records that are found by one of the keys."""
        self.remove_doubles(key)
        self.remove_settled(key)
        statements = SliceStatements(
            shape=self.shape,
            stage=self.stage,
            merge=self.merge,
            columns=self.columns,
            defaults=dict(self.session.rows(DEFAULTS, (self.shape.name,))),
            key=key,
        )
        if not self.careful:
            try:
                self._write(statements, ())
            except (RecordRefused, _Skipped) as error:
                raise OnlyTryingTells from error
            return
        table = quoted(self.shape.name)
        if not guarded:
            self.session.run(_INDEX.format(table=table, key=", ".join(map(quoted, key.columns))))
        self._write_pieces(replace(statements, piece=True))
        if not guarded:
            self.session.run(_DROP_INDEX)

    # Replacements

    def _delete_replaced(self, key: Key) -> None:
        """Delete the rows that are replaced, but for those whose key a record has."""
        conditions = [f"({self.merge.rows})"] if self.merge.rows else []
        if key.columns:
            without = _WITHOUT_RECORD.format(key=key.of("t"), own=key.of("s"), stage=self.stage, match=key.equal())
            conditions.append(without)
        query = _DELETE_REPLACED.format(table=self.table)
        if conditions:
            query += f" WHERE {' AND '.join(conditions)}"
        try:
            self.numbers["removed"] += self.session.write(query)
        except RecordRefused as error:
            raise TargetRefused(undeletable(self.shape.name, error)) from error

    def _check_replaced(self, key: Key) -> None:
        """Check that a replacement has records, and delete the rows whose records were rejected meanwhile."""
        if self.check_replaced() and key.columns:
            lacks = _LACKS.format(stage=self.stage, table=self.table, match=key.equal())
            if self.shape.triggers and self.session.rows(lacks)[0][0]:
                raise TargetRefused(changes_keys(self.shape.name))
            self._delete_replaced(key)

    # Records that the options decide on

    def reject(self, condition: str, key: Key, kind: str, message: str) -> int:
        """Reject the records that meet a condition. Returns their number."""
        alone = len(key.columns) == 1
        query = _REFUSED.format(place=COLUMN, shown=key.shown("s", shown), stage=self.stage, condition=condition)
        total = 0
        for rows in self.session.stream(query):
            told = [f"{key.said(values)} {message}" if key.columns else message for _, *values in rows]
            values = [values[0] for _, *values in rows] if alone else ()
            self.rejects.add([row[0] for row in rows], kind, told, key.columns[0] if alone else "", values)
            total += len(rows)
        if total:
            self._remove(condition)
        return total

    def remove(self, condition: str) -> int:
        return self._remove(condition)

    def remove_places(self, places: Sequence[int]) -> None:
        for place in places:
            self._remove(f"{COLUMN} = ?", place)

    def _remove(self, condition: str, *values: object) -> int:
        return self.session.write(_REMOVE.format(stage=self.stage, condition=condition), values)

    # Records that are written

    def _write(self, statements: SliceStatements, bounds: tuple[int, ...]) -> None:
        """Write records, all or none, and count them. Raises RecordRefused, _Skipped."""
        merge, session = self.merge, self.session
        total = session.rows(statements.total, bounds)[0][0]
        expected = None
        if self.shape.triggers:
            new, changed, there = session.rows(statements.expected, bounds)[0]
            expected = new if merge.inserts else 0, changed if merge.updates else 0, there if merge.deletes else 0
        deleted = session.write(statements.delete, bounds) if statements.delete else 0
        updated = session.write(statements.update, bounds) if statements.update else 0
        inserted = session.write(statements.insert, bounds) if statements.insert else 0
        if expected is not None and (inserted, updated, deleted) != expected:
            raise _Skipped
        self.count(total, inserted=inserted, updated=updated, deleted=deleted)

    # Records that the table refuses

    def _write_pieces(self, statements: SliceStatements) -> None:
        """Write what the table accepts. The records of a piece that it refuses are tried one by one."""
        for sql in filter(None, (statements.delete, statements.update, statements.insert)):
            self.session.run(f"EXPLAIN {sql}", (0, 0))  # If this fails, no record is the cause.
        query = _PLACES.format(place=COLUMN, stage=self.stage, complete=statements.key.complete, block=_BLOCK)
        last = -1
        while places := [place for (place,) in self.session.rows(query, (last,))]:
            last = places[-1]
            if self._tried(statements, places[0], last) is not None:
                for place in places:
                    reason = self._tried(statements, place, place)
                    if reason is not None:
                        self._refuse_tried(place, reason)
                        self._remove(f"{COLUMN} = ?", place)

    def _tried(self, statements: SliceStatements, first: int, last: int) -> str | None:
        """Try to write the records from one place to another. Returns why the table refuses one of them."""
        try:
            with self.session.savepoint():
                self._write(statements, (first, last))
        except RecordRefused as refusal:
            return str(refusal)
        except _Skipped:
            return _IGNORED.format(name=self.shape.name)
        return None

    def _refuse_tried(self, place: int, message: str) -> None:
        """Reject a record with SQLite's message, which may name one of its columns."""
        kind = "NOT_NULL" if message.startswith("NOT NULL") else "CONSTRAINT"
        if message == _IGNORED.format(name=self.shape.name):
            kind = "IGNORED_BY_TRIGGER"
        for column in (column.target for column in self.columns):
            if message in (
                f"{named} constraint failed: {self.shape.name}.{column}" for named in ("UNIQUE", "NOT NULL")
            ):
                query = _REFUSED.format(
                    place=COLUMN, shown=shown("s", column), stage=self.stage, condition=f"{COLUMN} = ?"
                )
                value = self.session.rows(query, (place,))[0][1]
                self.rejects.add([place], kind, [message], column, [value])
                return
        self.rejects.add([place], kind, [message])
