"""Records that a DuckDB table rejects: queries find them, with the same result as single inserts."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import duckdb
import pytest

if TYPE_CHECKING:
    from tests.unit.data.databases.duckdb.conftest import Pond

SCHEMA = """
CREATE TABLE t (
    id INTEGER PRIMARY KEY, a INTEGER, b VARCHAR, c INTEGER DEFAULT 5 CHECK (c > 2), p INTEGER REFERENCES parent(id),
    UNIQUE (a, b), CHECK (a IS NULL OR a < c * 10)
)
"""
SETUP = (
    "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
    "INSERT INTO parent VALUES (1), (2)",
    SCHEMA,
    "CREATE UNIQUE INDEX folded ON t (lower(b))",
    "INSERT INTO t VALUES (100, 1, 'Zero', 9, 1)",
)


@pytest.mark.parametrize("seed", range(6))
def test_a_batch_comes_to_what_single_inserts_come_to(pond: Pond, seed: int) -> None:
    chance = random.Random(seed)

    def pick(*values: object) -> object:
        return chance.choice(values)

    records = [
        (
            chance.randint(95, 130),
            pick(None, 1, 2, 49, 90),
            pick(None, "zero", *"abcdefgAB"),
            pick(3, 9, 1),
            pick(None, 1, 2, 3),
        )
        for _ in range(60)
    ]
    pond.sql(*SETUP)
    text = "id,a,b,c,p\n" + "".join(
        ",".join("" if value is None else str(value) for value in record) + "\n" for record in records
    )
    counts = pond.load(text)
    with duckdb.connect() as single:
        for statement in SETUP:
            single.execute(statement)
        refused = []
        for line, record in enumerate(records, 2):
            try:
                single.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?)", list(record))
            except duckdb.ConstraintException:
                refused.append(line)
        expected = single.execute("SELECT * FROM t ORDER BY id").fetchall()
    assert pond.sql("SELECT * FROM t ORDER BY id") == expected
    assert [reject[0] for reject in pond.rejects()] == refused
    assert counts.rejected == len(refused)


def test_each_kind_of_constraint_has_its_code(pond: Pond) -> None:
    pond.sql(*SETUP)
    pond.load("id,a,b,c,p\n1,,x,3,1\n1,,y,3,1\n2,,z,1,1\n3,,v,3,9\n4,,X,3,1\n5,1,Zero,9,1\n")
    assert pond.rejects() == [
        (3, "UNIQUE", "id", "1"),
        (4, "CHECK", "", ""),
        (5, "FOREIGN_KEY", "p", "9"),
        (6, "UNIQUE", "", ""),
        (7, "UNIQUE", "", ""),
    ]


def test_a_double_names_the_line_that_has_its_key(pond: Pond) -> None:
    pond.sql("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    pond.load("id\n1\n2\n1\n")
    (path,) = (pond.directory / "work" / "jobs" / "load" / "rejects").iterdir()
    assert "PRIMARY KEY (id) of table t is taken (line 2 of the file has the same key)" in path.read_text()


def test_defaults_and_generated_columns_are_left_to_the_database(pond: Pond) -> None:
    pond.sql("CREATE TABLE t (a INTEGER, b INTEGER DEFAULT 7 NOT NULL, c INTEGER AS (a + b))")
    pond.load("a\n1\n")
    assert pond.sql("SELECT * FROM t") == [(1, 7, 8)]
