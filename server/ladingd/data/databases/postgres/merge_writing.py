"""Writes staged records into their table by one statement for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from psycopg import sql

from ladingd.core.plan import Column, Merge
from ladingd.core.spec import Duplicates, Operation
from ladingd.data.databases.postgres.catalog import TableShape
from ladingd.data.databases.postgres.defaults import expressions
from ladingd.data.databases.postgres.merge_key import FALSE
from ladingd.data.databases.postgres.recognition import nothing_vanishing
from ladingd.data.databases.postgres.session import Session
from ladingd.data.databases.staging import extent

if TYPE_CHECKING:
    from ladingd.data.databases.postgres.merge_key import Key

_RETURNING_ACTIONS = 170_000
"""Servers from this version on tell what MERGE did with each row."""

# Makes rows of all records.
INSERT_ALL = "INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {source} s"
# Writes new rows, and the changed values of rows that are there.
_MERGE = "MERGE INTO {table} t USING {source} s ON {match} {changed} {missing}"
_CHANGED = "WHEN MATCHED AND {differs} THEN UPDATE SET {assignments}"
_MISSING = "WHEN NOT MATCHED THEN INSERT ({names}) OVERRIDING SYSTEM VALUE VALUES ({values})"
_ACTIONS = "WITH merged AS ({merge} RETURNING merge_action() AS action) SELECT action, count(*) FROM merged GROUP BY 1"
# The same in two statements, for servers that cannot say what MERGE did.
UPDATE = "UPDATE {table} t SET {assignments} FROM {source} s WHERE {match} AND {differs}"
INSERT = """
INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {source} s
WHERE NOT EXISTS (SELECT FROM {table} t WHERE {match})
"""
DELETE = "DELETE FROM {table} t USING {source} s WHERE {match}"
# How many rows the statements should write: new ones, changed ones, and all that are there.
EXPECTED = """
SELECT count(*) FILTER (WHERE t.{mark} IS NULL), count(*) FILTER (WHERE t.{mark} IS NOT NULL AND {differs}),
    count(t.{mark})
FROM {source} s LEFT JOIN {table} t ON {match}
"""
# Whether a record has no row.
LACKS = "SELECT EXISTS (SELECT FROM {source} s WHERE NOT EXISTS (SELECT FROM {table} t WHERE {match}))"
_EXACT = frozenset(
    {"int2", "int4", "int8", "bool", "date", "time", "timestamp", "timestamptz", "uuid", "text", "varchar"}
)
"""Types whose values are equal only if they are identical, in a collation that is deterministic."""


class Skipped(Exception):
    """The server wrote fewer rows than it should, without an error: a trigger, a rule or a policy skipped some, or
    another session has inserted or deleted rows meanwhile."""


@dataclass(frozen=True, kw_only=True)
class MergeWriting:
    """Writes the records of one slice, or some of them."""

    session: Session
    shape: TableShape
    number: int
    """Which slice it is."""
    merge: Merge
    columns: Sequence[Column]
    """The columns of the plan."""

    def write(self, key: Key, source: sql.Composable, total: int) -> Counter[str]:
        """Write the records of a source, all or none. ``total`` is their number. Returns what became of them. Raises
        Skipped."""
        merge, session = self.merge, self.session
        inserted = updated = deleted = 0
        expected = self._expected(key, source, total) if self.shape.acts or self.shape.policed else None
        if merge.deletes:
            deleted = session.run(sql.SQL(DELETE).format(**self.parts(key, source)))
        elif merge.inserts or merge.updates:
            with nothing_vanishing(session, self.shape) as watched:
                inserted, updated = self._upsert(key, source)
                if self.shape.acts:  # A trigger may have deferred constraints again.
                    session.run("SET CONSTRAINTS ALL IMMEDIATE")
                watched.append(inserted)
        if expected is not None and (inserted, updated, deleted) != expected:
            raise Skipped
        if self._has_come_or_gone(key, source, total, inserted, updated):
            raise Skipped
        return self.counts(total, inserted, updated, deleted)

    def counts(self, total: int, inserted: int, updated: int, deleted: int) -> Counter[str]:
        """What became of ``total`` records that wrote so many rows."""
        return Counter(
            inserted=inserted,
            updated=updated,
            deleted=deleted,
            unchanged=total - inserted - updated - deleted,
            duplicates=deleted if self.merge.operation is Operation.DELETE else total - inserted,
        )

    def _upsert(self, key: Key, source: sql.Composable) -> tuple[int, int]:
        """Returns the numbers of inserted and of updated rows."""
        session, parts, merge = self.session, self.parts(key, source), self.merge
        if not key.columns:
            return session.run(sql.SQL(INSERT_ALL).format(**parts)), 0
        if self.tells_actions:
            actions = dict(session.rows(sql.SQL(_ACTIONS).format(merge=self.merge_statement(parts))))
            return actions.get("INSERT", 0), actions.get("UPDATE", 0)
        updated = session.run(sql.SQL(UPDATE).format(**parts)) if self.changes_rows else 0
        return session.run(sql.SQL(INSERT).format(**parts)) if merge.inserts else 0, updated

    @property
    def tells_actions(self) -> bool:
        """Whether the server can say what MERGE did."""
        return self.session.server_version >= _RETURNING_ACTIONS

    @property
    def changes_rows(self) -> bool:
        """Whether a record may change the row that the table has."""
        return self.merge.updates and bool(self._changeable)

    def merge_statement(self, parts: Mapping[str, sql.Composable]) -> sql.Composable:
        """The MERGE of a source, without RETURNING."""
        changed = sql.SQL(_CHANGED).format(**parts) if self.changes_rows else sql.SQL("WHEN MATCHED THEN DO NOTHING")
        missing = sql.SQL(_MISSING if self.merge.inserts else "WHEN NOT MATCHED THEN DO NOTHING").format(**parts)
        return sql.SQL(_MERGE).format(**parts, changed=changed, missing=missing)

    def _has_come_or_gone(self, key: Key, source: sql.Composable, total: int, inserted: int, updated: int) -> bool:
        """Whether other sessions have inserted or deleted rows since the records were compared with the table."""
        merge = self.merge
        if merge.inserts:
            return merge.duplicates is Duplicates.REJECT and inserted < total
        if not merge.updates or updated == total:
            return False
        return self.lacks(key, source)

    def lacks(self, key: Key, source: sql.Composable) -> bool:
        """Whether the table has no row for one of the records."""
        return bool(self.session.rows(sql.SQL(LACKS).format(**self.parts(key, source)))[0][0])

    def _expected(self, key: Key, source: sql.Composable, total: int) -> tuple[int, int, int]:
        """How many rows should be inserted, updated and deleted."""
        merge = self.merge
        if not key.columns:
            return total, 0, 0
        query = sql.SQL(EXPECTED).format(**self.parts(key, source), mark=sql.Identifier(key.columns[0]))
        new, changed, there = self.session.rows(query)[0]
        return new if merge.inserts else 0, changed if merge.updates else 0, there if merge.deletes else 0

    def parts(self, key: Key, source: sql.Composable) -> dict[str, sql.Composable]:
        """The parts of the statements, with the records of a source."""
        names = [column.target for column in self.columns]
        new = {name: self._new(name) for name in self._changeable}
        # A record that changes nothing else leaves the provenance of its row as it is.
        compared = [name for name in new if name not in self._provenance]
        return {
            "table": self.shape.identifier,
            "source": source,
            "match": sql.SQL("{}{}").format(key.equal(), self._near),
            "differs": self._differs({name: new[name] for name in compared}),
            "assignments": sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in new.items()
            ),
            "names": sql.SQL(", ").join(map(sql.Identifier, names)),
            "values": sql.SQL(", ").join(map(self._inserted, names)),
        }

    def _differs(self, new: Mapping[str, sql.Composable]) -> sql.Composable:
        """Whether a row would get other values. The images of values are compared where equal ones may differ, such as
        1.0 and 1.00; that takes longer."""
        plain = {name: value for name, value in new.items() if is_exact(self.shape, name)}
        parts = [
            sql.SQL("{} IS DISTINCT FROM {}").format(value, sql.Identifier("t", name)) for name, value in plain.items()
        ]
        if odd := [name for name in new if name not in plain]:
            values = sql.SQL(", ").join(new[name] for name in odd)
            there = sql.SQL(", ").join(sql.Identifier("t", name) for name in odd)
            parts.append(sql.SQL("record_image_ne(ROW({}), ROW({}))").format(values, there))
        return sql.SQL("({})").format(sql.SQL(" OR ").join(parts)) if parts else FALSE

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


def is_exact(shape: TableShape, name: str) -> bool:
    """Whether two values of a column are equal only if they are identical."""
    column = shape.column(name)
    if column is None or column.collation or column.type.is_array or column.type.is_domain:
        return False  # A domain may have a collation of its own.
    return column.type.base in _EXACT or (column.type.base == "numeric" and column.type.scale is not None)


def distinguished(shape: TableShape, name: str, alias: str) -> sql.Composable:
    """A column whose different values are counted. Texts that are equal only if they are identical need no collation,
    which takes longer."""
    column, value = shape.column(name), sql.Identifier(alias, name)
    if column is not None and column.type.base in {"text", "varchar"} and is_exact(shape, name):
        return sql.SQL('{} COLLATE "C"').format(value)
    return value
