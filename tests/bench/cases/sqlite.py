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
from tests.bench.result import Figure, speed, spread

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
