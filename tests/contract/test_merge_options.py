"""What each option of a merge does, in every kind of database."""

from __future__ import annotations

from typing import Any

import pytest

from ladingd.core.errors import InvalidSpec, TargetRefused
from ladingd.core.spec import Duplicates, Operation
from tests.contract.imports import Pier, by, merged

OLD = [(1, "a"), (2, "b")]
PEOPLE = ("CREATE TABLE t (id INTEGER PRIMARY KEY, name VARCHAR(9))", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")


def test_an_upsert_writes_what_is_new_or_differs(pier: Pier) -> None:
    pier.database.sql(*PEOPLE)
    counts = pier.imported("id,name\n1,a\n2,c\n3,d\n3,e\n", **by("id"))
    assert merged(counts) == {
        "inserted": 1,
        "updated": 1,
        "unchanged": 1,
        "ignored_doubles": 1,
        "doubles": 1,
        "duplicates": 2,
    }
    assert pier.rows() == [(1, "a"), (2, "c"), (3, "e")]
    assert not [name for name in pier.database.tables() if "stage" in name]


@pytest.mark.parametrize(
    ("options", "expected", "rows"),
    [
        ({"operation": Operation.INSERT}, {"inserted": 1, "rejected": 1, "duplicates": 1}, [*OLD, (3, "d")]),
        ({"operation": Operation.UPDATE}, {"updated": 1, "rejected": 1, "duplicates": 1}, [(1, "a"), (2, "c")]),
        ({"operation": Operation.DELETE}, {"deleted": 1, "unchanged": 1, "duplicates": 1}, [(1, "a")]),
        ({"operation": Operation.RECONCILE_ONLY}, {"unchanged": 1, "rejected": 1, "duplicates": 1}, OLD),
        ({"duplicates": Duplicates.IGNORE}, {"inserted": 1, "unchanged": 1, "duplicates": 1}, [*OLD, (3, "d")]),
    ],
    ids=["insert", "update", "delete", "reconcile", "ignore"],
)
def test_an_operation_does_what_it_says(
    pier: Pier, options: dict[str, Any], expected: dict[str, int], rows: list[tuple[int, str]]
) -> None:
    pier.database.sql(*PEOPLE)
    assert merged(pier.imported("id,name\n2,c\n3,d\n", **by("id", **options))) == expected
    assert pier.rows() == rows


def test_columns_keep_what_the_options_protect(pier: Pier) -> None:
    pier.database.sql(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT)",
        "INSERT INTO t VALUES (1, 'a', '', 'c'), (2, 'a', 'b', NULL)",
    )
    options = by("id", keep_if_source_empty=("a",), only_if_target_empty=("b",), on_insert_only=("c",))
    pier.imported("id,a,b,c\n1,,x,x\n2,x,x,x\n3,x,x,x\n", **options)
    assert pier.rows() == [(1, "a", "x", "c"), (2, "x", "b", None), (3, "x", "x", "x")]


def test_a_key_that_is_not_unique_is_refused(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (code TEXT, name TEXT)", "INSERT INTO t VALUES ('a', 'x'), ('a', 'y')")
    with pytest.raises(InvalidSpec, match=r"2 rows have \(code\) = \(a\)"):
        pier.plan("code,name\na,b\n", **by("code"))
    pier.database.sql("DELETE FROM t WHERE name = 'y'")
    plan = pier.plan("code,name\na,b\n", **by("code"))
    pier.database.sql("INSERT INTO t VALUES ('a', 'y')")
    with pytest.raises(TargetRefused, match="not unique"):
        pier.run(plan)
