"""The line about detected properties."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.core.spec import CsvFormat, Header

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard


def test_everything_that_was_detected_is_in_one_line(yard: Yard) -> None:
    assert yard.plan_import("id;name\n1;Jo\n").detected == (
        'delimiter: semicolon; quote: "; header: yes; encoding: UTF-8; table: t (created); '
        "columns: id integer, name text"
    )


def test_a_table_that_is_there_is_appended_to(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (id INTEGER, name TEXT)")
    plan = yard.plan_import("1\tJo\n", csv=CsvFormat(header=Header.ABSENT))
    assert plan.detected == (
        'delimiter: tab; quote: "; header: no; encoding: UTF-8; table: t (appended to); '
        "columns: column1 as id integer, column2 as name text"
    )


def test_many_columns_are_counted(yard: Yard) -> None:
    plan = yard.plan_import(",".join(f"c{n}" for n in range(1500)) + "\n")
    assert plan.detected.endswith("c39 text, 1,460 more")


def test_of_an_empty_file_nothing_was_detected(yard: Yard) -> None:
    assert yard.plan_import("").detected == ""


def test_the_line_stays_one_line(yard: Yard) -> None:
    assert yard.plan_import('"Top\npay",b\n1,2\n').detected.endswith(r"columns: 'Top\npay' integer, b integer")


def test_notations_and_null_words_are_in_the_line_too(yard: Yard) -> None:
    plan = yard.plan_import("opened;amount;n\n30/04/2019;1.234,50;NA\n05/06/2019;7;-\n07/06/2019;;3\n")
    assert plan.detected.endswith(
        "columns: opened date (DD/MM/YYYY), amount decimal(15,2) (1.234,56), n integer; null words: NA, -"
    )
    assert plan.notes == ("n: 2 of 3 values are null: NA, -",)


def test_dates_that_nothing_decides_are_told(yard: Yard) -> None:
    plan = yard.plan_import("id,opened\n1,03/04/2019\n")
    assert plan.columns[1].type == "text"
    assert plan.notes == (
        (
            "opened is read as text: nothing tells how its values are meant; use "
            "--type 'opened=date:DD/MM/YYYY' or --type 'opened=date:MM/DD/YYYY'"
        ),
    )
    plan = yard.plan_import("id,opened\n1,03/04/2019\n", types={"opened": "date:MM/DD/YYYY"})
    yard.run(plan)
    assert (plan.notes, yard.sql("SELECT opened FROM t")) == ((), [("2019-03-04",)])
