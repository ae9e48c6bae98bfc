"""Null words are null in columns that are not text; words of the user are null in all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import InvalidSpec

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard

TEXT = 'n,s,d\n1,NA,2024-01-01\nNA,"NA",-\n"NA",-,\\N\n7,x,2024-01-02\n'


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), [(1, "NA", "2024-01-01"), (None, "NA", None), (None, "-", None), (7, "x", "2024-01-02")]),
        (("NA",), [(1, None, "2024-01-01"), (None, "NA", None), (None, "-", None), (7, "x", "2024-01-02")]),
        (("7", "x"), [(1, "NA", "2024-01-01"), (None, "NA", None), (None, "-", None), (None, None, "2024-01-02")]),
        (("none",), [(1, "NA", "2024-01-01"), (7, "x", "2024-01-02")]),
        (("none", "NA", "-"), [(1, None, "2024-01-01"), (None, "NA", None), (7, "x", "2024-01-02")]),
    ],
)
@pytest.mark.parametrize("table", ["new", "there"])
def test_a_word_is_null_where_it_is_no_value(
    yard: Yard, given: tuple[str, ...], expected: list[tuple[object, ...]], table: str
) -> None:
    yard.sql("CREATE TABLE there (n INTEGER, s TEXT, d DATE)")
    plan = yard.plan_import(TEXT, table=table, null_words=given, types={"n": "integer", "d": "date"})
    assert yard.run(plan).rejected == 4 - len(expected)
    assert yard.sql(f"SELECT * FROM {table}") == expected


def test_without_null_words_they_are_text(yard: Yard) -> None:
    plan = yard.plan_import("n\n1\nNA\n", null_words=("none",))
    assert plan.columns[0].type == "text"


def test_a_word_of_the_user_is_null_in_any_format(yard: Yard) -> None:
    plan = yard.plan_import('{"n": -9, "s": "none of it"}\n{"n": 1, "s": "x"}\n', null_words=("-9", "x"))
    yard.run(plan)
    assert yard.sql("SELECT n, s FROM t") == [(None, "none of it"), (1, None)]


def test_null_words_in_later_chunks(yard: Yard) -> None:
    plan = yard.plan_import("n\n" + "1\nNA\n" * 2000 + "x\n" * 3 + "2\n" * 2000, chunk_bytes=1000)
    counts = yard.run(plan)
    assert (counts.inserted, counts.rejected) == (6000, 3)
    assert yard.sql("SELECT count(n), count(*) FROM t") == [(4000, 6000)]


def test_an_empty_word_is_refused(yard: Yard) -> None:
    with pytest.raises(InvalidSpec) as caught:
        yard.plan_import("n\n1\n", null_words=("",))
    assert caught.value.field == "null_words"
