"""What a column of SQLite makes of the values it is given, and how it comes to keep them as they are."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.decimal_text import decimal_text
from ladingd.data.field_type import Affinity, FieldType, Kind
from ladingd.data.sqlite.reading import is_integer

# Text of this form becomes a number in a column for numbers (sqlite.org/datatype3.html, 3).
_NUMBER = r"^[\t\n\v\f\r ]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[\t\n\v\f\r ]*$"


def keepable(values: pa.Array, kind: FieldType, affinity: Affinity) -> pa.Array:
    """The values in a form that the column keeps. SQLite would write a number into a column for text in its own way,
    without the zeros of a decimal and with no more than 15 digits of a real."""
    if affinity is Affinity.TEXT and kind.kind in (Kind.DECIMAL, Kind.REAL) and not pa.types.is_string(values.type):
        if kind.kind is Kind.DECIMAL:
            return decimal_text(values.cast(pa.decimal128(38, kind.scale)))
        return values.cast(pa.string())
    if affinity is Affinity.BLOB and kind.kind is Kind.REAL and pa.types.is_string(values.type):
        # Text that stands for reals, as some of them are large integers: such a column would keep it as text.
        return values.cast(pa.float64())
    return values


def changed_texts(values: pa.Array, affinity: Affinity) -> list[int]:
    """The rows of a column of text that the column would make another number of: ``0123``, ``1.50``."""
    if not pa.types.is_string(values.type) or affinity in (Affinity.TEXT, Affinity.BLOB):
        return []
    rows = pc.indices_nonzero(pc.fill_null(pc.match_substring_regex(values, _NUMBER), False))
    if not len(rows):
        return []
    texts = values.take(rows)
    numbers = pc.utf8_trim_whitespace(texts).cast(pa.float64())
    kept = pc.equal(pc.add(numbers, 0.0).cast(pa.string()), texts)
    if affinity is not Affinity.REAL:
        kept = pc.or_(kept, is_integer(texts))
    return rows.filter(pc.invert(kept)).to_pylist()  # type: ignore[no-any-return]
