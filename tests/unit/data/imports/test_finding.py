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
