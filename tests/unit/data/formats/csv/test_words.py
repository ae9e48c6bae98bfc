"""Databases' own words for special values are accepted only for that database."""

from __future__ import annotations

import math
from datetime import date

import pyarrow as pa
import pytest

from ladingd.data.databases.postgres.types import admitting
from ladingd.data.databases.sqlite.converters import sqlite_reading
from ladingd.data.values.casting import cast
from ladingd.data.values.converters import typed
from ladingd.data.values.inference import infer
from ladingd.data.values.types import parse

BOOLEANS = {
    True: ["t", "T", "tr", "Tru", "TRUE", "y", "Ye", "yes", "on", "oN", "1"],
    False: ["f", "fa", "fals", "FALSE", "n", "NO", "of", "off", "0"],
}


@pytest.mark.parametrize("values", [[*BOOLEANS[True], *BOOLEANS[False]], ["t", "f", "t"], ["true", "yes", "0"]])
def test_booleans_are_what_postgresql_takes(values: list[str]) -> None:
    wrong = ["o", "tf", "2", "ja", "yess", "truee", "t "]
    column = pa.array([*values, None, "", *wrong])
    for reading in (admitting(typed(parse("boolean"))), sqlite_reading(parse("boolean"))):
        outcome = cast(column, reading)
        assert outcome.values.type == pa.bool_()
        assert outcome.values.to_pylist()[: len(values)] == [
            value in BOOLEANS[True] or value == "true" for value in values
        ]
        assert outcome.values.null_count == 2 + len(wrong)
        assert list(outcome.misfits) == list(range(len(values) + 2, len(column)))
        assert {misfit.code for misfit in outcome.misfits.values()} == {"NOT_A_BOOLEAN"}


def test_reals_that_are_no_numbers() -> None:
    column = pa.array(["1.5", "NaN", "Infinity", "-inf", "+Infinity", "nan", "-nan", "1e999", "infinit", None])
    outcome = cast(column, admitting(typed(parse("real"))))
    values = outcome.values.to_pylist()
    assert (values[0], values[2], values[3], values[4]) == (1.5, math.inf, -math.inf, math.inf)
    assert math.isnan(values[1])
    assert math.isnan(values[5])
    assert {row: misfit.code for row, misfit in outcome.misfits.items()} == {
        6: "NOT_A_REAL",
        7: "OUT_OF_RANGE",
        8: "NOT_A_REAL",
    }
    single = cast(pa.array(["Infinity", "2.5"]), admitting(typed(parse("real"), pa.float32())))
    assert (single.values.type, single.values.to_pylist()) == (pa.float32(), [math.inf, 2.5])


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (["inf", "2.5", "NaN"], [math.inf, 2.5, None]),
        (["-Infinity", "9007199254740993"], ["-9e999", "9007199254740993"]),
        (["inf", "9007199254740993", "0.5"], ["9e999", "9007199254740993", "0.5"]),
    ],
)
def test_sqlite_keeps_infinities_and_has_no_nan(column: list[str], expected: list[object]) -> None:
    outcome = cast(pa.array(column), sqlite_reading(parse("real")))
    assert outcome.values.to_pylist() == expected
    assert [misfit.message for misfit in outcome.misfits.values()] == ["'NaN' is not a number"] * column.count("NaN")


@pytest.mark.parametrize(
    ("word", "usual", "words", "wrong"),
    [
        ("date", "2024-02-29", ["infinity", "-infinity", "0044-03-15 BC", "10000-01-01", "5874897-12-31"],
         ["2023-02-30", "0000-01-01", "infinityx", "44-03-15 BC", "2024-13-01 BC", "1.1.2024", "20240101"]),
        ("time", "10:30:00", ["24:00:00", "24:00:00.000"], ["24:00:01", "25:00:00", "10"]),
        ("timestamp", "2024-02-29 10:30:00", ["infinity", "0044-03-15 12:00:00.5 BC", "294276-12-31 23:59:59"],
         ["2023-02-30 10:00:00", "2024-02-29 10:30:00+00", "10000-01-01"]),
        ("timestamptz", "2024-02-29 10:30:00+02", ["-infinity", "0044-03-15 12:00:00+00:53:28 BC",
         "1890-01-01 00:00:00+00:53:28", "10000-01-01 00:00:00+00"], ["2023-02-30 10:00:00+00", "x", "2024-01-01 BC"]),
        ("decimal(9,2)", "12.50", ["NaN"], ["Infinity", "1.555", "x"]),
    ],
)  # fmt: skip
def test_values_that_arrow_has_not_stay_text_for_the_server(
    word: str, usual: str, words: list[str], wrong: list[str]
) -> None:
    reading = admitting(typed(parse(word)))
    assert cast(pa.array([usual, None]), reading).values.type == reading.convert(pa.array([usual])).type
    outcome = cast(pa.array([usual, *words, "", None, *wrong]), reading)
    assert outcome.values.to_pylist() == [usual, *words, None, None, *([None] * len(wrong))]
    assert list(outcome.misfits) == list(range(len(words) + 3, len(words) + 3 + len(wrong)))


def test_the_calendar_still_refuses_on_the_quick_way() -> None:
    outcome = cast(pa.array(["2024-02-29", "2023-02-30"]), admitting(typed(parse("date"))))
    assert outcome.values.to_pylist() == [date(2024, 2, 29), None]


@pytest.mark.parametrize("values", [["infinity", "1.5"], ["infinity", "2024-01-01"], ["tru", "fals"], ["\\x41"]])
def test_detection_takes_none_of_these_words(values: list[str]) -> None:
    assert str(infer(pa.array(values))) == "text"
