"""Hooks of DuckDB reach nothing but their database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import TargetRefused
from ladingd.data.databases.duckdb.target import DuckdbTarget
from ladingd.data.databases.hooks import Hook, HookRun

if TYPE_CHECKING:
    from tests.unit.data.databases.duckdb.conftest import Pond


def run(pond: Pond, sql: str, name: str = "before 1") -> HookRun:
    target = DuckdbTarget(path=pond.path, work_dir=pond.work_dir)
    return target.run_hook("job", 1, Hook(name=name, sql=sql), lambda: None)


@pytest.mark.parametrize(
    "sql",
    [
        "ATTACH '{folder}/other.duckdb' AS other",
        "ATTACH '{folder}/other.db' AS other (TYPE sqlite)",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "CREATE TABLE t AS SELECT * FROM '{folder}/secret.csv'",
        "CREATE TABLE t AS SELECT * FROM read_text('{folder}/secret.csv')",
        "CREATE TABLE t AS SELECT * FROM glob('{folder}/*')",
        "EXPORT DATABASE '{folder}/dump'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true; COPY (SELECT 1) TO '{folder}/out.csv'",
        "SET temp_directory = '{folder}/dump'",
        "SET allowed_directories = ['{folder}']; COPY (SELECT 1) TO '{folder}/out.csv'",
    ],
)
def test_a_hook_opens_no_other_file(pond: Pond, sql: str) -> None:
    folder = pond.directory / "folder"
    folder.mkdir()
    (folder / "secret.csv").write_text("a\n1\n")
    with pytest.raises(TargetRefused, match="hook before 1 failed: "):
        run(pond, sql.format(folder=folder))
    assert [path.name for path in folder.iterdir()] == ["secret.csv"]
    assert not run(pond, "CREATE TABLE done (n INTEGER)").earlier


def test_settings_of_a_hook_end_with_it(pond: Pond) -> None:
    pond.sql("CREATE TABLE t (id INTEGER, name VARCHAR)", "CREATE SCHEMA other")
    run(pond, "USE other; CREATE TEMP TABLE t (id INTEGER); SET default_null_order = 'nulls_first'")
    assert pond.load("id,name\n1,a\n").inserted == 1
    assert pond.sql("SELECT * FROM main.t") == [(1, "a")]


def test_a_checkpoint_cannot_be_a_hook(pond: Pond) -> None:
    with pytest.raises(TargetRefused, match="transaction"):
        run(pond, "CREATE TABLE t (n INTEGER); CHECKPOINT")


def test_a_value_is_not_shown(pond: Pond) -> None:
    pond.sql("CREATE TABLE t (v VARCHAR)", "INSERT INTO t VALUES ('4111 1111')")
    with pytest.raises(TargetRefused, match="hook before 1 failed: ") as caught:
        run(pond, "SELECT CAST(v AS INTEGER) FROM t")
    assert "4111" not in caught.value.message
    with pytest.raises(TargetRefused, match="only 1 row"):
        run(pond, "SELECT error('only 1 row')")
