"""New tables, new columns, provenance, defaults and hooks together with a key, in every kind of database."""

from __future__ import annotations

import pytest

from ladingd.core.spec import Operation, Reconciliation
from tests.contract.imports import JOB, OTHER, Pier

KEY = Reconciliation(key=("id",))


def test_a_new_table_is_updated_by_its_primary_key(pier: Pier) -> None:
    assert pier.imported("id,name\n1,a\n2,b\n1,c\n", reconciliation=KEY).inserted == 2
    assert pier.rows() == [(1, "c"), (2, "b")]
    counts = pier.run(pier.plan("id,name\n2,x\n3,y\n", reconciliation=KEY), OTHER)
    assert (counts.inserted, counts.updated) == (1, 1)
    assert pier.rows() == [(1, "c"), (2, "x"), (3, "y")]


def test_new_columns_are_updated(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    counts = pier.imported("id,score\n1,5\n3,6\n", reconciliation=KEY, add_columns=True)
    assert (counts.inserted, counts.updated) == (1, 1)
    assert pier.rows("id, score") == [(1, 5), (2, None), (3, 6)]


def test_provenance_is_that_of_the_last_change(pier: Pier) -> None:
    pier.imported("id,name\n1,a\n2,b\n", reconciliation=KEY, provenance=True)
    counts = pier.run(pier.plan("id,name\n2,x\n1,a\n3,c\n", reconciliation=KEY, provenance=True), OTHER)
    assert (counts.inserted, counts.updated, counts.unchanged) == (1, 1, 1)
    assert pier.rows("id, lading_job, lading_line") == [(1, JOB, 2), (2, OTHER, 2), (3, OTHER, 4)]


def test_provenance_alone_changes_nothing(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    counts = pier.imported("id\n1\n2\n", reconciliation=KEY, provenance=True)
    assert (counts.inserted, counts.updated, counts.unchanged) == (1, 0, 1)
    assert pier.rows("id, lading_line") == [(1, None), (2, 3)]


def test_an_empty_field_becomes_the_default_in_an_update(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL DEFAULT 7)")
    pier.database.sql("INSERT INTO t VALUES (1, 1)")
    counts = pier.imported("id,n\n1,\n2,\n", reconciliation=KEY)
    assert (counts.inserted, counts.updated) == (1, 1)
    assert pier.rows() == [(1, 7), (2, 7)]


def test_a_field_that_keeps_the_value_of_the_row_takes_the_default_only_in_a_new_row(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL DEFAULT 7)")
    pier.database.sql("INSERT INTO t VALUES (1, 1)")
    wanted = Reconciliation(key=("id",), keep_if_source_empty=("n",))
    counts = pier.imported("id,n\n1,\n2,\n", reconciliation=wanted)
    assert (counts.inserted, counts.unchanged) == (1, 1)
    assert pier.rows() == [(1, 1), (2, 7)]


def test_hooks_run_around_all_phases(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER PRIMARY KEY)", "CREATE TABLE marks (n INTEGER)")
    mark = "INSERT INTO marks SELECT count(*) FROM t"
    assert pier.imported("id\n1\n2\n", reconciliation=KEY, before=(mark,), after=(mark,)).inserted == 2
    assert pier.database.sql("SELECT n FROM marks ORDER BY n") == [(0,), (2,)]


@pytest.mark.parametrize("operation", [Operation.UPDATE, Operation.DELETE])
def test_operations_that_insert_nothing_need_no_values(pier: Pier, operation: Operation) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)", "INSERT INTO t VALUES (1, 1)")
    counts = pier.imported("id\n1\n", reconciliation=Reconciliation(key=("id",), operation=operation))
    assert counts.rejected == 0


def test_rows_are_replaced_between_the_hooks(pier: Pier) -> None:
    pier.database.sql(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL DEFAULT 7)",
        "INSERT INTO t VALUES (1, 1), (2, 2)",
        "CREATE TABLE marks (n INTEGER)",
    )
    mark = "INSERT INTO marks SELECT sum(id) FROM t"
    options = {"replace": True, "add_columns": True, "provenance": True, "before": (mark,), "after": (mark,)}
    counts = pier.imported("id,n,score\n5,,2\n6,3,4\n", **options)
    assert counts.inserted == 2
    assert pier.rows("id, n, score, lading_line") == [(5, 7, 2, 2), (6, 3, 4, 3)]
    assert pier.database.sql("SELECT n FROM marks ORDER BY n") == [(3,), (11,)]


def test_a_table_that_is_replaced_before_it_is_there_is_created(pier: Pier) -> None:
    plan = pier.plan("id,name\n1,a\n2,b\n", reconciliation=KEY, replace=True)
    assert pier.run(plan).inserted == 2
    assert pier.rows() == [(1, "a"), (2, "b")]
