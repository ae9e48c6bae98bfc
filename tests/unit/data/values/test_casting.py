"""Casting a column gives the same result as casting its values one by one."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ladingd.data.databases.sqlite.converters import sqlite_reading
from ladingd.data.values.casting import Cast, Known, cast
from ladingd.data.values.converters import Reading, typed
from ladingd.data.values.types import PATTERNS, Kind, parse

WORDS = [
    "integer",
    "decimal(12,2)",
    "real",
    "boolean",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "uuid",
]
likely = {
    "integer": r"-?[0-9]{0,20}",
    "decimal(12,2)": r"[+-]?[0-9]{0,12}(\.[0-9]{0,4})?",
    "real": r"[+-]?[0-9]{1,3}(\.[0-9])?(e[+-]?[0-9]{1,3})?",
    "boolean": "true|false|TRUE|False|0|1|yes",
    "date": r"20(19|20)-[01][0-9]-[0-3][0-9]",
    "time": r"[0-2][0-9]:[0-6][0-9](:[0-6][0-9](\.[0-9]{1,7}0{0,3})?)?",
    "timestamp": r"2020-0[1-3]-[23][0-9][ T][0-2][0-9]:00:00(\.[0-9]{1,7}0{0,3})?",
    "timestamptz": r"2020-02-[23][0-9] 10:00:00(\.5{1,7}0{0,3})?(Z|\+0[0-9](:?[0-6]0)?)?",
    "uuid": r"[0-9a-f]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-f]{12}",
}
ODD = ["", " ", "nan", "inf", "0x1F", "1e5", "-", ".", "1-2", "1" * 60, "0" * 50 + "7", "é", "2023-02-30", "24:00", "t"]


def one_by_one(values: list[str | None], reading: Reading) -> tuple[list[object], list[int]]:
    """The slow way: each value is matched with the pattern and converted separately."""
    made: list[object] = []
    wrong: list[int] = []
    for row, value in enumerate(values):
        made.append(None)
        if not value:
            continue
        if not re.search(PATTERNS[reading.kind.kind], value):
            wrong.append(row)
            continue
        if reading.kind.kind is Kind.DECIMAL:
            value = re.sub(r"(\.[0-9]*?)0+$", r"\1", value)
            value = re.sub(r"^([+-]?)\.$", r"\g<1>0", value)
            value = re.sub(r"^([+-]?)0+([0-9])", r"\1\2", value)
        try:
            made[-1] = reading.convert(pa.array([value]))[0].as_py()
        except pa.ArrowInvalid:
            wrong.append(row)
    return made, wrong


@pytest.mark.parametrize("word", WORDS)
def test_a_column_comes_to_what_its_values_come_to(word: str) -> None:
    value = st.one_of(st.none(), st.from_regex(likely[word], fullmatch=True), st.sampled_from(ODD))

    @given(st.lists(value, max_size=12), st.booleans())
    @example([*ODD, None], False)
    def check(values: list[str | None], sliced: bool) -> None:
        column = pa.array(["1", *values], pa.string())[1:] if sliced else pa.array(values, pa.string())
        reading = typed(parse(word))
        outcome = cast(column, reading)
        made, wrong = one_by_one(values, reading)
        assert outcome.values.to_pylist() == made
        assert list(outcome.misfits) == wrong
        kept = cast(column, sqlite_reading(parse(word), inferred=True))
        assert list(kept.misfits) == wrong

    check()


@pytest.mark.parametrize("word", WORDS)
def test_what_is_known_of_a_column_changes_nothing(word: str) -> None:
    value = st.one_of(st.none(), st.from_regex(likely[word], fullmatch=True), st.sampled_from(ODD))
    columns = st.lists(st.lists(value, max_size=8).map(lambda values: values * 2), min_size=2, max_size=4)

    @given(columns)
    @example([[*ODD, *ODD], [*ODD, None], ["1", "nan"], [*ODD]])
    def check(columns: list[list[str | None]]) -> None:
        known = Known()
        reading = typed(parse(word))
        for values in columns:
            column = pa.array(["1", *values], pa.string())[1:]
            assert as_python(cast(column, reading, known)) == as_python(cast(column, reading))

    check()


@pytest.mark.parametrize(
    ("word", "text", "same"),
    [
        ("time", "01:02:03.1234560", "01:02:03.123456"),
        ("time", "01:02:03.000000000", "01:02:03"),
        ("timestamp", "2024-01-02 03:04:05.0000000", "2024-01-02 03:04:05"),
        ("timestamptz", "2024-01-02T03:04:05.6789010Z", "2024-01-02T03:04:05.678901Z"),
        ("timestamptz", "2024-01-02 03:04:05.678901000+02:00", "2024-01-02 01:04:05.678901"),
    ],
)
def test_zeros_beyond_microseconds_change_nothing(word: str, text: str, same: str) -> None:
    outcome = cast(pa.array([text, same]), typed(parse(word)))
    assert not outcome.misfits
    assert outcome.values[0] == outcome.values[1]


@pytest.mark.parametrize(
    ("word", "text"), [("time", "01:02:03.1234567"), ("timestamp", "2024-01-02 03:04:05.123456789")]
)
def test_nanoseconds_are_refused(word: str, text: str) -> None:
    assert list(cast(pa.array([text]), typed(parse(word))).misfits) == [0]


def test_only_what_repeats_itself_is_known_and_only_as_long_as_it_does() -> None:
    known = Known()
    integers = typed(parse("integer"))
    cast(pa.array(["n/a", "1", "n/a", "once", "x" * 65, "x" * 65]), integers, known)
    column = pa.array(["once", "2", "n/a", "x" * 65])
    assert list(known.take_out(column)[1]) == [2]
    assert known.take_out(column)[0].to_pylist() == ["once", "2", None, "x" * 65]
    assert known.take_out(pa.array(["1", "2"]))[1] == {}
    assert known.take_out(column)[1] == {}


def as_python(outcome: Cast) -> tuple[list[object], list[object]]:
    return outcome.values.to_pylist(), list(outcome.misfits.items())
