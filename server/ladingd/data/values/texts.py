"""The text of typed values, as an export writes it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.values.decimals import decimal_text

_TRAILING_ZEROS = r"\.?0+(Z?)$"


def as_text(values: pa.Array) -> pa.Array:
    """The values as text; bytes as they are. Seconds have no needless zeros: ``10:30:00``, ``10:30:00.5``."""
    kind = values.type
    if pa.types.is_binary(kind):
        return values
    if pa.types.is_decimal(kind):
        return decimal_text(values)
    texts = pc.cast(values, pa.string())
    if pa.types.is_time64(kind) or pa.types.is_timestamp(kind):
        return pc.replace_substring_regex(texts, _TRAILING_ZEROS, r"\1")
    return texts
