"""SQLite: a job loads into one table or reads from one, and notices missing rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import AttemptSuperseded, SourceChanged, TargetChanged, TargetRefused
from ladingd.data.databases.sqlite.session import connected

if TYPE_CHECKING:
    from collections.abc import Callable

    from ladingd.core.plan import ImportPlan
    from tests.unit.data.conftest import Yard

JOB = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
RECORDS = "a\n" + "".join(f"{number}\n" for number in range(20))


def change(yard: Yard, *statements: str) -> None:
    with connected(yard.database) as database:
        for statement in statements:
            database.run(statement)
        database.commit()


@pytest.fixture
def plan(yard: Yard) -> ImportPlan:
    """An import that has committed two of its chunks."""
    yard.sql("CREATE TABLE t (a INTEGER)")
    plan = yard.plan_import(RECORDS, chunk_bytes=8)
    yard.transfer.begin(JOB, 1, plan)
    for chunk in yard.chunks(plan)[:2]:
        yard.transfer.process(JOB, 1, plan, chunk)
    return plan


@pytest.fixture(params=["process", "begin", "finish"])
def look(yard: Yard, plan: ImportPlan, request: pytest.FixtureRequest) -> Callable[[], object]:
    """Each operation by which a job looks at its table again."""
    ways: dict[str, Callable[[], object]] = {
        "process": lambda: yard.transfer.process(JOB, 1, plan, yard.chunks(plan)[2]),
        "begin": lambda: yard.transfer.begin(JOB, 2, plan),
        "finish": lambda: yard.transfer.finish(JOB, plan, yard.chunks(plan)),
    }
    return ways[request.param]


@pytest.mark.parametrize(
    "statements",
    [
        ["DROP TABLE t", "CREATE TABLE t (a INTEGER)"],
        ["CREATE TABLE u (a INTEGER)", "ALTER TABLE t RENAME TO old", "ALTER TABLE u RENAME TO t"],
        ["DELETE FROM t"],
    ],
)
def test_rows_that_have_gone_fail_an_import(yard: Yard, look: Callable[[], object], statements: list[str]) -> None:
    change(yard, *statements)
    with pytest.raises(TargetChanged, match=r"rows were removed from table t, .* the table has 0; .* lading clone"):
        look()
    assert yard.sql("SELECT count(*) FROM t") == [(0,)]


def test_what_removes_no_row_is_no_change(yard: Yard, look: Callable[[], object]) -> None:
    before = yard.sql("SELECT count(*) FROM t")
    change(yard, "CREATE INDEX i ON t (a)", "COMMIT", "VACUUM", "BEGIN")
    copy = yard.database.with_name("copy")
    copy.write_bytes(yard.database.read_bytes())
    copy.replace(yard.database)
    look()
    assert yard.sql("SELECT count(*) FROM t") >= before


def test_a_database_without_the_job_is_not_written_into(yard: Yard, plan: ImportPlan) -> None:
    change(yard, "DELETE FROM lading_attempt")
    with pytest.raises(AttemptSuperseded, match="leads to another database"):
        yard.transfer.process(JOB, 1, plan, yard.chunks(plan)[2])


def test_a_ledger_of_an_older_version_is_completed(yard: Yard, plan: ImportPlan) -> None:
    change(yard, "DROP TABLE lading_target")
    assert len(yard.transfer.committed(JOB, 1, plan)) == 2
    yard.transfer.begin(JOB, 2, plan)
    change(yard, "DELETE FROM t")
    with pytest.raises(TargetChanged):
        yard.transfer.begin(JOB, 3, plan)
    change(yard, "DROP TABLE lading_target")
    yard.transfer.discard(JOB, plan)
    assert yard.sql("SELECT count(*) FROM lading_ledger") == [(0,)]


def test_a_trigger_that_deletes_rows_fails_the_job(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a INTEGER)")
    change(yard, "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t WHERE a = 3; END")
    plan = yard.plan_import(RECORDS)
    with pytest.raises(TargetRefused, match=r"a trigger deletes rows of table t \(1 in one chunk\)"):
        yard.run(plan, JOB)
    assert yard.sql("SELECT count(*) FROM t") == [(0,)]


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["DROP TABLE t", "CREATE TABLE u (a)", "CREATE TABLE t (a INTEGER)"], "another table"),
        (["DROP TABLE t", "CREATE TABLE t (a INTEGER)"], "rows were removed"),
        (["CREATE TABLE u (a)", "ALTER TABLE t RENAME TO old", "ALTER TABLE u RENAME TO t"], "another table"),
        (["DROP TABLE t"], "no table t any more"),
    ],
)
@pytest.mark.parametrize("way", ["process", "begin", "finish"])
def test_an_export_is_of_one_table(yard: Yard, statements: list[str], words: str, way: str) -> None:
    yard.sql("CREATE TABLE t (a INTEGER)")
    change(yard, *(f"INSERT INTO t VALUES ({number})" for number in range(20)))
    plan = yard.plan_export(chunk_keys=5)
    yard.transfer.begin(JOB, 1, plan)
    chunks = yard.transfer.cut("job", plan, None, 10)
    yard.transfer.process(JOB, 1, plan, chunks[0])
    change(yard, "CREATE INDEX i ON t (a)")
    yard.transfer.process(JOB, 1, plan, chunks[1])
    change(yard, *statements)
    ways: dict[str, Callable[[], object]] = {
        "process": lambda: yard.transfer.process(JOB, 1, plan, chunks[2]),
        "begin": lambda: yard.transfer.begin(JOB, 2, plan),
        "finish": lambda: yard.transfer.finish(JOB, plan, chunks),
    }
    with pytest.raises(SourceChanged, match=words):
        ways[way]()
