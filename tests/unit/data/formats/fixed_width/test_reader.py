"""What becomes of each line, with the widths that the user gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import Header, Ragged
from tests.unit.data.formats.fixed_width.conftest import planned
from tests.unit.data.imports.test_import import rejects_of

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard

WIDTHS = "id=4,name=10,amount=6"
GOOD = "0001Ann        12.50\n0002Bob         7.00\n"


def loaded(yard: Yard, text: str | bytes, widths: str = WIDTHS, **options: object) -> list[tuple[object, ...]]:
    plan = planned(yard, text, widths, **options)
    yard.run(plan)
    return yard.sql("SELECT * FROM t")


def test_blanks_are_padding_and_zeros_are_kept(yard: Yard) -> None:
    rows = loaded(yard, GOOD + "    Eve             \n")
    assert rows == [("0001", "Ann", 12.5), ("0002", "Bob", 7), (None, "Eve", None)]


@pytest.mark.parametrize(
    ("line", "code", "column", "message"),
    [
        ("0003Eve        12.50 x", "TEXT_BEHIND_COLUMNS", "", "text stands at character 22, and the last column ends"),
        ("0003\tEve       12.50", "TAB_IN_RECORD", "", "a tab at character 5 has no certain width"),
        ("0003Eve     ", "LINE_TOO_SHORT", "name", "the line ends at character 12, and the last column ends at 20"),
        ("0003Eve        12,5x", "NOT_A_DECIMAL", "amount", "'12,5x' is not a decimal number"),
        ("0003E\0e        12.50", "NUL_BYTE", "name", "contains a NUL byte"),
    ],
)
def test_a_refused_line_is_kept(yard: Yard, line: str, code: str, column: str, message: str) -> None:
    plan = planned(
        yard,
        f"0000           1.00   \r\n{GOOD}{line}\n",
        WIDTHS,
        ragged=Ragged.REJECT,
        types={"amount": "decimal(10,2)"},
    )
    assert yard.run(plan) == Counts(read=4, inserted=3, rejected=1, errors=1)
    (reject,) = rejects_of(yard, plan)
    assert (reject.line, reject.record, reject.code, reject.column) == (4, 4, code, column)
    assert message in reject.message
    assert reject.raw == line


def test_bytes_that_are_not_utf8_are_refused_with_their_line(yard: Yard) -> None:
    plan = planned(
        yard, GOOD.encode() + b"0003E\xffe        12.50\n0004\xc3Eve       12.50\n", WIDTHS, encoding="utf-8"
    )
    assert yard.run(plan) == Counts(read=4, inserted=2, rejected=2, errors=2)
    assert [(reject.line, reject.code) for reject in rejects_of(yard, plan)] == [(3, "NOT_UTF8"), (4, "NOT_UTF8")]


def test_short_lines_are_filled_if_the_file_cuts_its_lines(yard: Yard) -> None:
    cut = "0001Ann        12.50\n0002Bob\n3\n"
    assert loaded(yard, cut) == [("0001", "Ann", 12.5), ("0002", "Bob", None), ("3", None, None)]


def test_short_lines_are_refused_if_other_lines_keep_their_blanks(yard: Yard) -> None:
    padded = f"{GOOD}0003Eve             \n0004Joe\n"
    assert [row[0] for row in loaded(yard, padded)] == ["0001", "0002", "0003"]
    assert yard.run(planned(yard, padded, WIDTHS, ragged=Ragged.FILL), job_id="other").inserted == 4


def test_a_last_line_that_breaks_off_is_refused(yard: Yard) -> None:
    plan = planned(yard, GOOD + "0003Eve        12", WIDTHS)
    assert yard.run(plan) == Counts(read=3, inserted=2, rejected=1, errors=1)
    assert rejects_of(yard, plan)[0].message.startswith("the line ends at character 17")


def test_lines_that_hold_no_record_are_empty(yard: Yard) -> None:
    text = f"{GOOD}\n   \n# 12345678901234567890123\n\x0c\n\x0c{' ' * 19}\n\x1a\x1a"
    plan = planned(yard, text, WIDTHS, comment="#")
    assert yard.run(plan) == Counts(read=8, inserted=2, empty=6)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "windows-1252", "utf-16"])
def test_widths_count_characters(yard: Yard, newline: str, encoding: str) -> None:
    text = newline.join(["1  Zoë   x", "22 Ärä   y", "3  plain z"])
    rows = loaded(yard, text.encode(encoding), "a=3,b=6,c=1", encoding=encoding, header=Header.ABSENT)
    assert rows == [(1, "Zoë", "x"), (22, "Ärä", "y"), (3, "plain", "z")]


def test_a_combining_character_is_a_character(yard: Yard) -> None:
    assert loaded(yard, "Zoe\u0308 x\nZoë  y\n東京𝄞  z\n", "a=5,b=1") == [
        ("Zoe\u0308", "x"),
        ("Zoë", "y"),
        ("東京𝄞", "z"),
    ]


def test_the_last_column_may_take_the_rest(yard: Yard) -> None:
    rows = loaded(yard, "1 a long note\n2\n3 " + "x" * 5000 + "\n", "id=2,note=*")
    assert rows == [(1, "a long note"), (2, None), (3, "x" * 5000)]


def test_records_without_line_ends(yard: Yard) -> None:
    for text, encoding in (("1 Ann  2 Zoë  33Bob  ", "utf-8"), ("1 Ann  2 Zoë  33Bob  \n", "windows-1252")):
        for chunk_bytes in (1, 10, 8 << 20):
            yard.sql("DROP TABLE IF EXISTS t")
            plan = planned(yard, text.encode(encoding), "a=2,b=5", encoding=encoding, chunk_bytes=chunk_bytes)
            assert yard.run(plan, job_id=f"{encoding}{chunk_bytes}").inserted == 3
            assert yard.sql("SELECT * FROM t") == [(1, "Ann"), (2, "Zoë"), (33, "Bob")]


def test_a_record_without_line_ends_that_breaks_off_is_refused(yard: Yard) -> None:
    plan = planned(yard, "1 Ann  2 Zoe  33B", "a=2,b=5", ragged=Ragged.REJECT)
    assert yard.run(plan) == Counts(read=3, inserted=2, rejected=1, errors=1)
    (reject,) = rejects_of(yard, plan)
    assert (reject.line, reject.record, reject.raw, reject.code) == (0, 3, "33B", "LINE_TOO_SHORT")


def test_text_in_a_gap_is_refused(yard: Yard) -> None:
    lines = [f"{number:>4}  {'ab' * (number % 3 + 1):<8}  {number * 100:>6}" for number in range(1, 400)]
    plan = planned(yard, "\n".join([*lines, "400   a value that is too long", ""]))
    assert yard.run(plan) == Counts(read=400, inserted=399, rejected=1, errors=1)
    (reject,) = rejects_of(yard, plan)
    assert (reject.line, reject.code) == (400, "TEXT_BETWEEN_COLUMNS")
    yard.sql("DROP TABLE t")
    plan = planned(yard, "\n".join([*lines, " 400  ababab  x  100", ""]))
    yard.run(plan, job_id="other")
    (reject,) = rejects_of(yard, plan, "other")
    assert (reject.code, reject.column) == ("TEXT_BETWEEN_COLUMNS", "column2")
    assert "between the columns column2 and column3" in reject.message


def test_a_table_of_psql_with_its_last_line(yard: Yard) -> None:
    text = " id | name  | amount \n----+-------+--------\n  1 | Ann   |   12.5\n  2 | Bob X |\n(2 rows)\n\n"
    plan = planned(yard, text)
    assert "widths: 5,8,8 (by line 2)" in plan.detected
    assert yard.run(plan) == Counts(read=4, inserted=2, empty=2)
    assert yard.sql("SELECT * FROM t") == [(1, "Ann", 12.5), (2, "Bob X", None)]


def test_a_value_that_psql_breaks_is_refused_with_its_next_line(yard: Yard) -> None:
    text = (
        " id |  note  | n \n----+--------+---\n  1 | a      | 1\n"
        "  2 | é     +| 2\n    | second+| \n    | third  | \n  3 | \u00e9      | 3\n(3 rows)\n"
    )
    plan = planned(yard, text)
    assert yard.run(plan) == Counts(read=6, inserted=2, rejected=3, errors=3, empty=1)
    assert {reject.code for reject in rejects_of(yard, plan)} == {"BROKEN_VALUE"}
    assert yard.sql("SELECT id, note FROM t") == [(1, "a"), (3, "é")]


@pytest.mark.parametrize(
    ("text", "widths", "message"),
    [
        (GOOD, "4,10,3", "adds up to 17 characters, and most lines of in.txt are longer"),
        ("Ann Lee\nBob Ray\nTim Fox\n", "", "give their widths, 4,3 if that is right: --widths 4,3"),
        ("apple\npear\nplum\n", "", "give their widths in characters: --widths 10,20,8"),
        (" \n\x0c\n", "5", "no line with text"),
    ],
)
def test_a_file_that_cannot_be_laid_out_is_refused(yard: Yard, text: str, widths: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        planned(yard, text, widths)


def test_the_header_is_read_by_the_widths(yard: Yard) -> None:
    for text, names in (
        ("id  name      amount\n" + GOOD, ["id", "name", "amount"]),
        ("no customer_name amount\n" + GOOD, ["no", "customer_name", "amount"]),
    ):
        plan = planned(yard, text, "4,10,6", header=Header.PRESENT)
        assert [column.source for column in plan.columns] == names
    plan = planned(yard, "id  name      amount\n" + GOOD, WIDTHS)
    assert (plan.file.first_line, [column.type for column in plan.columns]) == (2, ["text", "text", "decimal(15,2)"])


def test_lines_above_the_table_are_skipped(yard: Yard) -> None:
    plan = planned(yard, "Report of today\n\n" + GOOD, WIDTHS, skip_lines=2)
    assert plan.file.first_line == 3
    assert "lines 1 to 2 stand before the table and were skipped" in plan.notes
    assert yard.run(plan) == Counts(read=2, inserted=2)
