"""Merges the staged records of a slice into their table, with a few statements for all of them.

Records that the options of the merge reject or ignore leave the staging first, then an update and an insert carry the
others into the table. If the table refuses one of them, DuckDB aborts the transaction. The caller begins a new one, in
which queries find the violators first (`slice_violations.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb

from ladingd.core.bill import Counts
from ladingd.core.errors import TargetRefused
from ladingd.core.plan import Column, Merge
from ladingd.core.spec import Doubles, Duplicates, Operation
from ladingd.data.databases.commit import Merged
from ladingd.data.databases.duckdb.bulk_load import RecordRefused
from ladingd.data.databases.duckdb.catalog import TableShape
from ladingd.data.databases.duckdb.keys import check_unique, is_guarded, shown
from ladingd.data.databases.duckdb.sequences import move_past_staged
from ladingd.data.databases.duckdb.session import Database, quoted
from ladingd.data.databases.duckdb.slice_statements import SliceStatements
from ladingd.data.databases.duckdb.slice_violations import SliceProbe
from ladingd.data.databases.merge_keys import Key, given
from ladingd.data.databases.slice_rejects import FOUND_OUTSIDE, OUTSIDE, SliceRejects, all_rejected, undeletable
from ladingd.data.databases.staging import PLACE

# The number of staged records that are found by a key.
_COUNT = "SELECT count(*) FROM {stage} AS s WHERE {complete}"
# Whether a key occurs twice among the staged records.
_HAS_DOUBLES = "SELECT EXISTS (SELECT 1 FROM {stage} AS s WHERE {present} GROUP BY {key} HAVING count(*) > 1)"
# The records whose key another one has that is kept, or all records with such a key.
_DOUBLED = """
{place} IN (SELECT {place} FROM {stage} AS s WHERE {present} QUALIFY {rank} > 1)
"""
# The records that the table has already, or lacks.
_FOUND = "{place} IN (SELECT {place} FROM {stage} AS s JOIN {table} AS t ON {match} WHERE {complete})"
_MISSING = "{complete} AND NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {match})"
# The records whose second key is that of a row, or of an earlier record, with another first key.
_CONTRADICTIONS = """
SELECT {place}, {shown} FROM {stage} AS s JOIN {table} AS t ON {match}
WHERE {complete} AND ({differs}) ORDER BY 1
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
_WITHOUT_RECORD = "NOT EXISTS (SELECT 1 FROM {stage} AS s WHERE {match})"
_REMOVE = "DELETE FROM {stage} AS s WHERE {condition}"
_DROP = "DROP TABLE {stage}"
_PLACE = f"s.{quoted(PLACE)}"
_BLOCK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class SliceMerge:
    """The staged records of one slice on their way into the table."""

    database: Database
    shape: TableShape
    stage: str
    merge: Merge
    columns: Sequence[Column]
    """The columns of the plan."""
    careful: bool
    """Whether to find violators before the table does."""
    rejects: SliceRejects
    _numbers: Counter[str] = field(default_factory=Counter)

    def run(self) -> Merged:
        """Merge the slice. Raises RecordRefused, and TargetRefused if a key is not unique in the table."""
        database = self.database
        staged = database.rows(_COUNT.format(stage=self.stage, complete="true"))[0][0]
        if staged:
            if not is_guarded(database, self.shape, self.merge):
                check_unique(database, self.shape, self.merge)
            key = Key.first(self.merge)
            if self.merge.replace:
                self._reject_outside(key)
                self._delete_replaced(key)
            self._merge_by(key)
            if self.merge.second_key:
                self._merge_by(Key.second(self.merge))
            if self.merge.replace:
                self._check_replaced(key)
            if self.merge.inserts:
                move_past_staged(database, self.shape, [column.target for column in self.columns], self.stage)
        database.run(_DROP.format(stage=self.stage))
        faults, numbers = self.rejects.faults, dict[str, Any](self._numbers)
        counts = Counts(pending=-staged, rejected=len(faults), errors=len(faults), **numbers)
        return Merged(counts=counts, faults=faults)

    def _merge_by(self, key: Key) -> None:
        """Merge the records that are found by one of the keys."""
        self._remove_doubles(key)
        self._remove_settled(key)
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

    def _reject_outside(self, key: Key) -> None:
        """Reject the records that do not belong to the part of the table that is replaced."""
        merge, name = self.merge, self.shape.name
        if not merge.records:
            return
        none = replace(key, columns=())
        self._reject(f"({merge.records}) IS NOT TRUE", none, "OUTSIDE_PART", OUTSIDE.format(name=name))
        if key.columns:
            found = _FOUND_OUTSIDE.format(
                place=_PLACE, stage=self.stage, table=self.shape.identifier, match=key.equal(), part=merge.rows
            )
            self._reject(found, key, "OUTSIDE_PART", FOUND_OUTSIDE.format(name=name))

    def _delete_replaced(self, key: Key) -> None:
        """Delete the rows that are replaced, but for those whose key a record has."""
        conditions = [f"({self.merge.rows})"] if self.merge.rows else []
        if key.columns:
            without = _WITHOUT_RECORD.format(key=key.of("t"), own=key.of("s"), stage=self.stage, match=key.equal())
            conditions.append(without)
        query = _DELETE_REPLACED.format(table=self.shape.identifier)
        if conditions:
            query += f" WHERE {' AND '.join(conditions)}"
        try:
            self._numbers["removed"] += self.database.write(query)
        except duckdb.ConstraintException as error:
            raise TargetRefused(undeletable(self.shape.name, error)) from error

    def _check_replaced(self, key: Key) -> None:
        """Check that a replacement has records, and delete the rows whose records were rejected meanwhile."""
        faults = self.rejects.faults
        if not len(faults):
            return
        if not self._numbers["inserted"] + self._numbers["updated"] + self._numbers["unchanged"]:
            raise TargetRefused(all_rejected(self.shape.name, faults))
        if key.columns:
            self._delete_replaced(key)

    # Records that the options decide on

    def _remove_doubles(self, key: Key) -> None:
        if not key.columns:
            return
        parts = {"stage": self.stage, "present": key.present}
        if not self.database.rows(_HAS_DOUBLES.format(key=key.of("s"), **parts))[0][0]:
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
            "table": self.shape.identifier,
            "complete": key.complete,
            "match": key.equal(),
        }
        found, missing = _FOUND.format(**parts), _MISSING.format(**parts)
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
            "table": self.shape.identifier,
            "shown": ", ".join((key.shown("s", shown), second.shown("s", shown), key.shown("t", shown))),
            "match": second.equal(),
            "complete": f"{key.complete} AND {given(second.columns, 's')}",
            "complete_other": given(key.columns, "t"),
            "differs": f"({key.equal()}) IS NOT TRUE",
        }
        size, both = len(key.columns), len(key.columns) + len(second.columns)
        for where, query in {"in the table": _CONTRADICTIONS, "in an earlier record": _SHARED}.items():
            told: dict[int, str] = {}
            for place, *values in self.database.rows(query.format(**parts)):
                own, shared, other = values[:size], values[size:both], values[both:]
                told.setdefault(
                    place,
                    f"{key.said(own)} and {second.said(shared)} do not belong together: {where}, the latter belongs to "
                    f"{key.said(other)}",
                )
            if told:
                self.rejects.add(list(told), "KEYS_DISAGREE", list(told.values()))
                self._remove(f"{_PLACE} IN (SELECT unnest(?))", list(told))

    def _reject(self, condition: str, key: Key, code: str, message: str) -> int:
        """Reject the records that meet a condition. Returns their number."""
        alone = len(key.columns) == 1
        query = _REFUSED.format(place=_PLACE, shown=key.shown("s", shown), stage=self.stage, condition=condition)
        total = 0
        for batch in self.database.stream(query, rows=_BLOCK):
            places, *values = (column.to_pylist() for column in batch.columns)
            told = [f"{key.said(each)} {message}" if key.columns else message for each in zip(*values, strict=True)]
            self.rejects.add(places, code, told, key.columns[0] if alone else "", values[0] if alone else ())
            total += len(places)
        if total:
            self._remove(condition)
        return total

    def _remove(self, condition: str, *values: object) -> int:
        return int(self.database.rows(_REMOVE.format(stage=self.stage, condition=condition), values)[0][0])

    # Records that are written

    def _write(self, statements: SliceStatements) -> None:
        """Write the records, and count them. Raises duckdb.ConstraintException."""
        merge, database = self.merge, self.database
        total = database.rows(_COUNT.format(stage=self.stage, complete=statements.key.complete))[0][0]
        deleted = database.write(statements.delete) if statements.delete else 0
        updated = database.write(statements.update) if statements.update else 0
        inserted = database.write(statements.insert) if statements.insert else 0
        self._numbers["inserted"] += inserted
        self._numbers["updated"] += updated
        self._numbers["deleted"] += deleted
        self._numbers["unchanged"] += total - inserted - updated - deleted
        self._numbers["duplicates"] += deleted if merge.operation is Operation.DELETE else total - inserted
