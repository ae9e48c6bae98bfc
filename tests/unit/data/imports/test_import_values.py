"""Imports never change a value silently: it is stored unchanged, or rejected."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ladingd.core.job import Connector
from ladingd.core.spec import CsvFormat
from ladingd.data.databases.sqlite.affinity import changed_texts
from ladingd.data.databases.sqlite.converters import sqlite_reading
from ladingd.data.formats.csv.format import Csv
from ladingd.data.imports import survey
from ladingd.data.imports.planner import CHUNK_LIMIT
from ladingd.data.values.alteration import altered
from ladingd.data.values.casting import cast
from ladingd.data.values.types import EXACT_DIGITS, Affinity, parse
from tests.unit.data.imports.test_import import rejects_of

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard

BEYOND = 400_000
"""More lines than the plan examines."""


@pytest.mark.parametrize(
    ("usual", "odd", "message"),
    [
        ("12345", "01234", "'01234' would become 1234 as an integer; import n as text to keep it"),
        ("12345", "-0", "'-0' would become 0 as an integer; import n as text to keep it"),
        ("0.50", "01.5", "'01.5' would become 1.50 as a decimal(15,2); import n as text to keep it"),
        ("0.50", "-0.0", "'-0.0' would become 0.00 as a decimal(15,2); import n as text to keep it"),
        ("1e-3", "-0e1", "'-0e1' would become 0 as a real; import n as text to keep it"),
    ],
)
def test_a_value_behind_the_sample_that_would_change_is_refused(
    yard: Yard, usual: str, odd: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "_BLOCKS", 0)
    monkeypatch.setattr(Csv, "surveyed_whole", 0)  # only the first MiB is looked at
    lines = BEYOND * 6 // (len(usual) + 1)
    plan = yard.plan_import(f"n\n{(usual + chr(10)) * lines}{odd}\n")
    assert plan.columns[0].inferred
    counts = yard.run(plan)
    (reject,) = rejects_of(yard, plan)
    assert (reject.code, reject.column, reject.value, reject.message) == ("WOULD_CHANGE", "n", odd, message)
    assert (counts.inserted, counts.rejected) == (lines, 1)


def test_a_type_that_was_asked_for_or_declared_may_change_a_spelling(yard: Yard) -> None:
    text = "n\n" + "1\n" * 10 + "007\n"
    plan = yard.plan_import(text, types={"n": "integer"})
    assert not plan.columns[0].inferred
    assert yard.run(plan, "one").inserted == 11
    plan = yard.plan_import(text)
    assert not plan.columns[0].inferred
    assert yard.run(plan, "two").inserted == 11


numbers = st.from_regex(r"\A[+-]?[0-9]{0,18}(\.[0-9]{0,4})?(e-?[0-9])?\Z")


@example(["-0.00000012", "1.12345678"])
@example(["10000000001", "-0e5", "-.0", "1.50e3", "5.", ".50", "0.12345678901234567", "123456789012345678e-1"])
@given(st.lists(st.one_of(numbers, st.sampled_from(["true", "TRUE", "1", "0", "false"]), st.none()), min_size=1))
def test_the_values_that_would_change_are_those_of_a_slow_comparison(values: list[str | None]) -> None:
    column = pa.array(["pad", *values], pa.string())[1:]
    for word in ("integer", "decimal(15,2)", "decimal(15,8)", "real", "boolean"):
        kind = parse(word)
        outcome = cast(column, sqlite_reading(kind, inferred=True))
        expected = [
            row
            for row, (text, value) in enumerate(zip(values, outcome.values, strict=True))
            if text and value.is_valid and not _is_kept(text, value.as_py(), word)
        ]
        for each in (column, column.cast(pa.binary())):
            assert list(altered(each, outcome.values, kind, "n")) == expected


def _is_kept(text: str, value: float, word: str) -> bool:
    if word == "boolean":
        return True
    if word == "integer":
        return text == str(value)
    if text.startswith(("+", "-")) and (text[0] == "+" or not value):
        return False
    digits = text.lstrip("-").partition("e")[0]
    if digits.endswith(".") or (digits[:1] == "0" and digits[1:2].isdigit()):
        return False
    few = word == "real" and len(digits.replace(".", "")) <= EXACT_DIGITS
    return few or Decimal(text) == Decimal(repr(value))


def test_text_that_a_column_for_numbers_would_change_is_refused(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a STRING, b REAL, c TEXT, d ANY)")
    good = ["12", "-7", "1.5", "x", "9223372036854775807", "1 2", "0x1F", "nan", ""]
    bad = ["0123", "1e3", " 12 ", "1.50", "+1", "-0", ".5", "9223372036854775808"]
    text = "a,c\n" + "".join(f"{value},{value}\n" for value in (*good, *bad))
    plan = yard.plan_import(text, types={"a": "text"})
    counts = yard.run(plan)
    rejects = rejects_of(yard, plan)
    assert [reject.value for reject in rejects] == bad
    assert {(reject.code, reject.column, reject.connector) for reject in rejects} == {
        ("WOULD_CHANGE", "a", Connector.DATABASE)
    }
    assert rejects[0].message == "'0123' would become another number in column a, declared STRING"
    assert (counts.inserted, counts.rejected) == (len(good), len(bad))
    assert all(a == c for a, c in yard.sql("SELECT CAST(a AS TEXT), c FROM t"))


def test_text_is_compared_as_the_column_would_store_it() -> None:
    texts = pa.array(["5", "5.0", "1e+20", "9007199254740993", "0.1"])
    assert changed_texts(texts, Affinity.REAL) == [1, 3]
    assert changed_texts(texts, Affinity.NUMERIC) == [1]
    assert changed_texts(texts, Affinity.BLOB) == []


def test_a_strict_column_for_anything_keeps_text(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a ANY) STRICT")
    yard.run(yard.plan_import("a\n0123\n"))
    assert yard.sql("SELECT a FROM t") == [("0123",)]


def test_numbers_in_columns_for_text_keep_their_digits(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (d TEXT, r TEXT, n NUMERIC)")
    yard.run(yard.plan_import("d,r\n1.5,0.30000000000000004\n7,2.5\n", types={"d": "decimal(10,2)", "r": "real"}))
    assert yard.sql("SELECT d, r FROM t") == [("1.50", "0.30000000000000004"), ("7.00", "2.5")]


@pytest.mark.parametrize("declared", ["NUMERIC", "DECIMAL(18)", "DECIMAL"])
@pytest.mark.parametrize("others", [[], ["1.5", "-0.25", "1e3"]])
def test_large_integers_in_columns_for_numbers_are_exact(yard: Yard, declared: str, others: list[str]) -> None:
    yard.sql(f"CREATE TABLE t (n {declared})")
    large = ["9007199254740993", "-9223372036854775808", "+9223372036854775807", "000123456789012345678", "3"]
    yard.run(yard.plan_import("n\n" + "".join(f"{value}\n" for value in large + others)))
    expected = [("integer", str(int(value))) for value in large]
    expected += [("integer", "1000") if value == "1e3" else ("real", value) for value in others]
    assert yard.sql("SELECT typeof(n), CAST(n AS TEXT) FROM t") == expected


@pytest.mark.parametrize("word", ["integer", "decimal(15,2)", "decimal(38,0)"])
def test_a_number_of_very_many_digits_is_no_other_number(word: str) -> None:
    values = [str((1 << bits) + 5) for bits in (63, 64, 127, 128, 129, 160)] + ["7" * 60 + ".5"]
    outcome = cast(pa.array([*values, "5"]), sqlite_reading(parse(word)))
    assert outcome.values.to_pylist() == [None] * len(values) + [5]


@pytest.mark.parametrize("zeros", [30, 36, 38, 60, 100])
def test_zeros_around_a_decimal_do_not_count(zeros: int) -> None:
    texts = pa.array(["123.5" + "0" * zeros, "0" * zeros + "2", "-" + "0" * zeros + "2.50" + "0" * zeros])
    outcome = cast(texts, sqlite_reading(parse("decimal(5,2)")))
    assert (outcome.values.to_pylist(), outcome.misfits) == ([123.5, 2.0, -2.5], {})


def test_zeros_around_a_decimal_make_no_reject(yard: Yard) -> None:
    plan = yard.plan_import("d\n1.5" + "0" * 60 + "\n00000000000000000000000000000000000000000002\nx\n12345.5\n",
                            types={"d": "decimal(5,2)"})  # fmt: skip
    yard.run(plan)
    assert yard.sql("SELECT d FROM t") == [(1.5,), (2,)]
    assert [reject.code for reject in rejects_of(yard, plan)] == ["NOT_A_DECIMAL", "OUT_OF_RANGE"]


def test_nothing_in_the_last_field_of_a_file_without_a_last_line_end_is_null(yard: Yard) -> None:
    yard.run(yard.plan_import('a,b,c\n1,"x",\n1,"x",'))
    assert yard.sql("SELECT c FROM t") == [(None,), (None,)]


@pytest.mark.parametrize("delimiter", [",", "x"])
def test_misshapen_records_that_are_not_utf8_leave_the_others_alone(yard: Yard, delimiter: str) -> None:
    clean = b"1,2\n" * 300_000  # the plan examines the first MiB
    text = (b"a,b\n" + clean + b"1\xff,2\r3\n\n4,5\n\xff\xff\n").replace(b",", delimiter.encode())
    plan = yard.plan_import(text, csv=CsvFormat(delimiter=delimiter), chunk_bytes=CHUNK_LIMIT, encoding="utf-8")
    counts = yard.run(plan)
    assert (counts.read, counts.inserted, counts.empty) == (300_005, 300_001, 1)
    assert [reject.code for reject in rejects_of(yard, plan)] == ["NOT_UTF8", "TOO_FEW_COLUMNS", "TOO_FEW_COLUMNS"]
