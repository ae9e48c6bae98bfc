"""Strings in place of other values: no record changes its meaning by them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ladingd.core.bill import Counts
from ladingd.data.formats.json_lines.parser import NotARecord, fields_of
from ladingd.data.formats.json_lines.strings import Text
from tests.unit.data.formats.json_lines.conftest import planned

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard

TOKENS = [
    "{",
    "}",
    "[",
    "]",
    '"',
    ":",
    ",",
    "\\",
    "a",
    "1",
    " ",
    '"a": ',
    '": [',
    '"b":{"c":[1]}',
    "NaN",
    "\n",
    "[]",
    "é",
]


def text_of(line: str) -> Text:
    data = line.encode()
    return Text(data=data, starts=np.array([0]), ends=np.array([len(data)]))


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
    changed = text_of(line).with_nested(flatten=False).data
    try:
        fields = fields_of(changed, flatten=False)
    except NotARecord:
        return
    assert {name: text for name, (text, _) in fields.items()} == {
        name: text for name, (text, _) in fields_of(line.encode(), flatten=False).items()
    }


@pytest.mark.parametrize("keys", [[b"k", b"b", b"c"], [b"k", *(b"%d" % number for number in range(60))]])
@settings(max_examples=1000)
@given(line=lines)
@example(line='{"k": ": 1,"}')
@example(line='{"k\\": 1, "k": 1}')
@example(line='{"a": 01, "k": -1.50e+3, "b": tru}')
@example(line='{"k": 1, "k": true }')
@example(line='{"x": "k", "k":false}')
def test_so_it_is_with_numbers(line: str, keys: list[bytes]) -> None:
    try:
        fields = fields_of(text_of(line).with_scalars(frozenset(keys)).data, flatten=False)
    except NotARecord:
        return
    before = fields_of(line.encode(), flatten=False)
    assert [*fields] == [*before]
    for (text, _), (wanted, _) in zip(fields.values(), before.values(), strict=True):
        assert text == wanted or str(wanted).startswith(("{", "["))  # Those are strings before.


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
    record = text_of('{"a": {"b": [1, {"c": 2}], "d": 3}}')
    assert json.loads(record.with_nested(flatten=True).data) == {"a": {"b": '[1, {"c": 2}]', "d": 3}}
    assert json.loads(record.with_nested(flatten=False).data) == {"a": '{"b": [1, {"c": 2}], "d": 3}'}


@pytest.mark.parametrize(
    "records", ['{"n": 1, "v": {"a": [1, 2]}}\n', '{"n": 1, "v": 1.50}\n{"n": 2, "v": "x"}\n{"n": 3, "v": true}\n']
)
def test_pyarrow_reads_them(monkeypatch: pytest.MonkeyPatch, yard: Yard, records: str) -> None:
    """Python's parser, which is slow, is not needed."""
    plan = planned(yard, records * 100)
    monkeypatch.setattr("ladingd.data.formats.json_lines.reader._FEW", 0)
    monkeypatch.setattr("ladingd.data.formats.json_lines.reader.JsonReader._one_by_one", None)
    assert yard.run(plan).inserted == 100 * records.count("\n")


def test_records_keep_their_places() -> None:
    records = ['{"a": 1, "b": [1, "x"]}', '{"b": {"c": [NaN]}}', "{}", '{"b": {"c": 1}, "a": 2}']
    lengths = np.array([len(record) + 1 for record in records])
    ends = np.cumsum(lengths)
    before = Text(data="".join(f"{record}\n" for record in records).encode(), starts=ends - lengths, ends=ends)
    after = before.with_nested(flatten=False).with_scalars(frozenset([b"a"]))
    found = [after.data[start:end].decode() for start, end in zip(after.starts, after.ends, strict=True)]
    assert found == [
        '{"a": "1", "b": "[1, \\"x\\"]"}\n', '{"b": {"c": [NaN]}}\n', "{}\n", '{"b": "{\\"c\\": 1}", "a": "2"}\n',
    ]  # fmt: skip
