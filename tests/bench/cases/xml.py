"""XML into SQLite, compared with the loop that people write: ElementTree's iterparse and executemany."""

from __future__ import annotations

import statistics
import sys
from typing import TYPE_CHECKING

from tests.bench import records
from tests.bench.cases.sqlite import lading_import
from tests.bench.measure import Memory, in_turn, wall
from tests.bench.result import Figure, speed, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.workbench import Workbench

_RECORDS = 310_000
_MEGABYTE = 1_000_000


def xml(bench: Workbench) -> Iterator[Figure]:
    """100 MB of XML into SQLite, compared with a loop over iterparse that inserts the texts."""
    number = min(bench.records, _RECORDS)
    csv = bench.clean_file(number)
    file = bench.file(f"clean-{number}.xml", lambda path: records.write_xml(csv, path))
    loop = [sys.executable, "-m", "tests.bench.peers", "elements", str(file), str(bench.work / "peer.db")]
    with bench.serving(), Memory(bench.daemon_pid) as memory:
        ours, theirs = in_turn(bench.rounds, lambda: lading_import(bench, file, number), lambda: wall(loop)[0])
    yield speed("xml", ours, "a loop over iterparse", theirs, goal=1.0, aim=1.5)
    size = file.stat().st_size
    yield Figure(
        case="xml",
        what="bytes per second",
        ours=spread(ours),
        other=f"{size / _MEGABYTE:.0f} MB",
        value=size / _MEGABYTE / statistics.median(ours),
        unit="MB/s",
        goal=20,
        aim=40,
        is_speed=True,
    )
    yield Figure(
        case="xml",
        what="memory of daemon and workers",
        ours=f"{memory.peak / _MEGABYTE:.0f} MB",
        other=f"file: {size / _MEGABYTE:.0f} MB",
        value=memory.peak / _MEGABYTE,
        unit="MB",
        goal=700,
    )
