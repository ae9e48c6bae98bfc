"""An empty field of a column that may not be empty becomes the table's default, in every kind of database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import TargetChanged
from tests.contract.imports import JOB, OTHER, Pier


@pytest.mark.parametrize(
    ("declaration", "default", "given"),
    [
        ("INTEGER NOT NULL DEFAULT 7", 7, 1),
        ("INTEGER NOT NULL DEFAULT (3 + 4)", 7, 1),
        ("BIGINT NOT NULL DEFAULT -9223372036854775807", -9223372036854775807, 1),
        ("DOUBLE PRECISION NOT NULL DEFAULT 0.1", 0.1, 1.0),
        ("VARCHAR(20) NOT NULL DEFAULT 'a ''%s'' {b} \\'", "a '%s' {b} \\", "1"),
        ("VARCHAR(20) NOT NULL DEFAULT ''", "", "1"),
    ],
)
async def test_an_empty_field_becomes_the_default(pier: Pier, declaration: str, default: object, given: object) -> None:
    pier.database.sql(f"CREATE TABLE t (id INTEGER, v {declaration}, n INTEGER)")
    counts = pier.imported("id,v,n\n1,,\n2,1,5\n3,,5\n")
    assert (counts.read, counts.inserted, counts.rejected) == (3, 3, 0)
    assert pier.rows() == [(1, default, None), (2, given, 5), (3, default, 5)]
    assert counts.nulls == {"v": 2, "n": 1}


@pytest.mark.parametrize("texts", [("id,v\n1,\n2,\n",), ("id,v\n1,\n", "id,v\n2,\n")], ids=["one file", "two files"])
def test_a_default_of_another_kind(pier: Pier, texts: tuple[str, ...]) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER, v DATE NOT NULL DEFAULT CURRENT_DATE)")
    assert pier.imported(*texts).inserted == 2
    ((first, today), (second, _)) = pier.rows("v, CURRENT_DATE")
    assert str(first) == str(second) == str(today)


async def test_a_default_is_a_value_like_others_for_constraints(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER, v INTEGER NOT NULL DEFAULT 7 UNIQUE CHECK (v < 100))")
    counts = pier.imported("id,v\n1,\n2,\n3,7\n4,8\n5,200\n")
    assert (counts.inserted, counts.rejected) == (2, 3)
    assert pier.rows() == [(1, 7), (4, 8)]
    assert [line for line, _, _ in await pier.rejects()] == [3, 4, 6]


async def test_a_record_without_a_value_is_rejected_if_there_is_no_default(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER, v INTEGER NOT NULL)")
    assert pier.imported("id,v\n1,\n2,3\n") == Counts(read=2, inserted=1, rejected=1, errors=1, nulls={"v": 1})
    assert await pier.rejects() == [(2, "NOT_NULL", "v")]


def test_a_chunk_with_defaults_is_written_once(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER, v INTEGER NOT NULL DEFAULT 7)")
    plan = pier.plan("id,v\n1,\n")
    assert pier.run(plan) == pier.run(plan, attempt=2)
    assert pier.rows() == [(1, 7)]


def test_a_default_that_is_gone_is_noticed_before_the_start(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER, v INTEGER NOT NULL DEFAULT 7)")
    plan = pier.plan("id,v\n1,\n")
    pier.database.sql("DROP TABLE t", "CREATE TABLE t (id INTEGER, v INTEGER NOT NULL)")
    with pytest.raises(TargetChanged, match="has lost its default"):
        pier.transfer.begin(JOB, 1, plan)


def test_defaults_of_plans_of_older_versions_stay_unused(pier: Pier) -> None:
    """Such a job goes on as it has begun."""
    pier.database.sql("CREATE TABLE t (id INTEGER, v INTEGER NOT NULL DEFAULT 7)")
    plan = pier.plan("id,v\n1,\n2,3\n")
    old = replace(plan, columns=tuple(replace(column, defaulted=False) for column in plan.columns))
    counts = pier.run(old, OTHER)
    assert (counts.inserted, counts.rejected) == (1, 1)
