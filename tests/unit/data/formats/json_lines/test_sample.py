"""The columns and types from the beginning of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import InvalidSpec
from tests.unit.data.formats.json_lines.conftest import planned
from tests.unit.data.imports.test_import import rejects_of

if TYPE_CHECKING:
    from ladingd.core.plan import ImportPlan
    from tests.unit.data.conftest import Yard


def types_of(plan: ImportPlan) -> dict[str, str]:
    return {column.source: column.type for column in plan.columns}


def test_values_keep_their_types(yard: Yard) -> None:
    plan = planned(
        yard,
        '{"id": 1, "name": "Ann", "score": 1.5, "ok": true, "born": "2024-02-29", "more": null}\n'
        '{"id": 2, "name": "", "score": 2, "ok": false, "born": null, "more": "x"}\n',
    )
    assert types_of(plan) == {
        "id": "integer", "name": "text", "score": "real", "ok": "boolean", "born": "date", "more": "text",
    }  # fmt: skip
    assert yard.run(plan) == Counts(read=2, inserted=2)
    assert yard.sql("SELECT * FROM t ORDER BY id") == [
        (1, "Ann", 1.5, 1, "2024-02-29", None),
        (2, "", 2.0, 0, None, "x"),
    ]


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        (["1", '"2"'], "text", ["1", "2"]),
        (['"1"', '"2"'], "text", ["1", "2"]),
        (['"true"', '"false"'], "text", ["true", "false"]),
        (["1", "1.5"], "real", [1.0, 1.5]),
        (["1e3", "2E-2"], "real", [1000.0, 0.02]),
        (["0.10000000000000001", "-0.0"], "real", [0.1, 0.0]),
        (["12345678901234.5678", "1.5"], "text", ["12345678901234.5678", "1.5"]),
        (["12345678901234567890", "1"], "text", ["12345678901234567890", "1"]),
        (["1", "x1"], None, None),
        (["9223372036854775807", "-9223372036854775808"], "integer", [2**63 - 1, -(2**63)]),
        (["true", "1"], "text", ["true", "1"]),
        (["[1, 2]", '{"a": {"b": 1.0}}'], "text", ["[1, 2]", '{"a": {"b": 1.0}}']),
        (['"2024-01-01"', '"x"'], "text", ["2024-01-01", "x"]),
        (['"a\\u00e9\\n\\"\\/"', '"\\ud834\\udd1e"'], "text", ['aé\n"/', "𝄞"]),
        (["null", "null"], "text", [None, None]),
    ],
)
def test_a_column_has_the_type_of_all_its_values(
    yard: Yard, values: list[str], kind: str | None, stored: list[object]
) -> None:
    text = "".join(f'{{"n": {number}, "v": {value}}}\n' for number, value in enumerate(values))
    plan = planned(yard, text)
    if kind is None:
        assert yard.run(plan).rejected == 1
        return
    assert types_of(plan)["v"] == kind
    assert yard.run(plan) == Counts(read=2, inserted=2)
    assert [value for (value,) in yard.sql("SELECT v FROM t ORDER BY n")] == stored


def test_a_mark_and_blank_lines_at_the_beginning(yard: Yard) -> None:
    plan = planned(yard, b'\xef\xbb\xbf\n\n{"id": 1}\n{"id": "x"}\n{"id": 2}\n', types={"id": "integer"})
    counts = yard.run(plan)
    assert (counts.inserted, counts.rejected) == (2, 1)
    assert [reject.line for reject in rejects_of(yard, plan)] == [4]


@pytest.mark.parametrize(
    ("text", "field"),
    [('{"id" 1}\n', "files[0]"), ("{}\n{}\n", "files[0]"), ("[1]\n", "files[0]")],
)
def test_a_beginning_without_columns_is_refused_by_line(yard: Yard, text: str, field: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        planned(yard, text)
    assert caught.value.field.startswith(field)
    assert "in.jsonl" in caught.value.problem
