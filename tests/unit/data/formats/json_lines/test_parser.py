"""The quick way to parse a line, and the careful one, which finds the fault."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladingd.data.formats.json_lines.parser import NotARecord, fields_of

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
lines = st.dictionaries(st.text(max_size=3), values, max_size=4).map(json.dumps) | st.text('{}[]":,\\u0e1ntax \t')


def outcome(line: str) -> object:
    try:
        return fields_of(line.encode(), flatten=False)
    except NotARecord as error:
        return error.code, error.column


@given(line=lines)
def test_both_ways_agree(line: str) -> None:
    # A line that begins with a blank is always parsed the careful way.
    assert outcome(line) == outcome(f" {line}")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"a": 1} {', "text follows the object at character 10"),
        ('{"a": }', "a value is missing at character 7"),
        ('{"a": 1,}', "at character 9"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("[1]", "the record is not a JSON object"),
    ],
)
def test_a_fault_is_told_with_its_place(line: str, said: str) -> None:
    with pytest.raises(NotARecord, match=said):
        fields_of(line.encode(), flatten=False)
