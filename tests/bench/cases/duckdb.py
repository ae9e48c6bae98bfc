"""Imports and merges into DuckDB, compared with its own COPY and MERGE."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import duckdb

from tests.bench import records
from tests.bench.errors import expect
from tests.bench.measure import in_turn, wall
from tests.bench.result import cost, speed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
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


# What an experienced user would write. INSERT ... ON CONFLICT takes half as long again, and minutes if the table has
# all keys.
_UPSERT_PEER = """
import sys, duckdb
database, file, columns, changes = sys.argv[1:]
with duckdb.connect(database) as connection:
    connection.execute(f"CREATE TEMP TABLE staged ({columns})")
    connection.execute(f"COPY staged FROM '{file}' (FORMAT csv, HEADER)")
    connection.execute(
        "MERGE INTO records AS t USING staged AS s ON t.id = s.id "
        f"WHEN MATCHED THEN UPDATE SET {changes} WHEN NOT MATCHED THEN INSERT BY NAME"
    )
"""


def upsert(bench: Workbench) -> Iterator[Figure]:
    """Records into a table of DuckDB that has half of them with another address, compared with a script of MERGE;
    then the same file again. Whole commands."""
    number, file = bench.records, bench.clean_file(bench.records)
    old = bench.work / "old.duckdb"
    _make_old(old, file)
    again: list[float] = []

    def ours() -> float:
        shutil.copy(old, bench.lake)
        options = ("--into", "lake.records", "--key", "id")
        run = bench.run("import", str(file), *options).expect(inserted=number // 2, updated=number - number // 2)
        again.append(bench.run("import", str(file), *options).expect(unchanged=number).seconds)
        expect("rows that we wrote", _count(bench.lake), number)
        return run.seconds

    with bench.serving():
        first, theirs = in_turn(bench.rounds, ours, lambda: _merged_by_script(bench, old, file, number))
    yield cost("duckdb-upsert", first, "COPY, MERGE of DuckDB", theirs, goal=0.8)
    yield cost("duckdb-upsert again", again[1:], "DuckDB the first time", theirs, goal=0.4)


def _make_old(old: Path, file: Path) -> None:
    """A database with every second record of a file, each with another address."""
    _made(old, records.COLUMNS | {"id": "INTEGER PRIMARY KEY"})
    with duckdb.connect(old) as connection:
        connection.execute(f"""
            INSERT INTO records SELECT * REPLACE (replace(email, 'example.org', 'example.com') AS email)
            FROM read_csv('{file}') WHERE id % 2 = 1
        """)


def _merged_by_script(bench: Workbench, old: Path, file: Path, number: int) -> float:
    target = bench.work / "peer.duckdb"
    shutil.copy(old, target)
    columns = ", ".join(f"{name} {kind}" for name, kind in records.COLUMNS.items())
    changes = ", ".join(f"{name} = s.{name}" for name in records.COLUMNS if name != "id")
    seconds, _ = wall([sys.executable, "-c", _UPSERT_PEER, str(target), str(file), columns, changes])
    expect("rows that DuckDB wrote", _count(target), number)
    return seconds


def _made(target: Path, kinds: Mapping[str, str] = records.COLUMNS) -> Path:
    """A new database with the empty table."""
    for path in (target, target.with_name(f"{target.name}.wal")):
        path.unlink(missing_ok=True)
    columns = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
    with duckdb.connect(target) as connection:
        connection.execute(f"CREATE TABLE records ({columns})")
    return target


def _count(database: Path) -> int:
    with duckdb.connect(database, read_only=True) as connection:
        (number,) = connection.execute("SELECT count(*) FROM records").fetchone() or (0,)
    return int(number)
