"""Real-world JSON Lines: every value is stored as written, or its record is rejected."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ladingd.core.bill import Counts
from ladingd.core.spec import ImportSpec, Table
from ladingd.data.imports import survey
from tests.harness.reject_files import rejects_in
from tests.unit.data.formats.json_lines.conftest import planned
from tests.unit.data.imports.test_import import rejects_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.data.conftest import Yard


def test_digits_are_kept(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (id INTEGER, price DECIMAL(20,4), big TEXT)")
    plan = planned(yard, '{"id": 1, "price": 12345678.7891, "big": 12345678901234567890.50}\n')
    assert yard.run(plan).inserted == 1
    assert yard.sql("SELECT price, big FROM t") == [(12345678.7891, "12345678901234567890.50")]


FAULTS = [
    ("[1]", "NOT_JSON"),
    ("1", "NOT_JSON"),
    ("null", "NOT_JSON"),
    ('"x"', "NOT_JSON"),
    ('{"id": 1', "NOT_JSON"),
    ('{"id": }', "NOT_JSON"),
    ('{"id": 1,}', "NOT_JSON"),
    ('{"id" 1}', "NOT_JSON"),
    ("{'id': 1}", "NOT_JSON"),
    ("{id: 1}", "NOT_JSON"),
    ('{"id": 01}', "NOT_JSON"),
    ('{"id": NaN}', "NOT_JSON"),
    ('{"id": Infinity}', "NOT_JSON"),
    ('{"name": "a\tb"}', "NOT_JSON"),
    ('{"name": "\\x41"}', "NOT_JSON"),
    ('{"name": "\\ud800"}', "NOT_JSON"),
    ('{"id": 1} {"id": 2}', "NOT_JSON"),
    ('{"id": 1}x', "NOT_JSON"),
    ('{"id": 1, "id": 2}', "DUPLICATE_KEY"),
    ('{"id": 1, "extra": 2}', "UNEXPECTED_KEY"),
    ('{"id": "x"}', "NOT_AN_INTEGER"),
    ('{"id": 1.5}', "NOT_AN_INTEGER"),
    ('{"id": 9223372036854775808}', "OUT_OF_RANGE"),
    ('{"id": true}', "NOT_AN_INTEGER"),
    ("{" * 3000, "NOT_JSON"),
    ('{"name": ' + "[" * 3000, "NOT_JSON"),
]


@pytest.mark.parametrize(("line", "code"), FAULTS, ids=[f"{number}-{code}" for number, (_, code) in enumerate(FAULTS)])
def test_a_line_that_is_no_record_is_rejected_alone(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, line: str, code: str
) -> None:
    monkeypatch.setattr(survey, "ROUNDS", 0)
    good = [f'{{"id": {number}, "name": "n"}}' for number in range(3000)]
    plan = planned(yard, "\n".join([*good[:2500], line, *good[2500:], ""]))
    assert yard.run(plan) == Counts(read=3001, inserted=3000, rejected=1, errors=1)
    (reject,) = rejects_of(yard, plan)
    assert (reject.line, reject.record, reject.raw, reject.code) == (2501, 2501, line, code)
    assert yard.sql("SELECT count(*), sum(id) FROM t") == [(3000, 4498500)]


def test_faults_in_every_line_are_told_each(yard: Yard) -> None:
    lines = ['{"id": 1}'] + [f'{{"id": {number}' for number in range(500)]
    plan = planned(yard, "\n".join(lines), chunk_bytes=500)
    assert yard.run(plan) == Counts(read=501, inserted=1, rejected=500, errors=500)
    assert [reject.line for reject in rejects_of(yard, plan)] == list(range(2, 502))


def test_bytes_that_are_not_utf8_cost_their_line(yard: Yard) -> None:
    data = b'{"id": 1, "name": "a"}\n{"id": 2, "name": "\xff"}\n{"id": 3, "name": "\xc3\xa9"}\n'
    plan = planned(yard, data.replace(b"\xff", b"b"))
    (yard.directory / "in.jsonl").write_bytes(data)
    plan = planned(yard, b'{"id": 0, "name": "a"}\n' * 60_000 + data, encoding="utf-8")
    assert yard.run(plan) == Counts(read=60_003, inserted=60_002, rejected=1, errors=1)
    (reject,) = rejects_of(yard, plan)
    assert (reject.line, reject.code) == (60_002, "NOT_UTF8")


def test_blank_lines_are_empty_records(yard: Yard) -> None:
    plan = planned(yard, '{"id": 1}\n\n  \t\n{"id": 2}\r\n\r\n{"id": 3}')
    assert yard.run(plan) == Counts(read=6, inserted=3, empty=3)


def test_keys_may_come_in_any_order_or_not_at_all(yard: Yard) -> None:
    plan = planned(yard, '{"a": 1, "b": "x"}\n{"b": "y", "a": 2}\n{"c": 3}\n{}\n')
    assert yard.run(plan) == Counts(read=4, inserted=4)
    assert yard.sql("SELECT a, b, c FROM t") == [(1, "x", None), (2, "y", None), (None, None, 3), (None, None, None)]


def test_a_null_byte_is_refused_by_the_target_and_not_cut(yard: Yard) -> None:
    plan = planned(yard, '{"id": 1, "name": "a\\u0000b"}\n{"id": 2, "name": "c"}\n')
    counts = yard.run(plan)
    assert counts.read == 2
    stored = yard.sql("SELECT length(CAST(name AS BLOB)) FROM t WHERE id = 1")
    assert counts.rejected == 1 or stored == [(3,)]


TOKENS = {
    "integer": ["1", "-0", "0", "9223372036854775807", "1.0", "1e2", "true", "9223372036854775808"],
    "real": ["1", "1.50", "2e3", "-0.0", "1e400", "12345678901234567890.5", "5e-324", "true"],
    "decimal(10,2)": ["1", "1.5", "1.50", "-0.01", "1.234", "1e1", "99999999.99", "100000000"],
    "boolean": ["true", "false", "1", "0"],
    "text": ["1.50", "true", "[1, 2]", '{"a":1}', '"x"', '"1"'],
    "date": ['"2024-02-29"', '"2024-02-30"', "20240229"],
}


@pytest.mark.parametrize("kind", TOKENS)
def test_a_record_has_the_same_fate_beside_a_broken_one(yard: Yard, kind: str) -> None:
    fates = []
    for table, broken in (("alone", ""), ("beside", '{"n": 100, "v": "?"}\n{"n": 101, "v":\n')):
        for number, token in enumerate(TOKENS[kind]):
            text = '{"n": 0, "v": null}\n' * 50 + f'{{"n": {number + 1}, "v": {token}}}\n' + broken
            plan = yard.transfer.plan(
                ImportSpec(
                    files=(yard.write(text, "in.jsonl"),), target=Table(table=table), types={"n": "integer", "v": kind}
                )
            )
            yard.run(plan, job_id=f"{table}{number}")
        told = "SELECT n, typeof(v), v FROM {} WHERE n BETWEEN 1 AND 99 ORDER BY n"
        fates.append(yard.sql(told.format(table)))
    assert fates[0] == fates[1]
    assert fates[0] != []


values = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), values, min_size=1), min_size=1, max_size=50))
@example(rows=[{"a": None, "c": 0.0}, {"c": 9007199254740993}])
def test_whatever_json_says_is_stored_or_told(
    make_yard: Callable[[Path], Yard], tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]
) -> None:
    yard = make_yard(tmp_path_factory.mktemp("yard"))
    plan = planned(yard, "".join(json.dumps(row) + "\n" for row in rows), chunk_bytes=100)
    counts = yard.run(plan)
    assert (counts.read, counts.inserted, counts.rejected) == (len(rows), len(rows), 0)
    names = [column.target for column in plan.columns]
    for stored, row in zip(yard.sql(f"SELECT {', '.join(names)} FROM t ORDER BY rowid"), rows, strict=True):
        for name, value in zip(names, stored, strict=True):
            wanted = row.get(name)
            assert value == wanted or (isinstance(value, str) and value == json.dumps(wanted))


def test_an_integer_that_no_real_can_hold_is_refused(make_yard: Callable[[Path], Yard], tmp_path: Path) -> None:
    yard = make_yard(tmp_path)
    usual = "".join(f'{{"n": {number / 4}}}\n' for number in range(20_000))
    plan = planned(yard, f'{usual}{{"n": 9007199254740993}}\n{{"n": 9007199254740992}}\n{{"n": 1e300}}\n')
    assert plan.columns[0].type == "real"
    counts = yard.run(plan)
    assert (counts.inserted, counts.rejected) == (20_002, 1)
    (reject,) = rejects_in(yard.work_dir.rejects("job", 0))
    assert (reject["line"], reject["value"]) == (20_001, "9007199254740993")
