"""The structure of delimited files: the records decide, and nothing is skipped, cut or renamed silently."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from ladingd.core.spec import CsvFormat, Header, Ragged

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard


class Case(NamedTuple):
    text: str
    names: list[str]
    rows: list[tuple[object, ...]]
    told: str = ""
    """What the plan tells: a part of its notes or of what it detected."""


CASES = {
    "a title": Case(
        "Stato al 2024-05-01\nporto;navi\nAncona;3\nBari;4\n",
        ["porto", "navi"],
        [("Ancona", 3), ("Bari", 4)],
        "line 1 stands before the table and was skipped",
    ),
    "a title of several lines, one of them blank": Case(
        "Sales report\nmade by accounting\n\nregion,sum\nnorth,5\nsouth,6\n",
        ["region", "sum"],
        [("north", 5), ("south", 6)],
        "lines 1 to 3 stand before the table and were skipped",
    ),
    "a title with a comma": Case(
        "Sales, by region\nregion,sum,share\nnorth,5,1\nsouth,6,2\n",
        ["region", "sum", "share"],
        [("north", 5, 1), ("south", 6, 2)],
        "line 1 stands before the table",
    ),
    "a title with the delimiters of a spreadsheet": Case(
        "Sales,,\nregion,sum,share\nnorth,5,1\nsouth,6,2\n",
        ["region", "sum", "share"],
        [("north", 5, 1), ("south", 6, 2)],
        "line 1 stands before the table",
    ),
    "comments": Case(
        "# made: 2 May 2021\n# by: A\nkind,code\nBIRCH #2,1\n#3 OAK,2\n",
        ["kind", "code"],
        [("BIRCH #2", 1), ("#3 OAK", 2)],
        "lines 1 to 2 stand before the table",
    ),
    "records that begin like comments": Case(
        "#5 Elm Street,7\n#6 Oak Street,8\n7 Main Street,9\n",
        ["column1", "column2"],
        [("#5 Elm Street", 7), ("#6 Oak Street", 8), ("7 Main Street", 9)],
    ),
    "values that begin like comments": Case("#1\n#2\n7\n", ["column1"], [("#1",), ("#2",), ("7",)]),
    "a comment above one column": Case("# made by hand\nname\nAnna\nBob\n", ["name"], [("Anna",), ("Bob",)]),
    "a header behind a comment mark": Case("#id,name\n1,Jo\n2,Al\n", ["id", "name"], [(1, "Jo"), (2, "Al")]),
    "Excel's first line": Case(
        "sep=;\nRed;Green\n1;2\n", ["Red", "Green"], [(1, 2)], "line 1 names the delimiter, as Excel writes it"
    ),
    "a decimal comma": Case("3,20;tea\n4,95;rice\n11,00;soap\n", ["column1", "column2"], [], "delimiter: semicolon"),
    "a delimiter after the last field": Case(
        "P,Q,\n1,2,\n3,4,\n", ["P", "Q"], [(1, 2), (3, 4)], "the empty column after it was left out"
    ),
    "fewer names than fields": Case(
        "name,born\nAnna,1980,x\nBob,1990,y\n",
        ["name", "born", "column3"],
        [("Anna", 1980, "x"), ("Bob", 1990, "y")],
        "the header names 2 columns and the records have 3 fields: column3 is added",
    ),
    "more names than fields": Case(
        "id,name,extra\n1,Anna\n2,Bob\n",
        ["id", "name"],
        [(1, "Anna"), (2, "Bob")],
        "the header names 3 columns and the records have 2 fields: left out 'extra'",
    ),
    "a header that is one delimiter too long": Case(
        "id,name,\n1,Anna\n2,Bob\n", ["id", "name"], [(1, "Anna"), (2, "Bob")]
    ),
    "names that occur twice": Case(
        "id,name,Name\n1,a,b\n2,c,d\n",
        ["id", "name", "Name_2"],
        [(1, "a", "b"), (2, "c", "d")],
        "column 3 is called 'Name_2': an earlier column is called 'Name' as well",
    ),
    "a made name that is taken": Case(
        "id,x,x,x_2\n1,a,b,c\n", ["id", "x", "x_3", "x_2"], [(1, "a", "b", "c")], "column 3 is called 'x_3'"
    ),
    "a blank behind each delimiter": Case("id, name\n1, Anna\n2, Bob\n", ["id", "name"], [(1, "Anna"), (2, "Bob")]),
    "a blank before quotes": Case(
        'No, "What", "Price"\n1, "Glue, wood",   2.95\n2, "Tape", 1.50\n',
        ["No", "What", "Price"],
        [],
        "delimiter: comma and blanks",
    ),
    "apostrophes as quotes": Case(
        "id,name\n1,'a,b'\n2,'it''s'\n", ["id", "name"], [(1, "a,b"), (2, "it's")], "quote: '"
    ),
    "apostrophes in words": Case(
        "id,name\n1,O'Neil\n2,'s Gravenhage\n", ["id", "name"], [(1, "O'Neil"), (2, "'s Gravenhage")]
    ),
    "three marks": Case("code@@@n\nA@@@1\nB@@@2\n", ["code", "n"], [("A", 1), ("B", 2)], "delimiter: @@@"),
    "two bars": Case("a||b\nx||1\ny||2\n", ["a", "b"], [("x", 1), ("y", 2)], "delimiter: ||"),
    "two bars within quotes": Case('a||b\n"x||y"||1\nz||2\n', ["a", "b"], [("x||y", 1), ("z", 2)]),
    "a tilde": Case("id~name\n1~a,b\n2~c\n", ["id", "name"], [(1, "a,b"), (2, "c")]),
    "a control character": Case("id\x01name\n1\x01a\n2\x01b\n", ["id", "name"], [(1, "a"), (2, "b")]),
    "a mark beyond ASCII": Case("id¦name\n1¦a\n2¦b\n", ["id", "name"], [(1, "a"), (2, "b")]),
    "colons": Case("root:x:0\nbin:y:1\ndaemon:z:2\nsys:a:3\n", ["column1", "column2", "column3"], [], "delimiter: :"),
    "times are no records": Case("at\n10:11:12\n10:11:13\n", ["at"], [("10:11:12",), ("10:11:13",)]),
    "words are no records": Case("full name\nAnna Berg\nBob Cole\n", ["full name"], [("Anna Berg",), ("Bob Cole",)]),
    "one column, and a semicolon in a value": Case(
        "word\nplain\nleft;right\n", ["word"], [("plain",), ("left;right",)]
    ),
    "sentences": Case(
        "text\nOne, two\nThree\nFour, five, six\nSeven\n",
        ["text"],
        [("One, two",), ("Three",), ("Four, five, six",), ("Seven",)],
    ),
    "a list in a column": Case("id,tags\n1,a;b\n2,c;d\n", ["id", "tags"], [(1, "a;b"), (2, "c;d")]),
    "years as names": Case("area,2018,2019\nnorth,4,7\n", ["area", "2018", "2019"], [("north", 4, 7)]),
    "dates as names": Case(
        "area,2024-01-01,2024-02-01\nnorth,4,7\n", ["area", "2024-01-01", "2024-02-01"], [("north", 4, 7)]
    ),
    "months as names": Case("area,Jan-24,Feb-24\nnorth,4,7\n", ["area", "Jan-24", "Feb-24"], [("north", 4, 7)]),
    "dates in the first record": Case(
        "north,2024-01-01,2024-02-01\nsouth,2024-01-02,2024-02-02\n",
        ["column1", "column2", "column3"],
        [("north", "2024-01-01", "2024-02-01"), ("south", "2024-01-02", "2024-02-02")],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_records_decide(yard: Yard, case: Case) -> None:
    plan = yard.plan_import(case.text)
    assert [column.source for column in plan.columns] == case.names, plan.detected
    assert case.told in "\n".join((plan.detected, *plan.notes))
    counts = yard.run(plan)
    assert counts.rejected == 0
    if case.rows:
        assert yard.sql("SELECT * FROM t") == case.rows


@pytest.mark.parametrize(
    ("text", "csv", "names", "rows"),
    [
        ("a,b\n1,2\n\n3,4\n", CsvFormat(skip_lines=1, header=Header.ABSENT), ["column1", "column2"], [(1, 2), (3, 4)]),
        ("x\ny\nid,n\n1,2\n", CsvFormat(skip_lines=2), ["id", "n"], [(1, 2)]),
        ("id,n\n1,2\n!3,4\n5,6\n", CsvFormat(comment="!"), ["id", "n"], [(1, 2), (5, 6)]),
        ("#id,n\n#1,2\n", CsvFormat(comment="none", header=Header.PRESENT), ["id", "n"], [("#1", 2)]),
        ('id,n\n1,"a^",b"\n', CsvFormat(escape="^"), ["id", "n"], [(1, 'a",b')]),
        (
            "id,n,m\n1,2\n3\n4,5,6\n",
            CsvFormat(ragged=Ragged.FILL),
            ["id", "n", "m"],
            [(1, 2, None), (3, None, None), (4, 5, 6)],
        ),
        ("id::n\n1::2\n", CsvFormat(delimiter="::"), ["id", "n"], [(1, 2)]),
    ],
)
def test_every_finding_can_be_overridden(
    yard: Yard, text: str, csv: CsvFormat, names: list[str], rows: list[tuple[object, ...]]
) -> None:
    plan = yard.plan_import(text, csv=csv)
    assert [column.source for column in plan.columns] == names
    counts = yard.run(plan)
    if rows:
        assert (yard.sql("SELECT * FROM t"), counts.rejected) == (rows, 0)


def test_a_value_behind_the_last_column_refuses_its_record(yard: Yard) -> None:
    text = "P,Q,\n" + "1,2,\n" * 250_000 + "3,4,five\n"
    plan = yard.plan_import(text)
    assert [column.source for column in plan.columns] == ["P", "Q"]
    counts = yard.run(plan)
    assert (counts.read, counts.inserted, counts.rejected) == (250_001, 250_000, 1)
