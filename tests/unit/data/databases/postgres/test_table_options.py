"""New columns, provenance and defaults together with a key, in PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import Operation, Reconciliation
from tests.contract.databases import PostgresDatabase
from tests.contract.imports import JOB, OTHER, Pier

if TYPE_CHECKING:
    from pathlib import Path

    from ladingd.data.storage.work_dir import WorkDir
    from tests.unit.data.databases.postgres.conftest import Quay

KEY = Reconciliation(key=("id",))


@pytest.fixture
def pier(quay: Quay, tmp_path: Path) -> Pier:
    work_dir: WorkDir = quay.target.work_dir
    return Pier.of(PostgresDatabase(quay.url), tmp_path / "files", work_dir)


def test_a_new_table_has_a_primary_key_and_is_updated_by_it(pier: Pier) -> None:
    assert pier.imported("id,name\n1,a\n2,b\n1,c\n", reconciliation=KEY).inserted == 2
    assert pier.rows() == [(1, "c"), (2, "b")]
    assert pier.run(pier.plan("id,name\n2,x\n3,y\n", reconciliation=KEY), OTHER).updated == 1
    assert pier.rows() == [(1, "c"), (2, "x"), (3, "y")]
    key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'p' AND conrelid = 't'::regclass"
    assert pier.database.sql(key) == [("PRIMARY KEY (id)",)]


def test_new_columns_are_updated(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    plan = pier.plan("id,score\n1,5\n3,6\n", reconciliation=KEY, add_columns=True)
    counts = pier.run(plan)
    assert (counts.inserted, counts.updated) == (1, 1)
    assert pier.rows("id, score") == [(1, 5), (2, None), (3, 6)]


def test_provenance_is_that_of_the_last_change(pier: Pier) -> None:
    text = "id,name\n1,a\n2,b\n"
    pier.imported(text, reconciliation=KEY, provenance=True)
    counts = pier.run(pier.plan("id,name\n2,x\n1,a\n3,c\n", reconciliation=KEY, provenance=True), OTHER)
    assert (counts.inserted, counts.updated, counts.unchanged) == (1, 1, 1)
    assert pier.rows("id, lading_job, lading_line") == [(1, JOB, 2), (2, OTHER, 2), (3, OTHER, 4)]


def test_an_empty_field_becomes_the_default_in_an_update(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 7)", "INSERT INTO t VALUES (1, 1)")
    counts = pier.imported("id,n\n1,\n2,\n", reconciliation=KEY)
    assert (counts.inserted, counts.updated) == (1, 1)
    assert pier.rows() == [(1, 7), (2, 7)]


def test_hooks_run_around_all_phases(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE marks (n bigint)")
    mark = "INSERT INTO marks SELECT count(*) FROM t"
    counts = pier.imported("id\n1\n2\n", reconciliation=KEY, before=(mark,), after=(mark,))
    assert counts.inserted == 2
    assert pier.database.sql("SELECT n FROM marks ORDER BY n") == [(0,), (2,)]


def test_columns_are_added_only_by_their_owner(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id int)", "CREATE ROLE clerk_of_columns LOGIN")
    pier.database.sql("GRANT ALL ON t TO clerk_of_columns")
    name = pier.database.sql("SELECT current_database()")[0][0]
    pier.database.sql(f"GRANT CREATE ON DATABASE {name} TO clerk_of_columns")
    try:
        clerk = Pier(
            database=PostgresDatabase(pier.database.url.replace("//postgres:@", "//clerk_of_columns:@")),
            directory=pier.directory,
            transfer=pier.transfer,
        )
        clerk.transfer = replace(pier.transfer, connections={"harbour": clerk.database.connection})
        with pytest.raises(InvalidSpec, match="GRANT postgres TO clerk_of_columns") as caught:
            clerk.plan("id,x\n1,2\n", add_columns=True)
        assert caught.value.field == "add_columns"
        assert clerk.plan("id\n1\n", add_columns=True).added == (), "nothing is missing"
    finally:
        pier.database.sql("DROP OWNED BY clerk_of_columns", "DROP ROLE clerk_of_columns")


def test_a_partition_gets_no_columns_of_its_own(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE whole (id int) PARTITION BY LIST (id)", "CREATE TABLE t PARTITION OF whole DEFAULT")
    with pytest.raises(InvalidSpec, match="t is a partition"):
        pier.plan("id,x\n1,2\n", add_columns=True)


@pytest.mark.parametrize("operation", [Operation.UPDATE, Operation.DELETE])
def test_operations_that_insert_nothing_need_no_values(pier: Pier, operation: Operation) -> None:
    pier.database.sql("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL)", "INSERT INTO t VALUES (1, 1)")
    reconciliation = Reconciliation(key=("id",), operation=operation)
    counts = pier.imported("id\n1\n", reconciliation=reconciliation)
    assert counts.rejected == 0
