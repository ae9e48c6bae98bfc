"""Merges the staged records of a slice into their table, with a few statements for all of them.

Records that the options of the merge reject or ignore leave the staging first, then an update and an insert carry the
others into the table. If the table refuses one of them, the transaction begins anew and tries parts of the slice, down
to single records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ladingd.core.bill import Counts
from ladingd.core.errors import TargetRefused
from ladingd.core.plan import Column, Merge
from ladingd.core.spec import Doubles, Duplicates, Operation
from ladingd.data.databases.commit import Merged
from ladingd.data.databases.merge_keys import Key, given
from ladingd.data.databases.slice_rejects import (
    FOUND_OUTSIDE,
    OUTSIDE,
    SliceRejects,
    all_rejected,
    changes_keys,
    undeletable,
)
from ladingd.data.databases.sqlite.attempts import Attempts
from ladingd.data.databases.sqlite.bulk_load import OnlyTryingTells
from ladingd.data.databases.sqlite.keys import check_unique, is_guarded, shown
from ladingd.data.databases.sqlite.session import RecordRefused, TableShape, quoted
from ladingd.data.databases.sqlite.slice_statements import CACHE, DEFAULTS, SliceStatements
from ladingd.data.databases.staging import PLACE

# The number of staged records.
_COUNT = "SELECT count(*) FROM {stage}"
# Whether a key occurs twice among the staged records.
_HAS_DOUBLES = "SELECT EXISTS (SELECT 1 FROM {stage} AS s WHERE {present} GROUP BY {key} HAVING count(*) > 1)"
# The records whose key another one has that is kept, or all records with such a key.
_DOUBLED = """
{place} IN (
    SELECT place FROM (SELECT {place} AS place, {rank} AS rank FROM {stage} AS s WHERE {present}) WHERE rank > 1
)
"""
# The records that the table has already, or lacks.
_FOUND = "{place} IN (SELECT {place} FROM {stage} AS s JOIN {table} AS t ON {match} WHERE {complete})"
_MISSING = """
{place} IN (SELECT {place} FROM {stage} AS s LEFT JOIN {table} AS t ON {match} WHERE {complete} AND {mark} IS NULL)
"""
# The records whose second key is that of a row, or of an earlier record, with another first key.
_CONTRADICTIONS = """
SELECT {place}, {shown} FROM {stage} AS s JOIN {table} AS t ON {match}
WHERE {complete} AND ({other}) IS NOT ({own}) ORDER BY 1
"""
_SHARED = """
SELECT {place}, {shown} FROM {stage} AS s JOIN {stage} AS t ON {match}
WHERE {complete} AND {complete_other} AND t.{name} < {place} ORDER BY 1
"""
_REFUSED = "SELECT {place}, {shown} FROM {stage} AS s WHERE {condition} ORDER BY 1"
# The records whose key a row has that is not replaced.
_FOUND_OUTSIDE = """
{place} IN (SELECT {place} FROM {stage} AS s JOIN {table} AS t ON {match} WHERE ({part}) IS NOT TRUE)
"""
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
_PLACE = f"s.{quoted(PLACE)}"
_IGNORED = "a trigger of table {name} ignores this record"


class _Skipped(Exception):
    """A trigger skipped some rows without an error."""


@dataclass(frozen=True, kw_only=True)
class SliceMerge:
    """The staged records of one slice on their way into the table."""

    session: Attempts
    shape: TableShape
    stage: str
    merge: Merge
    columns: Sequence[Column]
    """The columns of the plan."""
    careful: bool
    """Whether to try parts of the slice, because the table refuses some records."""
    rejects: SliceRejects
    _numbers: Counter[str] = field(default_factory=Counter)

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
                self._reject_outside(key)
                self._delete_replaced(key)
            self._merge_by(key, guarded=guarded)
            if self.merge.second_key:
                self._merge_by(Key.second(self.merge), guarded=guarded)
            if self.merge.replace:
                self._check_replaced(key)
            session.run(_ALL.format(stage=self.stage))
        faults = self.rejects.faults
        numbers: dict[str, Any] = dict(self._numbers)
        return Merged(
            counts=Counts(pending=-staged, rejected=len(faults), errors=len(faults), **numbers), faults=faults
        )

    def _merge_by(self, key: Key, *, guarded: bool) -> None:
        """Merge the records that are found by one of the keys."""
        self._remove_doubles(key)
        self._remove_settled(key)
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

    def _reject_outside(self, key: Key) -> None:
        """Reject the records that do not belong to the part of the table that is replaced."""
        merge, name = self.merge, self.shape.name
        if not merge.records:
            return
        none = replace(key, columns=())
        self._reject(f"({merge.records}) IS NOT TRUE", none, "OUTSIDE_PART", OUTSIDE.format(name=name))
        if key.columns:
            found = _FOUND_OUTSIDE.format(
                place=_PLACE, stage=self.stage, table=self._table, match=key.equal(), part=merge.rows
            )
            self._reject(found, key, "OUTSIDE_PART", FOUND_OUTSIDE.format(name=name))

    def _delete_replaced(self, key: Key) -> None:
        """Delete the rows that are replaced, but for those whose key a record has."""
        conditions = [f"({self.merge.rows})"] if self.merge.rows else []
        if key.columns:
            without = _WITHOUT_RECORD.format(key=key.of("t"), own=key.of("s"), stage=self.stage, match=key.equal())
            conditions.append(without)
        query = _DELETE_REPLACED.format(table=self._table)
        if conditions:
            query += f" WHERE {' AND '.join(conditions)}"
        try:
            self._numbers["removed"] += self.session.write(query)
        except RecordRefused as error:
            raise TargetRefused(undeletable(self.shape.name, error)) from error

    def _check_replaced(self, key: Key) -> None:
        """Check that a replacement has records, and delete the rows whose records were rejected meanwhile."""
        faults = self.rejects.faults
        if not len(faults):
            return
        if not self._numbers["inserted"] + self._numbers["updated"] + self._numbers["unchanged"]:
            raise TargetRefused(all_rejected(self.shape.name, faults))
        if key.columns:
            lacks = _LACKS.format(stage=self.stage, table=self._table, match=key.equal())
            if self.shape.triggers and self.session.rows(lacks)[0][0]:
                raise TargetRefused(changes_keys(self.shape.name))
            self._delete_replaced(key)

    # Records that the options decide on

    def _remove_doubles(self, key: Key) -> None:
        if not key.columns:
            return
        parts = {"stage": self.stage, "present": key.present}
        if not self.session.rows(_HAS_DOUBLES.format(key=key.of("s"), **parts))[0][0]:
            return
        doubles = self.merge.doubles
        order = f" ORDER BY {_PLACE}{' DESC' if doubles is Doubles.UPDATE else ''}"
        rank = f"row_number() OVER (PARTITION BY {key.of('s')}{order})"
        if doubles is Doubles.REJECT_ALL:
            rank = f"count(*) OVER (PARTITION BY {key.of('s')})"
        condition = _DOUBLED.format(place=_PLACE, rank=rank, **parts)
        if doubles in (Doubles.UPDATE, Doubles.IGNORE):
            number = self._remove(condition)
            self._numbers["ignored_doubles"] += number
        else:
            which = "only the first one counts" if doubles is Doubles.REJECT else "none of them counts"
            number = self._reject(condition, key, "DOUBLE", f"occurs several times in the source, and {which}")
        self._numbers["doubles"] += number

    def _remove_settled(self, key: Key) -> None:
        """Remove the records that are not written because of what the table has."""
        merge, name = self.merge, self.shape.name
        parts = {
            "place": _PLACE,
            "stage": self.stage,
            "table": self._table,
            "complete": key.complete,
            "match": key.equal(),
        }
        found, missing = _FOUND.format(**parts), _MISSING.format(mark=key.mark, **parts)
        if merge.second_key and key.columns == merge.key:
            self._reject_contradictions(key)
        if merge.duplicates is Duplicates.REJECT:
            self._numbers["duplicates"] += self._reject(found, key, "DUPLICATE", f"is in table {name} already")
        elif merge.duplicates is Duplicates.IGNORE:
            number = self._remove(found)
            self._numbers["duplicates"] += number
            self._numbers["unchanged"] += number
        if merge.operation in (Operation.UPDATE, Operation.RECONCILE_ONLY):
            self._reject(missing, key, "NOT_FOUND", f"is not in table {name}")

    def _reject_contradictions(self, key: Key) -> None:
        """Reject the records with both keys that belong to different rows."""
        second = Key(columns=self.merge.second_key)
        parts = {
            "place": _PLACE,
            "name": quoted(PLACE),
            "stage": self.stage,
            "table": self._table,
            "shown": f"{key.shown('s', shown)}, {second.shown('s', shown)}, {key.shown('t', shown)}",
            "match": second.equal(),
            "complete": f"{key.complete} AND {given(second.columns, 's')}",
            "complete_other": given(key.columns, "t"),
            "own": key.of("s"),
            "other": key.of("t"),
        }
        size, both = len(key.columns), len(key.columns) + len(second.columns)
        for where, query in {"in the table": _CONTRADICTIONS, "in an earlier record": _SHARED}.items():
            told: dict[int, str] = {}
            for place, *values in self.session.rows(query.format(**parts)):
                own, shared, other = values[:size], values[size:both], values[both:]
                told.setdefault(
                    place,
                    f"{key.said(own)} and {second.said(shared)} do not belong together: {where}, the latter belongs to "
                    f"{key.said(other)}",
                )
            for place, message in told.items():
                self.rejects.add([place], "KEYS_DISAGREE", [message])
                self._remove(f"{_PLACE} = ?", place)

    def _reject(self, condition: str, key: Key, kind: str, message: str) -> int:
        """Reject the records that meet a condition. Returns their number."""
        alone = len(key.columns) == 1
        query = _REFUSED.format(place=_PLACE, shown=key.shown("s", shown), stage=self.stage, condition=condition)
        total = 0
        for rows in self.session.stream(query):
            told = [f"{key.said(values)} {message}" if key.columns else message for _, *values in rows]
            values = [values[0] for _, *values in rows] if alone else ()
            self.rejects.add([row[0] for row in rows], kind, told, key.columns[0] if alone else "", values)
            total += len(rows)
        if total:
            self._remove(condition)
        return total

    def _remove(self, condition: str, *values: object) -> int:
        return self.session.write(_REMOVE.format(stage=self.stage, condition=condition), values)

    # Records that are written

    @property
    def _table(self) -> str:
        return f"main.{quoted(self.shape.name)}"

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
        self._numbers["inserted"] += inserted
        self._numbers["updated"] += updated
        self._numbers["deleted"] += deleted
        self._numbers["unchanged"] += total - inserted - updated - deleted
        self._numbers["duplicates"] += deleted if merge.operation is Operation.DELETE else total - inserted

    # Records that the table refuses

    def _write_pieces(self, statements: SliceStatements) -> None:
        """Write what the table accepts. The records of a piece that it refuses are tried one by one."""
        for sql in filter(None, (statements.delete, statements.update, statements.insert)):
            self.session.run(f"EXPLAIN {sql}", (0, 0))  # If this fails, no record is the cause.
        query = _PLACES.format(place=_PLACE, stage=self.stage, complete=statements.key.complete, block=_BLOCK)
        last = -1
        while places := [place for (place,) in self.session.rows(query, (last,))]:
            last = places[-1]
            if self._tried(statements, places[0], last) is not None:
                for place in places:
                    reason = self._tried(statements, place, place)
                    if reason is not None:
                        self._refuse_tried(place, reason)
                        self._remove(f"{_PLACE} = ?", place)

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
                    place=_PLACE, shown=shown("s", column), stage=self.stage, condition=f"{_PLACE} = ?"
                )
                value = self.session.rows(query, (place,))[0][1]
                self.rejects.add([place], kind, [message], column, [value])
                return
        self.rejects.add([place], kind, [message])
