"""SQLite: staged records are merged into a table by a key."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.core.errors import TargetRefused
from ladingd.core.spec import Doubles
from ladingd.data.databases.sqlite.target import SqliteTarget
from ladingd.data.storage.work_dir import WorkDir
from tests.contract.databases import SqliteDatabase
from tests.contract.imports import OTHER, Pier, by, merged

if TYPE_CHECKING:
    from pathlib import Path


PEOPLE = ("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")


@pytest.fixture
def pier(tmp_path: Path) -> Pier:
    return Pier.of(SqliteDatabase(tmp_path / "harbour.db"), tmp_path / "files", WorkDir(directory=tmp_path / "work"))


@pytest.mark.parametrize(
    ("doubles", "names", "rejected"),
    [(Doubles.UPDATE, ["z"], 0), (Doubles.IGNORE, ["x"], 0), (Doubles.REJECT, ["x"], 2), (Doubles.REJECT_ALL, [], 3)],
)
def test_doubles_are_those_of_the_collation(pier: Pier, doubles: Doubles, names: list[str], rejected: int) -> None:
    pier.database.sql("CREATE TABLE t (code TEXT COLLATE NOCASE, name TEXT)")
    counts = pier.imported("code,name\nA,x\na,y\nA,z\n", **by("code", doubles=doubles))
    assert counts.rejected == rejected
    assert counts.doubles == (3 if doubles is Doubles.REJECT_ALL else 2)
    assert [name for _, name in pier.rows()] == names


@pytest.mark.parametrize(
    ("column", "kept", "text"),
    [("name TEXT COLLATE NOCASE", "'a'", "A"), ("name TEXT COLLATE RTRIM", "'a'", '"a "'), ("name", "1.0", "1")],
    ids=["case", "spaces", "type"],
)
def test_a_value_that_is_equal_and_not_identical_is_written(pier: Pier, column: str, kept: str, text: str) -> None:
    pier.database.sql(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {column})", f"INSERT INTO t VALUES (1, {kept})")
    file, options = f"id,name\n1,{text}\n", by("id") | ({"types": {"name": "integer"}} if column == "name" else {})
    assert merged(pier.imported(file, **options)) == {"updated": 1, "duplicates": 1}
    assert merged(pier.run(pier.plan(file, **options), OTHER)) == {"unchanged": 1, "duplicates": 1}


def test_a_refused_record_does_not_affect_the_others(pier: Pier) -> None:
    pier.database.sql(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE, age INTEGER CHECK (age < 100))",
        "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)",
    )
    counts = pier.imported("id,name,age\n1,c,1\n2,b,200\n3,c,3\n4,d,400\n5,e,5\n", **by("id"))
    assert merged(counts) == {"inserted": 1, "updated": 1, "rejected": 3, "duplicates": 1}
    assert pier.rows() == [(1, "c", 1), (2, "b", 2), (5, "e", 5)]


async def test_a_reject_names_the_column_of_the_source(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE)", "INSERT INTO t VALUES (1, 'a')")
    pier.imported("id,name\n1,a\n2,a\n3,c\n3,c\n", **by("id", doubles=Doubles.REJECT))
    assert await pier.rejects(chunks=2) == [(3, "CONSTRAINT", "name"), (5, "DOUBLE", "id")]


async def test_a_record_that_a_trigger_skips_is_rejected(pier: Pier) -> None:
    pier.database.sql(
        *PEOPLE,
        "CREATE TRIGGER g BEFORE UPDATE ON t WHEN new.name = 'x' BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TRIGGER h BEFORE INSERT ON t WHEN new.name = 'y' BEGIN SELECT RAISE(FAIL, 'no y'); END",
    )
    counts = pier.imported("id,name\n1,x\n2,c\n3,y\n4,d\n", **by("id"))
    assert merged(counts) == {"inserted": 1, "updated": 1, "rejected": 2, "duplicates": 1}
    assert await pier.rejects(chunks=2) == [(2, "IGNORED_BY_TRIGGER", ""), (4, "CONSTRAINT", "")]
    assert pier.rows() == [(1, "a"), (2, "c"), (4, "d")]


def test_a_trigger_that_changes_keys_costs_no_new_row_of_a_replacement(pier: Pier) -> None:
    pier.database.sql(
        "CREATE TABLE t (id TEXT UNIQUE, n INTEGER CHECK (n < 50))",
        "INSERT INTO t VALUES ('a', 1)",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET id = lower(id) WHERE rowid = new.rowid; END",
    )
    with pytest.raises(TargetRefused, match="changes the key of new rows"):
        pier.imported("id,n\nB,2\nc,3\nd,99\n", **by("id"), replace=True)
    assert pier.rows() == [("a", 1)]


@pytest.mark.parametrize(
    ("meanwhile", "numbers"),
    [
        (
            "CREATE TRIGGER g BEFORE UPDATE ON t WHEN new.name = 'x' BEGIN SELECT RAISE(IGNORE); END",
            {"inserted": 1, "updated": 1, "rejected": 1, "duplicates": 1},
        ),
        ("DROP INDEX only", {"inserted": 1, "updated": 2, "duplicates": 2}),
    ],
)
def test_a_table_that_changes_while_records_wait_is_merged(
    pier: Pier, monkeypatch: pytest.MonkeyPatch, meanwhile: str, numbers: dict[str, int]
) -> None:
    pier.database.sql(
        "CREATE TABLE t (id INTEGER, name TEXT)", "CREATE UNIQUE INDEX only ON t (id)",
        "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
    )  # fmt: skip
    begin_merge = SqliteTarget.begin_merge

    def changed(self: SqliteTarget, *given: Any) -> None:
        pier.database.sql(meanwhile)
        begin_merge(self, *given)

    monkeypatch.setattr(SqliteTarget, "begin_merge", changed)
    counts = pier.imported("id,name\n1,x\n2,c\n4,d\n", **by("id"))
    assert merged(counts) == numbers


def test_an_unchanged_row_fires_no_trigger(pier: Pier) -> None:
    pier.database.sql(
        *PEOPLE,
        "CREATE TABLE log (id)",
        "CREATE TRIGGER g AFTER UPDATE ON t BEGIN INSERT INTO log VALUES (new.id); END",
    )
    pier.imported("id,name\n1,a\n2,c\n", **by("id"))
    assert pier.database.sql("SELECT * FROM log") == [(2,)]


async def test_the_second_key_finds_records_without_the_first(pier: Pier) -> None:
    pier.database.sql(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, mail TEXT UNIQUE, name TEXT)",
        "INSERT INTO t VALUES (1, 'a@x', 'a'), (2, 'b@x', 'b')",
    )
    counts = pier.imported(
        "id,mail,name\n1,b@x,no\n2,b@x,two\n,a@x,one\n7,g@x,seven\n8,g@x,no\n,h@x,new\n",
        **by("id", second_key=("mail",)),
    )
    assert merged(counts) == {"inserted": 2, "updated": 2, "rejected": 2, "duplicates": 2}
    assert pier.rows() == [(1, "a@x", "one"), (2, "b@x", "two"), (7, "g@x", "seven"), (8, "h@x", "new")]
    assert await pier.rejects(chunks=2) == [(2, "KEYS_DISAGREE", ""), (6, "KEYS_DISAGREE", "")]


def test_the_default_of_a_key_is_taken_when_a_row_is_inserted(pier: Pier) -> None:
    pier.database.sql(
        "CREATE TABLE t (code TEXT NOT NULL DEFAULT (lower('X')), mail TEXT, name TEXT)",
        "INSERT INTO t VALUES ('a', 'a@x', 'a')",
    )
    pier.imported("code,mail,name\n,a@x,b\n,b@x,c\n", **by("code", second_key=("mail",)))
    assert pier.rows() == [("a", "a@x", "b"), ("x", "b@x", "c")]


def test_the_records_of_a_key_without_an_index_are_found(pier: Pier) -> None:
    pier.database.sql(
        "CREATE TABLE t (code TEXT, name TEXT CHECK (name <> 'bad'))", "INSERT INTO t VALUES ('a', 'x'), ('b', 'y')"
    )
    counts = pier.imported("code,name\na,z\nb,bad\nc,new\n", **by("code"))
    assert merged(counts) == {"inserted": 1, "updated": 1, "rejected": 1, "duplicates": 1}
    assert pier.rows() == [("a", "z"), ("b", "y"), ("c", "new")]
    with closing(sqlite3.connect(pier.database.url.removeprefix("sqlite://"))) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'index'").fetchone() == (0,)


def test_values_that_a_strict_table_refuses_are_rejected_when_they_are_staged(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER) STRICT")
    counts = pier.imported("id,n\n1,a\n2,2\n3,b\n4,4\n", types={"n": "text"}, **by("id"))
    assert merged(counts) == {"inserted": 2, "rejected": 2}
    assert pier.rows() == [(2, 2), (4, 4)]
