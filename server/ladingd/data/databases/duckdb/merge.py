"""Merges the staged records of a slice into their table, with a few statements for all of them.

Records that the options of the merge reject or ignore leave the staging first, then an update and an insert carry the
others into the table. If the table refuses one of them, DuckDB aborts the transaction. The caller begins a new one, in
which queries find the violators first (`slice_violations.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from ladingd.core.bill import Counts
from ladingd.core.errors import TargetRefused
from ladingd.core.plan import Column
from ladingd.data.databases.commit import Merged
from ladingd.data.databases.duckdb.bulk_load import RecordRefused
from ladingd.data.databases.duckdb.catalog import TableShape
from ladingd.data.databases.duckdb.keys import check_unique, is_guarded, shown
from ladingd.data.databases.duckdb.sequences import move_past_staged
from ladingd.data.databases.duckdb.session import Database
from ladingd.data.databases.duckdb.slice_statements import SliceStatements
from ladingd.data.databases.duckdb.slice_violations import SliceProbe
from ladingd.data.databases.merge_keys import Key
from ladingd.data.databases.slice_decisions import COLUMN, SliceDecisions
from ladingd.data.databases.slice_rejects import undeletable

# The number of staged records that are found by a key.
_COUNT = "SELECT count(*) FROM {stage} AS s WHERE {complete}"
# The records whose key another one has that is kept, or all records with such a key.
_DOUBLED = """
{place} IN (SELECT {place} FROM {stage} AS s WHERE {present} QUALIFY {rank} > 1)
"""
# The records that the table lacks.
_MISSING = "{complete} AND NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {match})"
# The places of records, and a part of them as text.
_REFUSED = "SELECT {place}, {shown} FROM {stage} AS s WHERE {condition} ORDER BY 1"
# Deletes the rows that a replacement has no record for.
_DELETE_REPLACED = "DELETE FROM {table} AS t"
_WITHOUT_RECORD = "NOT EXISTS (SELECT 1 FROM {stage} AS s WHERE {match})"
_REMOVE = "DELETE FROM {stage} AS s WHERE {condition}"
_DROP = "DROP TABLE {stage}"
_BLOCK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class SliceMerge(SliceDecisions):
    """The staged records of one slice on their way into the table."""

    doubled = _DOUBLED
    missing = _MISSING
    database: Database
    shape: TableShape
    columns: Sequence[Column]
    """The columns of the plan."""
    careful: bool
    """Whether to find violators before the table does."""

    @property
    def name(self) -> str:
        return self.shape.name

    @property
    def table(self) -> str:
        return self.shape.identifier

    def rows(self, query: str) -> Sequence[Sequence[Any]]:
        return self.database.rows(query)

    def shown(self, alias: str, column: str) -> str:
        return shown(alias, column)

    def run(self) -> Merged:
        """Merge the slice. Raises RecordRefused, and TargetRefused if a key is not unique in the table."""
        database = self.database
        staged = database.rows(_COUNT.format(stage=self.stage, complete="true"))[0][0]
        if staged:
            if not is_guarded(database, self.shape, self.merge):
                check_unique(database, self.shape, self.merge)
            key = Key.first(self.merge)
            if self.merge.replace:
                self.reject_outside(key)
                self._delete_replaced(key)
            self._merge_by(key)
            if self.merge.second_key:
                self._merge_by(Key.second(self.merge))
            if self.merge.replace and self.check_replaced() and key.columns:
                self._delete_replaced(key)  # Rows whose records were rejected since the first time.
            if self.merge.inserts:
                move_past_staged(database, self.shape, [column.target for column in self.columns], self.stage)
        database.run(_DROP.format(stage=self.stage))
        faults, numbers = self.rejects.faults, dict[str, Any](self.numbers)
        counts = Counts(pending=-staged, rejected=len(faults), errors=len(faults), **numbers)
        return Merged(counts=counts, faults=faults)

    def _merge_by(self, key: Key) -> None:
        """Merge the records that are found by one of the keys."""
        self.remove_doubles(key)
        self.remove_settled(key)
        statements = SliceStatements(
            shape=self.shape, stage=self.stage, merge=self.merge, columns=self.columns, key=key
        )
        if self.careful:
            SliceProbe(database=self.database, statements=statements, rejects=self.rejects).run()
        try:
            self._write(statements)
        except duckdb.ConstraintException as error:
            if self.careful:
                raise TargetRefused(
                    f"table {self.shape.name} rejects records, and no query finds them: the constraint is of a kind "
                    f"that lading does not know"
                ) from error
            raise RecordRefused from error

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
            self.numbers["removed"] += self.database.write(query)
        except duckdb.ConstraintException as error:
            raise TargetRefused(undeletable(self.shape.name, error)) from error

    # Records that the options decide on

    def reject(self, condition: str, key: Key, code: str, message: str) -> int:
        """Reject the records that meet a condition. Returns their number."""
        alone = len(key.columns) == 1
        query = _REFUSED.format(place=COLUMN, shown=key.shown("s", shown), stage=self.stage, condition=condition)
        total = 0
        for batch in self.database.stream(query, rows=_BLOCK):
            places, *values = (column.to_pylist() for column in batch.columns)
            told = [f"{key.said(each)} {message}" if key.columns else message for each in zip(*values, strict=True)]
            self.rejects.add(places, code, told, key.columns[0] if alone else "", values[0] if alone else ())
            total += len(places)
        if total:
            self._remove(condition)
        return total

    def remove(self, condition: str) -> int:
        return self._remove(condition)

    def remove_places(self, places: Sequence[int]) -> None:
        self._remove(f"{COLUMN} IN (SELECT unnest(?))", list(places))

    def _remove(self, condition: str, *values: object) -> int:
        return int(self.database.rows(_REMOVE.format(stage=self.stage, condition=condition), values)[0][0])

    # Records that are written

    def _write(self, statements: SliceStatements) -> None:
        """Write the records, and count them. Raises duckdb.ConstraintException."""
        _merge, database = self.merge, self.database
        total = database.rows(_COUNT.format(stage=self.stage, complete=statements.key.complete))[0][0]
        deleted = database.write(statements.delete) if statements.delete else 0
        updated = database.write(statements.update) if statements.update else 0
        inserted = database.write(statements.insert) if statements.insert else 0
        self.count(total, inserted=inserted, updated=updated, deleted=deleted)
