"""Strings in place of nested values: no record changes its meaning by them."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ladingd.core.bill import Counts
from ladingd.data.formats.json_lines.nested import with_strings
from ladingd.data.formats.json_lines.parser import NotARecord, fields_of
from tests.unit.data.conftest import Yard
from tests.unit.data.formats.json_lines.conftest import planned

TOKENS = ["{", "}", "[", "]", '"', ":", ",", "\\", "a", "1", " ", '"a": ', '": [', '"b":{"c":[1]}', "NaN", "\n", "[]", "é"]
lines = st.lists(st.sampled_from(TOKENS), max_size=12).map(lambda tokens: f'{{"k": {"".join(tokens)}}}')


@settings(max_examples=2000)
@given(line=lines)
@example(line='{"k": ": [1]"}')
@example(line='{"k\\": [1]": [2]}')
@example(line='{"k": [NaN]}')
@example(line='{"k": [1}], "l": {"a": "]"}}')
@example(line='{"k": ["\\\\\\"", "\\u0000"], "l": {"a": "é\\n"}}')
@example(line='{"k": [\n\t1\r\n]}')
def test_a_record_that_is_valid_afterwards_was_valid_with_the_same_values(line: str) -> None:
    changed = with_strings(line.encode(), flatten=False)
    try:
        fields = fields_of(changed, flatten=False)
    except NotARecord:
        return
    assert {name: text for name, (text, _) in fields.items()} == {
        name: text for name, (text, _) in fields_of(line.encode(), flatten=False).items()
    }


@pytest.mark.parametrize("value", ['["a", {"b": [1, 2.50]}]', '{"a":"\\"\\\\"}', "[]", "{}", '[ "\\u00e9" ]', '["é"]'])
@pytest.mark.parametrize("colon", [":", ": ", " : ", "  :\t"])
def test_nested_values_are_stored_as_they_stand(yard: Yard, value: str, colon: str) -> None:
    plan = planned(yard, f'{{"n": 1, "v"{colon}{value}}}\n' * 3000)
    assert yard.run(plan) == Counts(read=3000, inserted=3000)
    assert yard.sql("SELECT DISTINCT v FROM t") == [(value,)]


def test_a_value_that_is_no_json_costs_its_record_alone(yard: Yard) -> None:
    good = ['{"v": [1, {"a": 2}]}'] * 3000
    plan = planned(yard, "\n".join([*good, '{"v": [1, {"a" 2}]}', *good]))
    assert yard.run(plan) == Counts(read=6001, inserted=6000, rejected=1, errors=1)


def test_only_arrays_become_strings_if_objects_are_flattened() -> None:
    record = b'{"a": {"b": [1, {"c": 2}], "d": 3}}'
    assert json.loads(with_strings(record, flatten=True)) == {"a": {"b": '[1, {"c": 2}]', "d": 3}}
    assert json.loads(with_strings(record, flatten=False)) == {"a": '{"b": [1, {"c": 2}], "d": 3}'}


def test_pyarrow_reads_them(monkeypatch: pytest.MonkeyPatch, yard: Yard) -> None:
    """Python's parser, which is slow, is not needed."""
    plan = planned(yard, '{"n": 1, "v": {"a": [1, 2]}}\n' * 100)
    monkeypatch.setattr("ladingd.data.formats.json_lines.reader._FEW", 0)
    monkeypatch.setattr("ladingd.data.formats.json_lines.reader.JsonReader._one_by_one", None)
    assert yard.run(plan).inserted == 100
