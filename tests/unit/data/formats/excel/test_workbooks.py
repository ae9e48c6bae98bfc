"""Workbooks as people have them: titles, gaps, errors, several sheets, damage."""

from __future__ import annotations

import io
import json
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import openpyxl
import pyarrow as pa
import pytest

from ladingd.core.errors import InvalidSpec, SourceUnreadable
from ladingd.core.plan import Column, ImportPlan, Layout
from ladingd.core.spec import CsvFormat, ExcelFormat, Header, ImportSpec, Table
from ladingd.data.formats.excel.format import Excel
from ladingd.data.formats.excel.sheet import Range
from tests.harness.reject_files import rejects_in

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard

PEOPLE = [["id", "name", "born"], [1, "Ann", date(1990, 1, 2)], [2, "Bob", date(1991, 2, 3)]]


def book(rows: list[list[Any]], at: str = "A1", **sheets: list[list[Any]]) -> bytes:
    made = openpyxl.Workbook()
    first = made.active[at]
    for down, row in enumerate(rows):
        for right, value in enumerate(row):
            made.active.cell(first.row + down, first.column + right, value)
    for name, others in sheets.items():
        sheet = made.create_sheet(name)
        for row in others:
            sheet.append(row)
    file = io.BytesIO()
    made.save(file)
    return file.getvalue()


def plan_of(yard: Yard, data: bytes, name: str = "in.xlsx", **spec: Any) -> ImportPlan:
    plan = yard.transfer.plan(ImportSpec(files=(yard.write(data, name),), target=Table(table="t"), **spec))
    assert isinstance(plan, ImportPlan)
    return plan


def rejects(yard: Yard) -> list[dict[str, Any]]:
    return rejects_in(yard.work_dir.job("job") / "rejects")


def test_a_table_below_a_title_and_beside_empty_columns_is_found(yard: Yard) -> None:
    plan = plan_of(yard, book([["People of 2026"], [], *PEOPLE], at="C3"))
    assert [(column.source, column.type) for column in plan.columns] == [
        ("id", "integer"),
        ("name", "text"),
        ("born", "date"),
    ]
    assert "rows 3 to 4 are above the table and were skipped" in plan.notes
    assert yard.run(plan).inserted == 2


def test_a_reject_names_its_row(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (id INTEGER, name TEXT NOT NULL, born DATE)")
    plan = plan_of(yard, book([["Title"], *PEOPLE, [None, None, None], [3, None, date(1992, 1, 1)]]))
    counts = yard.run(plan)
    assert (counts.read, counts.inserted, counts.rejected, counts.empty) == (4, 2, 1, 1)
    (reject,) = rejects(yard)
    assert (reject["line"], reject["record"]) == (6, 4)
    assert json.loads(reject["raw"]) == {"id": 3, "name": None, "born": "1992-01-01"}


@pytest.mark.parametrize(
    ("cells", "rows"),
    [
        ("", [(1, "Ann", "1990-01-02"), (2, "Bob", "1991-02-03")]),
        ("A1:B2", [(1, "Ann")]),
        ("b:c", [("Ann", "1990-01-02"), ("Bob", "1991-02-03")]),
        ("A1:A3", [(1,), (2,)]),
    ],
)
def test_a_range_is_imported_alone(yard: Yard, cells: str, rows: list[tuple[object, ...]]) -> None:
    yard.run(plan_of(yard, book(PEOPLE), excel=ExcelFormat(range=cells)))
    assert yard.sql("SELECT * FROM t") == rows


@pytest.mark.parametrize("cells", ["A", "1:2", "C1:A2", "A5:B2", "A0:B2", "A1-B2"])
def test_a_range_without_cells_is_refused(yard: Yard, cells: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        plan_of(yard, book(PEOPLE), excel=ExcelFormat(range=cells))
    assert caught.value.field == "excel.range"


def test_a_range_is_read_from_its_letters() -> None:
    assert Range.parse("$B$3:AA20") == Range(top=2, left=1, bottom=20, right=27)


@pytest.mark.parametrize(
    ("sheet", "problem"), [("3", "has no sheet 3; it has 2: 'Sheet', 'Other'"), ("x", "has no sheet 'x'")]
)
def test_a_sheet_that_is_missing_is_told_of(yard: Yard, sheet: str, problem: str) -> None:
    with pytest.raises(InvalidSpec, match=problem):
        plan_of(yard, book(PEOPLE, Other=PEOPLE), excel=ExcelFormat(sheet=sheet))


def test_other_sheets_and_errors_are_told_of(yard: Yard) -> None:
    plan = plan_of(yard, book([*PEOPLE, [3, "#N/A", None]], Other=PEOPLE))
    assert "in.xlsx has other sheets, which are not imported: 'Other' (--sheet)" in plan.notes
    assert "cells of the sheet hold an error such as #N/A (at least 1); they are null" in plan.notes
    assert "sheet: 'Sheet'; header: yes; rows: 3" in plan.detected


@pytest.mark.parametrize(
    "spec", [{"excel": ExcelFormat(header=Header.ABSENT)}, {"csv": CsvFormat(header=Header.ABSENT)}]
)
def test_the_header_is_decided_by_the_user(yard: Yard, spec: dict[str, Any]) -> None:
    plan = plan_of(yard, book(PEOPLE), **spec)
    assert [column.source for column in plan.columns] == ["column1", "column2", "column3"]
    assert yard.run(plan).inserted == 3


def test_columns_of_mixed_cells_are_text(yard: Yard) -> None:
    yard.run(
        plan_of(yard, book([["a", "b"], [1, "x"], ["x", True], [2.5, timedelta(hours=30)], [date(2024, 1, 1), 7]]))
    )
    assert yard.sql("SELECT * FROM t") == [("1", "x"), ("x", "true"), ("2.5", "30:00:00"), ("2024-01-01", "7")]


def test_names_that_occur_twice_are_made_different(yard: Yard) -> None:
    plan = plan_of(yard, book([["name", "name", None], ["a", "b", 1]]), excel=ExcelFormat(header=Header.PRESENT))
    assert [column.source for column in plan.columns] == ["name", "name_2", "column3"]


def test_an_empty_sheet_has_no_columns(yard: Yard) -> None:
    plan = plan_of(yard, book([]))
    assert plan.columns == ()
    assert any("is empty" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (book(PEOPLE)[:-30], "is a damaged ZIP archive: the directory at its end"),
        (book(PEOPLE)[:3000], "is a damaged ZIP archive: the directory at its end"),
        (b"id,name\n", "cannot be read as an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "cannot be read as an Excel workbook"),
    ],
)
def test_a_damaged_workbook_is_refused(yard: Yard, data: bytes, problem: str) -> None:
    with pytest.raises(InvalidSpec, match=f"in.xlsx {problem}"):
        plan_of(yard, data)


@pytest.mark.parametrize(
    ("name", "data", "title"), [("in.csv", book(PEOPLE), "Excel"), ("in.xlsx", b'{"id": 1}\n{"id": 2}\n', "JSON Lines")]
)
def test_the_content_decides_and_the_contradiction_is_told_of(yard: Yard, name: str, data: bytes, title: str) -> None:
    notes = plan_of(yard, data, name).notes
    assert any(note.startswith(f"{name} is {title}, although its name is that of a file in") for note in notes)


def test_options_of_excel_have_no_meaning_for_csv(yard: Yard) -> None:
    with pytest.raises(InvalidSpec, match="has no meaning for CSV") as caught:
        plan_of(yard, b"id,name\n1,Ann\n", "in.csv", excel=ExcelFormat(sheet="1"))
    assert caught.value.field == "excel.sheet"


def test_a_value_that_no_cell_can_hold_ends_the_export() -> None:
    writer = Excel().writer(Layout(format="excel"), [Column(source="a", target="a", type="text")])
    rows = io.BytesIO(writer.header() + b"".join(map(bytes, writer.records([pa.array(["x" * 32_768])]))))
    with pytest.raises(SourceUnreadable, match=r"a cell holds 32,767 characters, and a value of record 1 has 32,768"):
        writer.assemble(rows, io.BytesIO())


def test_formulas_without_values_are_told(yard: Yard) -> None:
    """As openpyxl writes them: only a program that computes formulas stores their values."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (["id", "double"], [1, "=A2*2"], [2, "=A3*2"]):
        sheet.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    plan = yard.plan_import(buffer.getvalue())
    (note,) = [note for note in plan.notes if "formulas" in note]
    assert note.startswith("formulas of the sheet have no stored value (at least 2); they are null")
    assert yard.run(plan).inserted == 2
