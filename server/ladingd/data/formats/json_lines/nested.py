"""Makes strings of nested values, because pyarrow cannot read them as text."""

from __future__ import annotations

import json
import re

from ladingd.data.formats.json_lines.parser import refuse_constant

STRING = rb'"(?s:[^"\\]++|\\.)*+"'

_DEPTH = 2
"""How deeply a value is nested that is found without Python's loop: nearly every one."""


def _object(depth: int) -> bytes:
    return rb"\{(?:" + _content(depth) + rb")*+\}"


def _array(depth: int) -> bytes:
    return rb"\[(?:" + _content(depth) + rb")*+\]"


def _content(depth: int) -> bytes:
    inner = b"|" + _object(depth - 1) + b"|" + _array(depth - 1) if depth else b""
    return rb'[^"\[\]{}]++|' + STRING + inner


REGULAR = re.compile(_object(_DEPTH) + b"|" + _array(_DEPTH))
"""An object or array whose brackets are in pairs. It need not be valid."""

_KEY = rb'("[ ]?+:[ ]?+)'
_NESTED = re.compile(_KEY + b"(" + REGULAR.pattern + b")")
_ARRAYS = re.compile(_KEY + b"(" + _array(_DEPTH) + b")")

_PART = 3
"""A division has three parts for each value: what stands before it, its colon, itself."""


def with_strings(records: bytes, *, flatten: bool) -> bytes:
    """The records with a string in place of each array, and of each object unless they are flattened.

    A record that is valid afterwards was valid before: what is found is a value, or lies in a string, which then ends
    too early. Values that are nested too deeply stay. Records with a value that is not valid are returned unchanged.
    """
    parts = (_ARRAYS if flatten else _NESTED).split(records)
    values = parts[2::_PART]
    if not values:
        return records
    try:
        json.loads(b"[" + b",".join(values) + b"]", parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return records
    texts = b"\0".join(values)  # No valid value has a NUL byte.
    for mark, escaped in ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n"), (b"\r", b"\\r"), (b"\t", b"\\t")):
        texts = texts.replace(mark, escaped)
    parts[2::_PART] = [b'"%b"' % text for text in texts.split(b"\0")]
    return b"".join(parts)
