"""A plan decides on types by the whole of a small file, and by blocks of a larger one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.plan import ImportPlan
from ladingd.core.spec import ImportSpec, Table
from ladingd.data.formats.csv.format import Csv
from ladingd.data.formats.json_lines.format import JsonLines
from ladingd.data.formats.json_lines.sample import learned
from ladingd.data.formats.xml.format import Xml
from ladingd.data.imports import survey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.formats.format import Outline
    from tests.unit.data.conftest import Yard

INTEGERS = "".join(f"{number},{number % 7}\n" for number in range(200_000))


@pytest.mark.parametrize(
    ("last", "types"),
    [
        ("1,2\n", ["integer", "integer"]),
        ("1,2.50\n", ["integer", "decimal(15,2)"]),
        ("0123,x\ny,y\n", ["text", "text"]),
        ("NA,-\n", ["integer", "integer"]),
    ],
)
def test_the_last_record_of_a_small_file_decides_too(yard: Yard, last: str, types: list[str]) -> None:
    plan = yard.plan_import(f"a,b\n{INTEGERS}{last}")
    assert [column.type for column in plan.columns] == types


def test_a_misfit_behind_the_beginning_is_told_with_its_line(yard: Yard) -> None:
    plan = yard.plan_import(f'a,b\n{INTEGERS}"x\ny",1\n1,2\n2,lost\n', types={"a": "text"})
    assert plan.notes == (
        "b is read as integer: 1 of 200,003 values will be refused, the first in line 200005: it is not an integer",
    )


def test_the_order_of_dates_is_decided_behind_the_beginning(yard: Yard) -> None:
    plan = yard.plan_import("d\n" + "01/02/2024\n" * 150_000 + "13/02/2024\n")
    assert (plan.columns[0].type, plan.columns[0].notation) == ("date", "DD/MM/YYYY")


@pytest.mark.parametrize("quoted", [False, True])
def test_blocks_of_a_large_file_are_looked_at(yard: Yard, monkeypatch: pytest.MonkeyPatch, quoted: bool) -> None:
    monkeypatch.setattr(Csv, "surveyed_whole", 8 << 20)
    monkeypatch.setattr(survey, "_BLOCKS", 8)
    record = '"x\n1,2\n""y",5\n' if quoted else "1,5\n"
    usual = record * ((9 << 20) // len(record))
    plan = yard.plan_import(f"a,b\n{usual}{record.replace('5', '5.25') * 500_000}{usual}")
    assert plan.columns[1].type == "decimal(15,2)"
    assert yard.plan_import(f"a,b\n{usual * 2}").columns[1].type == "integer"


def test_what_no_block_shows_is_rejected(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Csv, "surveyed_whole", 2 << 20)
    monkeypatch.setattr(survey, "_BLOCKS", 2)
    plan = yard.plan_import("a\n" + "123456\n" * 400_000 + "x\n" + "123456\n" * 400_000)
    assert (plan.columns[0].type, plan.notes) == ("integer", ())
    assert yard.run(plan).rejected == 1


def test_misfits_in_blocks_are_told_without_a_line(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Csv, "surveyed_whole", 2 << 20)
    monkeypatch.setattr(survey, "_BLOCKS", 2)
    (note,) = yard.plan_import("a\n" + "123456\n" * 500_000 + "x\n" * 100).notes
    assert "100 of the 299" in note
    assert note.endswith("values looked at will be refused, the first: it is not an integer")


def test_json_lines_are_looked_at_as_well(yard: Yard) -> None:
    lines = '{"d": "01/02/2024"}\n' * 3000 + '{"d": "13/02/2024"}\n'
    (yard.directory / "in.csv").write_text(lines)
    plan = yard.plan_import(lines, file_format="json_lines")
    assert (plan.columns[0].type, plan.columns[0].notation) == ("date", "DD/MM/YYYY")


def lines(*values: str, number: int = 3_000) -> str:
    """Lines of JSON, of which the last ones have other values."""
    return '{"a": 1, "b": "x"}\n' * number + "".join(f'{{"a": {value}, "b": "y"}}\n' for value in values)


@pytest.mark.parametrize(
    ("text", "type_of_a", "rejected"),
    [
        (lines("1.5"), "real", 0),
        (lines(*["1.5"] * 3_000), "real", 0),
        (lines('"x"'), "integer", 1),
        (lines(*['"x"'] * 3_000), "text", 0),
        (lines("1e400"), "integer", 1),
    ],
)
@pytest.mark.parametrize("form", ["json_lines", "json"])
def test_types_of_json_are_decided_behind_the_beginning(
    yard: Yard, text: str, type_of_a: str, rejected: int, form: str
) -> None:
    text = text if form == "json_lines" else f"[{text.rstrip().replace(chr(10), ',')}]"
    plan = yard.plan_import(text, file_format=form)
    assert [column.type for column in plan.columns] == [type_of_a, "text"]
    assert yard.run(plan).rejected == rejected


LATE = {
    "json_lines": lines("1") + '{"a": 2, "c": 3}\n' + lines("1") + '{"d": "x", "a": 4}\n',
    "json": f"[{lines('1').replace(chr(10), ',')}" + '{"a": 2, "c": 3}, {"d": "x", "a": 4}]',
    "xml": f"<r>{'<p><a>1</a><b>x</b></p>' * 3_000}<p><a>2</a><c>3</c></p><p d='x'><a>4</a></p></r>",
}


@pytest.mark.parametrize("form", LATE)
def test_columns_behind_the_beginning_are_found(yard: Yard, form: str) -> None:
    plan = yard.plan_import(LATE[form], file_format=form)
    assert {column.source: column.type for column in plan.columns} == {
        "a": "integer", "b": "text", "c": "integer", "d": "text"
    }  # fmt: skip
    assert yard.run(plan).rejected == 0
    assert yard.sql("SELECT a, c, d FROM t WHERE c IS NOT NULL OR d IS NOT NULL") == [(2, 3, None), (4, None, "x")]


@pytest.mark.parametrize("form", LATE)
def test_a_column_that_the_table_lacks_costs_its_records_only(yard: Yard, form: str) -> None:
    yard.sql("CREATE TABLE t (a INTEGER, b TEXT)")
    plan = yard.plan_import(LATE[form], file_format=form)
    assert yard.run(plan).rejected == 2


def test_more_columns_than_the_table_can_have_cost_their_records_only(yard: Yard) -> None:
    plan = yard.plan_import(lines() + "".join(f'{{"k{key}": 1}}\n' for key in range(3_000)), file_format="json_lines")
    assert 2 <= len(plan.columns) <= 2_000
    assert yard.run(plan).rejected == 3_002 - len(plan.columns)


@pytest.mark.parametrize("form", [JsonLines, Xml])
def test_blocks_of_a_large_file_tell_of_columns(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, form: type[JsonLines | Xml]
) -> None:
    monkeypatch.setattr(form, "surveyed_whole", 1 << 20)
    monkeypatch.setattr(form, "surveyed_block", 64 << 10)
    usual, late = ('{"a": 1}\n', '{"a": 1, "c": 2}\n') if form is JsonLines else ("<p a='1'/>\n", "<p c='2'/>\n")
    text = usual * 200_000 + late * 20_000
    plan = yard.plan_import(text if form is JsonLines else f"<r>{text}</r>", file_format=form.name)
    assert {column.source for column in plan.columns} == {"a", "c"}


def test_what_many_records_tell_is_learnt_from_a_few_of_them(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt: list[int] = []

    def learn(self: JsonLines, outline: Outline, records: Sequence[bytes], path: str, column_limit: int) -> Outline:
        learnt.append(len(records))
        return learned(outline, records, path, column_limit)

    monkeypatch.setattr(JsonLines, "learn", learn)
    usual, other = '{"a": 1}\n' * 5_000, '{"a": 1.5, "later": "x"}\n' * 40_000
    plan = yard.transfer.plan(ImportSpec(files=(yard.write(usual + other, "in.jsonl"),), target=Table(table="t")))
    assert isinstance(plan, ImportPlan)
    assert [(column.source, column.type) for column in plan.columns] == [("a", "real"), ("later", "text")]
    assert len(learnt) == 1


@pytest.mark.parametrize("number", [2_001, 30_000])
def test_a_file_of_many_short_records_is_surveyed(yard: Yard, number: int) -> None:
    text = '{"a":1}\n' * number + '{"b":2}\n'
    plan = yard.transfer.plan(ImportSpec(files=(yard.write(text, "in.jsonl"),), target=Table(table="t")))
    assert isinstance(plan, ImportPlan)
    assert [column.source for column in plan.columns] == ["a", "b"]
