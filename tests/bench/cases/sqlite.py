"""Imports into SQLite, compared with sqlite3 (Debian: ``apt-get install sqlite3``)."""

from __future__ import annotations

import shutil
import sqlite3
import statistics
from contextlib import closing
from typing import TYPE_CHECKING

from tests.bench import records
from tests.bench.errors import Missing, expect
from tests.bench.measure import in_turn, wall
from tests.bench.result import Figure, cost, speed, spread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.workbench import Workbench


def clean(bench: Workbench) -> Iterator[Figure]:
    """Clean records into SQLite, compared with sqlite3 with its default settings."""
    ours, theirs = _beside(bench, bench.records, bench.rounds)
    yield speed("sqlite-import", ours, "sqlite3 .import", theirs, goal=1.4, aim=2.0)


def small(bench: Workbench) -> Iterator[Figure]:
    """1,000 records into SQLite through a running daemon; whole commands."""
    ours, theirs = _beside(bench, 1_000, max(bench.rounds, 9))
    yield Figure(
        case="small",
        what="1,000 records",
        ours=spread(ours),
        other=f"sqlite3 .import: {spread(theirs)}",
        value=statistics.median(ours),
        unit="s",
        goal=0.5,
    )


# What an experienced user would write: a temporary table needs no journal, and the last record of a key wins.
_SCRIPT = """
PRAGMA cache_size = -65536;
CREATE TEMP TABLE staged ({columns});
.mode csv
.import --skip 1 --schema temp {file} staged
INSERT INTO records SELECT * FROM temp.staged WHERE true ON CONFLICT (id) DO UPDATE SET {assignments};
"""


def upsert(bench: Workbench) -> Iterator[Figure]:
    """Records into a table of SQLite that has half of them with another address, compared with a script of sqlite3;
    then the same file again. Whole commands."""
    if shutil.which("sqlite3") is None:
        raise Missing("sqlite3", "Debian: apt-get install sqlite3")
    number, file = bench.records, bench.clean_file(bench.records)
    old = bench.work / "old.db"
    _make_old(old, file)
    again: list[float] = []

    def ours() -> float:
        shutil.copy(old, bench.daemon.target)
        options = ("--into", "records", "--key", "id")
        run = bench.run("import", str(file), *options).expect(inserted=number // 2, updated=number - number // 2)
        again.append(bench.run("import", str(file), *options).expect(unchanged=number).seconds)
        expect("rows that we wrote", _count(bench.daemon.target), number)
        return run.seconds

    with bench.serving():
        first, theirs = in_turn(bench.rounds, ours, lambda: _upserted_by_script(bench, old, file, number))
    yield cost("sqlite-upsert", first, "sqlite3 .import, INSERT ... ON CONFLICT", theirs, goal=0.8, aim=0.65)
    yield cost("sqlite-upsert again", again[1:], "sqlite3 the first time", theirs, goal=0.4)


def _make_old(old: Path, file: Path) -> None:
    """A database with every second record of a file, each with another address."""
    columns = ", ".join(f"{name} {kind}" for name, kind in (records.COLUMNS | {"id": "INTEGER PRIMARY KEY"}).items())
    wall(["sqlite3", str(old), f"CREATE TABLE records ({columns})", ".mode csv", f".import --skip 1 {file} records"])
    change = "UPDATE records SET email = replace(email, 'example.org', 'example.com')"
    wall(["sqlite3", str(old), "DELETE FROM records WHERE id % 2 = 0", change, "VACUUM"])


def _upserted_by_script(bench: Workbench, old: Path, file: Path, number: int) -> float:
    target, script = bench.work / "peer.db", bench.work / "upsert.sql"
    shutil.copy(old, target)
    columns = ", ".join(f"{name} {kind}" for name, kind in records.COLUMNS.items())
    assignments = ", ".join(f"{name} = excluded.{name}" for name in records.COLUMNS if name != "id")
    script.write_text(_SCRIPT.format(columns=columns, file=file, assignments=assignments))
    seconds, _ = wall(["sqlite3", str(target), f".read {script}"])
    expect("rows that sqlite3 wrote", _count(target), number)
    return seconds


def _beside(bench: Workbench, number: int, rounds: int) -> list[list[float]]:
    if shutil.which("sqlite3") is None:
        raise Missing("sqlite3", "Debian: apt-get install sqlite3")
    file = bench.clean_file(number)
    with bench.serving():
        return in_turn(rounds, lambda: lading_import(bench, file, number), lambda: _sqlite_import(bench, file, number))


def lading_import(bench: Workbench, file: Path, number: int) -> float:
    """Import a file into a new SQLite database. Returns the seconds."""
    bench.daemon.target.unlink(missing_ok=True)
    run = bench.run("import", str(file), "--into", "records").expect(inserted=number)
    expect("rows that we wrote", _count(bench.daemon.target), number)
    return run.seconds


def _sqlite_import(bench: Workbench, file: Path, number: int) -> float:
    target = bench.work / "peer.db"
    target.unlink(missing_ok=True)
    columns = ", ".join(f"{name} {kind}" for name, kind in records.COLUMNS.items())
    wall(["sqlite3", str(target), f"CREATE TABLE records ({columns})"])
    seconds, _ = wall(["sqlite3", str(target), ".mode csv", f".import --skip 1 {file} records"])
    expect("rows that sqlite3 wrote", _count(target), number)
    return seconds


def _count(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        (number,) = connection.execute("SELECT count(*) FROM records").fetchone()
    return int(number)
