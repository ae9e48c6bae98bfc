"""Imports into PostgreSQL and exports from it, compared with psql."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.bench import records
from tests.bench.errors import expect
from tests.bench.measure import in_turn, wall
from tests.bench.result import cost, later, speed
from tests.bench.shapes import SHAPES
from tests.harness.daemon import children
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.result import Figure
    from tests.bench.shapes import Shape
    from tests.bench.workbench import Run, Workbench

_IDLE = 0.5
"""Seconds without work after which worker processes end. The next command must begin later."""
_READ_BY_PANDAS = 200_000
"""How many records of fixed width pandas reads, which takes seconds."""
_FIXED_WIDTH = ("--format", "fixed_width")
"""The comments of the records hold commas, which may be delimiters."""
_COPY = r"psql \copy"
_IGNORE = ", ON_ERROR ignore, LOG_VERBOSITY verbose"


def clean(bench: Workbench) -> Iterator[Figure]:
    """Clean records into PostgreSQL, with ledger and validation."""
    number, columns = bench.records, records.COLUMNS
    file = bench.clean_file(number)
    with bench.serving():
        ours, theirs = in_turn(
            bench.rounds,
            lambda: bench.into_postgres(file, columns, number).seconds,
            lambda: bench.copied(file, columns, number),
        )
    bench.drop_tables()
    yield speed("postgres-import", ours, _COPY, theirs, goal=1.5, aim=1.8)


def cold(bench: Workbench) -> Iterator[Figure]:
    """The same in a fresh daemon and in a daemon without workers, compared with a daemon with running workers."""
    number, columns = bench.records, records.COLUMNS
    file = bench.clean_file(number)

    def fresh() -> float:
        with bench.serving(workers_idle_exit=3600.0):
            return bench.into_postgres(file, columns, number).seconds

    with bench.serving(workers_idle_exit=_IDLE):

        def rested() -> float:
            until(lambda: not children(bench.daemon_pid), "the worker processes end")
            return bench.into_postgres(file, columns, number).seconds

        idle, warm, new = in_turn(
            bench.rounds, rested, lambda: bench.into_postgres(file, columns, number).seconds, fresh
        )
    bench.drop_tables()
    for what, seconds in (("after idleness", idle), ("fresh daemon", new)):
        yield later(f"postgres-cold: {what}", seconds, "our warm run", warm, goal=0.25, aim=0.1)


def json_lines(bench: Workbench) -> Iterator[Figure]:
    """JSON Lines into PostgreSQL, compared with the same records as CSV."""
    number, columns = bench.records, records.COLUMNS
    csv = bench.clean_file(number)
    lines = bench.file(f"clean-{number}.jsonl", lambda path: records.write_json_lines(csv, path))
    with bench.serving():
        ours, theirs = in_turn(
            bench.rounds,
            lambda: bench.into_postgres(lines, columns, number).seconds,
            lambda: bench.into_postgres(csv, columns, number).seconds,
        )
    bench.drop_tables()
    yield speed("json-lines", ours, "our CSV", theirs, goal=0.5, aim=0.8)


def fixed_width(bench: Workbench) -> Iterator[Figure]:
    """Fixed width into PostgreSQL, compared with the same records as CSV, and with pandas that only reads some."""
    number, columns = bench.records, records.COLUMNS
    some = min(number, _READ_BY_PANDAS)
    csv, few = bench.clean_file(number), bench.clean_file(some)
    file = bench.file(f"clean-{number}.fixed", lambda path: records.write_fixed_width(csv, path))
    part = bench.file(f"clean-{some}.fixed", lambda path: records.write_fixed_width(few, path))
    reading = f"import pandas; assert len(pandas.read_fwf({str(part)!r}, dtype=str)) == {some}"
    with bench.serving():
        ours, as_csv = in_turn(
            bench.rounds,
            lambda: bench.into_postgres(file, columns, number, *_FIXED_WIDTH).seconds,
            lambda: bench.into_postgres(csv, columns, number).seconds,
        )
        short, pandas = in_turn(
            bench.rounds,
            lambda: bench.into_postgres(part, columns, some, *_FIXED_WIDTH).seconds,
            lambda: wall([sys.executable, "-c", reading])[0],
        )
    bench.drop_tables()
    yield speed("fixed-width", ours, "our CSV", as_csv, goal=0.5, aim=0.9)
    yield speed(f"fixed-width: {some:,} records", short, "pandas.read_fwf alone", pandas, goal=1.0, aim=3.0)


def parquet(bench: Workbench) -> Iterator[Figure]:
    """Parquet into PostgreSQL, compared with the same records as CSV."""
    number, columns = bench.records, records.COLUMNS
    csv = bench.clean_file(number)
    parquet = bench.file(f"clean-{number}.parquet", lambda path: records.write_parquet(csv, path))
    with bench.serving():
        ours, theirs = in_turn(
            bench.rounds,
            lambda: bench.into_postgres(parquet, columns, number).seconds,
            lambda: bench.into_postgres(csv, columns, number).seconds,
        )
    bench.drop_tables()
    yield speed("parquet", ours, "our CSV", theirs, goal=2.0, aim=2.5)


def gzip(bench: Workbench) -> Iterator[Figure]:
    """The same records, compressed with gzip, beside zcat and psql."""
    number, columns = bench.records, records.COLUMNS
    csv = bench.clean_file(number)
    packed = bench.file(f"clean-{number}.csv.gz", lambda path: records.write_gzip(csv, path))
    with bench.serving():
        ours, theirs = in_turn(
            bench.rounds,
            lambda: bench.into_postgres(packed, columns, number).seconds,
            lambda: bench.copied(packed, columns, number),
        )
    bench.drop_tables()
    yield speed("gzip", ours, r"zcat | psql \copy", theirs, goal=0.9, aim=1.2)


def latin1(bench: Workbench) -> Iterator[Figure]:
    """The same records in Latin-1 into PostgreSQL, compared with those in UTF-8."""
    number, columns = bench.records, records.COLUMNS
    utf8 = bench.clean_file(number)
    latin = bench.file(f"latin1-{number}", lambda path: records.write_latin1(utf8, path))
    with bench.serving():
        ours, theirs = in_turn(
            bench.rounds,
            lambda: bench.into_postgres(latin, columns, number).seconds,
            lambda: bench.into_postgres(utf8, columns, number).seconds,
        )
    bench.drop_tables()
    yield cost("latin1", ours, "our UTF-8", theirs, goal=1.1, aim=1.05)


def excel(bench: Workbench) -> Iterator[Figure]:
    """A sheet of 200,000 rows into PostgreSQL, compared with calamine that only reads it."""
    number, columns = 200_000, records.COLUMNS
    book = bench.file(f"book-{number}.xlsx", lambda path: records.write_workbook(path, number))
    opening = f"from python_calamine import CalamineWorkbook as Book; book = Book.from_path({str(book)!r})"
    reading = f"{opening}; book.get_sheet_by_index(0).to_python()"
    with bench.serving():
        ours, theirs = in_turn(
            bench.rounds,
            lambda: bench.into_postgres(book, columns, number).seconds,
            lambda: wall([sys.executable, "-c", reading])[0],
        )
    bench.drop_tables()
    yield cost("excel", ours, "calamine alone", theirs, goal=1.2, aim=1.0)


def rejects(bench: Workbench) -> Iterator[Figure]:
    """1 % bad records, all kept as rejects, compared with COPY that skips them and logs their lines."""
    number, columns, bad = bench.records, records.COLUMNS, records.bad_share(bench.records)
    good = bench.clean_file(number)
    file = bench.file(f"rejects-{number}", lambda path: records.write_rejects(path, number))
    notes = bench.work / "notices"

    def refused() -> float:
        run = bench.into_postgres(file, columns, number - bad).expect(read=number, rejected=bad)
        _expect_rejects(bench, run, bad)
        return run.seconds

    def left_out() -> float:
        seconds = bench.copied(file, columns, number - bad, options=_IGNORE, notes=notes)
        expect("records that COPY named", notes.read_text().count("skipping row"), bad)
        return seconds

    with bench.serving():
        ours, theirs, without = in_turn(
            bench.rounds, refused, left_out, lambda: bench.into_postgres(good, columns, number).seconds
        )
    bench.drop_tables()
    yield speed("postgres-rejects", ours, "COPY … ON_ERROR ignore", theirs, goal=1.7, aim=2.0)
    yield cost("postgres-rejects", ours, "our clean run", without, goal=1.1, aim=1.05)


def violations(bench: Workbench) -> Iterator[Figure]:
    """1 % doubles of a key and 1 % violations of a CHECK, compared with our own time without them."""
    number, columns, bad = bench.records, records.CONSTRAINED, 2 * records.bad_share(bench.records)
    good = bench.file(f"shuffled-{number}", lambda path: records.write_shuffled(path, number))
    file = bench.file(f"violations-{number}", lambda path: records.write_violations(path, number))

    def violating() -> float:
        run = bench.into_postgres(file, columns, number - bad).expect(read=number, rejected=bad)
        _expect_rejects(bench, run, bad)
        return run.seconds

    with bench.serving():
        ours, without = in_turn(bench.rounds, violating, lambda: bench.into_postgres(good, columns, number).seconds)
    bench.drop_tables()
    yield cost("postgres-violations", ours, "our run without", without, goal=1.5, aim=1.2)


def shapes(bench: Workbench) -> Iterator[Figure]:
    """Few columns, many columns, long texts and quoted values into PostgreSQL, each file as large as the clean one."""
    for shape in SHAPES:
        yield _shape(bench, shape)


def _shape(bench: Workbench, shape: Shape) -> Figure:
    number = bench.records * records.RECORD_BYTES // shape.record_bytes
    file = bench.file(f"{shape.name}-{number}", lambda path: shape.write(path, number))
    with bench.serving():
        ours, theirs = in_turn(
            bench.rounds,
            lambda: bench.into_postgres(file, shape.columns, number).seconds,
            lambda: bench.copied(file, shape.columns, number),
        )
    bench.drop_tables()
    return speed(f"shapes: {shape.name}", ours, _COPY, theirs, goal=shape.goal, aim=shape.aim)


def export(bench: Workbench) -> Iterator[Figure]:
    """Exports of a table with a primary key to CSV and to JSON Lines."""
    number = bench.records
    bench.copied(bench.clean_file(number), {**records.COLUMNS, "id": "INTEGER PRIMARY KEY"}, number)
    # Do the work that loading has left for the first reader.
    bench.postgres.ask("VACUUM ANALYZE theirs")
    destination, lines = bench.work / "exported.csv", bench.work / "exported.jsonl"

    def exported() -> float:
        _make_ready(bench, destination)
        run = bench.run("export", "warehouse.theirs", "--to", str(destination)).expect(read=number)
        expect("records that we exported", _lines(destination), number + 1)
        return run.seconds

    def copied() -> float:
        _make_ready(bench, destination)
        seconds = bench.postgres.copy_out("theirs", destination)
        expect("records that psql exported", _lines(destination), number + 1)
        return seconds

    def as_json() -> float:
        _make_ready(bench, lines)
        run = bench.run("export", "warehouse.theirs", "--to", str(lines)).expect(read=number)
        expect("objects that we exported", _lines(lines), number)
        return run.seconds

    with bench.serving():
        ours, theirs, objects = in_turn(bench.rounds, exported, copied, as_json)
    destination.unlink()
    lines.unlink()
    bench.drop_tables()
    yield speed("postgres-export", ours, rf"{_COPY} … to", theirs, goal=1.1, aim=1.4)
    yield speed("postgres-export: JSON Lines", objects, "our CSV", ours, goal=0.3, aim=0.5)


def _make_ready(bench: Workbench, destination: Path) -> None:
    destination.unlink(missing_ok=True)
    bench.postgres.checkpoint()


def _lines(file: Path) -> int:
    """The number of lines of a file whose values contain no line ends."""
    with file.open("rb") as content:
        return sum(block.count(b"\n") for block in iter(lambda: content.read(1 << 20), b""))


def _expect_rejects(bench: Workbench, run: Run, number: int) -> None:
    kept = bench.lading("rejects", run.job["name"])
    expect("rejects that are kept", kept.count("\n"), number)
