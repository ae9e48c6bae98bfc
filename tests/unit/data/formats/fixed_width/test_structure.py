"""The columns that a file shows, and files that do not show them."""

from __future__ import annotations

import pytest

from ladingd.core.spec import Header
from ladingd.data.formats.fixed_width.format import FixedWidth
from ladingd.data.formats.fixed_width.structure import Uncertain, find_ruler, find_structure, is_surely_fixed

PEOPLE = """\
id   name        amount
001  Ann Smith    12.50
002  Bob           7.00
003  Carla Jones 100.00
"""
LEFT = "".join(f"{number:<6}{'x' * (number % 7 + 1):<9}{'yz' * (number % 4 + 1):<9}\n" for number in range(40))
TIMES = "".join(f"2024-01-{day:02} 10:{day:02}:00  {'on' if day % 2 else 'off':<5}{day:>4}\n" for day in range(1, 29))
PSQL = """\
 id | name  | amount\x20
----+-------+--------
  1 | Ann   |   12.5
  2 | Bob X |    7
(2 rows)
"""
DB2 = """\

ID          NAME       BORN
----------- ---------- ----------
          1 Ann        02/03/2001
          2 -          02/04/2001

  2 record(s) selected.
"""


def spelled(text: str, header: Header = Header.DEFAULT) -> tuple[str, bool]:
    found = find_structure(text.splitlines(), header)
    return str(found.widths), found.header


def test_numbers_on_the_right_and_text_on_the_left() -> None:
    assert spelled(PEOPLE) == ("3,~2,11,~1,6", True)
    assert spelled(LEFT) == ("6,9,9", False)
    assert spelled("".join(line[::-1] + "\n" for line in LEFT.splitlines())) == ("9,9,6", False)


def test_a_date_and_its_time_are_one_value() -> None:
    assert spelled(TIMES) == ("19,~2,3,~4,2", False)


@pytest.mark.parametrize("header", ["kind  full name", "kind  name     "])
def test_a_blank_within_all_values_does_not_end_a_column(header: str) -> None:
    rows = [f"{'ab' * (number % 2 + 1):<6}aa {'bcd'[: number % 3 + 1]:<6}" for number in range(30)]
    assert spelled("\n".join([header, *rows])) == ("6,9", True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Ann Lee\nBob Ray\nTim Fox\n", "the blank at character 4 may stand between columns or within values"),
        ("apple\npear\nplum\n", "no character is blank in all lines"),
        ("a  1\n", "too few lines"),
        ("a\t1\nb\t2\nc\t3\n", "tabs"),
        ("name   \nAnn  12\nBob   7\nCarl  9\n", "the column at character 6 has no name in the header"),
        ("id  customername\n1   Ann   x12\n2   Bob    x7\n", "the header has no blank between the columns"),
        ("ab     x\n a     x\n  b    x\n", "the values at character 1 are neither left-aligned nor right-aligned"),
    ],
)
def test_uncertain_columns_are_not_guessed(text: str, reason: str) -> None:
    with pytest.raises(Uncertain, match=reason):
        find_structure(text.splitlines(), Header.DEFAULT)


def test_the_last_column_ends_where_lines_end_with_blanks() -> None:
    lines = [f"{number:<4}ab" for number in range(40)]
    assert spelled("\n".join(lines)) == ("2,~2,2", False)
    assert spelled("\n".join([*lines, "40  abc"])) == ("2,~2,*", False)
    assert spelled("\n".join([*(line + " " for line in lines), "40  abcd"])) == ("2,~2,3", False)


def test_a_guess_can_be_typed() -> None:
    with pytest.raises(Uncertain) as caught:
        find_structure(["Ann Lee  1", "Bob Ray 12", "Tim Fox  3"], Header.ABSENT)
    assert caught.value.guess == "4,4,2"


@pytest.mark.parametrize(
    ("text", "line", "widths"),
    [(PSQL, 1, "4,~1,7,~1,8"), (DB2, 1, "11,~1,10,~1,10"), ("a   b\n=== ===\n", 1, "3,~1,3")],
)
def test_a_line_of_dashes_gives_the_columns(text: str, line: int, widths: str) -> None:
    ruler = find_ruler([each for each in text.splitlines() if each.strip()])
    assert ruler is not None
    assert (ruler.line, str(ruler.widths)) == (line, widths)


@pytest.mark.parametrize(
    "text",
    [
        "x y z\n- - -\n1 2 3\n",
        "----- -----\na     b\n",
        "a     b\n----- -----\n1 2 3456 7\n1 2 3456 7\n1 2 3456 7\n",
        "abcdefghijk\n----- -----\na     b\n",
        "a\n-----\n1\n",
        "a|b\n---|---\n1|2\n",
    ],
)
def test_a_line_of_dashes_that_the_lines_do_not_fit_is_none(text: str) -> None:
    assert find_ruler(text.splitlines()) is None


@pytest.mark.parametrize("text", [PSQL, DB2, PEOPLE, LEFT, TIMES])
def test_a_table_is_known_without_options(text: str) -> None:
    assert FixedWidth().recognises(text.encode())
    assert FixedWidth().recognises(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "word\napple\npear\nplum\n",
        "word \napple\npear \nplum \n",
        "first name\nAnn Lee   \nBob Ray   \nTim Fox   \nKim Day   \n",
        "a,  b,   c\n1,  2,   3\n4,  5,   6\n7,  8,   9\n",
        "id;name \n 1;  Ann\n 2;  Bob\n 3;  Eve\n 4;  Joe\n",
        "1 2 3\n4 5 6\n7 8 9\n1 2 3\n",
        "the quick brown fox  \njumps over the lazy  \ndog and runs away to \nthe next village     \n",
        "a\tb  c\n1\t2  3\n4\t5  6\n7\t8  9\n",
        "2024-01-01 10:00:00 start\n2024-01-01 10:00:01 doing something\n2024-01-01 10:00:02 end\n",
        '"a  b"\n"c  d"\n"e  f"\n"g  h"\n',
        '"a   b"\n"cc  d"\n"e   f"\n"g   h"\n',
        "a  b\nc  d\ne  f\ng  h\n",
    ],
)
def test_other_text_is_no_table(text: str) -> None:
    assert not FixedWidth().recognises(text.encode())


def test_lines_that_lost_their_blanks_do_not_prove_a_table() -> None:
    assert not is_surely_fixed([line.rstrip() for line in LEFT.splitlines()])
    assert is_surely_fixed([*LEFT.splitlines(), "40    x"])
