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
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from ladingd.core.bill import Counts
from ladingd.core.errors import TargetRefused
from ladingd.core.job import Connector
from ladingd.core.plan import Column, Merge
from ladingd.core.spec import Doubles, Duplicates, Operation
from ladingd.data.databases.commit import Merged
from ladingd.data.databases.postgres.catalog import PgColumn, TableShape
from ladingd.data.databases.postgres.constraints import read_constraints
from ladingd.data.databases.postgres.defaults import expressions
from ladingd.data.databases.postgres.recognition import nothing_vanishing
from ladingd.data.databases.postgres.refusal import IGNORED, POLICY, blames_record, code, columns_of
from ladingd.data.databases.postgres.sequences import move_past_staged
from ladingd.data.databases.postgres.session import Session
from ladingd.data.databases.postgres.slice_violations import SliceProbe
from ladingd.data.databases.staging import PLACE, extent
from ladingd.data.rejects.fault import Faults

_RETURNING_ACTIONS = 170_000
"""Servers from this version on tell what MERGE did with each row."""
_WORK_MEM = "64MB"
"""What sorts and joins of a slice may use before they go to disk."""
_SKIPPED = "the server skipped it without an error; a trigger, a rule or a policy may have done that"

# The number of staged records, and of their keys.
_COUNT = """
SELECT coalesce(sum(number), 0)::bigint, count(*)
FROM (SELECT count(*) AS number FROM {stage} s WHERE {complete} GROUP BY {key}) k
"""
# Removes the records whose key another one has that is kept, or all records with such a key.
_REMOVE_DOUBLES = """
DELETE FROM {stage} s USING (
    SELECT {key}, {kept} AS kept FROM {stage} s WHERE {complete} GROUP BY {key} HAVING count(*) > 1
) d WHERE {same} AND {complete} AND s.{place} IS DISTINCT FROM d.kept
"""
# Counts the staged records if there is no key.
_COUNT_ALL = "SELECT count(*) FROM {stage}"
# Removes the records that a replacement of a part of the table has no place for.
_REMOVE_OUTSIDE = "DELETE FROM {stage} s WHERE ({part}) IS NOT TRUE RETURNING s.{place}"
_REMOVE_FOUND_OUTSIDE = "DELETE FROM {stage} s USING {table} t WHERE {match} AND ({part}) IS NOT TRUE"
# Deletes the rows that a replacement has no record for.
_DELETE_REPLACED = "DELETE FROM {table} t WHERE {part} AND NOT EXISTS (SELECT FROM {stage} s WHERE {match})"
# Makes rows of all records.
_INSERT_ALL = "INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {source} s"
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
# Writes new rows, and the changed values of rows that are there.
_MERGE = "MERGE INTO {table} t USING {source} s ON {match} {changed} {missing}"
_CHANGED = "WHEN MATCHED AND {differs} THEN UPDATE SET {assignments}"
_MISSING = "WHEN NOT MATCHED THEN INSERT ({names}) OVERRIDING SYSTEM VALUE VALUES ({values})"
_ACTIONS = "WITH merged AS ({merge} RETURNING merge_action() AS action) SELECT action, count(*) FROM merged GROUP BY 1"
# The same in two statements, for servers that cannot say what MERGE did.
_UPDATE = "UPDATE {table} t SET {assignments} FROM {source} s WHERE {match} AND {differs}"
_INSERT = """
INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {source} s
WHERE NOT EXISTS (SELECT FROM {table} t WHERE {match})
"""
_DELETE = "DELETE FROM {table} t USING {source} s WHERE {match}"
# How many rows the statements should write: new ones, changed ones, and all that are there.
_EXPECTED = """
SELECT count(*) FILTER (WHERE t.{mark} IS NULL), count(*) FILTER (WHERE t.{mark} IS NOT NULL AND {differs}),
    count(t.{mark})
FROM {source} s LEFT JOIN {table} t ON {match}
"""
# Some of the staged records.
_PIECE = "(SELECT * FROM {stage} s WHERE {complete} AND {place} BETWEEN {first} AND {last})"
_PLACES = "SELECT {place} FROM {stage} s WHERE {complete} ORDER BY 1"
_INDEX = "CREATE INDEX ON {stage} ({place})"
_REMOVE = "DELETE FROM {stage} WHERE {place} = %s RETURNING {shown}"
# A key that several rows have.
_AMBIGUOUS = "SELECT {shown}, count(*) FROM {table} t WHERE {given} GROUP BY {key} HAVING count(*) > 1 LIMIT 1"
# Nobody else may insert a key that no index guards.
_LOCK = "LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"

_PLACE = sql.Identifier(PLACE)
_TRUE, _FALSE = sql.SQL("true"), sql.SQL("false")


class _Skipped(Exception):
    """The server wrote fewer rows than it should, without an error: a trigger, a rule or a policy skipped some."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One of the keys of a merge, in SQL. ``s`` is the staging, ``t`` is the table."""

    columns: tuple[str, ...]
    complete: sql.Composable
    """Whether a staged record is found by this key."""

    @classmethod
    def first(cls, merge: Merge) -> Key:
        """The first key. All staged records have it, if there is no second one."""
        return cls(columns=merge.key, complete=_given(merge.key, "s") if merge.second_key else _TRUE)

    @classmethod
    def second(cls, merge: Merge) -> Key:
        """The key of records that lack the first one."""
        complete = sql.SQL("NOT ({}) AND {}").format(_given(merge.key, "s"), _given(merge.second_key, "s"))
        return cls(columns=merge.second_key, complete=complete)

    def of(self, alias: str) -> sql.Composable:
        """The columns: ``s.a, s.b``."""
        return sql.SQL(", ").join(sql.Identifier(alias, name) for name in self.columns)

    def shown(self, alias: str) -> sql.Composable:
        """The columns as text."""
        return sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(alias, name)) for name in self.columns)

    def equal(self, one: str = "t", other: str = "s") -> sql.Composable:
        """Whether two rows have the same key. Without a key, no two rows do."""
        if not self.columns:
            return _FALSE
        pairs = [(sql.Identifier(one, name), sql.Identifier(other, name)) for name in self.columns]
        return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(*pair) for pair in pairs)

    def said(self, values: Sequence[str | None]) -> str:
        """The key in messages: ``(id) = (5)``."""
        return f"({', '.join(self.columns)}) = ({', '.join(value or '' for value in values)})"


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
    _faults: list[Faults] = field(default_factory=list)
    _numbers: Counter[str] = field(default_factory=Counter)

    def run(self) -> Merged:
        """Merge the slice. Raises TargetRefused if a key is not unique in the table."""
        session = self.session
        session.run(f"SET LOCAL work_mem = '{_WORK_MEM}'")
        key, merge = Key.first(self.merge), self.merge
        if merge.replace or not self.indexed:
            session.run(sql.SQL(_LOCK).format(table=self.shape.identifier))
        if not self.indexed:
            check_unique(session, self.shape, merge)
        staged = 0
        if merge.replace:
            staged += self._reject_outside(key)
            self._delete_replaced(key)
        staged += self._merge_by(key)
        if merge.second_key:
            staged += self._merge_by(Key.second(merge))
        if merge.replace and self._faults:
            if not self._numbers["inserted"] + self._numbers["updated"] + self._numbers["unchanged"]:
                raise TargetRefused(
                    f"all {staged:,} records were rejected, so table {self.shape.name} was left as it is: "
                    f"{self._faults[0].field('message')[0]}"
                )
            if key.columns:  # Rows whose records were rejected since the first time.
                self._delete_replaced(key)
        if self.merge.inserts:
            move_past_staged(session, self.shape, self._written, self.stage)
        faults = Faults.joined(self._faults)
        numbers: dict[str, Any] = dict(self._numbers)
        counts = Counts(pending=-staged, rejected=len(faults), errors=len(faults), **numbers)
        return Merged(counts=counts, faults=faults)

    @property
    def _written(self) -> list[PgColumn]:
        return [column for column in self.shape.columns if column.name in {each.target for each in self.columns}]

    def _merge_by(self, key: Key) -> int:
        """Merge the records that are found by one of the keys. Returns their number."""
        parts = {"stage": self.stage, "key": key.of("s"), "complete": key.complete}
        if key.columns:
            staged, keys = self.session.rows(sql.SQL(_COUNT).format(**parts))[0]
        else:
            staged = keys = self.session.rows(sql.SQL(_COUNT_ALL).format(**parts))[0][0]
        left = staged if staged == keys else staged - self._remove_doubles(key)
        if left and not (self._tried(key, left) or self._tried(key, left)):  # The second try sees new keys of others.
            left -= self._remove_settled(key)
            while found := self._remove_violators(key):
                left -= found
                if self._tried(key, left):
                    return int(staged)
            self._write_pieces(key)
        return int(staged)

    def _tried(self, key: Key, left: int) -> bool:
        """Try to write all records. If the table refuses one, nothing is written."""
        faults, numbers = len(self._faults), Counter(self._numbers)
        try:
            with self.session.savepoint():
                self._write(key, self._source(key), left - self._remove_settled(key))
        except _Skipped:
            pass
        except psycopg.Error as error:
            if not self._blames_record(error):
                raise
        else:
            return True
        del self._faults[faults:]
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
        message = f"does not belong to the part of table {name} that is replaced"
        self._fault(places, "OUTSIDE_PART", [message] * len(places))
        if not key.columns:
            return len(places)
        found = sql.SQL(_REMOVE_FOUND_OUTSIDE).format(
            stage=self.stage, table=self.shape.identifier, match=key.equal(), part=sql.SQL(self.merge.rows)
        )
        message = f"is in table {name} already, outside of the part that is replaced"
        return len(places) + self._reject(found, key, "OUTSIDE_PART", message)

    def _delete_replaced(self, key: Key) -> None:
        """Delete the rows that are replaced, but for those whose key a record has."""
        query = sql.SQL(_DELETE_REPLACED).format(
            table=self.shape.identifier,
            part=sql.SQL(f"({self.merge.rows})") if self.merge.rows else _TRUE,
            stage=self.stage,
            match=key.equal(),
        )
        self._numbers["removed"] += self.session.run(query)

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
        query = sql.SQL(_REMOVE_DOUBLES).format(**parts, kept=kept, same=key.equal("s", "d"), place=_PLACE)
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
        second, removed = Key(columns=self.merge.second_key, complete=_TRUE), 0
        given = _given(self.merge.second_key, "s")
        parts = {
            "stage": self.stage,
            "complete": sql.SQL("{} AND {}").format(key.complete, given),
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
            "in an earlier record": sql.SQL(_REMOVE_SHARED).format(**parts, complete_other=_given(key.columns, "t")),
        }
        for where, query in queries.items():
            rows = self.session.rows(query)
            said = [
                f"{key.said(values[:size])} and {second.said(values[size:both])} do not belong together: {where}, the "
                f"latter belongs to {key.said(values[both:])}"
                for _, *values in rows
            ]
            self._fault([row[0] for row in rows], "KEYS_DISAGREE", said)
            removed += len(rows)
        return removed

    def _reject(self, removal: sql.Composed, key: Key, kind: str, message: str) -> int:
        """Run a removal, and reject the records that it removes. Returns their number."""
        returning = sql.SQL(" RETURNING s.{place}, {shown}").format(place=_PLACE, shown=key.shown("s"))
        rows = self.session.rows(removal + returning)
        said = [f"{key.said(values)} {message}" for _, *values in rows]
        self._fault([row[0] for row in rows], kind, said, key.columns, [row[1] for row in rows])
        return len(rows)

    def _fault(
        self,
        places: Sequence[int],
        kind: str,
        messages: Sequence[str],
        columns: Sequence[str] = (),
        values: Sequence[str | None] = (),
    ) -> None:
        """Note faults of records. ``columns``: those of the table that caused them; a value belongs to a single one."""
        alone = len(columns) == 1
        sources = {column.target: column.source for column in self.columns}
        self._faults.append(
            Faults.alike(
                np.array(places, np.int64),
                code=kind,
                message=pa.array(messages, pa.string()),
                column=sources.get(columns[0], "") if alone else "",
                value=pc.fill_null(pa.array(values, pa.string()), "") if alone and values else "",
                connector=Connector.DATABASE,
            )
        )

    # Records that are written

    def _source(self, key: Key) -> sql.Composable:
        if not self.merge.second_key:
            return self.stage
        return sql.SQL("(SELECT * FROM {} s WHERE {})").format(self.stage, key.complete)

    def _write(self, key: Key, source: sql.Composable, total: int) -> None:
        """Write the records of a source, all or none, and count them. Raises _Skipped."""
        merge, session = self.merge, self.session
        inserted = updated = deleted = 0
        expected = self._expected(key, source, total) if self.shape.acts or self.shape.policed else None
        if merge.deletes:
            deleted = session.run(sql.SQL(_DELETE).format(**self._parts(key, source)))
        elif merge.inserts or merge.updates:
            with nothing_vanishing(session, self.shape) as watched:
                inserted, updated = self._upsert(key, source)
                if self.shape.acts:  # A trigger may have deferred constraints again.
                    session.run("SET CONSTRAINTS ALL IMMEDIATE")
                watched.append(inserted)
        if expected is not None and (inserted, updated, deleted) != expected:
            raise _Skipped
        self._numbers["inserted"] += inserted
        self._numbers["updated"] += updated
        self._numbers["deleted"] += deleted
        self._numbers["unchanged"] += total - inserted - updated - deleted
        self._numbers["duplicates"] += deleted if merge.operation is Operation.DELETE else total - inserted

    def _upsert(self, key: Key, source: sql.Composable) -> tuple[int, int]:
        """Returns the numbers of inserted and of updated rows."""
        session, parts, merge = self.session, self._parts(key, source), self.merge
        if not key.columns:
            return session.run(sql.SQL(_INSERT_ALL).format(**parts)), 0
        updates = merge.updates and bool(self._changeable)
        if session.server_version >= _RETURNING_ACTIONS:
            changed = sql.SQL(_CHANGED).format(**parts) if updates else sql.SQL("WHEN MATCHED THEN DO NOTHING")
            missing = sql.SQL(_MISSING if merge.inserts else "WHEN NOT MATCHED THEN DO NOTHING").format(**parts)
            query = sql.SQL(_MERGE).format(**parts, changed=changed, missing=missing)
            actions = dict(session.rows(sql.SQL(_ACTIONS).format(merge=query)))
            return actions.get("INSERT", 0), actions.get("UPDATE", 0)
        updated = session.run(sql.SQL(_UPDATE).format(**parts)) if updates else 0
        return session.run(sql.SQL(_INSERT).format(**parts)) if merge.inserts else 0, updated

    def _expected(self, key: Key, source: sql.Composable, total: int) -> tuple[int, int, int]:
        """How many rows should be inserted, updated and deleted."""
        merge = self.merge
        if not key.columns:
            return total, 0, 0
        query = sql.SQL(_EXPECTED).format(**self._parts(key, source), mark=sql.Identifier(key.columns[0]))
        new, changed, there = self.session.rows(query)[0]
        return new if merge.inserts else 0, changed if merge.updates else 0, there if merge.deletes else 0

    def _parts(self, key: Key, source: sql.Composable) -> dict[str, sql.Composable]:
        names = [column.target for column in self.columns]
        new = {name: self._new(name) for name in self._changeable}
        # A record that changes nothing else leaves the provenance of its row as it is.
        compared = [name for name in new if name not in self._provenance]
        values = sql.SQL(", ").join(new[name] for name in compared)
        kept = sql.SQL(", ").join(sql.Identifier("t", name) for name in compared)
        return {
            "table": self.shape.identifier,
            "source": source,
            "match": sql.SQL("{}{}").format(key.equal(), self._near),
            "differs": sql.SQL("record_image_ne(ROW({}), ROW({}))").format(values, kept) if compared else _FALSE,
            "assignments": sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in new.items()
            ),
            "names": sql.SQL(", ").join(map(sql.Identifier, names)),
            "values": sql.SQL(", ").join(map(self._inserted, names)),
        }

    def _inserted(self, name: str) -> sql.Composable:
        """The value of a column of a new row."""
        own = sql.Identifier("s", name)
        if name not in self._defaults:
            return own
        column = next(column for column in self.shape.columns if column.name == name)
        declared = sql.SQL(column.type.declared)
        return sql.SQL("coalesce({}, ({})::{})").format(own, self._defaults[name], declared)

    @cached_property
    def _near(self) -> sql.Composable:
        """The rows that records of this slice can have, so that an index spares the server all others."""
        before, last = extent(self.merge, self.number)
        limits = [("{} > {}", before), ("{} <= {}", last)]
        parts = [
            sql.SQL(limit).format(sql.Identifier("t", self.merge.sliced_by[0]), sql.Literal(value))
            for limit, value in limits
            if value is not None
        ]
        return sql.SQL("").join(sql.SQL(" AND {}").format(part) for part in parts)

    @cached_property
    def _defaults(self) -> dict[str, sql.SQL]:
        """The defaults of the columns in which fields may be empty only until a row is made of them."""
        names = [column.target for column in self.columns if column.defaulted and self.merge.decides_on(column.target)]
        return expressions(self.session, self.shape, names) if names else {}

    @property
    def _changeable(self) -> list[str]:
        """The columns that updates may write."""
        fixed = {column.name for column in self.shape.columns if column.always_identity}
        names = [column.target for column in self.columns]
        return [name for name in names if self.merge.changed(name) and name not in fixed]

    @property
    def _provenance(self) -> frozenset[str]:
        return frozenset(column.target for column in self.columns if column.provenance is not None)

    def _new(self, name: str) -> sql.Composable:
        """The value that an update gives a column."""
        own, there = sql.Identifier("s", name), sql.Identifier("t", name)
        value: sql.Composable = own
        if name in self.merge.keep_if_source_empty:
            value = sql.SQL("coalesce({}, {})").format(own, there)
        if name in self.merge.only_if_target_empty:
            value = sql.SQL("CASE WHEN {there} IS NULL OR {there}::text = '' THEN {value} ELSE {there} END").format(
                there=there, value=value
            )
        return value

    # Records that the table refuses

    def _remove_violators(self, key: Key) -> int:
        """Reject the records that violate constraints, as far as queries find them. Returns their number."""
        names = frozenset(column.target for column in self.columns)
        probe = SliceProbe(
            session=self.session,
            shape=self.shape,
            stage=self.stage,
            merge=self.merge,
            match=key.equal(),
            constraints=read_constraints(self.session, self.shape, names),
        )
        found = probe.run()
        for each in found:
            self._fault([each.place], code(each.state), [each.message], each.columns, each.values[:1])
        return len(found)

    def _write_pieces(self, key: Key) -> None:
        """Write what the table accepts. Pieces with a record that it refuses are tried in halves."""
        parts = {"stage": self.stage, "place": _PLACE, "complete": key.complete}
        self.session.run(sql.SQL(_INDEX).format(**parts))
        places = [place for (place,) in self.session.rows(sql.SQL(_PLACES).format(**parts))]
        waiting = [(0, len(places))] if places else []
        no_columns: tuple[str, ...] = ()
        while waiting:
            first, end = waiting.pop()
            piece = sql.SQL(_PIECE).format(**parts, first=sql.Literal(places[first]), last=sql.Literal(places[end - 1]))
            try:
                with self.session.savepoint():
                    self._write(key, piece, end - first)
                continue
            except _Skipped:
                state, message, columns = IGNORED, _SKIPPED, no_columns
            except psycopg.Error as error:
                if not self._blames_record(error):
                    raise
                told = error.diag
                state, message = error.sqlstate or "", told.message_primary or str(error)
                columns = columns_of(state, told.message_detail or "", told.column_name or "")
            if end - first > 1:
                middle = (first + end) // 2
                waiting += [(middle, end), (first, middle)]
                continue
            self._remove(places[first], state, message, columns)

    def _blames_record(self, error: psycopg.Error) -> bool:
        return blames_record(error) or (error.sqlstate == POLICY and self.shape.policed)

    def _remove(self, place: int, state: str, message: str, columns: Sequence[str]) -> None:
        known = [column.target for column in self.columns]
        shown: list[sql.Composable] = [
            sql.SQL("{}::text").format(sql.Identifier(name)) for name in columns if name in known
        ]
        query = sql.SQL(_REMOVE).format(
            stage=self.stage, place=_PLACE, shown=sql.SQL(", ").join(shown or [sql.SQL("NULL")])
        )
        values = self.session.rows(query, (place,))[0]
        self._fault([place], code(state), [message], columns, values[:1] if shown else ())


def check_unique(session: Session, shape: TableShape, merge: Merge) -> None:
    """Check that no two rows of the table have the same key. Raises TargetRefused, with an example."""
    for columns in filter(None, (merge.key, merge.second_key)):
        key = Key(columns=columns, complete=_TRUE)
        query = sql.SQL(_AMBIGUOUS).format(
            table=shape.identifier, key=key.of("t"), shown=key.shown("t"), given=_given(columns, "t")
        )
        for *values, number in session.rows(query):
            raise TargetRefused(
                f"the key is not unique in table {shape.name}: {number:,} rows have {key.said(values)}; choose another "
                f"key, or remove the rows that are too many"
            )


def _given(columns: Sequence[str], alias: str) -> sql.Composable:
    """Whether no column of a key is empty."""
    return sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(sql.Identifier(alias, name)) for name in columns)
