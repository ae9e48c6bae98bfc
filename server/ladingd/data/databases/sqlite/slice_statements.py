"""The statements that write the staged records of a slice. ``s`` is the staging, ``t`` is the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ladingd.core.plan import Column, Merge
from ladingd.data.databases.merge_keys import Key
from ladingd.data.databases.sqlite.session import TableShape, quoted
from ladingd.data.databases.staging import PLACE
from ladingd.data.values.types import Affinity

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE = "PRAGMA main.cache_size = -65536"
"""The pages that a slice uses often fit into 64 MB. With SQLite's default of 2 MB a merge takes half as long again."""
# The expressions of the defaults of a table's columns.
DEFAULTS = "SELECT name, dflt_value FROM pragma_table_xinfo(?) WHERE dflt_value IS NOT NULL"
# Writes a record: a new row, or the changed values of the row with its key.
_UPSERT = """
INSERT INTO {table} AS t ({names}) VALUES ({values})
ON CONFLICT ({key}) DO UPDATE SET {assignments} WHERE {differs}
"""
# The mark of a record if its upsert would write: no row has its key, or the row would get other values.
_WRITES = "SELECT {mark} WHERE NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {match} AND NOT ({differs}))"
# Writes the changed values of rows that are there.
_UPDATE = "UPDATE {table} AS t SET {assignments} FROM {stage} AS s WHERE {taken} AND {match} AND {differs}"
# Writes new rows.
_INSERT = """
INSERT INTO {table} ({names}) SELECT {values} FROM {stage} AS s LEFT JOIN {table} AS t ON {match}
WHERE {taken} AND {mark} IS NULL ORDER BY {place}
"""
# Deletes the rows of the records.
_DELETE = "DELETE FROM {table} AS t WHERE ({key}) IN (SELECT {own} FROM {stage} AS s WHERE {taken})"
# How many rows the statements should write: new ones, changed ones, and all that are there.
_EXPECTED = """
SELECT count(*) - count({mark}), count(CASE WHEN {mark} IS NOT NULL AND {differs} THEN 1 END), count({mark})
FROM {stage} AS s LEFT JOIN {table} AS t ON {match} WHERE {taken}
"""
# The number of records.
_TOTAL = "SELECT count(*) FROM {stage} AS s WHERE {taken}"
_PIECE = " AND {place} BETWEEN ?1 AND ?2"


@dataclass(frozen=True, kw_only=True, slots=True)
class RowValues:
    """The values that records give to rows, in SQL. ``t`` is the row that is there."""

    shape: TableShape
    merge: Merge
    columns: Sequence[Column]
    """The columns of the plan."""
    defaults: Mapping[str, str]
    """The default expressions of the table's columns."""
    own: Mapping[str, str]
    """The expression of the field of a record, by the name of its column."""

    def differs(self) -> str:
        """Whether a row would get other values. Text is compared without collation, and 1 is not 1.0.

        A record that changes nothing else leaves the provenance of its row as it is.
        """
        pairs = []
        provenance = {column.target for column in self.columns if column.provenance is not None}
        for name, value in self.new():
            if name in provenance:
                continue
            there, column = f"t.{quoted(name)}", self.shape.column(name)
            pairs.append((f"{value} COLLATE BINARY", there))
            if column is not None and column.affinity is Affinity.BLOB:  # Other columns keep only one of both.
                pairs.append((f"typeof({value})", f"typeof({there})"))
        if not pairs:
            return "0"
        new, old = (", ".join(each) for each in zip(*pairs, strict=True))
        return f"({new}) IS NOT ({old})"

    def new(self) -> Iterator[tuple[str, str]]:
        """The columns that updates may write, and their new values."""
        merge = self.merge
        for name in (column.target for column in self.columns if merge.changed(column.target)):
            value, there = self.own[name], f"t.{quoted(name)}"
            if name in merge.keep_if_source_empty:
                value = f"coalesce({value}, {there})"
            if name in merge.only_if_target_empty:
                empty = f"{there} IS NULL OR {there} COLLATE BINARY = ''"
                value = f"CASE WHEN {empty} THEN {value} ELSE {there} END"
            yield name, value

    def inserted(self, column: Column) -> str:
        """The value of a column of a new row."""
        own = self.own[column.target]
        default = self.defaults.get(column.target)
        if default is None or not column.defaulted or not self.merge.decides_on(column.target):
            return own
        return f"coalesce({own}, ({default}))"

    def upsert(self) -> str:
        """Writes one record by a unique key."""
        new = dict(self.new())
        assignments = ", ".join(f"{quoted(name)} = {value}" for name, value in new.items())
        key = ", ".join(map(quoted, self.merge.key))
        return _UPSERT.format(
            table=f"main.{quoted(self.shape.name)}",
            names=", ".join(quoted(column.target) for column in self.columns),
            values=", ".join(map(self.inserted, self.columns)),
            key=key,
            assignments=assignments or f"{quoted(self.merge.key[0])} = t.{quoted(self.merge.key[0])}",
            differs=self.differs() if new else "0",
        )

    def writes(self, mark: str) -> str:
        """Finds out whether ``upsert`` would write. The result is the expression ``mark``, or none."""
        key = " AND ".join(f"t.{quoted(name)} = {self.own[name]}" for name in self.merge.key)
        table, differs = f"main.{quoted(self.shape.name)}", self.differs()
        return _WRITES.format(mark=mark, table=table, match=key, differs=differs)


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceStatements:
    """Statements for the records that are found by one key. ``piece``: only for places from ``?1`` to ``?2``."""

    shape: TableShape
    stage: str
    merge: Merge
    columns: Sequence[Column]
    """The columns of the plan."""
    defaults: Mapping[str, str]
    """The default expressions of the table's columns."""
    key: Key
    piece: bool = False

    @property
    def update(self) -> str | None:
        """Writes the changed values of rows that are there; None if no column can change."""
        new = dict(self.values.new())
        if not self.merge.updates or not new:
            return None
        assignments = ", ".join(f"{quoted(name)} = {value}" for name, value in new.items())
        return self._filled(_UPDATE, assignments=assignments)

    @property
    def insert(self) -> str | None:
        """Writes new rows; None if the operation does not."""
        if not self.merge.inserts:
            return None
        names = [column.target for column in self.columns]
        values = [self.values.inserted(column) for column in self.columns]
        return self._filled(_INSERT, names=", ".join(map(quoted, names)), values=", ".join(values))

    @property
    def delete(self) -> str | None:
        """Deletes the rows of the records; None if the operation does not."""
        return self._filled(_DELETE, key=self.key.of("t"), own=self.key.of("s")) if self.merge.deletes else None

    @property
    def expected(self) -> str:
        """Counts the rows that are new, those that differ, and those that are there."""
        return self._filled(_EXPECTED)

    @property
    def total(self) -> str:
        """Counts the records."""
        return self._filled(_TOTAL)

    def _filled(self, text: str, **words: str) -> str:
        place = f"s.{quoted(PLACE)}"
        return text.format(
            table=f"main.{quoted(self.shape.name)}",
            stage=self.stage,
            match=self.key.equal(),
            mark=self.key.mark,
            place=place,
            taken=self.key.complete + (_PIECE.format(place=place) if self.piece else ""),
            differs=self.values.differs(),
            **words,
        )

    @property
    def values(self) -> RowValues:
        """The values that the records give to rows."""
        own = {column.target: f"s.{quoted(column.target)}" for column in self.columns}
        return RowValues(shape=self.shape, merge=self.merge, columns=self.columns, defaults=self.defaults, own=own)
