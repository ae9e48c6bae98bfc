"""Hooks run exactly once in every kind of database, whatever happens in between."""

from __future__ import annotations

import itertools
import random
import threading
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import (
    AttemptSuperseded,
    InvalidSpec,
    SourceChanged,
    TargetChanged,
    TargetRefused,
    TargetUnavailable,
)
from ladingd.core.plan import Moment
from ladingd.core.spec import File, ImportSpec, Table
from ladingd.data.databases.commit import OutcomeUnknown
from ladingd.data.databases.hooks import Hook, HookRun, HookTransaction
from ladingd.data.databases.registry import target_of
from ladingd.data.databases.target import Target
from ladingd.data.transfer import BulkTransfer
from tests.contract.databases import TestDatabase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ladingd.data.storage.work_dir import WorkDir

JOB = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
OTHER = "0b8f6c1e-5a53-4a39-9f0e-3d0f5c7d2b11"
ADD = Hook(name="before 1", sql="INSERT INTO marks VALUES (1), (2)")


def unchecked() -> None:
    """Nothing to check."""


@dataclass
class Yard:
    """A database with an empty table ``marks``."""

    database: TestDatabase
    target: Target

    def run(self, hook: Hook = ADD, attempt: int = 1, job: str = JOB, check: Callable[[], None] = unchecked) -> HookRun:
        return self.target.run_hook(job, attempt, hook, check)

    def marks(self) -> int:
        ((number,),) = self.database.sql("SELECT count(*) FROM marks")
        return int(number)


@pytest.fixture
def yard(database: TestDatabase, work_dir: WorkDir) -> Yard:
    database.sql("CREATE TABLE marks (n INTEGER)")
    return Yard(database, target_of(database.connection, work_dir))


def test_a_hook_runs_once_however_often_it_is_called(yard: Yard) -> None:
    run = yard.run()
    assert (run.rows, run.earlier) == (2, False)
    for attempt in (1, 2):
        again = yard.run(attempt=attempt)
        assert (again.rows, again.earlier) == (2, True)
        assert again.seconds == pytest.approx(run.seconds)
    assert yard.marks() == 2
    assert not yard.run(job=OTHER).earlier, "each job has its own hooks"
    assert not yard.run(replace(ADD, name="after 1")).earlier
    assert yard.marks() == 6


def test_an_earlier_attempt_runs_no_hook(yard: Yard) -> None:
    yard.target.committed(JOB, 3)
    yard.run(attempt=3)
    with pytest.raises(AttemptSuperseded):
        yard.run(replace(ADD, name="before 2"), attempt=2)
    assert yard.marks() == 2


@pytest.mark.parametrize(
    ("sql", "rows", "marks"),
    [
        ("INSERT INTO marks VALUES (1); INSERT INTO marks VALUES (2), (3), (4);", 3, 4),
        ("INSERT INTO marks VALUES (1), (2), (3);\n-- one; two\nDELETE FROM marks WHERE n > 1", 2, 1),
        ("CREATE TABLE other (t VARCHAR(20)); INSERT INTO other VALUES ('a;b'); INSERT INTO marks VALUES (5)", 1, 1),
        ("INSERT INTO marks SELECT 100 % 7;;", 1, 1),
    ],
)
def test_a_hook_may_have_several_statements(yard: Yard, sql: str, rows: int, marks: int) -> None:
    assert yard.run(Hook(name="before 1", sql=sql)).rows == rows
    assert yard.marks() == marks


@pytest.mark.parametrize(
    "sql",
    [
        "COMMIT",
        "INSERT INTO marks VALUES (1); COMMIT; BEGIN",
        "ROLLBACK",
        "BEGIN",
        "INSERT INTO marks VALUES (1); SAVEPOINT a",
        "INSERT INTO marks VALUES (1); /* ; */ commit and chain",
    ],
)
def test_a_hook_cannot_end_its_transaction(yard: Yard, sql: str) -> None:
    with pytest.raises(TargetRefused, match="hook before 1 failed: "):
        yard.run(Hook(name="before 1", sql=sql))
    assert yard.marks() == 0
    assert not yard.run().earlier


def test_a_hook_that_fails_leaves_nothing_and_can_be_tried_again(yard: Yard) -> None:
    hook = Hook(name="after 1", sql="INSERT INTO marks VALUES (1); INSERT INTO missing VALUES (1)")
    with pytest.raises(TargetRefused, match=r"hook after 1 failed: .*missing"):
        yard.run(hook)
    assert yard.marks() == 0
    yard.database.sql("CREATE TABLE missing (n INTEGER)")
    assert not yard.run(hook).earlier
    assert yard.marks() == 1


def test_what_is_no_sql_fails(yard: Yard) -> None:
    for sql in ("TRUNKATE marks", "INSERT INTO marks VALUES ('", "INSERT INTO marks VALUES (1) /*"):
        if sql.endswith("/*") and yard.database.provider.name == "SQLite":
            continue  # SQLite ends a comment at the end of the text.
        with pytest.raises(TargetRefused, match="hook before 1 failed: "):
            yard.run(Hook(name="before 1", sql=sql))
    assert yard.marks() == 0


def test_the_check_comes_before_the_hook_and_after_the_question_whether_it_has_run(yard: Yard) -> None:
    def refuse() -> None:
        raise SourceChanged("the file is another one")

    with pytest.raises(SourceChanged):
        yard.run(check=refuse)
    assert yard.marks() == 0
    yard.run()
    assert yard.run(check=refuse).earlier


class Strike(Exception):
    """An unexpected end."""


class Struck(HookTransaction):
    """A transaction that calls a function at each moment."""

    def __init__(self, transaction: HookTransaction, strike: Callable[[str], None]) -> None:
        self._transaction = transaction
        self._strike = strike

    def claim(self, job_uid: str, attempt: int, hook: str) -> bool:
        claimed = self._transaction.claim(job_uid, attempt, hook)
        self._strike("claim")
        return claimed

    def entry(self, job_uid: str, hook: str) -> HookRun:
        return self._transaction.entry(job_uid, hook)

    def execute(self, sql: str) -> int | None:
        rows = self._transaction.execute(sql)
        self._strike("execute")
        return rows

    def count(self, job_uid: str, hook: str, run: HookRun) -> None:
        self._transaction.count(job_uid, hook, run)
        self._strike("count")

    def commit(self) -> None:
        self._strike("before commit")
        self._transaction.commit()
        self._strike("commit")


def struck(yard: Yard, strike: Callable[[str], None]) -> Callable[[str, int], AbstractContextManager[HookTransaction]]:
    @contextmanager
    def opening(job_uid: str, attempt: int) -> Iterator[HookTransaction]:
        with yard.target.hooking(job_uid, attempt) as transaction:
            yield Struck(transaction, strike)

    return opening


@pytest.mark.parametrize("moment", ["claim", "execute", "count", "before commit", "commit"])
@pytest.mark.parametrize("error", [Strike(), OutcomeUnknown(TargetUnavailable("gone"))], ids=["end", "unknown"])
def test_a_hook_is_not_left_out_and_not_run_twice(yard: Yard, moment: str, error: Exception) -> None:
    waiting = [moment]

    def strike(now: str) -> None:
        if waiting == [now]:
            waiting.clear()
            raise error

    if isinstance(error, Strike):
        with pytest.raises(Strike):
            ADD.run(JOB, 1, struck(yard, strike), unchecked)
        assert yard.marks() == (2 if moment == "commit" else 0)
    else:
        assert ADD.run(JOB, 1, struck(yard, strike), unchecked).earlier == (moment == "commit")
        assert yard.marks() == 2
    assert not waiting
    assert yard.run(attempt=2).rows == 2
    assert yard.marks() == 2


def test_however_often_attempts_end_each_hook_runs_once_and_in_order(yard: Yard) -> None:
    chance = random.Random(14)
    moments = ["claim", "execute", "count", "before commit", "commit"]
    for job in range(8):
        uid, first = f"job {job}", job * 10
        hooks = [
            Hook(name=f"before {place}", sql=f"INSERT INTO marks VALUES ({first + place})")
            for place in range(1, chance.randint(2, 4))
        ]
        for attempt in itertools.count(1):
            waiting = [chance.choice(moments)] if chance.random() < 0.8 and attempt < 9 else []

            def strike(now: str, waiting: list[str] = waiting) -> None:
                if waiting == [now] and chance.random() < 0.5:
                    waiting.clear()
                    raise chance.choice([Strike(), OutcomeUnknown(TargetUnavailable("gone"))])

            try:
                for hook in hooks:
                    hook.run(uid, attempt, struck(yard, strike), unchecked)
            except Strike:
                there = yard.database.sql(f"SELECT n FROM marks WHERE n BETWEEN {first} AND {first + 9} ORDER BY n")
                assert there == [(first + place,) for place in range(1, len(there) + 1)]
                continue
            break
        there = yard.database.sql(f"SELECT n FROM marks WHERE n BETWEEN {first} AND {first + 9} ORDER BY n")
        assert there == [(first + place,) for place in range(1, len(hooks) + 1)]


def test_two_calls_at_once_run_a_hook_once(yard: Yard) -> None:
    runs: list[HookRun] = []
    yard.target.committed(JOB, 1)

    def call() -> None:
        runs.append(yard.run())

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(run.earlier for run in runs) == [False, True, True, True]
    assert yard.marks() == 2


def test_discarding_a_job_forgets_its_hooks(yard: Yard) -> None:
    yard.run()
    yard.run(job=OTHER)
    yard.target.discard(JOB)
    assert yard.run(job=OTHER).earlier
    assert not yard.run().earlier


def test_an_older_ledger_is_extended(yard: Yard) -> None:
    yard.run()
    table = next(name for name in yard.database.tables() if name.rpartition(".")[2] in ("hook", "lading_hook"))
    spelled = table if yard.database.provider.name != "PostgreSQL" else f"lading.{table}"
    yard.database.sql(f"DROP TABLE {spelled}")
    yard.target.discard(OTHER)
    assert not yard.run().earlier


@dataclass
class Voyage:
    """A job of a file with three records, through a connection that allows hooks."""

    database: TestDatabase
    transfer: BulkTransfer
    file: Path
    spec: ImportSpec = field(
        default_factory=lambda: ImportSpec(
            files=(File(path="in.csv"),),
            target=Table(connection="harbour", table="t"),
            before=("INSERT INTO marks VALUES (1)", "INSERT INTO marks VALUES (2)"),
            after=("INSERT INTO marks SELECT id FROM t",),
        )
    )

    def marks(self) -> list[int]:
        return [n for (n,) in self.database.sql("SELECT n FROM marks ORDER BY n")]


@pytest.fixture
def voyage(database: TestDatabase, tmp_path: Path, work_dir: WorkDir) -> Voyage:
    (tmp_path / "files").mkdir()
    file = tmp_path / "files" / "in.csv"
    file.write_text("id,name\n11,a\n12,b\n13,c\n")
    database.sql("CREATE TABLE marks (n INTEGER)")
    connection = replace(database.connection, hooks=True)
    transfer = BulkTransfer(connections={"harbour": connection}, roots={"local": file.parent}, work_dir=work_dir)
    return Voyage(database, transfer, file)


def test_the_hooks_of_a_job_run_around_its_records(voyage: Voyage) -> None:
    plan = voyage.transfer.plan(voyage.spec)
    assert voyage.marks() == [], "planning runs nothing"
    for number in range(2):
        note = voyage.transfer.run_hook(JOB, 1, plan, Moment.BEFORE, number)
        assert note.text.startswith(f"hook before {number + 1} of 2: 1 row, 0.")
    voyage.transfer.begin(JOB, 1, plan)
    chunks = voyage.transfer.cut(JOB, plan, None, 9)
    for chunk in chunks:
        voyage.transfer.process(JOB, 1, plan, chunk)
    voyage.transfer.finish(JOB, plan, chunks)
    assert voyage.marks() == [1, 2]
    note = voyage.transfer.run_hook(JOB, 1, plan, Moment.AFTER, 0)
    assert note.text.startswith("hook after 1 of 1: 3 rows, 0.")
    assert voyage.marks() == [1, 2, 11, 12, 13]
    note = voyage.transfer.run_hook(JOB, 2, plan, Moment.AFTER, 0)
    assert note.text.startswith("hook after 1 of 1 has run already: 3 rows, 0.")


def test_no_hook_runs_for_a_file_that_has_changed(voyage: Voyage) -> None:
    plan = voyage.transfer.plan(voyage.spec)
    voyage.file.write_text("id,name\n11,a\n")
    with pytest.raises(SourceChanged):
        voyage.transfer.run_hook(JOB, 1, plan, Moment.BEFORE, 0)
    assert voyage.marks() == []


def test_a_connection_must_allow_hooks(voyage: Voyage) -> None:
    plan = voyage.transfer.plan(voyage.spec)
    connections = {"harbour": voyage.database.connection}
    transfer = replace(voyage.transfer, connections=connections)
    for name, spec in (("before", replace(voyage.spec, after=())), ("after", replace(voyage.spec, before=()))):
        with pytest.raises(InvalidSpec, match=r"hooks = true in \[connections.harbour\]") as caught:
            transfer.plan(spec)
        assert caught.value.field == name
    with pytest.raises(TargetRefused, match=r"does not allow hooks any more: set hooks = true"):
        transfer.run_hook(JOB, 1, plan, Moment.BEFORE, 0)
    assert voyage.marks() == []


def test_a_file_without_records_has_hooks(voyage: Voyage) -> None:
    voyage.file.write_text("")
    plan = voyage.transfer.plan(replace(voyage.spec, after=("INSERT INTO marks VALUES (9)",)))
    for number in range(2):
        voyage.transfer.run_hook(JOB, 1, plan, Moment.BEFORE, number)
    assert voyage.transfer.begin(JOB, 1, plan) == ()
    voyage.transfer.finish(JOB, plan, ())
    voyage.transfer.run_hook(JOB, 1, plan, Moment.AFTER, 0)
    assert voyage.marks() == [1, 2, 9]


def test_a_hook_that_makes_the_table_makes_the_plan_outdated(voyage: Voyage) -> None:
    spec = replace(voyage.spec, before=("CREATE TABLE t (id INTEGER NOT NULL, name VARCHAR(20), extra INTEGER)",))
    plan = voyage.transfer.plan(spec)
    voyage.transfer.run_hook(JOB, 1, plan, Moment.BEFORE, 0)
    with pytest.raises(TargetChanged, match="table t is there now, with columns 'id', 'name', 'extra'"):
        voyage.transfer.begin(JOB, 1, plan)
    again = voyage.transfer.plan(spec)
    note = voyage.transfer.run_hook(JOB, 1, again, Moment.BEFORE, 0)
    assert note.text.startswith("hook before 1 of 1 has run already")
    voyage.transfer.begin(JOB, 1, again)
    (chunk,) = voyage.transfer.cut(JOB, again, None, 9)
    assert voyage.transfer.process(JOB, 1, again, chunk).inserted == 3
