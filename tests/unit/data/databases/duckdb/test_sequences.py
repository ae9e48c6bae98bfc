"""Sequences of DuckDB move in their own steps and direction, and never back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.data.databases.duckdb.conftest import Pond


@pytest.mark.parametrize(
    ("sequence", "called", "values", "following"),
    [
        ("", 0, [1, 2, 3], [4, 5]),
        ("", 9, [1, 2, 3], [10, 11]),
        ("", 0, [-5, 0], [1, 2]),
        ("START 100", 0, [5, 99], [100, 101]),
        ("START 100", 0, [100], [101, 102]),
        ("INCREMENT 10", 0, [15], [31, 41]),
        ("INCREMENT 10", 1, [21], [31, 41]),
        ("INCREMENT -1 MINVALUE -100 MAXVALUE -1", 0, [-1, -9, 4], [-10, -11]),
        ("INCREMENT -5 START -3 MINVALUE -100 MAXVALUE -1", 0, [-4], [-13, -18]),
        ("MAXVALUE 1000", 0, [9, 2**62], [10, 11]),
        ("MINVALUE 50", 0, [9], [50, 51]),
    ],
)
@pytest.mark.parametrize("name", ["s", 'main."S s.""\'q"'])
def test_a_sequence_is_behind_the_imported_values(
    pond: Pond, sequence: str, called: int, values: list[int], following: list[int], name: str
) -> None:
    spelled = name.replace("'", "''")
    pond.sql(
        f"CREATE SEQUENCE {name} {sequence}",
        f"CREATE TABLE t (id BIGINT DEFAULT nextval('{spelled}'), name VARCHAR)",
        f"SELECT nextval('{spelled}') FROM range({called})",
    )
    assert pond.load("id,name\n" + "".join(f"{value},x\n" for value in values)).rejected == 0
    assert [pond.sql("INSERT INTO t (name) VALUES ('next') RETURNING id")[0][0] for _ in range(2)] == following
