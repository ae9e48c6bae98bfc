"""Merges the staged records of a slice into their table, with a few statements for all of them.

Records that the options of the merge reject or ignore leave the staging first, then one statement carries the others
into the table. If the table refuses some of them, queries find the violators (`slice_violations.py`); whatever else it
refuses is found by trying parts of the slice, down to single records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from typing import Any

import psycopg
from psycopg import sql

from ladingd.core.bill import Counts
from ladingd.core.errors import TargetRefused
from ladingd.core.plan import Column, Merge
from ladingd.core.spec import Doubles, Duplicates, Operation
from ladingd.data.databases.commit import Merged
from ladingd.data.databases.postgres.catalog import PgColumn, TableShape
from ladingd.data.databases.postgres.constraints import read_constraints
from ladingd.data.databases.postgres.merge_attempts import MergeAttempts, RefusedRecord
from ladingd.data.databases.postgres.merge_key import TRUE, Key, check_unique, check_visible, given
from ladingd.data.databases.postgres.merge_writing import MergeWriting, Skipped, distinguished
from ladingd.data.databases.postgres.refusal import POLICY, blames_record, code
from ladingd.data.databases.postgres.sequences import move_past_staged
from ladingd.data.databases.postgres.session import Session
from ladingd.data.databases.postgres.slice_violations import SliceProbe
from ladingd.data.databases.slice_rejects import (
    FOUND_OUTSIDE,
    OUTSIDE,
    SliceRejects,
    all_rejected,
    changes_keys,
    undeletable,
)
from ladingd.data.databases.staging import PLACE

_WORK_MEM = "64MB"
"""What sorts and joins of a slice may use before they go to disk."""
_SMALL = 1024
"""Pieces of at most so many records are tried record by record."""
_SKIPPED = "the server skipped it without an error; a trigger, a rule or a policy may have done that"

# The number of staged records, and of their keys. If the key is one column, sorting its values alone is quicker: those
# of a file are often in order.
_COUNT_ONE = "SELECT count(*), count(DISTINCT {key}) FROM {stage} s WHERE {complete}"
_COUNT = """
SELECT coalesce(sum(number), 0)::bigint, count(*)
FROM (SELECT count(*) AS number FROM {stage} s WHERE {complete} GROUP BY {key}) k
"""
# Removes the records whose key another one has that is kept, or all records with such a key.
_REMOVE_DOUBLES = """
DELETE FROM {stage} s USING (
    SELECT {key}, {kept} AS {name} FROM {stage} s WHERE {complete} GROUP BY {key} HAVING count(*) > 1
) d WHERE {same} AND {complete} AND s.{place} IS DISTINCT FROM d.{name}
"""
# Gives the planner of the server statistics of the keys.
_ANALYZE = "ANALYZE {stage} ({names})"
# Counts the staged records if there is no key.
_COUNT_ALL = "SELECT count(*) FROM {stage}"
# Removes the records that a replacement of a part of the table has no place for.
_REMOVE_OUTSIDE = "DELETE FROM {stage} s WHERE ({part}) IS NOT TRUE RETURNING s.{place}"
_REMOVE_FOUND_OUTSIDE = "DELETE FROM {stage} s USING {table} t WHERE {match} AND ({part}) IS NOT TRUE"
# Deletes the rows that a replacement has no record for.
_REPLACED = "FROM {table} t WHERE {part} AND NOT EXISTS (SELECT FROM {stage} s WHERE {match})"
_DELETE_REPLACED = f"DELETE {_REPLACED}"
_ARE_LEFT = f"SELECT EXISTS (SELECT {_REPLACED})"
# Removes the records that the table has already, or lacks.
_REMOVE_FOUND = "DELETE FROM {stage} s USING {table} t WHERE {complete} AND {match}"
_REMOVE_MISSING = "DELETE FROM {stage} s WHERE {complete} AND NOT EXISTS (SELECT FROM {table} t WHERE {match})"
# Removes the records whose second key is that of a row, or of an earlier record, with another first key.
_REMOVE_CONTRADICTIONS = """
DELETE FROM {stage} s USING {table} t WHERE {complete} AND {match} AND ({own}) IS DISTINCT FROM ({other})
RETURNING s.{place}, {shown}, {shown_other}
"""
_REMOVE_SHARED = """
DELETE FROM {stage} s USING {stage} t WHERE {complete} AND {complete_other} AND {match} AND t.{place} < s.{place}
RETURNING s.{place}, {shown}, {shown_other}
"""
# Some of the staged records.
_PIECE = "(SELECT * FROM {stage} s WHERE {complete} AND {place} BETWEEN {first} AND {last})"
_PLACES = "SELECT {place} FROM {stage} s WHERE {complete} ORDER BY 1"
_INDEX = "CREATE INDEX ON {stage} ({place})"
_REMOVE = "DELETE FROM {stage} WHERE {place} IN ({numbers}) RETURNING {shown}"
# Nobody else may insert a key that no index guards.
_LOCK = "LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"

_PLACE = sql.Identifier(PLACE)
_KEPT = sql.Identifier("lading kept")


@dataclass(frozen=True, kw_only=True)
class SliceMerge:
    """The staged records of one slice on their way into the table."""

    session: Session
    shape: TableShape
    stage: sql.Identifier
    number: int
    """Which slice it is."""
    merge: Merge
    columns: Sequence[Column]
    """The columns of the plan."""
    indexed: bool
    """Whether unique indexes guard the keys. Otherwise nobody else may write into the table meanwhile."""
    _numbers: Counter[str] = field(default_factory=Counter)

    @cached_property
    def _rejects(self) -> SliceRejects:
        return SliceRejects(columns=self.columns)

    def run(self) -> Merged:
        """Merge the slice. Raises TargetRefused if a key is not unique in the table."""
        session = self.session
        session.run(f"SET LOCAL work_mem = '{_WORK_MEM}'")
        if self._needs_statistics:
            names = sql.SQL(", ").join(map(sql.Identifier, (*self.merge.key, *self.merge.second_key)))
            session.run(sql.SQL(_ANALYZE).format(stage=self.stage, names=names))
        key, merge = Key.first(self.merge), self.merge
        if merge.replace or not self.indexed:
            session.run(sql.SQL(_LOCK).format(table=self.shape.identifier))
        check_visible(session, self.shape, merge, guarded=self.indexed)
        if not self.indexed:
            check_unique(session, self.shape, merge)
        staged = 0
        if merge.replace:
            staged += self._reject_outside(key)
            self._delete_replaced(key)
        staged += self._merge_by(key)
        if merge.second_key:
            staged += self._merge_by(Key.second(merge))
        if merge.replace and self._rejects:
            if not self._numbers["inserted"] + self._numbers["updated"] + self._numbers["unchanged"]:
                raise TargetRefused(all_rejected(self.shape.name, self._rejects.faults))
            if key.columns:  # Rows whose records were rejected since the first time.
                if self.shape.acts and self._writing.lacks(key, self.stage):
                    raise TargetRefused(changes_keys(self.shape.name))
                self._delete_replaced(key)
        if self.merge.inserts:
            move_past_staged(session, self.shape, self._written, self.stage)
        faults = self._rejects.faults
        numbers: dict[str, Any] = dict(self._numbers)
        counts = Counts(pending=-staged, rejected=len(faults), errors=len(faults), **numbers)
        return Merged(counts=counts, faults=faults)

    @property
    def _needs_statistics(self) -> bool:
        """Whether the planner of the server has to know how many values the keys have. It knows so of a column that is
        unique in the table."""
        merge = self.merge
        return bool(merge.key) and not (self.indexed and len(merge.key) == 1 and not merge.second_key)

    @property
    def _written(self) -> list[PgColumn]:
        return [column for column in self.shape.columns if column.name in {each.target for each in self.columns}]

    def _merge_by(self, key: Key) -> int:
        """Merge the records that are found by one of the keys. Returns their number."""
        if key.columns:
            staged, keys = self._counted(key)
        else:
            staged = keys = self.session.rows(sql.SQL(_COUNT_ALL).format(stage=self.stage))[0][0]
        left = staged if staged == keys else staged - self._remove_doubles(key)
        if left and not (self._tried(key, left) or self._tried(key, left)):  # The second try sees new keys of others.
            left -= self._remove_settled(key)
            while found := self._remove_violators(key):
                left -= found
                if self._tried(key, left):
                    return int(staged)
            self._write_pieces(key)
        return int(staged)

    def _counted(self, key: Key) -> tuple[int, int]:
        """The numbers of staged records that are found by a key, and of different keys among them."""
        parts = {"stage": self.stage, "complete": key.complete}
        if len(key.columns) == 1:
            query = sql.SQL(_COUNT_ONE).format(**parts, key=distinguished(self.shape, key.columns[0], "s"))
        else:
            query = sql.SQL(_COUNT).format(**parts, key=key.of("s"))
        staged, keys = self.session.rows(query)[0]
        return staged, keys

    def _tried(self, key: Key, left: int) -> bool:
        """Try to write all records. If the table refuses one, nothing is written."""
        numbers = Counter(self._numbers)
        try:
            with self.session.savepoint(), self._rejects.undone(Skipped, psycopg.Error):
                left -= self._remove_settled(key)
                self._numbers.update(self._writing.write(key, self._source(key), left))
        except Skipped:
            pass
        except psycopg.Error as error:
            if not self._blames_record(error):
                raise
        else:
            return True
        self._numbers.clear()
        self._numbers.update(numbers)
        return False

    # Replacements

    def _reject_outside(self, key: Key) -> int:
        """Reject the records that do not belong to the part of the table that is replaced. Returns their number."""
        if not self.merge.records:
            return 0
        name, part = self.shape.name, sql.SQL(self.merge.records)
        query = sql.SQL(_REMOVE_OUTSIDE).format(stage=self.stage, part=part, place=_PLACE)
        places = [place for (place,) in self.session.rows(query)]
        message = OUTSIDE.format(name=name)
        self._rejects.add(places, "OUTSIDE_PART", [message] * len(places))
        if not key.columns:
            return len(places)
        found = sql.SQL(_REMOVE_FOUND_OUTSIDE).format(
            stage=self.stage, table=self.shape.identifier, match=key.equal(), part=sql.SQL(self.merge.rows)
        )
        return len(places) + self._reject(found, key, "OUTSIDE_PART", FOUND_OUTSIDE.format(name=name))

    def _delete_replaced(self, key: Key) -> None:
        """Delete the rows that are replaced, but for those whose key a record has."""
        parts = {
            "table": self.shape.identifier,
            "part": sql.SQL(f"({self.merge.rows})") if self.merge.rows else TRUE,
            "stage": self.stage,
            "match": key.equal(),
        }
        self._numbers["removed"] += self.session.run(sql.SQL(_DELETE_REPLACED).format(**parts))
        if self.shape.acts and self.session.rows(sql.SQL(_ARE_LEFT).format(**parts))[0][0]:
            raise TargetRefused(undeletable(self.shape.name, "a trigger keeps them"))

    # Records that the options decide on

    def _remove_doubles(self, key: Key) -> int:
        """Remove the records whose key occurs twice, but for those that count. Returns the number of the removed."""
        parts = {"stage": self.stage, "key": key.of("s"), "complete": key.complete}
        doubles = self.merge.doubles
        kept: sql.Composable = sql.SQL("min(s.{})").format(_PLACE)
        if doubles is Doubles.UPDATE:
            kept = sql.SQL("max(s.{})").format(_PLACE)
        elif doubles is Doubles.REJECT_ALL:
            kept = sql.SQL("NULL::bigint")
        query = sql.SQL(_REMOVE_DOUBLES).format(**parts, kept=kept, name=_KEPT, same=key.equal("s", "d"), place=_PLACE)
        if doubles in (Doubles.UPDATE, Doubles.IGNORE):
            number = self.session.run(query)
            self._numbers["ignored_doubles"] += number
        else:
            which = "only the first one counts" if doubles is Doubles.REJECT else "none of them counts"
            number = self._reject(query, key, "DOUBLE", f"occurs several times in the source, and {which}")
        self._numbers["doubles"] += number
        return number

    def _remove_settled(self, key: Key) -> int:
        """Remove the records that are not written because of what the table has. Returns their number."""
        merge, name, removed = self.merge, self.shape.name, 0
        parts = {
            "stage": self.stage,
            "table": self.shape.identifier,
            "complete": key.complete,
            "match": key.equal(),
        }
        found, missing = sql.SQL(_REMOVE_FOUND).format(**parts), sql.SQL(_REMOVE_MISSING).format(**parts)
        if merge.second_key and key.columns == merge.key:
            removed += self._reject_contradictions(key)
        if merge.duplicates is not Duplicates.UPDATE:
            if merge.duplicates is Duplicates.REJECT:
                number = self._reject(found, key, "DUPLICATE", f"is in table {name} already")
            else:
                number = self.session.run(found)
                self._numbers["unchanged"] += number
            self._numbers["duplicates"] += number
            removed += number
        if merge.operation in (Operation.UPDATE, Operation.RECONCILE_ONLY):
            removed += self._reject(missing, key, "NOT_FOUND", f"is not in table {name}")
        return removed

    def _reject_contradictions(self, key: Key) -> int:
        """Reject the records with both keys that belong to different rows. Returns their number."""
        second, removed = Key(columns=self.merge.second_key, complete=TRUE), 0
        has_second = given(self.merge.second_key, "s")
        parts = {
            "stage": self.stage,
            "complete": sql.SQL("{} AND {}").format(key.complete, has_second),
            "place": _PLACE,
            "match": second.equal(),
            "shown": sql.SQL("{}, {}").format(key.shown("s"), second.shown("s")),
            "shown_other": key.shown("t"),
        }
        size, both = len(key.columns), len(key.columns) + len(second.columns)
        queries = {
            "in the table": sql.SQL(_REMOVE_CONTRADICTIONS).format(
                **parts, table=self.shape.identifier, own=key.of("s"), other=key.of("t")
            ),
            "in an earlier record": sql.SQL(_REMOVE_SHARED).format(**parts, complete_other=given(key.columns, "t")),
        }
        for where, query in queries.items():
            rows = self.session.rows(query)
            said = [
                f"{key.said(values[:size])} and {second.said(values[size:both])} do not belong together: {where}, the "
                f"latter belongs to {key.said(values[both:])}"
                for _, *values in rows
            ]
            self._rejects.add([row[0] for row in rows], "KEYS_DISAGREE", said)
            removed += len(rows)
        return removed

    def _reject(self, removal: sql.Composed, key: Key, kind: str, message: str) -> int:
        """Run a removal, and reject the records that it removes. Returns their number."""
        returning = sql.SQL(" RETURNING s.{place}, {shown}").format(place=_PLACE, shown=key.shown("s"))
        rows = self.session.rows(removal + returning)
        said = [f"{key.said(values)} {message}" for _, *values in rows]
        alone = len(key.columns) == 1
        column, values = (key.columns[0], [row[1] for row in rows]) if alone else ("", [])
        self._rejects.add([row[0] for row in rows], kind, said, column, values)
        return len(rows)

    # Records that are written

    @cached_property
    def _writing(self) -> MergeWriting:
        return MergeWriting(
            session=self.session, shape=self.shape, number=self.number, merge=self.merge, columns=self.columns
        )

    def _source(self, key: Key) -> sql.Composable:
        if not self.merge.second_key:
            return self.stage
        return sql.SQL("(SELECT * FROM {} s WHERE {})").format(self.stage, key.complete)

    # Records that the table refuses

    def _remove_violators(self, key: Key) -> int:
        """Reject the records that violate constraints, as far as queries find them. Returns their number."""
        names = frozenset(column.target for column in self.columns)
        probe = SliceProbe(
            session=self.session,
            shape=self.shape,
            stage=self.stage,
            merge=self.merge,
            key=key,
            columns=names,
            constraints=read_constraints(self.session, self.shape, names),
        )
        found = probe.run()
        for each in found:
            column = each.columns[0] if len(each.columns) == 1 else ""
            self._rejects.add([each.place], code(each.state), [each.message], column, each.values[:1])
        return len(found)

    def _write_pieces(self, key: Key) -> None:
        """Write what the table accepts. Pieces with a record that it refuses are tried in halves; small ones, record by
        record."""
        parts = {"stage": self.stage, "place": _PLACE, "complete": key.complete}
        self.session.run(sql.SQL(_INDEX).format(**parts))
        places = [place for (place,) in self.session.rows(sql.SQL(_PLACES).format(**parts))]
        waiting = [(0, len(places))] if places else []
        attempts = MergeAttempts(writing=self._writing, stage=self.stage, key=key)
        while waiting:
            first, end = waiting.pop()
            piece = sql.SQL(_PIECE).format(**parts, first=sql.Literal(places[first]), last=sql.Literal(places[end - 1]))
            try:
                with self.session.savepoint():
                    self._numbers.update(self._writing.write(key, piece, end - first))
                continue
            except Skipped:
                pass
            except psycopg.Error as error:
                if not self._blames_record(error):
                    raise
            if end - first > _SMALL:
                middle = (first + end) // 2
                waiting += [(middle, end), (first, middle)]
                continue
            numbers, refused = attempts.run(places[first], places[end - 1])
            self._numbers.update(numbers)
            for columns, alike in groupby(sorted(refused, key=attrgetter("columns")), key=attrgetter("columns")):
                self._remove(list(alike), columns)

    def _blames_record(self, error: psycopg.Error) -> bool:
        return blames_record(error) or (error.sqlstate == POLICY and self.shape.policed)

    def _remove(self, refused: Sequence[RefusedRecord], columns: Sequence[str]) -> None:
        """Reject records that were refused because of the same columns."""
        known = [column.target for column in self.columns]
        shown: list[sql.Composable] = [
            sql.SQL("{}::text").format(sql.Identifier(name)) for name in columns if name in known
        ]
        query = sql.SQL(_REMOVE).format(
            stage=self.stage,
            place=_PLACE,
            numbers=sql.SQL(", ").join(sql.Literal(each.place) for each in refused),
            shown=sql.SQL(", ").join([_PLACE, *(shown or [sql.SQL("NULL")])]),
        )
        values = {place: value for place, value, *_ in self.session.rows(query)}
        column = columns[0] if len(columns) == 1 and shown else ""
        for state, alike in groupby(sorted(refused, key=attrgetter("state")), key=attrgetter("state")):
            some = list(alike)
            messages = [each.message or _SKIPPED for each in some]
            self._rejects.add(
                [each.place for each in some], code(state), messages, column, [values[each.place] for each in some]
            )
