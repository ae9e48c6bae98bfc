"""The detected properties in a plan, and its errors with their fields."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import CsvFormat, ExportSpec, File, Header, ImportSpec, Table

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"a\0b\0c", "binary file: byte 1"),
        (b"id,name\n" + b"1,\x01\x02\x03\xe4\n" * 99, "nothing tells its encoding: name it"),
        (b'id,"name\n1,2\n', "never closed"),
    ],
)
def test_files_that_cannot_be_imported(yard: Yard, text: bytes, words: str) -> None:
    with pytest.raises(InvalidSpec, match=words) as caught:
        yard.plan_import(text)
    assert caught.value.field in ("files[0].path", "encoding")
    assert not yard.database.exists()


def test_files_outside_of_the_root_are_not_opened(yard: Yard, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.csv"
    outside.write_text("a\n1\n")
    (yard.directory / "link.csv").symlink_to(outside)
    (yard.directory / "sub").mkdir()
    (yard.directory / "inner.csv").write_text("a\n1\n")
    (yard.directory / "sub" / "good.csv").symlink_to(yard.directory / "inner.csv")
    os.mkfifo(yard.directory / "pipe")
    for path, words in {
        str(outside): "relative",
        "../x.csv": "relative",
        "sub/../inner.csv": "relative",
        "link.csv": "leads out",
        "missing.csv": "does not exist",
        "sub/deeper": "does not exist",
        "p*e": "matches no file",
        "pipe": "not a regular file",
        "": "is needed",
    }.items():
        with pytest.raises(InvalidSpec, match=words) as caught:
            yard.transfer.plan(ImportSpec(files=(File(path=path),), target=Table(table="t")))
        assert caught.value.field == "files[0].path"
    yard.transfer.plan(ImportSpec(files=(File(path="sub/good.csv"),), target=Table(table="t")))
    with pytest.raises(InvalidSpec, match="the daemon knows local"):
        yard.transfer.plan(ImportSpec(files=(File(root="else", path="x"),), target=Table(table="t")))


@pytest.mark.parametrize(
    ("target", "types", "csv", "field"),
    [
        (Table(connection="nowhere", table="t"), {}, CsvFormat(), "target.connection"),
        (Table(schema="other", table="t"), {}, CsvFormat(), "target.schema"),
        (Table(table=""), {}, CsvFormat(), "target.table"),
        (Table(table="SQLite_x"), {}, CsvFormat(), "target.table"),
        (Table(table="lading_ledger"), {}, CsvFormat(), "target.table"),
        (Table(table="view"), {}, CsvFormat(), "target.table"),
        (Table(table="strict"), {}, CsvFormat(), "target.table"),
        (Table(table="narrow"), {}, CsvFormat(), "target.table"),
        (Table(table="computed"), {}, CsvFormat(), "target.table"),
        (Table(table="t"), {"c": "text"}, CsvFormat(), "types.c"),
        (Table(table="t"), {"a": "number"}, CsvFormat(), "types.a"),
        (Table(table="t"), {"a": "decimal(2,5)"}, CsvFormat(), "types.a"),
        (Table(table="t"), {}, CsvFormat(delimiter="a\n"), "csv.delimiter"),
        (Table(table="t"), {}, CsvFormat(delimiter='"'), "csv.delimiter"),
        (Table(table="t"), {}, CsvFormat(delimiter=";", quote=";"), "csv.delimiter"),
        (Table(table="t"), {}, CsvFormat(quote="é"), "csv.quote"),
        (Table(table="t"), {}, CsvFormat(quote="\r"), "csv.quote"),
        (Table(table="t"), {}, CsvFormat(quote="\0"), "csv.quote"),
        (Table(table="t"), {}, CsvFormat(escape="ab"), "csv.escape"),
        (Table(table="t"), {}, CsvFormat(comment="#\n"), "csv.comment"),
    ],
)
def test_what_is_refused_names_its_field(
    yard: Yard, target: Table, types: dict[str, str], csv: CsvFormat, field: str
) -> None:
    yard.sql("CREATE VIEW view AS SELECT 1 AS a, 2 AS b")
    yard.sql("CREATE TABLE strict (a, b, c NOT NULL)")
    yard.sql("CREATE TABLE narrow (a)")
    yard.sql("CREATE TABLE computed (a, b AS (a + 1))")
    file = yard.write("a,b\n1,2\n")
    with pytest.raises(InvalidSpec) as caught:
        yard.transfer.plan(ImportSpec(files=(file,), target=target, types=types, csv=csv))
    assert caught.value.field == field


def test_columns_of_an_existing_table_rule(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (Id INTEGER PRIMARY KEY, name TEXT NOT NULL, born DATE, x DECIMAL(8,3), y DEFAULT 7)")
    plan = yard.plan_import("NAME,id,Born,x\nJo,1,2000-01-01,1\n")
    assert not plan.create_table
    assert [(c.source, c.target, c.type, c.nullable) for c in plan.columns] == [
        ("NAME", "name", "text", False),
        ("id", "Id", "integer", True),
        ("Born", "born", "date", True),
        ("x", "x", "decimal(8,3)", True),
    ]
    yard.run(plan)
    assert yard.sql("SELECT * FROM t") == [(1, "Jo", "2000-01-01", 1, 7)]


def test_without_a_header_columns_are_matched_by_place(yard: Yard) -> None:
    plan = yard.plan_import("1,2\n3,4\n")
    assert [column.source for column in plan.columns] == ["column1", "column2"]
    yard.run(plan)
    yard.sql("CREATE TABLE u (a INTEGER, b INTEGER, c INTEGER)")
    yard.run(yard.plan_import("1,2\n3,4\n", table="u", csv=CsvFormat(header=Header.ABSENT)), job_id="other")
    assert yard.sql("SELECT * FROM u") == [(1, 2, None), (3, 4, None)]


@pytest.mark.parametrize(
    ("text", "delimiter", "names"),
    [
        ("a;b\n1;2,5\n", ";", ["a", "b"]),
        ("a\tb\n1\tx,y\n", "\t", ["a", "b"]),
        ("a|b\nx|y\n", "|", ["a", "b"]),
        ("name\nJo\nAl\n", "\x1f", ["name"]),
        ("a,b\n", ",", ["a", "b"]),
        ("a;b\n", ";", ["a", "b"]),
        ('"x ""y""",b\n1,2\n', ",", ['x "y"', "b"]),
        ("a,,c\n1,2,3\n", ",", ["a", "column2", "c"]),
    ],
)
def test_dialects_are_detected(yard: Yard, text: str, delimiter: str, names: list[str]) -> None:
    plan = yard.plan_import(text)
    assert (plan.file.layout.details["delimiter"], [column.source for column in plan.columns]) == (delimiter, names)


def test_a_type_that_some_values_do_not_fit_is_noted(yard: Yard) -> None:
    plan = yard.plan_import("id,day\n" + "1,2024-01-01\n" * 220 + "\n2,2023-02-30\n")
    assert plan.notes == (
        ("day is read as date: 1 of 221 values will be refused, the first in line 223: it is not a date (YYYY-MM-DD)"),
    )


def test_exports_that_cannot_be(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a)")
    (yard.directory / "there.csv").write_text("mine")
    for table, path, field, words in (
        ("nope", "x.csv", "source.table", "there is no table"),
        ("t", "there.csv", "file.path", "--overwrite replaces it"),
        ("t", "no/x.csv", "file.path", "does not exist"),
        ("t", "../x.csv", "file.path", "relative"),
    ):
        with pytest.raises(InvalidSpec, match=words) as caught:
            yard.transfer.plan(ExportSpec(source=Table(table=table), file=File(path=path)))
        assert caught.value.field == field


def test_the_daemon_does_not_load_the_libraries_of_workers() -> None:
    code = (
        "import sys, ladingd.data.transfer, ladingd.data.rejects.files, ladingd.data.databases.connection\n"
        "print(sorted({'pyarrow', 'duckdb', 'numpy', 'adbc_driver_manager'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert answer.stdout.strip() == "[]"


def test_a_random_binary_file_is_refused(yard: Yard) -> None:
    with pytest.raises(InvalidSpec):
        yard.plan_import(random.Random(1).randbytes(4096))
    with pytest.raises(InvalidSpec, match="is a program, not a file of records"):
        yard.plan_import(Path(sys.executable).resolve().read_bytes()[:100_000])
