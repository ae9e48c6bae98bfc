"""What an import does to its table: it inserts, updates, deletes or replaces rows."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from lading_client.spec import Operation, Reconciliation
from tests.chaos.records import (
    CHUNK_RECORDS,
    FIRST_ROW,
    MAKE_TABLE,
    RECORD_BYTES,
    lines_of,
    refused,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = tuple[int, str | None, int, str]

_MAKE_KEYED_TABLE = (
    "CREATE TABLE {table}"
    " (id int NOT NULL PRIMARY KEY, code text, weight integer CHECK (weight < 1000), name text NOT NULL)"
)
"""No other key than that of the merge, so that the merge has several slices."""
_TOO_SHORT, _SAME, _HEAVY, _NO_KEY, _REFUSED, _DOUBLE = 4, 9, 14, 24, 33, 44
"""The places of special records in each chunk."""


class Change(StrEnum):
    """The kind of an import. Except for INSERT, its records have keys, are staged and merged, and the table has every
    second of their rows before."""

    INSERT = "insert"
    UPSERT = "upsert"
    DELETE = "delete"
    REPLACE = "replace"
    REPLACE_BY_KEY = "replace-by-key"

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the import."""
        return _OPTIONS[self]

    def statements(self, table: str, chunks: int) -> Sequence[str]:
        """The statements that make the table and its first rows."""
        if self is Change.INSERT:
            return MAKE_TABLE.format(table=table), FIRST_ROW.format(table=table)
        values = ", ".join(f"({key}, NULL, {weight}, '{name}')" for key, _, weight, name in self._before(chunks))
        return _MAKE_KEYED_TABLE.format(table=table), f"INSERT INTO {table} VALUES {values}"

    def content(self, chunks: int) -> bytes:
        """A CSV file of ``chunks`` chunks, an even number."""
        if self is Change.INSERT:
            return b"".join(lines_of(chunks))
        return b"id,code,weight,name\n" + b"".join(map(self._record, range(1, chunks * CHUNK_RECORDS + 1)))

    def refused(self, chunks: int) -> int:
        """The number of rejected records of that file."""
        if self is Change.INSERT:
            return refused(chunks)
        return chunks * (3 if self is Change.DELETE else 4)

    def rows(self, chunks: int) -> list[Row]:
        """The rows of the table after the import. INSERT has no such list: which of two doubles is inserted is open."""
        assert self is not Change.INSERT
        before = {row[0]: row for row in self._before(chunks)}
        records: dict[int, Row] = {}
        for number in range(1, chunks * CHUNK_RECORDS + 1):
            if (number - 1) % CHUNK_RECORDS not in (_TOO_SHORT, _HEAVY, _NO_KEY):
                row = self._row(number)
                records[row[0]] = row
        if self is Change.DELETE:
            return [row for key, row in before.items() if key not in records]
        accepted = {key: row for key, row in records.items() if row[2] < 1000}
        return [*(before | accepted if self is Change.UPSERT else accepted).values()]

    def _before(self, chunks: int) -> list[Row]:
        """Every second row, and some that no record has."""
        numbers = range(2, chunks * CHUNK_RECORDS + 1, 2)
        same = [self._row(number) for number in numbers if (number - 1) % CHUNK_RECORDS == _SAME]
        others = [(number, None, number % 1000, "old") for number in numbers if (number - 1) % CHUNK_RECORDS != _SAME]
        return [*same, *others, *((-number, None, 1, "of no record") for number in range(chunks))]

    def _row(self, number: int) -> Row:
        """The values of a record that can be read."""
        chunk, place = divmod(number - 1, CHUNK_RECORDS)
        key, weight = number, number * 7 % 1000
        if place == _REFUSED:
            weight = 5000
        if place == _DOUBLE and self is not Change.REPLACE:
            key = chunk // 2 * 2 * CHUNK_RECORDS + 1  # The first record of two chunks: the last one wins.
        start = f"{key},,{weight},"
        return key, None, weight, "x" * (RECORD_BYTES - 1 - len(start))

    def _record(self, number: int) -> bytes:
        fields = {
            _TOO_SHORT: f"{number},",
            _HEAVY: f"{number},,heavy,",
            _NO_KEY: ",,1,",
        }
        key, _, weight, _ = self._row(number)
        text = fields.get((number - 1) % CHUNK_RECORDS, f"{key},,{weight},")
        return text.encode().ljust(RECORD_BYTES - 1, b"x") + b"\n"


_OPTIONS: Mapping[Change, Mapping[str, Any]] = {
    Change.INSERT: {},
    Change.UPSERT: {"reconciliation": Reconciliation(operation=Operation.UPDATE_OR_INSERT, key=("id",))},
    Change.DELETE: {"reconciliation": Reconciliation(operation=Operation.DELETE, key=("id",))},
    Change.REPLACE: {"replace": True},
    Change.REPLACE_BY_KEY: {"replace": True, "reconciliation": Reconciliation(key=("id",))},
}
MERGES = tuple(change for change in Change if change is not Change.INSERT)
