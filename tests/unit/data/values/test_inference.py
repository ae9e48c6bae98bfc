"""A column gets the strictest type that changes none of its values, and the notation that all of them allow."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ladingd.data.values.alteration import altered_rows
from ladingd.data.values.casting import cast
from ladingd.data.values.converters import typed
from ladingd.data.values.inference import find_notation, find_type, infer, settle
from ladingd.data.values.notation import cast_written, notation_of
from ladingd.data.values.null_words import NULL_WORDS, null_words
from ladingd.data.values.types import parse

INTEGERS = [str(number) for number in range(400)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([None, ""], "text"),
        (["1", "-5", "0", None, ""], "integer"),
        (["0123", "1"], "text"),
        (["1"] * 120 + ["-0"], "text"),
        (["+1"], "text"),
        (["+49 30 123456", "+49 30 654321"], "text"),
        (["9223372036854775808"], "text"),
        (["12345678901234567890", "1"], "text"),
        # Decimals of any scale.
        (["1.50", "22.75"], "decimal(15,2)"),
        (["80.25", "7", "3.50"], "decimal(15,2)"),
        (["125.50", "50"], "decimal(15,2)"),
        (["1.5", "2.25", "0.125"], "decimal(15,3)"),
        (["1.500", "2"], "decimal(15,3)"),
        ([".5", "-.25"], "decimal(15,2)"),
        (["-0.00", "1.00"], "text"),
        (["01.5", "2.5"], "text"),
        (["1.", "2."], "text"),
        (["1.5"] * 400 + ["0.12345678901234567890123"], "text"),
        (["1"] * 5000 + ["0.125"], "decimal(15,3)"),
        # Reals have an exponent, or more places than a decimal can keep.
        (["1.5e3", "-2E-7", "4"], "real"),
        (["0.30000000000000004", "0.1"], "real"),
        (["1e5", "12E12"], "text"),
        (["12E12", "4F", "A0"], "text"),
        (["1e400", "1.5"], "text"),
        (["1.5e3", "0.12345678901234567891e2"], "text"),
        # Booleans.
        (["true", "false"], "boolean"),
        (["TRUE", "False", "true"], "boolean"),
        (["true", "TRUE"], "boolean"),
        (["t", "f", "T"], "boolean"),
        (["t", "t"], "text"),
        (["Y", "N"], "boolean"),
        (["yes", "No"], "boolean"),
        (["yes"], "boolean"),
        (["no", "se", "no"], "text"),
        (["NO", "NO"], "text"),
        (["on", "off"], "boolean"),
        (["M", "F", "F"], "text"),
        (["F", "F"], "text"),
        (["S", "M", "L"], "text"),
        (["0", "1"], "integer"),
        (["true", "false"] * 200 + ["1"], "text"),
        # Dates and times.
        (["2024-02-29"], "date"),
        (["2023-02-29"], "text"),
        (["10:30:00", "10:30"], "time"),
        (["2024-01-01 10:00:00", "2024-01-01T10:00:00.5"], "timestamp"),
        (["2024-01-01 10:00", "2024-12-31T23:59"], "timestamp"),
        (["2024-12-31T10:00:00Z"], "timestamptz"),
        (["2022-02-03 11:12:13.456789+02", "2022-08-09 10:00:00.000002+03"], "timestamptz"),
        (["2024-01-01T10:00+02:00", "2024-01-01T10:00Z", "2024-01-01 10:00:30-0330"], "timestamptz"),
        (["2024-01-01T10:00:00Z", "2024-01-01T10:00:00"], "text"),
        (["2024-01-01 10:00:00", "2024-01-01 25:00:00"], "text"),
        (["6ba7b810-9dad-11d1-80b4-00c04fd430c8"], "uuid"),
        # Null words are no values.
        (["1", "NA", "\\N", "-", "."], "integer"),
        (["NaN", "1.5"], "decimal(15,1)"),
        (["nan", "NA"], "text"),
        (["2024-01-01", "N/A"], "date"),
        (["2024-01-01", "."], "text"),
        (["yes", "no", "NA"], "boolean"),
        (["NA", "SE"], "text"),
        # Misfits: one word in 200 values is a mistake, two words are codes.
        (["1"] * 98 + ["x"], "text"),
        (["1"] * 199 + ["x"], "integer"),
        ([*INTEGERS, "lost"], "integer"),
        ([*INTEGERS, "A", "B"], "text"),
        (INTEGERS * 10 + ["A", "B"], "text"),
        (INTEGERS * 10 + ["12x", "13x"], "integer"),
        (["lost", *INTEGERS], "integer"),
        (["2024-01-01"] * 400 + ["2024-02-30"], "date"),
        ([*INTEGERS, "01234"], "text"),
        (["5"] * 30_000 + ["x"] * 400, "text"),
        (["NA"] * 2000 + ["5"], "integer"),
    ],
)
def test_a_column_gets_the_strictest_type_that_changes_no_value(values: list[str | None], expected: str) -> None:
    column = pa.array(["pad", *values], pa.string())[1:]
    assert str(infer(column)) == expected
    assert str(infer(column.cast(pa.binary()))) == expected


NBSP = "\u00a0"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["30/04/2019", "05/11/2019"], "date:DD/MM/YYYY"),
        (["4/30/2019", "11/5/2019"], "date:MM/DD/YYYY"),
        (["31.12.2024", "1.2.2024"], "date:DD.MM.YYYY"),
        (["31-12-2024", "NA"], "date:DD-MM-YYYY"),
        (["2024/12/31"], "date:YYYY/MM/DD"),
        (["2024-1-5", "2024-12-31"], "date:YYYY-MM-DD"),
        (["31/12/2024 10:30", "01/02/2024 9:05"], "timestamp:DD/MM/YYYY HH:MM"),
        (["31.12.2024 10:30:15", "01.02.2024 00:00:00.5"], "timestamp:DD.MM.YYYY HH:MM:SS"),
        (["12/31/2024 3:45 PM", "1/2/2024 12:00 am"], "timestamp:MM/DD/YYYY HH:MM AM"),
        (["12/31/2024 13:45 PM"], "text"),
        (["30/04/2019", "04/30/2019"], "text"),
        (["31/02/2019"], "text"),
        (["1/2", "3/4"], "text"),
        (["14,75", "66,05"], "decimal(15,2):,"),
        (["14,75", "23 508,40"], "decimal(15,2):, "),
        (["14,75", f"23{NBSP}508,4", "1 234 567,1"], "decimal(15,2):, "),
        (["1.234,56", "7,5", "12"], "decimal(15,2):,."),
        (["1,234.56", "12.5"], "decimal(15,2):.,"),
        (["1'234.50", "12\u2019000.00"], "decimal(15,2):.'"),
        (["1.234.567", "12"], "integer:,."),
        (["1,234,567", "12"], "integer:.,"),
        (["10 237", "850"], "integer:. "),
        (["555 123", "555 199"], "text"),
        (["0,125", "0,250"], "decimal(15,3):,"),
        (["1,25", "NA", "-"], "decimal(15,2):,"),
        (["1,25", "1.25"], "text"),
        (["12,34,56"], "text"),
        (["007,5"], "text"),
        (["1,5"] * 300 + ["lost"], "decimal(15,1):,"),
        (["€ 1,25", "€ 2,50"], "text"),
        (["12 %"], "text"),
    ],
)
def test_the_values_of_a_column_decide_how_they_are_written(values: list[str], expected: str) -> None:
    found = find_type(pa.array(values))
    assert (str(found), found.options) == (expected, ())


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (["04/05/2020", "06/07/2020"], ["date:DD/MM/YYYY", "date:MM/DD/YYYY"]),
        (["04.05.2020 10:30"], ["timestamp:DD.MM.YYYY HH:MM", "timestamp:MM.DD.YYYY HH:MM"]),
        (["13,000", "850"], ["decimal(15,3):,", "integer:.,"]),
        (["1,250", "NA"], ["decimal(15,3):,", "integer:.,"]),
    ],
)
def test_where_nothing_decides_the_column_is_text(values: list[str], options: list[str]) -> None:
    found = find_type(pa.array(values))
    assert (str(found), [str(option) for option in found.options]) == ("text", options)


@pytest.mark.parametrize(
    ("columns", "mark", "expected"),
    [
        ([["03/04/2019"], ["30/04/2019"]], "", ["date:DD/MM/YYYY", "date:DD/MM/YYYY"]),
        ([["03.04.2019 10:00"], ["4/30/2019"]], "", ["timestamp:MM.DD.YYYY HH:MM", "date:MM/DD/YYYY"]),
        ([["03/04/2019"], ["30/04/2019"], ["4/30/2019"]], "", ["text", "date:DD/MM/YYYY", "date:MM/DD/YYYY"]),
        ([["13,000"]], "", ["text"]),
        ([["13,000"]], ".", ["integer:.,"]),
        ([["13,000"], ["1.5"]], "", ["integer:.,", "decimal(15,1)"]),
        ([["13,000"], ["1,5"]], ".", ["decimal(15,3):,", "decimal(15,1):,"]),
        ([["1.250"], ["1,5"]], "", ["integer:,.", "decimal(15,1):,"]),
        ([["1.250"], ["1.5"]], "", ["decimal(15,3)", "decimal(15,1)"]),
        ([["1.250"]], "", ["decimal(15,3)"]),
    ],
)
def test_one_column_tells_for_the_others(columns: list[list[str]], mark: str, expected: list[str]) -> None:
    findings = settle([find_type(pa.array(values)) for values in columns], mark)
    assert [str(found) for found in findings] == expected


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("date", ["2024-12-31"], "date"),
        ("date", ["31/12/2024", "soon"], "date:DD/MM/YYYY"),
        ("timestamptz", ["31/12/2024 10:30"], "timestamptz:DD/MM/YYYY HH:MM"),
        ("timestamp", ["31/12/2024"], "timestamp:DD/MM/YYYY"),
        ("date", ["31/12/2024 10:30"], "date"),
        ("decimal(10,2)", ["1.234,50", "7"], "decimal(10,2):,."),
        ("real", ["1,5", "2,25"], "real:,"),
        ("integer", ["1,234", "17"], "integer:.,"),
        ("integer", ["x"], "integer"),
        ("date", ["infinity"], "date"),
        ("decimal(20,0)", ["9223372036854775808", "1"], "decimal(20,0)"),
        ("decimal(38,3)", ["12345678901234567890123456789012345.678"], "decimal(38,3)"),
    ],
)
def test_a_known_type_gets_the_notation_that_fits_most_values(kind: str, values: list[str], expected: str) -> None:
    assert str(find_notation(pa.array(values), parse(kind))) == expected


values = st.one_of(
    st.sampled_from(
        ["1", "0", "-7", "1.5", "0.250", "1e-3", "007", "1,5", "1,250", "1.234,5", "10 237", "12E12", "yes"]
    ),
    st.sampled_from(["yes", "no", "t", "f", "NA", "-", "31/12/2024", "1/2/2024", "2024-02-29", "10:30"]),
    st.from_regex(r"-?[0-9]{1,3}([., '][0-9]{1,3}){0,2}", fullmatch=True),
    st.from_regex(r"[0-3]?[0-9]/[01]?[0-9]/20[0-9]{2}", fullmatch=True),
)


@given(st.lists(values, min_size=1, max_size=12))
@example(["1,250", "1,5"])
@example(["30/04/2019", "NA"])
def test_a_type_of_few_values_rejects_and_changes_none(texts: list[str]) -> None:
    column = pa.array(texts)
    for found in (find_type(column), *find_type(column).options):
        nulls = null_words(found.type, (), NULL_WORDS)
        if found.notation:
            written = cast_written(column, typed(found.type), notation_of(found.type, found.notation), nulls=nulls)
            assert not written.misfits
            assert not altered_rows(written.texts, written.values, found.type).size
        else:
            plain = cast(column, typed(found.type), nulls=nulls)
            assert not plain.misfits
            assert not altered_rows(column, plain.values, found.type).size
