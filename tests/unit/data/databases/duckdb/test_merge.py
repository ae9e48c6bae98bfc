"""DuckDB: staged records are merged into a table by a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.spec import Doubles, Operation
from ladingd.data.storage.work_dir import WorkDir
from tests.contract.databases import DuckdbDatabase
from tests.contract.imports import OTHER, Pier, by, merged

if TYPE_CHECKING:
    from pathlib import Path


PEOPLE = ("CREATE TABLE t (id INTEGER PRIMARY KEY, name VARCHAR)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")


@pytest.fixture
def pier(tmp_path: Path) -> Pier:
    work_dir = WorkDir(directory=tmp_path / "work")
    return Pier.of(DuckdbDatabase(tmp_path / "harbour.duckdb", work_dir), tmp_path / "files", work_dir)


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


def test_a_text_that_is_equal_and_not_identical_is_written(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INT PRIMARY KEY, v TEXT COLLATE NOCASE)", "INSERT INTO t VALUES (1, 'a')")
    assert merged(pier.imported("id,v\n1,A\n", **by("id"))) == {"updated": 1, "duplicates": 1}
    assert merged(pier.run(pier.plan("id,v\n1,A\n", **by("id")), OTHER)) == {"unchanged": 1, "duplicates": 1}


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
    assert await pier.rejects(chunks=2) == [(3, "UNIQUE", "name"), (5, "DOUBLE", "id")]


async def test_every_kind_of_constraint_has_its_rejects(pier: Pier) -> None:
    pier.database.sql(
        "CREATE TABLE p (id INTEGER PRIMARY KEY)",
        "INSERT INTO p VALUES (1)",
        """CREATE TABLE t (id INTEGER PRIMARY KEY, name VARCHAR UNIQUE, p INTEGER REFERENCES p (id),
            age INTEGER CHECK (age < 100), code VARCHAR)""",
        "CREATE UNIQUE INDEX codes ON t (lower(code))",
        "INSERT INTO t VALUES (1, 'a', 1, 1, 'x'), (2, 'b', NULL, 2, 'y')",
    )
    lines = ["1,a2,1,1,X", "2,a,,2,y", "3,c,7,3,c", "4,d,1,400,d", "5,e,,5,Y", "6,f,,6,f", "7,f,,6,F2", "8,g,,6,F"]
    counts = pier.imported("id,name,p,age,code\n" + "\n".join(lines), **by("id"))
    assert merged(counts) == {"inserted": 1, "updated": 1, "rejected": 6, "duplicates": 1}
    assert await pier.rejects(chunks=2) == [
        (3, "UNIQUE", "name"),
        (4, "FOREIGN_KEY", "p"),
        (5, "CHECK", ""),
        (6, "UNIQUE", ""),
        (8, "UNIQUE", "name"),
        (9, "UNIQUE", ""),
    ]
    assert [row[0] for row in pier.rows()] == [1, 2, 6]


async def test_a_row_that_others_reference_stays(pier: Pier) -> None:
    pier.database.sql(*PEOPLE, "CREATE TABLE c (t INTEGER REFERENCES t (id))", "INSERT INTO c VALUES (1)")
    counts = pier.imported("id,name\n1,x\n2,x\n", **by("id", operation=Operation.DELETE))
    assert merged(counts) == {"deleted": 1, "rejected": 1, "duplicates": 1}
    assert await pier.rejects(chunks=2) == [(2, "FOREIGN_KEY", "id")]
    assert merged(pier.run(pier.plan("id,name\n1,x\n", **by("id")), OTHER)) == {"updated": 1, "duplicates": 1}


def test_a_sequence_is_moved_past_the_values_of_new_rows(pier: Pier) -> None:
    pier.database.sql(
        "CREATE SEQUENCE ids", "CREATE TABLE t (id INTEGER PRIMARY KEY DEFAULT nextval('ids'), name VARCHAR)"
    )
    pier.imported("id,name\n7,a\n5,b\n", **by("id"))
    pier.database.sql("INSERT INTO t (name) VALUES ('c')")
    assert pier.rows() == [(5, "b"), (7, "a"), (8, "c")]


async def test_the_second_key_finds_records_without_the_first(pier: Pier) -> None:
    pier.database.sql(
        "CREATE TABLE t (id INTEGER UNIQUE, mail TEXT UNIQUE, name TEXT)",
        "INSERT INTO t VALUES (1, 'a@x', 'a'), (2, 'b@x', 'b')",
    )
    counts = pier.imported(
        "id,mail,name\n1,b@x,no\n2,b@x,two\n,a@x,one\n7,g@x,seven\n8,g@x,no\n,h@x,new\n",
        **by("id", second_key=("mail",)),
    )
    assert merged(counts) == {"inserted": 2, "updated": 2, "rejected": 2, "duplicates": 2}
    assert pier.rows() == [(1, "a@x", "one"), (2, "b@x", "two"), (7, "g@x", "seven"), (None, "h@x", "new")]
    assert await pier.rejects(chunks=2) == [(2, "KEYS_DISAGREE", ""), (6, "KEYS_DISAGREE", "")]


def test_the_default_of_a_key_is_taken_when_a_row_is_inserted(pier: Pier) -> None:
    pier.database.sql(
        "CREATE TABLE t (code TEXT NOT NULL DEFAULT lower('X'), mail TEXT, name TEXT)",
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


async def test_values_of_other_types_are_rejected_when_they_are_staged(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, n ENUM ('a', 'b'))")
    counts = pier.imported("id,n\n1,a\n2,x\n3,b\n", **by("id"))
    assert merged(counts) == {"inserted": 2, "rejected": 1}
    assert await pier.rejects() == [(3, "INVALID_VALUE", "n")]
    assert pier.rows() == [(1, "a"), (3, "b")]
