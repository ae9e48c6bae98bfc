"""SQLite's values survive an export and import with the same type, or the job says that they do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.bill import Counts
from tests.unit.data.imports.test_import import codes, rejects_of

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard

TYPES: dict[str, list[str]] = {
    "INTEGER": ["-9223372036854775808", "9223372036854775807", "0", "1e3"],
    "TINYINT": ["-1", "255"],
    "REAL": ["1", "-0.0", "0.1", "1e22", "9e999", "-9e999", "1.7976931348623157e308", "5e-324",
             "9007199254740993", "0.0"],
    "DOUBLE PRECISION": ["0.1 + 0.2", "123456789012345680.0", "-9e999"],
    "NUMERIC": ["1", "1.5", "1e22", "9007199254740993", "-9223372036854775808", "9e999", "0.1", "-0.0"],
    "DECIMAL(10,2)": ["12", "12.5", "-0.01", "99999999.99"],
    "BOOLEAN": ["0", "1", "true", "false"],
    "TEXT": ["''", "' '", "'1.50'", "'0123'", "'1e5'", "'\\x41'", "'NaN'", "'inf'", "'null'", "'t'", "'a\"b,c'",
             "char(10)", "'é☃𝄞'", "'2024-01-01'", "char(65279) || 'x'", "12", "1.5"],
    "VARCHAR(3)": ["'longer than three'", "'abc'"],
    "DATE": ["'2024-02-29'", "'0001-01-01'"],
    "TIME": ["'10:30'", "'23:59:59.999999'"],
    "TIMESTAMP": ["'2024-02-29 23:59:59.5'", "'2024-02-29T10:30:00'"],
    "DATETIME": ["'2024-02-29 00:00:00'"],
    "UUID": ["'FFFFFFFF-ffff-4fff-8fff-ffffffffffff'"],
    "JSON": ["'{\"a\": [1.0]}'"],
    "BLOB": ["x''", "x'00ff'", "x'5c783431'", "randomblob(1000)", "zeroblob(9)"],
    "LONGBLOB": ["x'41'", "'text'", "''", "'\\'"],
    "": ["x'41'", "'text'", "x''", "'\\xyz'", "''"],
}  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_comes_back(yard: Yard, kind: str) -> None:
    for table in ("t", "again"):
        yard.sql(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, v {kind}, w TEXT)")
    values = [*TYPES[kind], "NULL", *TYPES[kind]]
    yard.sql("INSERT INTO t VALUES " + ", ".join(f"({row}, {value}, 'x')" for row, value in enumerate(values)))
    yard.run(yard.plan_export(), job_id="out")
    plan = yard.plan_import((yard.directory / "out.csv").read_bytes(), table="again")
    assert (yard.run(plan, job_id="in"), rejects_of(yard, plan, "in")) == (
        Counts(read=len(values), inserted=len(values)),
        [],
    )
    for one, other in (("t", "again"), ("again", "t")):
        told = "id, typeof(v), CASE typeof(v) WHEN 'real' THEN v ELSE quote(v) END, w"
        assert yard.sql(f"SELECT {told} FROM {one} EXCEPT SELECT {told} FROM {other}") == []


def test_a_nan_is_null_in_sqlite_on_the_way_out_and_in(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (id INTEGER, v REAL)")
    yard.sql("INSERT INTO t VALUES (1, 9e999 - 9e999)")
    yard.run(yard.plan_export(), job_id="out")
    assert (yard.directory / "out.csv").read_text() == "id,v\n1,\n"
    assert yard.run(yard.plan_import("id,v\n2,NaN\n")).inserted == 1
    assert yard.sql("SELECT v FROM t WHERE id = 2") == [(None,)]


@pytest.mark.parametrize("trigger", [False, True])
def test_bytes_text_and_what_is_neither(yard: Yard, trigger: bool) -> None:
    yard.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)")
    if trigger:
        yard.sql("CREATE TRIGGER g BEFORE INSERT ON t WHEN new.id = 5 BEGIN SELECT RAISE(IGNORE); END")
    values = ["\\xAbC0", "\\xabc", "text", "\\x4g", "\\x", "\\X41", "", '""', "x41"]
    plan = yard.plan_import("id,v\n" + "".join(f"{row},{value}\n" for row, value in enumerate(values)))
    yard.run(plan)
    assert codes(rejects_of(yard, plan))[:2] == [(3, "v", "NOT_BYTES"), (5, "v", "NOT_BYTES")]
    assert len(rejects_of(yard, plan)) == 2 + trigger
    first = rejects_of(yard, plan)[0]
    assert first.message == "'\\xabc' begins as bytes do, but pairs of hexadecimal digits do not follow"
    kept = yard.sql("SELECT id, quote(v) FROM t ORDER BY id")
    there = [(0, "X'ABC0'"), (2, "'text'"), (4, "X''"), (5, "'\\X41'"), (6, "NULL"), (7, "''"), (8, "'x41'")]
    assert kept == [row for row in there if not (trigger and row[0] == 5)]


def test_a_double_key_among_bytes_and_text_costs_no_other_record(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (v BLOB PRIMARY KEY)")
    values = ["\\x41", "A", "\\x42", "\\x41", "B", "A", "\\x43"]
    plan = yard.plan_import("v\n" + "".join(f"{value}\n" for value in values))
    yard.run(plan)
    assert [line for line, *_ in codes(rejects_of(yard, plan))] == [5, 7]
    assert yard.sql("SELECT quote(v) FROM t ORDER BY rowid") == [("X'41'",), ("'A'",), ("X'42'",), ("'B'",), ("X'43'",)]


def test_a_column_without_a_type_says_what_comes_back(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a, b BLOB, c TEXT)")
    assert yard.plan_export().notes == (
        "columns for values of any kind (a, b): an import of the file stores bytes as bytes, all else as text",
    )


@pytest.mark.parametrize(
    ("declared", "value", "told"),
    [
        ("TEXT", "x'41'", "bytes or NUL bytes there: an import of the file makes text of bytes and refuses text with"),
        ("INTEGER", "1.5", "values of another kind there: an import of the file refuses them"),
        ("INTEGER", "'x'", "values of another kind there"),
        ("REAL", "x'41'", "values of another kind there"),
        ("BOOLEAN", "2", "values of another kind there"),
        ("DATE", "1700000000", "values of another kind there"),
        ("TIMESTAMP", "julianday('now')", "values of another kind there"),
    ],
)
def test_an_export_says_what_does_not_come_back(yard: Yard, declared: str, value: str, told: str) -> None:
    yard.sql(f"CREATE TABLE t (id INTEGER, v {declared})")
    yard.sql(f"INSERT INTO t VALUES (1, NULL), (2, {value}), (3, {value})")
    plan = yard.plan_export()
    (note,) = plan.notes
    assert note.startswith(f"column v is declared {declared}, and 2 of the first 1,000 rows have {told}")
    yard.run(plan, job_id="out")
    again = yard.plan_import((yard.directory / "out.csv").read_bytes())
    yard.sql("DELETE FROM t")
    yard.run(again, job_id="in")
    rejected = [(line, column) for line, column, _ in codes(rejects_of(yard, again, "in"))]
    assert rejected == ([] if declared == "TEXT" else [(3, "v"), (4, "v")])


def test_an_export_says_that_nul_bytes_do_not_come_back(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (id INTEGER, v TEXT)")
    yard.sql("INSERT INTO t VALUES (1, 'a' || char(0) || 'b')")
    (note,) = yard.plan_export().notes
    assert note.endswith("refuses text with NUL bytes")


def test_autoincrement_goes_on_behind_imported_keys(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT)")
    yard.run(yard.plan_import("id,name\n5,x\n900,y\n3,z\n"))
    yard.sql("DELETE FROM t WHERE id = 900")
    yard.sql("INSERT INTO t (name) VALUES ('next')")
    assert yard.sql("SELECT max(id) FROM t") == [(901,)]
