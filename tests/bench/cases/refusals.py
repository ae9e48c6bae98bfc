"""Records that a table rejects, compared with our own run without any, and how long other programs wait meanwhile."""

from __future__ import annotations

import sqlite3
import statistics
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from tests.bench import records
from tests.bench.errors import expect
from tests.bench.measure import in_turn
from tests.bench.result import Figure, cost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.bench.workbench import Workbench

_CHUNK = 8 << 20
_ABORTING = """
CREATE TRIGGER judge BEFORE INSERT ON records WHEN NEW.id % {share} = 1 AND NEW.id > 1
BEGIN SELECT RAISE(ABORT, 'not this one'); END
"""
_RAISING = """
CREATE OR REPLACE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.id % {share} = {share} / 2 AND NEW.id > 1 THEN {verdict} END IF; RETURN NEW; END $$;
CREATE TRIGGER judge BEFORE INSERT ON ours FOR EACH ROW EXECUTE FUNCTION judge()
"""
_NONE = 1 << 30
_GOALS = {20: 1.5, 1: 3.0}
"""How many times as long as without rejects an import may take, by the share of rejects: one in this many records."""


def sqlite(bench: Workbench) -> Iterator[Figure]:
    """Records with existing keys, and records that a trigger rejects, into SQLite: 5 %, and all but one."""
    number = bench.records // 10
    file = bench.clean_file(number)

    def run(share: int | None, triggers: str = "") -> float:
        with _database(bench) as connection:
            if share is not None:
                last = number if share > 1 else number - 1  # A job that inserts nothing becomes FAILED.
                ids = ((number,) for number in range(share, last + 1, share))
                connection.executemany("INSERT INTO records (id) VALUES (?)", ids)
            connection.executescript(triggers)
            (there,) = connection.execute("SELECT count(*) FROM records").fetchone()
        job = bench.run("import", str(file), "--into", "records").expect(read=number)
        with closing(sqlite3.connect(bench.daemon.target)) as connection:
            (rows,) = connection.execute("SELECT count(*) FROM records").fetchone()
        expect("rows beside the bill", rows, there + job.job["bill"]["inserted"])
        return job.running

    def judged(share: int) -> float:
        return run(None, _ABORTING.format(share=share) if share > 1 else _ABORTING.replace("% {share} = 1", "> 0"))

    with bench.serving():
        clean, *existing = in_turn(bench.rounds, lambda: run(None), lambda: run(20), lambda: run(1))
        trusted, *refused = in_turn(bench.rounds, lambda: judged(_NONE), lambda: judged(20), lambda: judged(1))
    for share, seconds in zip(_GOALS, existing, strict=True):
        yield cost(f"sqlite-refusals: {100 // share} % keys there", seconds, "none", clean, goal=_GOALS[share])
    for share, seconds in zip(_GOALS, refused, strict=True):
        yield cost(f"sqlite-refusals: {100 // share} % by trigger", seconds, "none", trusted, goal=_GOALS[share])


def postgres(bench: Workbench) -> Iterator[Figure]:
    """Records that a trigger rejects or skips, into PostgreSQL: 5 %, and all but one."""
    number = bench.records // 10
    file = bench.clean_file(number)
    columns = {**records.COLUMNS, "id": "INTEGER PRIMARY KEY"}

    def run(share: int, verdict: str) -> float:
        bench.postgres.renew("ours", columns)
        text = _RAISING.format(share=share, verdict=verdict)
        bench.postgres.ask(text if share > 1 else text.replace("NEW.id % 1 = 1 / 2", "true"))
        job = bench.run("import", str(file), "--into", "warehouse.ours").expect(read=number)
        expect("rows beside the bill", bench.postgres.count("ours"), job.job["bill"]["inserted"])
        return job.running

    verdicts = {"refused": "RAISE EXCEPTION 'not this one';", "left out": "RETURN NULL;"}
    with bench.serving():
        for name, verdict in verdicts.items():
            clean, *bad = in_turn(
                bench.rounds,
                *(lambda share=share, verdict=verdict: run(share, verdict) for share in (_NONE, *_GOALS)),
            )
            for share, seconds in zip(_GOALS, bad, strict=True):
                yield cost(f"postgres-refusals: {100 // share} % {name}", seconds, "none", clean, goal=_GOALS[share])
    bench.drop_tables()


def waiting(bench: Workbench) -> Iterator[Figure]:
    """Another program writes to the same SQLite database all the time: its waiting time, compared with a chunk's
    time."""
    number = bench.records // 4
    file = bench.clean_file(number)
    with bench.serving():
        for name, share in (("none there", None), ("5 % there", 20)):
            with _database(bench) as connection:
                connection.execute("CREATE TABLE theirs (a)")
                if share is not None:
                    ids = ((key,) for key in range(share, number + 1, share))
                    connection.executemany("INSERT INTO records (id) VALUES (?)", ids)
            with _writing(bench.daemon.target) as waits:
                job = bench.run("import", str(file), "--into", "records").expect(read=number)
            chunk = job.running / -(-file.stat().st_size // _CHUNK)
            yield Figure(
                case=f"sqlite-waiting: {name}",
                what="longest wait of another writer beside a chunk",
                ours=f"{max(waits):.2f} s, median {statistics.median(waits):.3f} s of {len(waits)}",
                other=f"a chunk: {chunk:.2f} s on average",
                value=max(waits) / chunk,
                unit="x",
                goal=1.0,
            )


def gaps(bench: Workbench) -> Iterator[Figure]:
    """Export of a SQLite table with many gaps between keys, compared with a table without gaps."""
    number = bench.records // 8
    destination = bench.work / "exported.csv"

    def fill(key: str) -> Callable[[], float]:
        def exported() -> float:
            with _database(bench) as connection:
                connection.execute(
                    f"INSERT INTO records (id, email, amount) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 "
                    f"FROM n WHERE i < {number}) SELECT {key}, 'someone.' || i || '@example.org', i * 0.5 FROM n"
                )
            destination.unlink(missing_ok=True)
            return bench.run("export", "records", "--to", str(destination)).expect(read=number).running

        return exported

    with bench.serving():
        dense, snowflakes, outlier = in_turn(
            bench.rounds,
            fill("i"),
            fill("(1 << 60) + i * 4194304 + i % 7"),
            fill(f"iif(i = {number}, 9223372036854775807, i)"),
        )
    destination.unlink()
    yield cost("sqlite-gaps: snowflakes", snowflakes, "without gaps", dense, goal=1.1)
    yield cost("sqlite-gaps: one outlier", outlier, "without gaps", dense, goal=1.1)


@contextmanager
def _database(bench: Workbench) -> Iterator[sqlite3.Connection]:
    """A new database with an empty table, for the block to fill."""
    bench.daemon.target.unlink(missing_ok=True)
    columns = ", ".join(f"{name} {kind}" for name, kind in records.COLUMNS.items() if name != "id")
    with closing(sqlite3.connect(bench.daemon.target)) as connection, connection:
        connection.execute(f"CREATE TABLE records (id INTEGER PRIMARY KEY, {columns})")
        yield connection


@contextmanager
def _writing(target: Path) -> Iterator[list[float]]:
    """Write a row now and then with SQLite's own busy handler. Collects how long each write took."""
    waits: list[float] = []
    ended = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(target, timeout=60, isolation_level=None)) as connection:
            while not ended.wait(0.02):
                begin = time.perf_counter()
                connection.execute("INSERT INTO theirs VALUES (1)")
                waits.append(time.perf_counter() - begin)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield waits
    finally:
        ended.set()
        thread.join()
