"""Nested objects become columns that are called by their paths."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import ImportPlan
from ladingd.core.spec import ImportSpec, Table
from ladingd.data.imports import survey
from tests.unit.data.imports.test_import import rejects_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.data.conftest import Yard

NAMES = ["in.jsonl", "in.json"]
FEW, MANY = 1, 3000
"""Python reads a few records, pyarrow reads many."""


def planned(yard: Yard, content: str | bytes, *names: str, table: str = "t", **spec: object) -> ImportPlan:
    files = tuple(yard.write(content, name) for name in names)
    plan = yard.transfer.plan(ImportSpec(files=files, target=Table(table=table), flatten=True, **spec))  # type: ignore[arg-type]
    assert isinstance(plan, ImportPlan)
    return plan


def lines(*records: str) -> str:
    return "".join(f"{record}\n" for record in records)


def types_of(plan: ImportPlan) -> dict[str, str]:
    return {column.source: column.type for column in plan.columns}


@pytest.mark.parametrize("number", [FEW, MANY])
@pytest.mark.parametrize("name", NAMES)
def test_fields_of_objects_are_columns(yard: Yard, name: str, number: int) -> None:
    row = {
        "id": 1,
        "address": {"city": "Bern", "geo": {"lat": 46.5, "ok": True}, "lines": ["a", {"b": 1}]},
        "born": {"day": "2024-02-29"},
    }
    rows = [row | {"id": number} for number in range(number)]
    text = json.dumps(rows) if name == "in.json" else lines(*map(json.dumps, rows))
    plan = planned(yard, text, name)
    assert types_of(plan) == {
        "id": "integer", "address.city": "text", "address.geo.lat": "decimal(15,1)", "address.geo.ok": "boolean",
        "address.lines": "text", "born.day": "date",
    }  # fmt: skip
    assert yard.run(plan) == Counts(read=number, inserted=number)
    assert yard.sql("SELECT DISTINCT [address.city], [address.geo.lat], [address.lines], [born.day] FROM t") == [
        ("Bern", 46.5, '["a", {"b": 1}]', "2024-02-29")
    ]


@pytest.mark.parametrize("odd", [
    '{"a": null, "n": 1}', '{"a": {}, "n": 1}', '{"a": {"b": null}, "n": 1}', '{"a": {"c": {}}, "n": 1}', '{"n": 1}',
])  # fmt: skip
@pytest.mark.parametrize("beside", [FEW, MANY])
def test_an_object_that_is_missing_or_empty_is_null(yard: Yard, odd: str, beside: int) -> None:
    usual = '{"a": {"b": 1, "c": {"d": "x"}}, "n": 0}'
    plan = planned(yard, lines(odd, *[usual] * beside, odd), "in.jsonl")
    assert sorted(types_of(plan)) == ["a.b", "a.c.d", "n"]
    assert yard.run(plan) == Counts(read=beside + 2, inserted=beside + 2)
    assert yard.sql("SELECT [a.b], [a.c.d], n, count(*) FROM t WHERE n = 1") == [(None, None, 1, 2)]


FAULTS = [
    ('{"a": {"b": 1, "b": 2}}', "DUPLICATE_KEY", "the key 'a.b' occurs twice"),
    ('{"a": {"b": 1}, "a": {"c": 2}}', "DUPLICATE_KEY", "the key 'a' occurs twice"),
    ('{"a": {"b": 1}, "a.b": 2}', "DUPLICATE_KEY", "a key and the path of a nested value are both 'a.b'"),
    ('{"a.b": 2, "a": {"b": 1}}', "DUPLICATE_KEY", "a key and the path of a nested value are both 'a.b'"),
    ('{"a": {"x": 1}}', "UNEXPECTED_KEY", "there is no column for the key 'a.x'"),
    ('{"a": 1}', "UNEXPECTED_KEY", "there is no column for the key 'a'"),
    ('{"a": {"b": {"c": 1}}}', "UNEXPECTED_KEY", "there is no column for the key 'a.b.c'"),
    ('{"a": {"b": 1', "NOT_JSON", ""),
    ('{"a": {"b": }}', "NOT_JSON", "a value is missing at character 13"),
    ('{"a": {"b": "\\ud800"}}', "NOT_JSON", "half a surrogate pair"),
    ('{"a": {"b": "x"}}', "NOT_AN_INTEGER", ""),
]


@pytest.mark.parametrize(("line", "code", "said"), FAULTS)
def test_a_fault_costs_its_record(yard: Yard, monkeypatch: pytest.MonkeyPatch, line: str, code: str, said: str) -> None:
    monkeypatch.setattr(survey, "ROUNDS", 0)
    usual = ['{"a": {"b": 1, "c": "x"}}'] * MANY
    plan = planned(yard, lines(*usual, line, *usual), "in.jsonl", types={"a.b": "integer"})
    assert yard.run(plan) == Counts(read=2 * MANY + 1, inserted=2 * MANY, rejected=1, errors=1)
    (reject,) = rejects_of(yard, plan)
    assert (reject.code, reject.raw) == (code, line)
    assert said in reject.message


def test_a_key_with_a_dot_is_the_same_column(yard: Yard) -> None:
    records = ['{"a.b": 1, "c": {"d.e": {"f": 2}}}', '{"a": {"b": 1}, "c": {"d": {"e.f": 2}}}']
    plan = planned(yard, lines(*records * MANY), "in.jsonl")
    assert types_of(plan) == {"a.b": "integer", "c.d.e.f": "integer"}
    assert yard.run(plan) == Counts(read=2 * MANY, inserted=2 * MANY)
    assert yard.sql("SELECT DISTINCT [a.b], [c.d.e.f] FROM t") == [(1, 2)]


def test_a_value_that_is_an_object_elsewhere_has_a_column_of_its_own(yard: Yard) -> None:
    records = ['{"a": 1}', '{"a": {"b": "x"}}', '{"a": null}']
    plan = planned(yard, lines(*records * MANY), "in.jsonl")
    assert types_of(plan) == {"a": "integer", "a.b": "text"}
    assert yard.run(plan) == Counts(read=3 * MANY, inserted=3 * MANY)
    assert sorted(yard.sql("SELECT DISTINCT a, [a.b] FROM t"), key=repr) == [(1, None), (None, "x"), (None, None)]


def test_a_file_whose_objects_are_null_is_like_the_first(yard: Yard) -> None:
    first, second = yard.write('{"a": {"b": 1}}\n', "1.jsonl"), yard.write('{"a": null}\n', "2.jsonl")
    third = yard.write('{"a": 5}\n', "3.jsonl")
    plan = yard.transfer.plan(ImportSpec(files=(first, second), target=Table(table="t"), flatten=True))
    assert yard.run(plan) == Counts(read=2, inserted=2)  # type: ignore[arg-type]
    assert yard.sql("SELECT * FROM t") == [(1,), (None,)]
    with pytest.raises(InvalidSpec, match="has no column 'a'"):
        yard.transfer.plan(ImportSpec(files=(first, third), target=Table(table="t"), flatten=True))
    yard.sql("DROP TABLE t")
    plan = yard.transfer.plan(ImportSpec(files=(first, third), target=Table(table="t"), flatten=True))
    assert yard.run(plan, "other") == Counts(read=2, inserted=2)  # type: ignore[arg-type]
    assert yard.sql("SELECT * FROM t") == [(1, None), (None, 5)]


def parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def arrow(table: pa.Table) -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


@pytest.mark.parametrize(("written", "name"), [(parquet, "in.parquet"), (arrow, "in.arrow")])
def test_structs_are_columns(yard: Yard, written: Callable[[pa.Table], bytes], name: str) -> None:
    rows = [{"a": {"b": 1, "c": {"d": "x"}}, "a.b": 2, "l": [{"e": 1}]}, {"a": None, "a.b": 3, "l": None}]
    plan = planned(yard, written(pa.Table.from_pylist(rows)), name)
    assert types_of(plan) == {"a.b": "integer", "a.c.d": "text", "a.b_2": "integer", "l": "text"}
    assert any("'a.b_2'" in note for note in plan.notes)
    assert yard.run(plan) == Counts(read=2, inserted=2)
    assert yard.sql("SELECT * FROM t") == [(1, "x", 2, '[{"e": 1}]'), (None, None, 3, None)]


@pytest.mark.parametrize(
    ("text", "spec"), [("a,b\n1,2\n", {}), ("a  b\n1  2\n", {"file_format": "fixed_width"})], ids=["csv", "fixed"]
)
def test_a_format_that_cannot_nest_refuses(yard: Yard, text: str, spec: dict[str, str]) -> None:
    with pytest.raises(InvalidSpec, match="not nested") as caught:
        planned(yard, text, "in.txt", **spec)
    assert caught.value.field == "flatten"
