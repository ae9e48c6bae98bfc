"""Imports into DuckDB, compared with its own COPY."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import duckdb

from tests.bench import records
from tests.bench.errors import expect
from tests.bench.measure import in_turn, wall
from tests.bench.result import speed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.result import Figure
    from tests.bench.workbench import Workbench

# A separate process, like a command line: it opens the file, copies with all cores, and closes the file.
_PEER = """
import sys, duckdb
with duckdb.connect(sys.argv[1]) as connection:
    connection.execute(f"COPY records FROM '{sys.argv[2]}' (FORMAT csv, HEADER)")
"""


def clean(bench: Workbench) -> Iterator[Figure]:
    """Clean records into DuckDB, with ledger and validation, compared with COPY without either; whole commands."""
    number = bench.records
    file = bench.clean_file(number)
    with bench.serving():
        ours, theirs = in_turn(
            bench.rounds, lambda: _lading_import(bench, file, number), lambda: _copied(bench, file, number)
        )
    yield speed("duckdb-import", ours, "COPY of DuckDB", theirs, goal=0.4, aim=0.6)


def _lading_import(bench: Workbench, file: Path, number: int) -> float:
    target = _made(bench.lake)
    seconds = bench.run("import", str(file), "--into", "lake.records").expect(inserted=number).seconds
    expect("rows that we wrote", _count(target), number)
    return seconds


def _copied(bench: Workbench, file: Path, number: int) -> float:
    target = _made(bench.work / "peer.duckdb")
    seconds, _ = wall([sys.executable, "-c", _PEER, str(target), str(file)])
    expect("rows that COPY wrote", _count(target), number)
    return seconds


def _made(target: Path) -> Path:
    """A new database with the empty table."""
    for path in (target, target.with_name(f"{target.name}.wal")):
        path.unlink(missing_ok=True)
    columns = ", ".join(f"{name} {kind}" for name, kind in records.COLUMNS.items())
    with duckdb.connect(target) as connection:
        connection.execute(f"CREATE TABLE records ({columns})")
    return target


def _count(database: Path) -> int:
    with duckdb.connect(database, read_only=True) as connection:
        (number,) = connection.execute("SELECT count(*) FROM records").fetchone() or (0,)
    return int(number)
