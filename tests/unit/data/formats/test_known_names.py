"""Headers whose names only the table knows."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from openpyxl import Workbook

from ladingd.core.spec import ColumnMapping, CsvFormat, Header, ImportSpec, Table

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard


def workbook(*rows: tuple[str, ...]) -> bytes:
    book = Workbook()
    for row in rows:
        book.active.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


FILES: dict[str, str | bytes] = {
    "text.csv": "A,B,C\nx,y,z\nu,v,w\n",
    "text.txt": "A    B    C\nxx   yy   zz\nuu   vv   ww\nxy   yz   zu\n",
    "text.xlsx": workbook(("A", "B", "C"), ("x", "y", "z"), ("u", "v", "w")),
}


def spec_of(yard: Yard, name: str) -> ImportSpec:
    form = "fixed_width" if name.endswith(".txt") else ""
    return ImportSpec(files=(yard.write(FILES[name], name),), target=Table(table="t"), file_format=form)


@pytest.mark.parametrize("name", FILES)
def test_a_first_record_of_names_of_the_table_is_a_header(yard: Yard, name: str) -> None:
    yard.sql("CREATE TABLE t (c TEXT, a TEXT, b TEXT, d TEXT)")
    spec = spec_of(yard, name)
    plan: Any = yard.transfer.plan(spec)
    assert "header: yes" in plan.detected
    yard.run(plan)
    assert ("A", "B", "C") not in yard.sql("SELECT a, b, c FROM t")


@pytest.mark.parametrize("name", FILES)
def test_without_such_a_table_it_is_a_record(yard: Yard, name: str) -> None:
    yard.sql("CREATE TABLE t (a TEXT, b TEXT, x TEXT)")
    spec = spec_of(yard, name)
    plan: Any = yard.transfer.plan(spec)
    assert "header: no" in plan.detected
    yard.run(plan)
    assert ("A", "B", "C") in yard.sql("SELECT * FROM t")


def test_the_user_decides(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a TEXT, b TEXT, c TEXT)")
    yard.run(yard.plan_import(FILES["text.csv"], csv=CsvFormat(header=Header.ABSENT)))
    assert yard.sql("SELECT count(*) FROM t") == [(3,)]


def test_names_of_the_mapping_count_as_well(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (first TEXT, b TEXT)")
    mapped = (ColumnMapping(source="A", target="first"),)
    yard.run(yard.plan_import(FILES["text.csv"], columns=mapped, ignored_columns=("C",)))
    assert yard.sql("SELECT * FROM t") == [("x", "y"), ("u", "v")]


def test_all_files_of_a_job_have_such_a_header(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a TEXT, b TEXT)")
    files = (yard.write("A,B\nx,y\n", "one.csv"), yard.write("B,A\nv,u\n", "two.csv"))
    yard.run(yard.transfer.plan(ImportSpec(files=files, target=Table(table="t"))))
    assert yard.sql("SELECT * FROM t") == [("x", "y"), ("u", "v")]


def test_a_file_of_names_alone_has_no_records(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a TEXT, b TEXT)")
    assert yard.run(yard.plan_import("A,B\n")).read == 0


def test_names_that_empty_fields_get_are_no_header(yard: Yard) -> None:
    yard.run(yard.plan_import("1,x\n2,y\n", csv=CsvFormat(header=Header.ABSENT)))
    counts = yard.run(yard.plan_import(",\n3,z\n"), "second")
    assert (counts.read, yard.sql("SELECT count(*) FROM t")) == (2, [(4,)])
