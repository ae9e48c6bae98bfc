"""The elements of an array are found as Python's parser finds them, and a fault stays within its element."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladingd.data.formats.json.elements import Skipping, elements_in, find_array

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@given(st.lists(values, min_size=1, max_size=6), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_elements_are_those_of_the_parser(wanted: list[object], indent: str | int | None, ascii_only: bool) -> None:
    text = json.dumps(wanted, indent=indent, ensure_ascii=ascii_only).encode()
    found = elements_in(text[1:], final=True)
    shown = [text[1:][start:end] for start, end in zip(found.starts, found.ends, strict=True)]
    assert [json.loads(element) for element in shown] == wanted
    assert (found.closed, found.end) == (True, len(text) - 1)
    for place in range(1, len(text)):
        part = elements_in(text[1:place], final=False)
        assert part.starts == found.starts[: len(part.starts)]
        assert part.ends == found.ends[: len(part.ends)]


@given(st.dictionaries(st.text(max_size=3), values, max_size=3), st.integers(1, 7))
def test_an_element_is_skipped_piece_by_piece(wanted: dict[str, object], size: int) -> None:
    text = json.dumps(wanted).encode()
    skipping, kept, found = Skipping(), b"", None
    data = text + b', {"a": 1}]'
    for place in range(0, len(data), size):
        piece = kept + data[place : place + size]
        whole = len(piece.rstrip(b"\\"))
        found = skipping.end(piece[:whole], 0)
        if found is not None:
            found += place - len(kept)
            break
        kept = piece[whole:]
    assert found == len(text)


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        (b"", []),
        (b" ]", []),
        (b"1, 2]", [b"1", b"2"]),
        (b"1,,2]", [b"1", b"", b"2"]),
        (b"1,\n]", [b"1"]),
        (b'{"a": 1} {"b": 2}, 3]', [b'{"a": 1} {"b": 2}', b"3"]),
        (b'{"a": [1, 2}, 3]', [b'{"a": [1, 2}', b"3"]),
        (b'{"a": 1]}, 3]', [b'{"a": 1]}', b"3"]),
        (b'{"a": 1}}, 3]', [b'{"a": 1}}', b"3"]),
        (b'{"a": "x},\n{"b": "]"}]', [b'{"a": "x},\n{"b": "]"}]']),
        (b'{"a": "x\n"}, 3]', [b'{"a": "x\n"}', b"3"]),
        (b'{"a": "\\\\"}, {"b": "\\"]"}]', [b'{"a": "\\\\"}', b'{"b": "\\"]"}']),
        (b'{"a": 1}, {"b": ', [b'{"a": 1}', b'{"b":']),
        (b"[" * 100_000, [b"[" * 100_000]),
    ],
)
def test_a_fault_stays_within_its_element(text: bytes, elements: list[bytes]) -> None:
    found = elements_in(text, final=True)
    assert [text[start:end] for start, end in zip(found.starts, found.ends, strict=True)] == elements


@pytest.mark.parametrize(
    ("head", "behind", "key"),
    [
        (b" [1", b"1", b""),
        (b'{"a": [{}', b"{}", b'"a"'),
        (b'{"n": [1, 2], "m": {"x": [{"y": 1}]}, "s": "[{", "a": [ {"b"', b' {"b"', b'"a"'),
        (b'{"a": 1}', None, b""),
        (b'{"a": [1]', None, b""),
        (b"x", None, b""),
    ],
)
def test_the_array_of_records_is_found(head: bytes, behind: bytes | None, key: bytes) -> None:
    array = find_array(head)
    if behind is None:
        assert array is None
    else:
        assert array is not None
        assert (head[array.start :], array.key) == (behind, key)
