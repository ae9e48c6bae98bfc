"""Recognises the table of a job. SQLite's tables have no identity, but several signs.

Each change of the schema increases the schema version. A new table, or any table after a VACUUM, may have another root
page. Existing rows keep their rowids.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ladingd.core.errors import TargetChanged, TargetRefused
from ladingd.data.databases.sqlite import ledger
from ladingd.data.databases.sqlite.session import statement

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ladingd.data.databases.sqlite.session import Session, TableShape

_ROOT = "SELECT rootpage FROM sqlite_master WHERE type IN ('table', 'view') AND name = ?"

_HAS_ROW = "SELECT EXISTS (SELECT 1 FROM main.{table} WHERE {key} IN (?, ?))"
_COUNT_DELETES = """
CREATE TEMP TRIGGER lading_deletes AFTER DELETE ON main.{table}
BEGIN UPDATE lading_deleted SET number = number + 1; END
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """The signs by which a table is recognised. ``first`` and ``last`` are the outer rowids, None without rows or
    rowids."""

    file: str
    """The device and inode of the database file."""
    schema: int
    root: int
    first: int | None = None
    last: int | None = None

    @property
    def place(self) -> tuple[str, int, int]:
        """The signs that ordinary writes do not change."""
        return self.file, self.schema, self.root

    def encode(self) -> str:
        """The stored form."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Identity:
        """From the stored form."""
        return cls(**json.loads(text))


def read_identity(database: Session, path: Path, shape: TableShape, *, ends: bool = True) -> Identity:
    """The current signs of a table; with ``ends`` also the outer rowids."""
    state = path.stat()
    first = last = None
    if ends and shape.rowid is not None and not shape.is_view and not shape.is_virtual:
        # Two queries: SQLite uses the index only for a single min or max.
        first = database.rows(statement("SELECT min({key}) FROM main.{table}", key=shape.rowid, table=shape.name))[0][0]
        last = database.rows(statement("SELECT max({key}) FROM main.{table}", key=shape.rowid, table=shape.name))[0][0]
    return Identity(
        file=f"{state.st_dev}:{state.st_ino}",
        schema=int(database.rows("PRAGMA main.schema_version")[0][0]),
        root=int(database.rows(_ROOT, (shape.name,))[0][0]),
        first=first,
        last=last,
    )


def keep(database: Session, path: Path, job_uid: str, shape: TableShape) -> None:
    """Store the signs of the job's table."""
    ledger.keep_identity(database, job_uid, read_identity(database, path, shape).encode())


def recognise(database: Session, path: Path, job_uid: str, shape: TableShape) -> None:
    """Check that the table still has the rows that the job has loaded. If a sign has changed, count the rows.

    Raises TargetChanged.
    """
    text = ledger.identity(database, job_uid)
    kept = None if text is None else Identity.decode(text)
    now = read_identity(database, path, shape)
    if kept is not None and kept.place == now.place and _has_end(database, shape, kept):
        return
    committed = ledger.inserted(database, job_uid)
    there = int(database.rows(statement("SELECT count(*) FROM main.{table}", table=shape.name))[0][0])
    if there < committed:
        raise TargetChanged(
            f"rows were removed from table {shape.name}, or it is another table now: this job has inserted "
            f"{committed:,} records and the table has {there:,}; restore the table and start the job again, or load "
            f"all records again: lading clone"
        )
    ledger.keep_identity(database, job_uid, now.encode())


@contextmanager
def nothing_vanishing(database: Session, shape: TableShape) -> Iterator[None]:
    """Check that no trigger deletes rows of the table during the block. Raises TargetRefused."""
    if not shape.triggers:
        yield
        return
    # Only this connection sees the trigger. Rolling back a savepoint also rolls back the count.
    database.run("CREATE TEMP TABLE lading_deleted (number INTEGER)")
    database.run("INSERT INTO temp.lading_deleted VALUES (0)")
    database.run(statement(_COUNT_DELETES, table=shape.name))
    yield
    deleted = int(database.rows("SELECT number FROM temp.lading_deleted")[0][0])
    if deleted:
        raise TargetRefused(
            f"a trigger deletes rows of table {shape.name} ({deleted:,} in one chunk), so the bill would be wrong; "
            f"drop the trigger and start the job again"
        )


def _has_end(database: Session, shape: TableShape, kept: Identity) -> bool:
    """Whether one of the former outer rows still exists; True if there were none."""
    if shape.rowid is None or kept.last is None:
        return True
    query = statement(_HAS_ROW, key=shape.rowid, table=shape.name)
    return bool(database.rows(query, (kept.first, kept.last))[0][0])
