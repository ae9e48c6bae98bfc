"""Beginnings of files: blank lines, long first records, empty files; and the limits of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import CsvFormat, Header
from tests.unit.data.imports.test_import import rejects_of

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard


@pytest.mark.parametrize("text", [b"", b"\xef\xbb\xbf", b"\n\r\n"])
def test_an_empty_file_is_a_job_of_zeros_without_a_table(yard: Yard, text: bytes) -> None:
    plan = yard.plan_import(text)
    assert plan.notes[-1] == "in.csv is empty: no columns, so no table was made"
    assert (plan.create_table, plan.columns) == (True, ())
    assert yard.run(plan) == Counts()
    assert yard.sql("SELECT count(*) FROM sqlite_master WHERE name = 't'") == [(0,)]


def test_an_empty_file_into_a_table_that_may_not_be_empty(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a NOT NULL)")
    plan = yard.plan_import(b"")
    assert plan.notes == ("in.csv is empty: no columns",)
    assert yard.run(plan) == Counts()


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_blank_lines_before_the_header_count_as_nothing(yard: Yard, mark: str, end: str) -> None:
    plan = yard.plan_import(mark + end * 3 + end.join(["id,name", "1,Jo", "x,y,z", ""]))
    assert plan.notes == ("lines 1 to 3 are blank and were skipped",)
    assert [column.source for column in plan.columns] == ["id", "name"]
    assert yard.run(plan) == Counts(read=2, inserted=1, rejected=1, errors=1)
    assert [(reject.line, reject.record) for reject in rejects_of(yard, plan)] == [(6, 2)]


def test_one_blank_line_without_a_header(yard: Yard) -> None:
    plan = yard.plan_import("\n1,2\n", csv=CsvFormat(header=Header.ABSENT))
    assert (plan.notes, plan.file.start, plan.file.first_line) == (("line 1 is blank and was skipped",), 1, 2)


def test_a_header_longer_than_the_head_is_read_whole(yard: Yard) -> None:
    names = [f"column {number:04d} {'x' * 1000}" for number in range(1500)]
    plan = yard.plan_import(",".join(names) + "\n" + ",".join(["1"] * 1500) + "\n")
    assert [column.source for column in plan.columns] == names
    assert yard.run(plan).inserted == 1


def test_a_first_record_longer_than_the_head_gives_the_types(yard: Yard) -> None:
    plan = yard.plan_import("a,b\n1," + "x" * (2 << 20) + "\n2,y\n", types={"b": "text"})
    assert [column.type for column in plan.columns] == ["integer", "text"]
    assert yard.run(plan).inserted == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [("x" * (17 << 20) + "\n1\n", "the first record has more than 16,777,216 bytes"), ('a,"b\nc\n', "never closed")],
)
def test_a_header_without_an_end_is_refused(yard: Yard, text: str, words: str) -> None:
    with pytest.raises(InvalidSpec, match=f"in.csv: .*{words}") as caught:
        yard.plan_import(text)
    assert caught.value.field == "files[0].path"


def test_more_columns_than_a_table_can_have(yard: Yard) -> None:
    with pytest.raises(InvalidSpec, match="2,001 columns; at most 2,000"):
        yard.plan_import(",".join(f"c{number}" for number in range(2001)) + "\n")


@pytest.mark.parametrize("size", [0, (64 << 20) + 1])
def test_chunks_have_a_size_that_fits_into_memory(yard: Yard, size: int) -> None:
    with pytest.raises(InvalidSpec, match="from 1 to 67,108,864") as caught:
        yard.plan_import("a\n1\n", chunk_bytes=size)
    assert caught.value.field == "chunk_bytes"


def test_names_are_quoted_in_what_people_read(yard: Yard) -> None:
    yard.sql('CREATE TABLE t (b, "c, d")')
    with pytest.raises(InvalidSpec, match="table t has no column 'a'; it has 'b', 'c, d'"):
        yard.plan_import("a\n1\n")
    with pytest.raises(InvalidSpec, match=r"in\.csv has no column 'z'; it has 'b'"):
        yard.plan_import("b\n1\n", types={"z": "text"})


def test_large_numbers_in_notes_can_be_read(yard: Yard) -> None:
    plan = yard.plan_import("n\n" + "123\n" * 200_000 + "x\n" * 1200 + "123\n" * 60_000)
    assert "1,200 of 261,200 values will be refused, the first in line 200002" in plan.notes[0]


def test_a_header_before_a_record_that_is_too_long_is_known(yard: Yard) -> None:
    plan = yard.plan_import("id,t\n1," + "x" * 17_000_000 + "\n2,y\n")
    assert [column.source for column in plan.columns] == ["id", "t"]
    assert yard.run(plan) == Counts(read=2, inserted=1, rejected=1, errors=1)
    assert [(reject.line, reject.code) for reject in rejects_of(yard, plan)] == [(2, "RECORD_TOO_LONG")]
    assert yard.sql("SELECT id, t FROM t") == [(2, "y")]
