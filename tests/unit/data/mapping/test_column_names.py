"""Column names that a database would change."""

from __future__ import annotations

import pytest

from ladingd.data.databases.postgres.target import PostgresTarget
from ladingd.data.databases.sqlite.target import SqliteTarget
from ladingd.data.mapping.column_names import kept_names, renamed

LONG = "x" * 70


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["a", LONG], ["a", "x" * 63]),
        ([LONG, LONG + "y"], ["x" * 63, "x" * 61 + "_2"]),
        ([LONG, "x" * 63], ["x" * 61 + "_2", "x" * 63]),
        (["é" * 32], ["é" * 31]),
        (["a" + "é" * 32, "a" + "é" * 33], ["a" + "é" * 31, "a" + "é" * 30 + "_2"]),
        (["xmin", "ctid", "Xmin", "oid"], ["xmin_", "ctid_", "Xmin", "oid"]),
        (["xmin", "xmin_"], ["xmin_2", "xmin_"]),
    ],
)
def test_names_are_cut_at_a_character_and_differ(names: list[str], kept: list[str]) -> None:
    target = PostgresTarget
    found = kept_names(names, target)  # type: ignore[arg-type]
    assert found == kept
    assert len(set(found)) == len(found)
    assert all(len(name.encode()) <= 63 for name in found)
    told = renamed(names, found, target)  # type: ignore[arg-type]
    assert len(told) == sum(one != other for one, other in zip(names, kept, strict=True))


def test_sqlite_takes_every_name() -> None:
    assert kept_names([LONG, "xmin", "rowid"], SqliteTarget) == [LONG, "xmin", "rowid"]  # type: ignore[arg-type]
