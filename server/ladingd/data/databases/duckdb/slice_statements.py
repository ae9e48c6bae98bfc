"""The statements that write the staged records of a slice. ``s`` is the staging, ``t`` is the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ladingd.core.plan import Column, Merge
from ladingd.data.databases.duckdb.catalog import TableShape
from ladingd.data.databases.duckdb.session import quoted
from ladingd.data.databases.merge_keys import Key
from ladingd.data.databases.staging import PLACE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ladingd.data.databases.duckdb.catalog import TableColumn

# Writes the changed values of rows that are there.
_UPDATE = "UPDATE {table} AS t SET {assignments} FROM {stage} AS s WHERE {complete} AND {match} AND {differs}"
# Writes new rows.
_INSERT = """
INSERT INTO {table} ({names}) SELECT {values} FROM {stage} AS s
WHERE {complete} AND NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {match})
"""
# Deletes the rows of the records.
_DELETE = "DELETE FROM {table} AS t USING {stage} AS s WHERE {complete} AND {match}"
# The rows that the statements would write, with the places of their records.
_ROWS = """
SELECT s.{place} AS {place}, {columns} FROM {stage} AS s LEFT JOIN {table} AS t ON {match}
WHERE {complete} AND ({written})
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceStatements:
    """Statements for the records that are found by one key."""

    shape: TableShape
    stage: str
    merge: Merge
    columns: Sequence[Column]
    """The columns of the plan."""
    key: Key

    @property
    def update(self) -> str | None:
        """Writes the changed values of rows that are there; None if no column can change."""
        new = dict(self._new())
        if not self.merge.updates or not new:
            return None
        return self._filled(_UPDATE, assignments=", ".join(f"{quoted(name)} = {value}" for name, value in new.items()))

    @property
    def insert(self) -> str | None:
        """Writes new rows; None if the operation does not."""
        if not self.merge.inserts:
            return None
        names = [column.target for column in self.columns]
        return self._filled(_INSERT, names=", ".join(map(quoted, names)), values=", ".join(map(self._inserted, names)))

    @property
    def delete(self) -> str | None:
        """Deletes the rows of the records; None if the operation does not."""
        return self._filled(_DELETE) if self.merge.deletes else None

    @property
    def rows(self) -> str:
        """Selects the rows that an update and an insert would write, with all columns that are not generated."""
        new = dict(self._new())
        columns = []
        for column in self.shape.columns:
            if column.generated:
                continue
            there = f"t.{quoted(column.name)}"
            written = f"CASE WHEN {self.key.mark} IS NULL THEN {self._inserted(column.name)} ELSE "
            written += f"{new.get(column.name, there)} END"
            columns.append(f"CAST({written} AS {column.type.declared}) AS {quoted(column.name)}")
        conditions = [f"{self.key.mark} IS NULL"] if self.merge.inserts else []
        conditions += [f"{self.key.mark} IS NOT NULL AND {self._differs()}"] if self.merge.updates else []
        return self._filled(_ROWS, columns=", ".join(columns), written=" OR ".join(conditions) or "false")

    def _filled(self, text: str, **words: str) -> str:
        return text.format(
            table=self.shape.identifier,
            stage=self.stage,
            match=self.key.equal(),
            complete=self.key.complete,
            differs=self._differs(),
            place=quoted(PLACE),
            **words,
        )

    def _differs(self) -> str:
        """Whether a row would get other values. Text is compared by its bytes. An update leaves an interval of 30 days
        as it is if it should become one of a month, which is equal for DuckDB."""
        pairs = []
        # A record that changes nothing else leaves the provenance of its row as it is.
        provenance = {column.target for column in self.columns if column.provenance is not None}
        for name, value in self._new():
            if name in provenance:
                continue
            form = "encode({})" if self._column(name).type.declared == "VARCHAR" else "{}"
            pairs.append(f"{form.format(value)} IS DISTINCT FROM {form.format(f't.{quoted(name)}')}")
        return f"({' OR '.join(pairs)})" if pairs else "false"

    def _new(self) -> Iterator[tuple[str, str]]:
        """The columns that updates may write, and their new values."""
        merge = self.merge
        for name in (column.target for column in self.columns if merge.changed(column.target)):
            value, there = f"s.{quoted(name)}", f"t.{quoted(name)}"
            if name in merge.keep_if_source_empty:
                value = f"coalesce({value}, {there})"
            if name in merge.only_if_target_empty:
                empty = f"{there} IS NULL OR CAST({there} AS VARCHAR) = ''"
                value = f"CASE WHEN {empty} THEN {value} ELSE {there} END"
            yield name, value

    def _inserted(self, name: str) -> str:
        """The value of a column of a new row."""
        planned = next((column for column in self.columns if column.target == name), None)
        default, own = self._column(name).default, f"s.{quoted(name)}"
        if planned is None:
            return default or "NULL"
        if default is None or not planned.defaulted or not self.merge.decides_on(name):
            return own
        return f"coalesce({own}, CAST({default} AS {self._column(name).type.declared}))"

    def _column(self, name: str) -> TableColumn:
        return next(column for column in self.shape.columns if column.name == name)
