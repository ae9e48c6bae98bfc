"""Columns that imports add to a table, and tables that change under them, in every kind of database."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import AttemptSuperseded, InvalidSpec, SpecOutdated, TargetChanged
from ladingd.core.spec import ColumnNames
from ladingd.data.databases.registry import target_of
from tests.contract.imports import JOB, OTHER, Pier

if TYPE_CHECKING:
    from pathlib import Path

    from ladingd.data.storage.work_dir import WorkDir
    from tests.contract.databases import TestDatabase

WIDER = "id,score,born,note\n2,1.5,2001-02-03,x\n3,,,\n"


@pytest.fixture
def pier(database: TestDatabase, tmp_path: Path, work_dir: WorkDir) -> Pier:
    pier = Pier.of(database, tmp_path / "files", work_dir)
    database.sql("CREATE TABLE t (id INTEGER, name VARCHAR(20))", "INSERT INTO t VALUES (1, 'a')")
    return pier


def names(pier: Pier) -> list[str]:
    table = pier.plan("id\n1\n").target
    found = target_of(pier.database.connection, pier.transfer.work_dir).table(table)
    assert found is not None
    return [column.name for column in found.columns]


def test_a_column_that_only_the_file_has_is_refused(pier: Pier) -> None:
    with pytest.raises(InvalidSpec, match=r"'score'.*--add-columns"):
        pier.plan(WIDER)
    assert names(pier) == ["id", "name"]


def test_columns_that_only_the_file_has_are_added(pier: Pier) -> None:
    plan = pier.plan(WIDER, add_columns=True)
    assert [(column.target, column.type) for column in plan.added] == [
        ("score", "decimal(15,1)"),
        ("born", "date"),
        ("note", "text"),
    ]
    assert plan.notes[0] == "table t gets new columns: score (decimal(15,1)), born (date), note (text)"
    assert names(pier) == ["id", "name"], "planning changes nothing"
    (note,) = pier.transfer.add_columns(JOB, 1, plan)
    assert note.text == "table t has new columns: score (decimal(15,1)), born (date), note (text)"
    assert pier.transfer.add_columns(JOB, 1, plan) == (), "they are there"
    assert pier.run(plan).inserted == 2
    rows = [tuple(None if value is None else str(value) for value in row) for row in pier.rows()]
    assert rows == [
        ("1", "a", None, None, None),
        ("2", None, "1.5", "2001-02-03", "x"),
        ("3", None, None, None, None),
    ]
    again = pier.plan(WIDER, add_columns=True)
    assert (again.added, again.notes) == ((), ())
    assert pier.run(again, OTHER).inserted == 2


def test_new_columns_follow_the_types_and_names_of_the_spec(pier: Pier) -> None:
    text = "id,Zip Code\n2,00123\n"
    plan = pier.plan(text, add_columns=True, names=ColumnNames.SNAKE, types={"Zip Code": "text"})
    assert [(column.target, column.type) for column in plan.added] == [("zip_code", "text")]
    assert pier.run(plan).inserted == 1
    assert pier.rows("id, zip_code") == [(1, None), (2, "00123")]


def test_a_value_that_the_type_of_a_new_column_would_change_is_rejected(pier: Pier) -> None:
    values = "".join(f"{number},{number}\n" for number in range(2, 3000))
    counts = pier.imported(f"id,score\n{values}3000,x\n", add_columns=True)
    assert (counts.read, counts.inserted + counts.rejected) == (2999, 2999)


def test_the_columns_of_all_files_are_added(pier: Pier) -> None:
    plan = pier.plan("id,score\n2,5\n", "score,id\n6,3\n", add_columns=True)
    assert pier.run(plan).inserted == 2
    assert pier.rows("id, score") == [(1, None), (2, 5), (3, 6)]


def test_two_jobs_add_a_column_once(pier: Pier) -> None:
    first, second = pier.plan(WIDER, add_columns=True), pier.plan(WIDER, add_columns=True)
    assert pier.transfer.add_columns(JOB, 1, first)
    assert pier.transfer.add_columns(OTHER, 1, second) == ()
    assert names(pier) == ["id", "name", "score", "born", "note"]
    assert pier.run(first).inserted == pier.run(second, OTHER).inserted == 2


def test_jobs_that_add_columns_at_the_same_time_add_each_once(pier: Pier) -> None:
    plans = {str(uuid.UUID(int=number)): pier.plan(WIDER, add_columns=True) for number in range(4)}
    told: list[int] = []

    def add(job: str) -> None:
        told.append(len(pier.transfer.add_columns(job, 1, plans[job])))

    threads = [threading.Thread(target=add, args=(job,)) for job in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(told) == [0, 0, 0, 1]
    assert names(pier) == ["id", "name", "score", "born", "note"]
    assert [pier.run(plan, job).inserted for job, plan in plans.items()] == [2, 2, 2, 2]


def test_a_job_goes_on_while_another_adds_a_column(pier: Pier) -> None:
    plan = pier.plan("id,name\n5,a\n6,b\n7,c\n", chunk_bytes=1)
    pier.transfer.begin(JOB, 1, plan)
    chunks = pier.transfer.cut(JOB, plan, None, 100)
    pier.transfer.process(JOB, 1, plan, chunks[0])
    pier.run(pier.plan(WIDER, add_columns=True), OTHER)
    assert [pier.transfer.process(JOB, 1, plan, chunk).inserted for chunk in chunks] == [1, 1, 1]
    pier.transfer.finish(JOB, plan, chunks)
    assert len(pier.rows()) == 6


def test_a_column_that_another_job_has_added_with_another_type_is_refused(pier: Pier) -> None:
    plan = pier.plan("id,score\n2,5\n", add_columns=True)
    pier.run(pier.plan("id,score\n2,many\n", add_columns=True), OTHER)
    with pytest.raises(TargetChanged, match="has a column 'score' of type"):
        pier.transfer.add_columns(JOB, 1, plan)


def test_a_job_begins_only_with_its_columns(pier: Pier) -> None:
    plan = pier.plan(WIDER, add_columns=True)
    with pytest.raises(TargetChanged, match="no column 'score'"):
        pier.transfer.begin(JOB, 1, plan)
    assert pier.run(plan, attempt=2).inserted == 2


def test_a_column_that_is_dropped_later_is_not_added_again(pier: Pier) -> None:
    plan = pier.plan(WIDER, add_columns=True)
    pier.run(plan)
    pier.database.sql("ALTER TABLE t DROP COLUMN note")
    assert pier.transfer.add_columns(JOB, 2, plan) == ()
    with pytest.raises(TargetChanged, match="no column 'note'"):
        pier.transfer.begin(JOB, 2, plan)


def test_an_earlier_attempt_adds_nothing(pier: Pier) -> None:
    plan = pier.plan(WIDER, add_columns=True)
    pier.transfer.add_columns(JOB, 2, replace(plan, columns=plan.columns[:2]))
    with pytest.raises(AttemptSuperseded):
        pier.transfer.add_columns(JOB, 1, plan)
    assert names(pier) == ["id", "name", "score"]


def test_a_table_that_is_gone_gets_no_columns(pier: Pier) -> None:
    plan = pier.plan(WIDER, add_columns=True)
    pier.database.sql("DROP TABLE t")
    with pytest.raises(TargetChanged, match="table t is gone"):
        pier.transfer.add_columns(JOB, 1, plan)


def test_a_missing_table_is_created_with_all_columns(pier: Pier) -> None:
    pier.database.sql("DROP TABLE t")
    plan = pier.plan(WIDER, add_columns=True)
    assert (plan.create_table, plan.added, plan.notes) == (True, (), ())
    assert pier.run(plan).inserted == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("ALTER TABLE t DROP COLUMN name", "no column 'name' to write into any more"),
        ("ALTER TABLE t RENAME COLUMN name TO title", "no column 'name' to write into any more"),
        ("DROP TABLE t", "table t is gone"),
    ],
)
def test_a_table_that_has_lost_a_column_is_noticed_before_the_start(pier: Pier, change: str, told: str) -> None:
    plan = pier.plan("id,name\n2,b\n")
    pier.database.sql(change)
    with pytest.raises(TargetChanged, match=told):
        pier.transfer.begin(JOB, 1, plan)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ("id INTEGER, name VARCHAR(20) NOT NULL", "'name' of table t was planned as one that may be empty"),
        ("id INTEGER, name INTEGER", "'name' of table t was planned as .* and is INTEGER now"),
        ("id SMALLINT, name VARCHAR(20)", "'id' of table t was planned as INTEGER and is SMALLINT now"),
    ],
)
def test_a_column_that_was_narrowed_is_noticed_before_the_start(pier: Pier, columns: str, told: str) -> None:
    plan = pier.plan("id,name\n2,b\n")
    pier.database.sql("DROP TABLE t", f"CREATE TABLE t ({columns})")
    with pytest.raises((TargetChanged, SpecOutdated), match=f"(?i){told}"):
        pier.transfer.begin(JOB, 1, plan)


def test_a_column_that_was_widened_is_used(pier: Pier) -> None:
    plan = pier.plan("id,name\n2,b\n")
    pier.database.sql("DROP TABLE t", "CREATE TABLE t (id BIGINT, name TEXT)")
    assert pier.run(plan).inserted == 1


def test_a_view_is_no_target(pier: Pier) -> None:
    pier.database.sql("ALTER TABLE t RENAME TO u", "CREATE VIEW t AS SELECT id, name FROM u")
    with pytest.raises(InvalidSpec, match="t is a view; records go into tables only; import into the table") as caught:
        pier.plan("id,name\n2,b\n", add_columns=True)
    assert caught.value.field == "target.table"


def test_a_table_that_became_a_view_is_no_target(pier: Pier) -> None:
    plan = pier.plan("id,name\n2,b\n")
    pier.database.sql("ALTER TABLE t RENAME TO u", "CREATE VIEW t AS SELECT id, name FROM u")
    with pytest.raises(TargetChanged, match="view"):
        pier.transfer.begin(JOB, 1, plan)


def test_a_column_that_the_database_computes_is_refused(pier: Pier) -> None:
    pier.database.sql(
        "DROP TABLE t",
        f"CREATE TABLE t (id INTEGER, twice INTEGER GENERATED ALWAYS AS (id * 2) {pier.database.stored})",
    )
    with pytest.raises(
        InvalidSpec, match="column twice of table t is computed by the database; use --ignore twice"
    ) as caught:
        pier.plan("id,twice\n2,4\n", add_columns=True)
    assert caught.value.field == "target.table"
    assert pier.imported("id\n2\n").inserted == 1
    assert pier.rows() == [(2, 4)]
