"""Makes strings of other values, because pyarrow cannot read them as text.

A record that is valid afterwards was valid before: what is found stands in the place of a value, or lies in a string,
which then ends too early.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from ladingd.data.formats.json_lines.parser import refuse_constant
from ladingd.data.values.positions import Positions

if TYPE_CHECKING:
    from collections.abc import Sequence

STRING = rb'"[^"\\]*+(?s:\\.[^"\\]*+)*+"'

_DEPTH = 5
"""How deeply a value is nested that a pattern finds: nearly every one. The shapes of GeoJSON need four levels, and a
feature around them one more."""


def _object(depth: int) -> bytes:
    return rb"\{" + _content(depth) + rb"\}"


def _array(depth: int) -> bytes:
    return rb"\[" + _content(depth) + rb"\]"


def _content(depth: int) -> bytes:
    inner = b"|".join([STRING, *((_object(depth - 1), _array(depth - 1)) if depth else ())])
    return rb'[^"\[\]{}]*+(?:(?:' + inner + rb')[^"\[\]{}]*+)*+'


def regular() -> bytes:
    """The pattern of an object or array whose brackets are in pairs. It need not be valid."""
    return _object(_DEPTH) + b"|" + _array(_DEPTH)


@cache  # It is large, so it is made when it is needed.
def _values(*, flatten: bool) -> re.Pattern[bytes]:
    """What becomes a string, and the colon before it."""
    return re.compile(rb'("[ ]?+:[ ]?+)(' + (_array(_DEPTH) if flatten else regular()) + b")")


_SCALAR = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+|true|false"
_FEW_KEYS = 50
"""A pattern looks for so many keys faster than for all."""


@lru_cache(1)
def _scalars(keys: frozenset[bytes]) -> re.Pattern[bytes]:
    """A number, true or false, its key and the colon before it. Further keys may be found."""
    key = b"|".join(map(re.escape, keys)) if len(keys) <= _FEW_KEYS else rb'[^"\\]*+'
    return re.compile(rb'("(?:' + key + rb'))("[ ]?+:[ ]?+)(' + _SCALAR + rb")(?=[ \t\r\n]*+[,}])")


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """Some records, and where each of them begins and ends."""

    data: bytes
    starts: Positions
    ends: Positions

    def with_nested(self, *, flatten: bool) -> Text:
        """The same with a string in place of each array, and of each object unless they are flattened.

        Values that are not valid or are nested too deeply stay.
        """
        parts = _values(flatten=flatten).split(self.data)
        values = parts[2::3]
        if not values:
            return self
        # No valid value has a NUL byte.
        texts = b"\0".join(value if b"\0" not in value else b"" for value in values)
        for mark, escape in _ESCAPES:
            texts = texts.replace(mark, escape)
        strings = [b'"%b"' % text for text in texts.split(b"\0")]
        if not _is_valid(b"[" + b",".join(values) + b"]"):
            strings = [string if _is_valid(value) else value for string, value in zip(strings, values, strict=True)]
        return self._replaced(parts, 3, strings)

    def with_scalars(self, keys: frozenset[bytes]) -> Text:
        """The same with a string in place of each number, true and false that has one of these keys."""
        parts = _scalars(keys).split(self.data)
        if len(parts) == 1:
            return self
        wanted = {b'"' + key for key in keys}
        pairs = zip(parts[1::4], parts[3::4], strict=True)
        return self._replaced(parts, 4, [b'"%b"' % value if key in wanted else value for key, value in pairs])

    def _replaced(self, parts: list[bytes], step: int, values: list[bytes]) -> Text:
        """The same with other values in place of the last of ``step`` parts each. No record begins in a value."""
        before = _starts(parts)
        parts[step - 1 :: step] = values
        moved = _starts(parts) - before

        def new(places: Positions) -> Positions:
            return places + moved[np.searchsorted(before, places, side="right") - 1]

        return Text(data=b"".join(parts), starts=new(self.starts), ends=new(self.ends))


_ESCAPES = ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n"), (b"\r", b"\\r"), (b"\t", b"\\t"))


def _is_valid(value: bytes) -> bool:
    try:
        json.loads(value, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _starts(parts: Sequence[bytes]) -> Positions:
    """Where each part begins."""
    return np.cumsum(np.fromiter(chain((0,), map(len, parts[:-1])), np.int64, len(parts)))
