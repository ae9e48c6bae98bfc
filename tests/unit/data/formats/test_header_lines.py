"""Headers of several lines, as spreadsheets with merged cells leave them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
import xlsxwriter

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import ImportPlan
from ladingd.core.spec import CsvFormat, ExcelFormat, Header, ImportSpec, Table
from ladingd.data.formats.header import joined_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.unit.data.conftest import Yard

YEARS = [",2019,,2020,", "country,pop,gdp,pop,gdp", "AT,1,2,3,4", "BE,5,6,7,8"]
NAMED_BY_YEAR = ["country", "2019 pop", "2019 gdp", "2020 pop", "2020 gdp"]


def text_of(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def names_of(plan: ImportPlan) -> list[str]:
    return [column.source for column in plan.columns]


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        (["a,,b,", "x,y,x,y"], ["a x", "a y", "b x", "b y"]),
        (["a,,b", "x,y,x,y"], ["a x", "a y", "b x", "b y"]),
        (["a,,,,b,", "c,,d,,,", "1,2,1,2,1,2"], ["a c 1", "a c 2", "a d 1", "a d 2", "b 1", "b 2"]),
        (["a,,", ",x,"], ["a", "a x", ""]),
        ([" a , b", "c ,"], ["a c", "b"]),
        (["a,b"], ["a", "b"]),
    ],
)
def test_names_are_joined(lines: list[str], names: list[str]) -> None:
    assert joined_names([line.split(",") for line in lines]) == names


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("above", "first"), [([], 3), (["Population", "", ""], 6), (["# made by hand"], 4)], ids=["", "title", "comment"]
)
def test_two_lines_are_recognised(yard: Yard, above: list[str], first: int, line_end: str) -> None:
    plan = yard.plan_import(text_of([*above, *YEARS]).replace("\n", line_end))
    assert names_of(plan) == NAMED_BY_YEAR
    assert plan.file.first_line == first
    assert "header: yes, 2 lines" in plan.detected
    assert f"lines {first - 2} to {first - 1} are the header; their names are joined" in plan.notes
    assert yard.run(plan).inserted == 2
    assert yard.sql("SELECT * FROM t") == [("AT", 1, 2, 3, 4), ("BE", 5, 6, 7, 8)]


RECOGNISED = {
    "words": (["Region,Sales,,Costs,", ",Q1,Q2,Q1,Q2", "north,1,2,3,4", "south,5,6,7,8"],
              ["Region", "Sales Q1", "Sales Q2", "Costs Q1", "Costs Q2"]),
    "an index without a name": ([",A,A,B,B", ",x,y,x,y", "0,1,2,3,4", "1,5,6,7,8"],
                                ["column1", "A x", "A y", "B x", "B y"]),
    "names that are equal": ([",2019,,2020,", "country,pop,pop,pop,gdp", "AT,1,2,3,4", "BE,5,6,7,8"],
                             ["country", "2019 pop", "2019 pop_2", "2020 pop", "2020 gdp"]),
    "a delimiter at the end": ([",2019,,2020,,", "country,pop,gdp,pop,gdp,", "AT,1,2,3,4,", "BE,5,6,7,8,"],
                               NAMED_BY_YEAR),
    "a line end in a name": ([',2019,,2020,', 'country,"pop\nmio",gdp,pop,gdp', "AT,1,2,3,4", "BE,5,6,7,8"],
                             ["country", "2019 pop\nmio", "2019 gdp", "2020 pop", "2020 gdp"]),
}  # fmt: skip


@pytest.mark.parametrize("case", RECOGNISED)
def test_further_headers_of_two_lines(yard: Yard, case: str) -> None:
    lines, names = RECOGNISED[case]
    plan = yard.plan_import(text_of(lines))
    assert names_of(plan) == names
    assert yard.run(plan).inserted == 2


DOUBTS = {
    "one year": [",,2020,", "country,name,pop,gdp", "AT,x,3,4", "BE,y,7,8"],
    "text above text": ["x,,y", "name,first,last", "Ann,a,b", "Bob,c,d"],
    "a record that was sorted above the header": [",Bob,", "id,name,qty", "1,Ann,3", "2,Zoe,4"],
    "a number above numbers": [",,7", "id,name,qty", "1,Ann,3", "2,Zoe,4"],
    "years above years": [",2019,,2020,", "country,from,x,to,y", "AT,2001,1,2002,1", "BE,2003,1,2004,1"],
    "a null word": [",,NA", "id,name,qty", "1,Ann,3", "2,Zoe,4"],
}


@pytest.mark.parametrize("case", DOUBTS)
def test_in_doubt_the_first_record_is_one(yard: Yard, case: str) -> None:
    plan = yard.plan_import(text_of(DOUBTS[case]))
    assert "the second record looks like a header; --header-lines 2 to override" in plan.detected
    assert yard.run(plan).read == len(DOUBTS[case])


@pytest.mark.parametrize(
    ("lines", "read"),
    [(["Ann,,x", "Bob,1,y", "Cid,2,z"], 3), ([",1", ",2"], 2), (["id,name,qty", ",Bob,", "1,Ann,3"], 2)],
)
def test_records_with_empty_fields_are_records(yard: Yard, lines: list[str], read: int) -> None:
    assert yard.run(yard.plan_import(text_of(lines))).read == read


def test_the_number_of_lines_can_be_told(yard: Yard) -> None:
    lines = ["a,,b,", "x,y,x,y", "", "u,v,w,z", "1,2,3,4"]
    plan = yard.plan_import(text_of(lines), csv=CsvFormat(header_lines=3))
    assert names_of(plan) == ["a x u", "a y v", "b x w", "b y z"]
    assert yard.run(plan).inserted == 1
    one = yard.plan_import(text_of(YEARS), table="one", csv=CsvFormat(header_lines=1))
    assert names_of(one) == ["column1", "2019", "column3", "2020", "column5"]


@pytest.mark.parametrize("first", ["Sales,,", "Sales"])
def test_a_cell_above_the_whole_table_is_no_title_if_two_lines_are_told(yard: Yard, first: str) -> None:
    lines = [first, "Q1,Q2,Q3", "1,2,3", "4,5,6"]
    told = yard.plan_import(text_of(lines), csv=CsvFormat(header_lines=2))
    assert names_of(told) == ["Sales Q1", "Sales Q2", "Sales Q3"]
    assert yard.run(told).inserted == 2
    detected = yard.plan_import(text_of(lines), table="detected")
    assert names_of(detected) == ["Q1", "Q2", "Q3"]
    assert any("line 1 stands before the table" in note for note in detected.notes)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (CsvFormat(header_lines=5), "has only 4 records, and 5 are to be the header"),
        (CsvFormat(header_lines=-1), "must be from 1 to 20"),
        (CsvFormat(header_lines=21), "must be from 1 to 20"),
        (CsvFormat(header_lines=2, header=Header.ABSENT), "contradicts the header"),
    ],
)
def test_a_number_that_cannot_be_is_refused(yard: Yard, options: CsvFormat, problem: str) -> None:
    with pytest.raises(InvalidSpec, match=problem) as caught:
        yard.plan_import(text_of(YEARS), csv=options)
    assert caught.value.field == "csv.header_lines"


def test_the_files_of_a_job_have_headers_of_the_same_length(yard: Yard) -> None:
    files = (yard.write(text_of(YEARS), "1.csv"), yard.write(text_of(YEARS[:3]), "2.csv"))
    plan = yard.transfer.plan(ImportSpec(files=files, target=Table(table="t")))
    assert yard.run(plan).inserted == 3  # type: ignore[arg-type]


def workbook(rows: Sequence[Sequence[object]]) -> bytes:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file) as book:
        sheet = book.add_worksheet()
        for place, row in enumerate(rows):
            sheet.write_row(place, 0, row)
    return file.getvalue()


SHEET = [["", 2019, "", 2020, ""], ["country", "pop", "gdp", "pop", "gdp"], ["AT", 1, 2, 3, 4], ["BE", 5, 6, 7, 8]]


@pytest.mark.parametrize("lines", [0, 2])
def test_two_rows_of_a_sheet(yard: Yard, lines: int) -> None:
    file = yard.write(workbook(SHEET), "in.xlsx")
    plan = yard.transfer.plan(ImportSpec(files=(file,), target=Table(table="t"), excel=ExcelFormat(header_lines=lines)))
    assert isinstance(plan, ImportPlan)
    assert names_of(plan) == NAMED_BY_YEAR
    assert "header: yes, 2 lines" in plan.detected
    assert yard.run(plan).inserted == 2
    assert yard.sql("SELECT * FROM t") == [("AT", 1, 2, 3, 4), ("BE", 5, 6, 7, 8)]


def test_a_sheet_that_is_shorter_than_its_header_is_refused(yard: Yard) -> None:
    file = yard.write(workbook(SHEET), "in.xlsx")
    with pytest.raises(InvalidSpec, match="has only 4 rows"):
        yard.transfer.plan(ImportSpec(files=(file,), target=Table(table="t"), excel=ExcelFormat(header_lines=5)))
