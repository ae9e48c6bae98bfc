"""Merges and replacements in PostgreSQL, compared with the best script of psql."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import dlt_upsert, records
from tests.bench.errors import Missing, expect
from tests.bench.measure import in_turn, wall
from tests.bench.result import cost, speed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.result import Figure
    from tests.bench.workbench import Run, Workbench

_KEYED = {**records.COLUMNS, "id": "INTEGER PRIMARY KEY"}
_CHANGED = ", ".join(f"{name} = excluded.{name}" for name in _KEYED if name != "id")
_SCRIPT = f"""
INSERT INTO theirs SELECT DISTINCT ON (id) * FROM staged ORDER BY id
ON CONFLICT (id) DO UPDATE SET {_CHANGED}
"""
"""The last statement of the script: the records into the table, each key once."""


def upsert(bench: Workbench) -> Iterator[Figure]:
    """Records of which half are in the table with another amount; then the same file again."""
    number = bench.records
    file = bench.clean_file(number)
    with bench.serving():
        ours, theirs, same, script_again = in_turn(
            bench.rounds,
            lambda: _merged(bench, file, anew=True).expect(inserted=number - number // 2, updated=number // 2).seconds,
            lambda: _scripted(bench, file, anew=True),
            lambda: _merged(bench, file, anew=False).expect(unchanged=number).seconds,
            lambda: _scripted(bench, file, anew=False),
        )
    bench.drop_tables()
    yield cost("postgres-upsert", ours, "psql: copy, INSERT … ON CONFLICT", theirs, goal=0.8, aim=0.65)
    yield cost("postgres-upsert: unchanged", same, "the same script", script_again, goal=0.4)


def upsert_beside_dlt(bench: Workbench) -> Iterator[Figure]:
    """Records of which half are in the table with another amount, compared with dlt. Whole commands."""
    program = shutil.which("dlt")
    if program is None:
        raise Missing("dlt", "pip install 'dlt[postgres]' pyarrow into an environment of its own, and add it to PATH")
    number, file = bench.records, bench.clean_file(bench.records)
    state = bench.work / "dlt"
    pipeline = [str(Path(program).with_name("python")), dlt_upsert.__file__, str(file), bench.postgres.url, str(state)]

    def theirs() -> float:
        shutil.rmtree(state, ignore_errors=True)
        for schema in (dlt_upsert.SCHEMA, f"{dlt_upsert.SCHEMA}_staging"):
            bench.postgres.ask(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        wall([*pipeline, "half"])
        table = f"{dlt_upsert.SCHEMA}.{dlt_upsert.TABLE}"
        expect("rows that dlt found", bench.postgres.count(table), number // 2)
        bench.postgres.ask(f"ALTER TABLE {table} ADD PRIMARY KEY (id)")  # Like ours: dlt makes none.
        bench.postgres.ask(f"VACUUM ANALYZE {table}")
        bench.postgres.checkpoint()
        seconds = wall(pipeline)[0]
        total = "SELECT count(*), sum(amount) FROM"
        expect("rows that dlt wrote", bench.postgres.ask(f"{total} {table}"), bench.postgres.ask(f"{total} ours"))
        return seconds

    with bench.serving():
        ours, others = in_turn(bench.rounds, lambda: _merged(bench, file, anew=True).seconds, theirs)
    bench.drop_tables()
    yield speed("postgres-upsert-dlt", ours, "dlt, merge by upsert, Arrow and COPY", others, goal=2, aim=4)


def replacement(bench: Workbench) -> Iterator[Figure]:
    """Records in place of as many others."""
    number = bench.records
    file = bench.clean_file(number)

    def ours() -> float:
        _fill(bench, "ours", file)
        run = bench.run("import", str(file), "--into", "warehouse.ours", "--replace").expect(inserted=number)
        expect("rows that we wrote", bench.postgres.count("ours"), number)
        return run.seconds

    def theirs() -> float:
        _fill(bench, "theirs", file)
        return bench.postgres.truncate_and_copy("theirs", file)

    with bench.serving():
        replaced, copied = in_turn(bench.rounds, ours, theirs)
    bench.drop_tables()
    yield cost("postgres-replace", replaced, r"TRUNCATE and \copy", copied, goal=1.8, aim=1.2)


def _fill(bench: Workbench, table: str, file: Path) -> None:
    bench.postgres.renew(table, _KEYED)
    bench.postgres.copy_in(table, file)
    bench.postgres.ask(f"VACUUM ANALYZE {table}")
    bench.postgres.checkpoint()


def _merged(bench: Workbench, file: Path, *, anew: bool) -> Run:
    if anew:
        _fill_half(bench, "ours", file)
    run = bench.run("import", str(file), "--into", "warehouse.ours", "--key", "id")
    expect("rows that we wrote", bench.postgres.count("ours"), bench.records)
    return run


def _scripted(bench: Workbench, file: Path, *, anew: bool) -> float:
    if anew:
        _fill_half(bench, "theirs", file)
    seconds = bench.postgres.stage_and_run("theirs", "staged", file, _SCRIPT)
    expect("rows that the script wrote", bench.postgres.count("theirs"), bench.records)
    return seconds


def _fill_half(bench: Workbench, table: str, file: Path) -> None:
    _fill(bench, table, file)
    bench.postgres.ask(f"CREATE TABLE half AS SELECT * FROM {table} WHERE id % 2 = 0")
    bench.postgres.renew(table, _KEYED)
    bench.postgres.ask(f"UPDATE half SET amount = amount + 1; INSERT INTO {table} SELECT * FROM half; DROP TABLE half")
    bench.postgres.ask(f"VACUUM ANALYZE {table}")
    bench.postgres.checkpoint()
