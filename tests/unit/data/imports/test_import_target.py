"""Unusual tables, and tables that have changed since the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import (
    DestinationRefused,
    DiskFull,
    InvalidSpec,
    SourceChanged,
    TargetBusy,
    TargetChanged,
    TargetRefused,
    TargetUnavailable,
)
from ladingd.core.job import Connector
from ladingd.data.databases.sqlite import target
from ladingd.data.databases.sqlite.session import _blame
from ladingd.data.storage.work_dir import write_durably
from tests.unit.data.imports.test_import import rejects_of

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard

JOB = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"


@pytest.mark.parametrize(
    "declaration",
    ["CREATE TABLE t (a INTEGER, c TEXT)", "CREATE TABLE t (a TEXT, b TEXT)", "CREATE TABLE t (a INTEGER, b NOT NULL)"],
)
def test_a_table_that_was_made_meanwhile_is_not_the_planned_one(yard: Yard, declaration: str) -> None:
    plan = yard.plan_import("a,b\n1,x\n")
    yard.sql(declaration)
    with pytest.raises(TargetChanged, match="table t is there now, with columns 'a'"):
        yard.transfer.begin(JOB, 1, plan)
    assert yard.sql("SELECT count(*) FROM sqlite_master WHERE name = 'lading_ledger'") == [(0,)]


def test_a_table_like_the_planned_one_is_used(yard: Yard) -> None:
    plan = yard.plan_import("a,b\n1,x\n")
    yard.transfer.begin(JOB, 1, plan)
    yard.transfer.begin(JOB, 2, plan)
    assert yard.transfer.process(JOB, 2, plan, yard.chunks(plan)[0]).inserted == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ALTER TABLE t RENAME COLUMN b TO c", "no column 'b'"),
        ("ALTER TABLE t RENAME TO u", "table t is gone"),
        ("ALTER TABLE t ADD COLUMN c NOT NULL DEFAULT 1", ""),
        ("CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT RAISE(ROLLBACK, 'no'); END", "ROLLBACK"),
    ],
)
@pytest.mark.parametrize("used", [True, False])
def test_a_table_that_the_plan_does_not_fit_any_more(yard: Yard, change: str, words: str, used: bool) -> None:
    yard.sql("CREATE TABLE t (a, b)")
    plan = yard.plan_import("a,b\n1,x\n")
    if used:
        yard.run(plan, JOB)
    yard.sql(change)
    if not words:
        yard.transfer.begin(JOB, 2, plan)
        return
    with pytest.raises(TargetChanged, match=words):
        yard.transfer.begin(JOB, 2, plan)


@pytest.mark.parametrize("word", ["ROLLBACK", "REPLACE", "IGNORE", "FAIL"])
def test_tables_that_resolve_conflicts_in_their_own_way_are_refused(yard: Yard, word: str) -> None:
    yard.sql(f"CREATE TABLE t (a INTEGER UNIQUE /* so */ ON\n conflict {word}, b)")
    with pytest.raises(InvalidSpec, match=f"ON CONFLICT {word}") as caught:
        yard.plan_import("a,b\n1,x\n")
    assert caught.value.field == "target.table"


def test_words_in_names_texts_and_comments_are_no_clauses(yard: Yard) -> None:
    yard.sql(
        "CREATE TABLE t (a INTEGER UNIQUE ON CONFLICT ABORT, [on conflict ignore] DEFAULT 'on conflict fail', "
        '"on conflict rollback" /* on conflict replace */)'
    )
    yard.run(yard.plan_import("a\n1\n"))


def test_virtual_tables_are_refused(yard: Yard) -> None:
    yard.sql("CREATE VIRTUAL TABLE t USING fts5(a)")
    for table in ("t", "t_data"):
        with pytest.raises(InvalidSpec, match="virtual") as caught:
            yard.plan_import("a\n1\n", table=table)
        assert caught.value.field == "target.table"


@pytest.mark.parametrize(
    "declarations",
    [
        ["CREATE TABLE t (a INTEGER UNIQUE ON CONFLICT ROLLBACK)"],
        [
            "CREATE TABLE t (a INTEGER)",
            "CREATE TRIGGER g BEFORE INSERT ON t WHEN new.a = 2 BEGIN SELECT RAISE(ROLLBACK, 'Ann is bad'); END",
        ],
    ],
)
def test_a_transaction_that_a_record_ended_is_noticed(
    yard: Yard, declarations: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for declaration in declarations:
        yard.sql(declaration)
    with monkeypatch.context() as patch:
        patch.setattr(target, "unusable", lambda _: None)
        plan = yard.plan_import("a\n1\n2\n2\n3\n")
        yard.transfer.begin(JOB, 1, plan)
        with pytest.raises(TargetRefused, match="rolls back the whole transaction") as caught:
            yard.transfer.process(JOB, 1, plan, yard.chunks(plan)[0])
    # A trigger's message may contain values of records, which must not get into the journal.
    assert "Ann" not in caught.value.message
    assert yard.sql("SELECT * FROM t") == []
    assert yard.sql("SELECT count(*) FROM lading_ledger") == [(0,)]


@pytest.mark.parametrize("extra", ["", "CREATE TRIGGER x AFTER INSERT ON t BEGIN INSERT INTO seen VALUES (new.a); END"])
def test_records_that_a_trigger_ignores_are_rejects(yard: Yard, extra: str) -> None:
    yard.sql("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    yard.sql("CREATE TABLE seen (a)")
    yard.sql("CREATE TRIGGER g BEFORE INSERT ON t WHEN new.a % 10 = 3 BEGIN SELECT RAISE(IGNORE); END")
    yard.sql("CREATE TRIGGER h AFTER INSERT ON t WHEN new.a = 5 BEGIN SELECT RAISE(IGNORE); END")
    if extra:
        yard.sql(extra)
    plan = yard.plan_import("a,b\n" + "".join(f"{i},x\n" for i in range(1, 3001)) + "7,again\n")
    counts = yard.run(plan)
    rejects = rejects_of(yard, plan)
    ignored = [reject for reject in rejects if reject.code == "IGNORED_BY_TRIGGER"]
    assert [reject.line for reject in ignored] == list(range(4, 3001, 10))
    assert {(reject.connector, reject.message) for reject in ignored} == {
        (Connector.DATABASE, "a trigger of table t ignores this record")
    }
    assert counts == Counts(read=3001, inserted=2700, rejected=301, errors=301)
    assert yard.sql("SELECT count(*) FROM t") == [(2700,)]


@pytest.mark.parametrize(
    ("check", "bad"), [("json(a) IS NOT NULL", "{"), ("abs(CAST(a AS INTEGER)) > 0", str(-1 << 63))]
)
@pytest.mark.parametrize("trigger", [False, True])
def test_whatever_stops_the_statement_of_a_record_is_its_own_fault(
    yard: Yard, check: str, bad: str, trigger: bool
) -> None:
    yard.sql(f"CREATE TABLE t (a TEXT CHECK ({check}))")
    if trigger:
        yard.sql("CREATE TRIGGER g BEFORE INSERT ON t WHEN new.a = '5' BEGIN SELECT RAISE(ABORT, 'is locked'); END")
    plan = yard.plan_import("a\n1\n" + f"{bad}\n" + "2\n" * 3000 + f"{bad}\n5\n")
    yard.run(plan)
    messages = [reject.message for reject in rejects_of(yard, plan)]
    assert len(messages) == 2 + trigger
    assert messages[0] in ("malformed JSON", "integer overflow")
    assert not trigger or messages[-1] == "is locked"


def test_the_world_is_to_blame_for_its_own_sentences_only() -> None:
    for text, kind in {
        "INTERNAL: failed to execute: database or disk is full\nquery was: x": DiskFull,
        "IO: Failed to step query: disk I/O error": TargetRefused,
        "INTERNAL: failed to execute: database is locked\nquery was: x": TargetBusy,
        "INTERNAL: failed to prepare: no such table: main.t\nquery was: x": TargetRefused,
        "NOT_IMPLEMENTED: Column 0 has unsupported type": TargetRefused,
    }.items():
        assert type(_blame(Exception(text))) is kind


@pytest.mark.parametrize(("table", "name"), [("t", "a.b"), ("t.a", "b"), ("t", "a, b"), ("t", "a,t.b")])
def test_a_constraint_names_its_column_and_the_text_of_the_file(yard: Yard, table: str, name: str) -> None:
    yard.sql(f'CREATE TABLE "{table}" ("{name}" REAL UNIQUE, other REAL)')
    plan = yard.plan_import(f'other,"{name}"\n1,"1.50"\n2,+1.5\n', table=table)
    yard.run(plan)
    (reject,) = rejects_of(yard, plan)
    assert (reject.column, reject.value) == (name, "+1.5")


def test_a_constraint_of_several_columns_names_none(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a, b, UNIQUE (a, b))")
    plan = yard.plan_import("a,b\n1,x\n1,x\n")
    yard.run(plan)
    (reject,) = rejects_of(yard, plan)
    assert (reject.column, reject.value) == ("", "")
    assert reject.message == "UNIQUE constraint failed: t.a, t.b (line 2 of the file has the same key)"


def test_a_source_that_changed_while_it_was_read_is_noticed_at_the_end(yard: Yard) -> None:
    plan = yard.plan_import("a\n1\n2\n")
    yard.transfer.begin(JOB, 1, plan)
    chunks = yard.chunks(plan)
    yard.transfer.process(JOB, 1, plan, chunks[0])
    yard.transfer.finish(JOB, plan, chunks)
    yard.write("a\n1\n3\n")
    with pytest.raises(SourceChanged):
        yard.transfer.finish(JOB, plan, chunks)


def test_a_work_directory_that_cannot_be_used_is_named(yard: Yard) -> None:
    (yard.directory / "work").write_text("a file")
    plan = yard.plan_import("a\n1\n")
    with pytest.raises(DestinationRefused, match=r"its directory .*/locks: "):
        yard.transfer.begin(JOB, 1, plan)
    with pytest.raises(DestinationRefused, match="its directory"):
        write_durably(yard.work_dir.rejects(JOB, 0), [b"x"])


def test_a_byte_that_changed_in_the_middle_of_the_file_is_noticed(yard: Yard) -> None:
    text = "a,b\n" + "".join(f"{number:09d},some text\n" for number in range(20_000))
    plan = yard.plan_import(text, chunk_bytes=100_000)
    yard.transfer.begin(JOB, 1, plan)
    chunks = yard.chunks(plan)
    yard.transfer.process(JOB, 1, plan, chunks[1])
    yard.write(text)  # the same bytes with another time
    yard.transfer.check_source("job", plan, chunks)
    middle = 4 + 20 * 11_000
    assert chunks[1].end < middle < chunks[-1].start, "neither in the head nor in the tail"
    yard.write(f"{text[:middle]}7{text[middle + 1 :]}")
    changed = next(chunk for chunk in chunks if chunk.start <= middle < chunk.end)
    changes = "have changed since they were read"
    with pytest.raises(SourceChanged, match=changes):
        yard.transfer.process(JOB, 1, plan, changed)
    with pytest.raises(SourceChanged, match=f"its bytes {changed.start:,} to {changed.end:,} {changes}"):
        yard.transfer.check_source("job", plan, chunks)
    yard.transfer.check_source("job", plan, chunks[:2])
    with pytest.raises(SourceChanged, match=changes):
        yard.transfer.finish(JOB, plan, chunks)


@pytest.mark.parametrize(
    "declaration",
    [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL, ratio REAL) STRICT",
        "CREATE TABLE t (name TEXT, id INTEGER, ratio REAL, PRIMARY KEY (id)) WITHOUT ROWID",
    ],
)
def test_tables_that_are_stricter_than_others(yard: Yard, declaration: str) -> None:
    yard.sql(declaration)
    plan = yard.plan_import("id,name,ratio\n1,a,0.5\n2,b,\n1,c,\nx,d,\n3,e,much\n")
    assert yard.run(plan) == Counts(read=5, inserted=2, rejected=3, errors=3)
    assert yard.sql("SELECT id, name, ratio FROM t ORDER BY id") == [(1, "a", 0.5), (2, "b", None)]
    assert [(each.line, each.column, each.connector) for each in rejects_of(yard, plan)] == [
        (4, "id", Connector.DATABASE),
        (5, "id", Connector.TEXT),
        (6, "ratio", Connector.TEXT),
    ]


def test_a_database_whose_directory_is_gone_is_away_and_not_empty(yard: Yard) -> None:
    plan = yard.plan_import("a\n1\n")
    yard.run(plan, JOB)
    gone = yard.directory.with_name("gone")
    yard.directory.rename(gone)
    with pytest.raises(TargetUnavailable, match="directory"):
        yard.transfer.committed(JOB, 2, plan)
    gone.rename(yard.directory)
