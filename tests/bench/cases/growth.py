"""The cost of more records: time for each record, and memory of the daemon with all its workers."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from tests.bench import records
from tests.bench.cases.sqlite import lading_import
from tests.bench.measure import Memory
from tests.bench.result import Figure, spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.workbench import Run, Workbench

_MEGABYTE = 1_000_000


def postgres(bench: Workbench) -> Iterator[Figure]:
    """A tenth of the records, and ten times as many, into PostgreSQL. The large file is imported once."""
    few, many = bench.records // 10, bench.records * 10
    with bench.serving():
        short = [_import(bench, few) for _ in range(bench.rounds + 1)][1:]
    with bench.serving():
        # A small job warms the workers up before the large one, as it does before the measured small ones.
        _import(bench, few)
        with Memory(bench.daemon_pid, interval=0.2) as memory:
            long = [_import(bench, many)]
    # The peer shows whether the server itself slows down.
    copied = [
        [bench.copied(bench.clean_file(number), records.COLUMNS, number) for _ in range(rounds)]
        for number, rounds in ((few, bench.rounds), (many, 1))
    ]
    bench.drop_tables()
    yield _growth(
        "RUNNING to FINISHED", [run.running for run in short], few, [run.running for run in long], many, goal=10
    )
    yield _growth("whole command", [run.seconds for run in short], few, [run.seconds for run in long], many)
    yield _growth(r"psql \copy", copied[0], few, copied[1], many)
    yield Figure(
        case="growth",
        what="peak memory, daemon and workers",
        ours=f"{many:,} records",
        other="",
        value=memory.peak / _MEGABYTE,
        unit="MB",
        goal=600,
        aim=300,
    )


def _import(bench: Workbench, number: int) -> Run:
    return bench.into_postgres(bench.clean_file(number), records.COLUMNS, number)


def _growth(
    what: str, short: Sequence[float], few: int, long: Sequence[float], many: int, *, goal: float | None = None
) -> Figure:
    return Figure(
        case="growth",
        what=f"more time per record, {what}",
        ours=f"{many:,}: {spread(long)}",
        other=f"{few:,}: {spread(short)}",
        value=100 * (statistics.median(long) / many / (statistics.median(short) / few) - 1),
        unit="%",
        goal=goal,
    )


def sqlite_memory(bench: Workbench) -> Iterator[Figure]:
    """Peak memory of the daemon and its workers for a tenth of the records and for all, into SQLite."""
    peaks = []
    for number in (bench.records // 10, bench.records):
        with bench.serving():
            file = bench.clean_file(number)
            with Memory(bench.daemon_pid) as memory:
                lading_import(bench, file, number)
        peaks.append(memory.peak / _MEGABYTE)
    yield Figure(
        case="memory",
        what="growth of peak memory",
        ours=f"{bench.records:,}: {peaks[1]:.0f} MB",
        other=f"{bench.records // 10:,}: {peaks[0]:.0f} MB",
        value=100 * (peaks[1] / peaks[0] - 1),
        unit="%",
        goal=20,
    )
