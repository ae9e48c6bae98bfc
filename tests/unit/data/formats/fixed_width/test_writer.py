"""Exports as fixed width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import InvalidSpec, SourceUnreadable
from ladingd.core.spec import FixedWidthFormat, Header

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard

TABLE = "CREATE TABLE t (id INTEGER, name TEXT, price DECIMAL(7,2), born DATE)"


def exported(yard: Yard, widths: str, header: Header = Header.DEFAULT) -> str:
    fixed_width, path = FixedWidthFormat(widths=widths, header=header), f"out{header}.txt"
    plan = yard.plan_export(path=path, file_format="fixed_width", fixed_width=fixed_width)
    yard.run(plan, job_id=header.value.lower())
    return (yard.directory / path).read_text(encoding="utf-8")


def test_numbers_stand_on_the_right_and_null_is_blank(yard: Yard) -> None:
    yard.sql(TABLE)
    yard.sql("INSERT INTO t VALUES (1, 'Zoë', 12.5, '2024-02-29'), (22, NULL, NULL, NULL), (333, '', -1, NULL)")
    assert exported(yard, "4,6,7,12") == (
        "  idname    priceborn        \n"
        "   1Zoë     12.502024-02-29  \n"
        "  22                         \n"
        " 333        -1.00            \n"
    )  # fmt: skip
    assert exported(yard, "4,~1,6,~2,7,~1,*", Header.ABSENT).splitlines()[0] == "   1 Zoë       12.50 2024-02-29"


def test_types_tell_the_other_widths(yard: Yard) -> None:
    yard.sql(TABLE)
    yard.sql("INSERT INTO t VALUES (-9223372036854775808, 'Ann', -99999.99, '2024-02-29')")
    header, row, _ = exported(yard, "name=5").split("\n")
    assert header == "                  id name     price born      "
    assert row == "-9223372036854775808 Ann  -99999.99 2024-02-29"


def test_a_declared_length_is_the_width_of_a_text(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (id INTEGER, name VARCHAR(7), note character varying ( 3 ))")
    yard.sql("INSERT INTO t VALUES (1, 'Ann', 'x')")
    assert exported(yard, "").splitlines() == [f"{'id':>20} name    note", f"{'1':>20} Ann     x   "]
    yard.sql("INSERT INTO t VALUES (2, 'longer than 7', 'x')")
    with pytest.raises(SourceUnreadable, match="--widths name=13"):
        yard.run(yard.plan_export(path="again.txt", file_format="fixed_width"), job_id="again")


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ("", "lacks a width for name, as text may have any length: --widths name=40"),
        ("id=5", "--widths id=5,name=40"),
        ("1,2", "has 2 widths, and the table has 4 columns"),
        ("nam=5", "names 'nam', and the table has no such column; it has id, name, price and born"),
        ("name=3", "gives 3 characters to name, whose name is longer: --no-header, or name=4"),
        ("name=*", "has * for name, which is not the last column"),
        ("name=5,~1", "has ~1 between widths with names"),
    ],
)
def test_widths_that_cannot_be_written_are_refused(yard: Yard, widths: str, message: str) -> None:
    yard.sql(TABLE)
    with pytest.raises(InvalidSpec) as caught:
        exported(yard, widths)
    assert message in caught.value.problem
    assert caught.value.field == "fixed_width.widths"


def test_a_value_that_does_not_fit_ends_the_export(yard: Yard) -> None:
    yard.sql(TABLE)
    yard.sql("INSERT INTO t VALUES (1, 'Annabel', 1, NULL)")
    with pytest.raises(SourceUnreadable, match="name is 5 characters wide, and a value has 7: --widths name=7"):
        exported(yard, "name=5")
    assert not list(yard.directory.glob("out*"))


@pytest.mark.parametrize("mark", ["\n", "\r", "\t", "\x0c", "\x1a", "\ufeff"])
def test_a_value_that_would_not_come_back_ends_the_export(yard: Yard, mark: str) -> None:
    yard.sql(TABLE)
    yard.sql(f"INSERT INTO t VALUES (1, 'a' || char({ord(mark)}), 1, NULL)")
    with pytest.raises(SourceUnreadable, match="a value of the column name holds"):
        exported(yard, "name=5")
