"""Imports with a mapping, compared with the same import without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench import records
from tests.bench.measure import in_turn
from tests.bench.result import cost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.result import Figure
    from tests.bench.workbench import Workbench

_STEPS = {
    "email": "lower",
    "first_name": "trim,title",
    "last_name": "strip_accents",
    "comment": "collapse_spaces",
}
"""Five transformations, as an import of people has them."""
_FULL_NAME = {**records.COLUMNS, "full_name": "TEXT"}


def mapping(bench: Workbench) -> Iterator[Figure]:
    """Clean records into PostgreSQL: five transformations, a calculated column, a filter; whole commands."""
    number = bench.records
    file = bench.clean_file(number)
    steps = [option for column, names in _STEPS.items() for option in ("--transform", f"{column}={names}")]
    calculated = ("--set", "full_name=first_name || ' ' || last_name")
    with bench.serving():
        plain, transformed, joined, filled, filtered = in_turn(
            bench.rounds,
            lambda: bench.into_postgres(file, records.COLUMNS, number).seconds,
            lambda: bench.into_postgres(file, records.COLUMNS, number, *steps).seconds,
            lambda: bench.into_postgres(file, _FULL_NAME, number, *calculated).seconds,
            lambda: bench.into_postgres(file, _FULL_NAME, number, "--map", "first_name=first_name").seconds,
            lambda: bench.into_postgres(file, records.COLUMNS, number, "--filter", "id > 0 AND email <> ''").seconds,
        )
    yield cost("mapping", transformed, "none (five transformations)", plain, goal=1.15)
    yield cost("mapping", joined, "none (a calculated column)", plain, goal=1.10)
    yield cost("mapping", joined, "an empty column (a calculated one)", filled, goal=1.10)
    yield cost("mapping", filtered, "none (a filter that keeps all)", plain, goal=1.10)
