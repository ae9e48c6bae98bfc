"""Imports of files with irregular quotes: no value is changed, merged or torn, and every such record is reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import InvalidSpec
from ladingd.core.job import RejectType
from ladingd.core.spec import CsvFormat, Header
from tests.unit.data.imports.test_import import rejects_of

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard


def test_a_quote_that_closes_on_a_later_line_costs_its_first_line(yard: Yard) -> None:
    plan = yard.plan_import('no,name,plan\n1,Ann,"basic"\n2,Bob,"basic\n3,Cy,"basic"\n4,Di,"basic"\n')
    assert yard.run(plan) == Counts(read=4, inserted=3, rejected=1, errors=1)
    assert yard.sql("SELECT name FROM t ORDER BY no") == [("Ann",), ("Cy",), ("Di",)]
    (reject,) = rejects_of(yard, plan)
    assert (reject.line, reject.record, reject.raw, reject.code) == (3, 2, '2,Bob,"basic', "UNTERMINATED_QUOTE")


@pytest.mark.parametrize("chunk_bytes", [2000, 8000, 8 << 20])
def test_many_records_between_the_quotes_change_nothing(yard: Yard, chunk_bytes: int) -> None:
    lines = [f"{number},plain" for number in range(1, 2000)]
    lines[9], lines[1500] = '10,"open', '1501,"quoted"'
    plan = yard.plan_import("\n".join(["no,note", *lines, ""]), chunk_bytes=chunk_bytes)
    assert yard.run(plan) == Counts(read=1999, inserted=1998, rejected=1, errors=1)
    assert [(reject.line, reject.record) for reject in rejects_of(yard, plan)] == [(11, 10)]
    assert yard.sql("SELECT max(length(note)) FROM t") == [(6,)]


def test_a_value_that_begins_with_quoted_words_is_kept_and_told(yard: Yard) -> None:
    plan = yard.plan_import('key,label,deg\nq1,Mill Lane,51.20\nq2,"B" Quay - near Pier 7,51.21\nq3,Bridge,51.22\n')
    assert yard.run(plan) == Counts(read=3, inserted=3, warnings=1)
    assert yard.sql("SELECT label FROM t WHERE key = 'q2'") == [('"B" Quay - near Pier 7',)]
    (told,) = rejects_of(yard, plan)
    assert (told.type, told.line, told.code) == (RejectType.WARNING, 3, "QUOTE_KEPT")


@pytest.mark.parametrize(("column", "kept"), [("no INTEGER", [2, 4]), ("no INTEGER UNIQUE", [2])])
def test_a_refused_record_is_not_said_to_be_kept(yard: Yard, column: str, kept: list[int]) -> None:
    yard.sql(f"CREATE TABLE t (label TEXT, {column})")
    plan = yard.plan_import('label,no\n"A" x,1\n"B" x,none\n"C" x,1\n"D" x,1.5\n')
    counts = yard.run(plan)
    assert (counts.inserted, counts.rejected, counts.warnings) == (len(kept), 4 - len(kept), len(kept))
    told = rejects_of(yard, plan)
    assert [each.line for each in told] == [2, 3, 4, 5]
    assert [each.line for each in told if each.type is RejectType.WARNING] == kept


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('2,"say "hi" now"', "TEXT_AFTER_QUOTE"),
        ('2,"a, b" c', "TEXT_AFTER_QUOTE"),
        ('2,"B" Quay,more', "TEXT_AFTER_QUOTE"),
        ('2,"B"  ""', "TEXT_AFTER_QUOTE"),
        ('2,"open', "UNTERMINATED_QUOTE"),
    ],
)
def test_one_line_is_refused_and_the_others_are_read(yard: Yard, line: str, code: str) -> None:
    plan = yard.plan_import(f'no,label\n1,"one"\n{line}\n3,5" nail\n', csv=CsvFormat(header=Header.PRESENT))
    assert yard.run(plan) == Counts(read=3, inserted=2, rejected=1, errors=1)
    assert [(reject.line, reject.code, reject.raw) for reject in rejects_of(yard, plan)] == [(3, code, line)]
    assert yard.sql("SELECT label FROM t ORDER BY no") == [("one",), ('5" nail',)]


def test_bytes_that_are_not_text_among_irregular_quotes(yard: Yard) -> None:
    data = b'no,label\n1,a\n2,"B" x\n3,"open\n' + b"4,\xff\n5,b,c,\xff\n6,z\n"
    head = b"no,label\n" + b"7,q\n" * (300 << 10)
    plan = yard.plan_import(head + data[9:], encoding="utf-8")
    counts = yard.run(plan)
    assert (counts.read, counts.inserted, counts.rejected, counts.warnings) == ((300 << 10) + 6, (300 << 10) + 3, 3, 1)
    assert yard.sql("SELECT label FROM t WHERE no <> 7 ORDER BY no") == [("a",), ('"B" x',), ("z",)]


def test_escaped_quotes_are_detected_by_what_follows_them(yard: Yard) -> None:
    text = (
        "kind,label\n"
        "x,green tea\n"
        'x,"green, tea"\n'
        'x,green \\" tea\n'
        'x,\\"green tea\\"\n'
        'x,"big \\"green\\" tea"\n'
        'x,"a ""b"" \\\\ C:\\dir"\n'
        "x,C:\\dir\n"
    )
    plan = yard.plan_import(text)
    assert plan.file.layout.details["escape"] == "\\"
    assert 'quote: ", escaped by \\;' in plan.detected
    assert yard.run(plan) == Counts(read=7, inserted=7)
    assert yard.sql("SELECT label FROM t ORDER BY rowid") == [
        ("green tea",),
        ("green, tea",),
        ('green " tea',),
        ('"green tea"',),
        ('big "green" tea',),
        ('a "b" \\ C:\\dir',),
        ("C:\\dir",),
    ]


@pytest.mark.parametrize(
    "text",
    [
        'id,path\n1,"C:\\dir\\"\n2,"D:\\"\n',
        'id,path,x\n1,"C:\\dir\\",\n2,plain,\n',
        'id,word\n1,M\\"uller\n2,plain\n',
        'id,path\n1,"C:\\a\\""b"""\n2,plain\n',
    ],
)
def test_a_backslash_before_a_closing_quote_escapes_nothing(yard: Yard, text: str) -> None:
    plan = yard.plan_import(text, csv=CsvFormat(header=Header.PRESENT))
    assert plan.file.layout.details["escape"] == ""
    assert yard.run(plan).rejected == 0


def test_a_header_whose_quotes_are_not_regular_names_its_line(yard: Yard) -> None:
    with pytest.raises(InvalidSpec, match=r"in\.csv: text follows a closing quote \(line 2\): correct that line"):
        yard.plan_import('\nid,"a "b" c"\n1,2\n')
