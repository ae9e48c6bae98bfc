"""Makes the same Arrow columns from the values of Python's parser as pyarrow makes from the lines."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.values import types as field_type
from ladingd.data.values.types import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.formats.json_lines.parser import Value

_EXACT = float(1 << 53)
"""Up to here, every integer is a double."""
_LONG_INTEGER = "^-?[0-9]{16,300}$"

_BOOLEANS = pa.array(["true", "false", None], pa.string())


def arrow_type(word: str) -> pa.DataType:
    """The type as which pyarrow reads a column. JSON has no dates: they are strings and are cast like other text."""
    kind = field_type.parse(word)
    match kind.kind:
        case Kind.INTEGER:
            return pa.int64()
        case Kind.REAL:
            return pa.float64()
        case Kind.BOOLEAN:
            return pa.bool_()
        case Kind.DECIMAL:
            # pyarrow accepts strings here, too.
            return pa.decimal128(field_type.DECIMAL_DIGITS, kind.scale)
    return pa.string()


def typed_if_all(values: Sequence[Value], kind: pa.DataType) -> pa.Array:
    """The values as pyarrow would have read them; if it refuses one of them, the texts of all.

    A value that pyarrow accepts has the text that its type gives it.
    """
    texts = [text for text, _ in values]
    if pa.types.is_string(kind):
        return pa.array(texts, pa.string())
    try:
        return _cast(values, kind)
    except pa.ArrowInvalid:
        for place, value in enumerate(values):
            with suppress(pa.ArrowInvalid):
                texts[place] = pc.cast(_cast([value], kind), pa.string())[0].as_py()
        return pa.array(texts, pa.string())


def _cast(values: Sequence[Value], kind: pa.DataType) -> pa.Array:
    """Values as pyarrow reads them. Raises ArrowInvalid if it would refuse one."""
    if any(is_string for _, is_string in values):
        raise pa.ArrowInvalid("a string is not a number")
    texts = pa.array([text for text, _ in values], pa.string())
    if pa.types.is_boolean(kind) and not pc.all(pc.is_in(texts, _BOOLEANS)).as_py():
        raise pa.ArrowInvalid("not a boolean")
    column = pc.cast(texts, kind)
    if is_infinite(column):
        raise pa.ArrowInvalid("out of range")
    if is_large(column) and has_inexact(texts):
        raise pa.ArrowInvalid("not exact")
    return column


def is_large(column: pa.Array) -> bool:
    """Whether a real lies where doubles lack some integers."""
    if not pa.types.is_floating(column.type):
        return False
    return pc.any(pc.greater_equal(pc.abs(column), _EXACT)).as_py() is True


def has_inexact(texts: pa.Array) -> bool:
    """Whether an integer is none of the doubles."""
    found = texts.filter(pc.match_substring_regex(texts, _LONG_INTEGER)).to_pylist()
    return any(int(float(text)) != int(text) for text in found)


def is_infinite(column: pa.Array) -> bool:
    """Whether a number is too large for its type, or is NaN."""
    return bool(pa.types.is_floating(column.type) and pc.all(pc.is_finite(column)).as_py() is False)


def joined(arrays: Sequence[pa.Array]) -> pa.Array:
    """One column of several parts: typed if all of them are."""
    kinds = {array.type for array in arrays}
    return pa.concat_arrays(arrays if len(kinds) == 1 else [pc.cast(array, pa.string()) for array in arrays])
