"""New tables and new columns in PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import Reconciliation
from tests.contract.databases import PostgresDatabase
from tests.contract.imports import Pier

if TYPE_CHECKING:
    from pathlib import Path

    from ladingd.data.storage.work_dir import WorkDir
    from tests.unit.data.databases.postgres.conftest import Quay


@pytest.fixture
def pier(quay: Quay, tmp_path: Path) -> Pier:
    work_dir: WorkDir = quay.target.work_dir
    return Pier.of(PostgresDatabase(quay.url), tmp_path / "files", work_dir)


def test_a_new_table_has_a_primary_key(pier: Pier) -> None:
    assert pier.imported("id,name\n1,a\n2,b\n1,c\n", reconciliation=Reconciliation(key=("id",))).inserted == 2
    key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'p' AND conrelid = 't'::regclass"
    assert pier.database.sql(key) == [("PRIMARY KEY (id)",)]


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
