"""Values that are written in a notation are read from it."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladingd.data.values.converters import typed
from ladingd.data.values.notation import cast_written, notation_of
from ladingd.data.values.types import split


def read(spelled: str, values: list[str | None]) -> list[object]:
    kind, notation = split(spelled)
    outcome = cast_written(pa.array(values, pa.string()), typed(kind), notation_of(kind, notation))
    return [
        outcome.misfits[row].message if row in outcome.misfits else value
        for row, value in enumerate(outcome.values.to_pylist())
    ]


@pytest.mark.parametrize(
    ("spelled", "values", "expected"),
    [
        ("date:DD/MM/YYYY", ["31/12/2024", "1/2/2024", None, ""], [date(2024, 12, 31), date(2024, 2, 1), None, None]),
        ("date:dd.mm.yyyy", ["31.12.2024"], [date(2024, 12, 31)]),
        ("date:MM/DD/YYYY", ["31/12/2024"], ["'31/12/2024' is not a date (MM/DD/YYYY)"]),
        ("date:DD/MM/YYYY", ["2024-12-31"], ["'2024-12-31' is not a date (DD/MM/YYYY)"]),
        ("timestamp:DD.MM.YYYY HH:MM", ["31.12.2024 9:05"], [datetime(2024, 12, 31, 9, 5)]),
        ("timestamp:DD.MM.YYYY HH:MM", ["31.12.2024 24:05"],
         ["'31.12.2024 24:05' is not a timestamp (DD.MM.YYYY HH:MM)"]),
        ("timestamp:MM/DD/YYYY H:MM:SS AM", ["1/2/2024 12:00:01 AM", "1/2/2024 1:00:00 pm"],
         [datetime(2024, 1, 2, 0, 0, 1), datetime(2024, 1, 2, 13)]),
        ("timestamp:YYYYMMDD", ["20240131"], [datetime(2024, 1, 31)]),
        ("decimal(10,2):,", ["14,75", "-3", "1.234,50", "1 234,5", "1'234", "+0,5"],
         [Decimal("14.75"), Decimal(-3), Decimal("1234.50"), Decimal("1234.50"), Decimal(1234), Decimal("0.50")]),
        ("decimal(10,2):,", ["1.5"], ["'1.5' is not a decimal number (1234,56)"]),
        ("decimal(10,2):,.", ["1.234,5", "1 234"], [Decimal("1234.5"), "'1 234' is not a decimal number (1.234,56)"]),
        ("decimal(4,2):,", ["123,456"], ["'123,456' is out of range for decimal(4,2)"]),
        ("integer:.,", ["13,000", "12"], [13000, 12]),
        ("decimal(10,2):€,.", ["€ 1.234,50", "1.234,50 €", "-€3", "7"],
         [Decimal("1234.50"), Decimal("1234.50"), Decimal(-3), Decimal(7)]),
        ("decimal(10,2):$.", ["$1,234.50", "-$3", "$-3", "$$3"],
         [Decimal("1234.50"), Decimal(-3), Decimal(-3), "'$$3' is not a decimal number ($1234.56)"]),
        ("decimal(4,1):%.", ["12.5%", "3 %"], [Decimal("12.5"), Decimal(3)]),
        ("real:CHF.'", ["CHF 1'250.5"], [1250.5]),
        ("real:, ", ["1\u202f234,5"], [1234.5]),
        ("boolean:ja/nein", ["Ja", "nein", "yes"], [True, False, "'yes' is not a boolean (ja/nein)"]),
        ("boolean:1/2", ["1", "2", None], [True, False, None]),
    ],
)  # fmt: skip
def test_values_are_read_as_they_are_written(spelled: str, values: list[str | None], expected: list[object]) -> None:
    assert read(spelled, values) == expected


@pytest.mark.parametrize(
    ("spelled", "words"),
    [
        ("date:DD/MM", "is not a date like DD/MM/YYYY"),
        ("date:DD/DD/YYYY", "is not a date like"),
        ("date:DD/MM/YY", "is not a date like"),
        ("date:%d/%m/%Y", "is not a date like"),
        ("date:DD/MM/YYYY HH:MM", "take timestamp:DD/MM/YYYY HH:MM"),
        ("timestamp:DD/MM/YYYY MM", "is not a date like"),
        ("decimal(10,2):;", "give the decimal mark"),
        ("decimal(10,2):,,", "give the decimal mark"),
        ("boolean:ja", "does not name two words"),
        ("boolean:ja/JA", "does not name two words"),
        ("uuid:x", "uuid has one notation only"),
        ("text:x", "text has one notation only"),
    ],
)
def test_a_notation_that_means_nothing_is_refused(spelled: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(spelled, [])


dates = st.dates(min_value=date(1, 1, 1))


@given(
    st.lists(dates), st.sampled_from(["DD/MM/YYYY", "MM-DD-YYYY", "D.M.YYYY", "YYYY/MM/DD", "YYYYMMDD"]), st.booleans()
)
def test_dates_come_back(values: list[date], format: str, padded: bool) -> None:
    width = 2 if padded or format == "YYYYMMDD" else 1
    texts = [
        format.replace("YYYY", f"{value.year:04}")
        .replace("MM", f"{value.month:0{width}}")
        .replace("DD", f"{value.day:0{width}}")
        .replace("M", str(value.month))
        .replace("D", str(value.day))
        for value in values
    ]
    assert read(f"date:{format}", list(texts)) == values


@given(
    st.lists(st.decimals(min_value=-(10**9), max_value=10**9, places=2)),
    st.sampled_from([",", ",.", ", ", ",'", ".", ".,", ". ", ".'"]),
)
def test_numbers_come_back(values: list[Decimal], notation: str) -> None:
    group = notation[1:]
    marks = str.maketrans({",": group or None, ".": notation[0]})
    assert read(f"decimal(15,2):{notation}", [f"{value:,.2f}".translate(marks) for value in values]) == values


@given(st.lists(st.booleans()), st.sampled_from(["ja/nein", "Oui/Non", "да/нет", "J/N", "1/-1"]))
def test_booleans_come_back(values: list[bool], notation: str) -> None:
    true, _, false = notation.partition("/")
    assert read(f"boolean:{notation}", [true.upper() if value else false.lower() for value in values]) == values
