"""Finds the staged records that would violate constraints of their table, by one query for each constraint.

The rows that a merge would write are put into a temporary table first. A record whose unique value another row has is a
violator even if the merge would change that row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ladingd.data.databases.duckdb.keys import shown
from ladingd.data.databases.duckdb.session import Database, quoted, statement
from ladingd.data.databases.duckdb.slice_statements import SliceStatements
from ladingd.data.databases.merge_keys import FALSE
from ladingd.data.databases.slice_rejects import SliceRejects
from ladingd.data.databases.staging import PLACE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.databases.duckdb.catalog import ForeignKey, Unique

_ROWS = 'temp."lading rows"'
# The rows that the merge would write.
_CREATE = "CREATE TEMP TABLE {rows} AS {query}"
_DROP = "DROP TABLE {rows}"
# Rows that meet a condition, with the fields that caused it.
_FOUND = "SELECT r.{place}, {shown} FROM {rows} AS r WHERE {condition} ORDER BY 1"
# Records whose rows meet a condition.
_REMOVE_STAGED = "DELETE FROM {stage} WHERE {place} IN (SELECT r.{place} FROM {rows} AS r WHERE {condition})"
_REMOVE = "DELETE FROM {rows} AS r WHERE {condition}"
_NO_PARENT = "{given} AND NOT EXISTS (SELECT 1 FROM {parent} AS p WHERE {same})"
# Rows with a key that another row of the table has.
_OTHER_ROW = "{given} AND EXISTS (SELECT 1 FROM {keys} AS o WHERE {same} AND ({match}) IS NOT TRUE)"
# Rows with a key that an earlier one has.
_EARLIER = """
r.{place} IN (SELECT {place} FROM {keys} QUALIFY row_number() OVER (PARTITION BY {names} ORDER BY {place}) > 1)
"""
# The rows whose records are found in a table that references them.
_REFERENCING = """
SELECT schema_name, table_name, constraint_column_names, referenced_column_names FROM duckdb_constraints()
WHERE database_name = current_database() AND constraint_type = 'FOREIGN KEY' AND schema_name = ?
    AND referenced_table = ?
"""
_REFERENCED = """
SELECT s.{place}, {shown} FROM {stage} AS s JOIN {table} AS t ON {match} WHERE {complete}
    AND EXISTS (SELECT 1 FROM {child} AS c WHERE {same}) ORDER BY 1
"""
_REMOVE_REFERENCED = """
DELETE FROM {stage} WHERE {place} IN (
    SELECT s.{place} FROM {stage} AS s JOIN {table} AS t ON {match} WHERE {complete}
    AND EXISTS (SELECT 1 FROM {child} AS c WHERE {same}))
"""
_PLACE = quoted(PLACE)


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceProbe:
    """Compares the rows that a merge would write with the constraints of the table."""

    database: Database
    statements: SliceStatements
    rejects: SliceRejects

    def run(self) -> None:
        """Reject the violators, and remove them from the staging."""
        shape = self.statements.shape
        if self.statements.merge.deletes:
            self._reject_referenced()
            return
        self.database.run(_CREATE.format(rows=_ROWS, query=self.statements.rows))
        for column in shape.columns:
            if not column.nullable and not column.generated:
                message = f"column {column.name} of table {shape.name} may not be empty"
                self._reject(f"r.{quoted(column.name)} IS NULL", "NOT_NULL", message, (column.name,))
        for expression in shape.checks:
            self._reject(f"NOT ({expression})", "CHECK", f"CHECK {expression} of table {shape.name} failed")
        for key in shape.foreign_keys:
            self._reject_orphans(key)
        for unique in shape.uniques:
            self._reject_taken(unique)
        self.database.run(_DROP.format(rows=_ROWS))

    def _reject_orphans(self, key: ForeignKey) -> None:
        shape = self.statements.shape
        parent = statement("{schema}.{table}", schema=shape.schema, table=key.table)
        same = [f"p.{quoted(r)} = r.{quoted(c)}" for c, r in zip(key.columns, key.referenced, strict=True)]
        condition = _NO_PARENT.format(
            given=" AND ".join(f"r.{quoted(name)} IS NOT NULL" for name in key.columns),
            parent=parent,
            same=" AND ".join(same),
        )
        message = f"table {key.table} has no row with these values in ({', '.join(key.referenced)})"
        self._reject(condition, "FOREIGN_KEY", message, key.columns)

    def _reject_taken(self, unique: Unique) -> None:
        """Reject the records with a key that another row or an earlier record has."""
        statements = self.statements
        own = statements.key.columns
        if unique.columns and set(unique.columns) <= set(own):
            return
        # Only the inner query has these names, so that all others in expressions are those of the row.
        names = [quoted(f"lading key {place}") for place in range(len(unique.expressions))]
        marks = [quoted(f"lading mark {place}") for place in range(len(own))]
        keys = ", ".join(f"{each} AS {name}" for each, name in zip(unique.expressions, names, strict=True))
        marked = "".join(f", {quoted(each)} AS {mark}" for each, mark in zip(own, marks, strict=True))
        message = f"{unique.said} of table {statements.shape.name} is taken"
        present = " AND ".join(f"({each}) IS NOT NULL" for each in unique.expressions)
        other = _OTHER_ROW.format(
            given=present,
            keys=f"(SELECT {keys}{marked} FROM {statements.shape.identifier})",  # noqa: S608 - quoted
            same=" AND ".join(f"o.{name} = ({each})" for name, each in zip(names, unique.expressions, strict=True)),
            match=" AND ".join(f"o.{mark} = r.{quoted(each)}" for each, mark in zip(own, marks, strict=True)) or FALSE,
        )
        self._reject(other, "UNIQUE", message, unique.columns)
        earlier = _EARLIER.format(
            place=_PLACE,
            keys=f"(SELECT {_PLACE}, {keys} FROM {_ROWS} WHERE {present})",  # noqa: S608 - quoted
            names=", ".join(names),
        )
        self._reject(earlier, "UNIQUE", message, unique.columns)

    def _reject_referenced(self) -> None:
        """Reject the records whose rows cannot be deleted because others reference them."""
        statements, shape = self.statements, self.statements.shape
        for schema, table, columns, referenced in self.database.rows(_REFERENCING, (shape.schema, shape.name)):
            same = [f"c.{quoted(c)} = t.{quoted(r)}" for c, r in zip(columns, referenced, strict=True)]
            parts = {
                "place": _PLACE,
                "stage": statements.stage,
                "table": shape.identifier,
                "match": statements.key.equal(),
                "complete": statements.key.complete,
                "child": statement("{schema}.{table}", schema=schema, table=table),
                "same": " AND ".join(same),
            }
            found = self.database.rows(_REFERENCED.format(shown=statements.key.shown("s", shown), **parts))
            message = f"table {table} has rows that reference it"
            self._add(found, "FOREIGN_KEY", message, statements.key.columns)
            if found:
                self.database.run(_REMOVE_REFERENCED.format(**parts))

    def _reject(self, condition: str, code: str, message: str, columns: Sequence[str] = ()) -> None:
        known = [each.target for each in self.statements.columns]
        blamed = [name for name in columns if name in known]
        texts = ", ".join(shown("r", name) for name in blamed) or "NULL"
        parts = {"place": _PLACE, "rows": _ROWS, "condition": condition}
        found = self.database.rows(_FOUND.format(shown=texts, **parts))
        if found:
            self._add(found, code, message, blamed)
            self.database.run(_REMOVE_STAGED.format(stage=self.statements.stage, **parts))
            self.database.run(_REMOVE.format(**parts))

    def _add(self, found: Sequence[tuple[object, ...]], code: str, message: str, columns: Sequence[str]) -> None:
        places = [int(str(row[0])) for row in found]
        alone = len(columns) == 1
        values = [None if row[1] is None else str(row[1]) for row in found] if alone else ()
        self.rejects.add(places, code, [message] * len(found), columns[0] if alone else "", values)
