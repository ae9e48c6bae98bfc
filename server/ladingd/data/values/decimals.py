"""Writes decimals as text, with all digits of their scale and without an exponent."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

_PLAIN_SCALE = 6
"""pyarrow writes an exponent if more zeros than this follow the point."""


def decimal_text(decimals: pa.Array) -> pa.Array:
    """The text of a column of decimal128."""
    scale = decimals.type.scale
    if scale <= _PLAIN_SCALE:
        return decimals.cast(pa.string())
    whole = pa.Array.from_buffers(
        pa.decimal128(decimals.type.precision, 0), len(decimals), decimals.buffers(), offset=decimals.offset
    )
    digits = whole.cast(pa.string())
    sign = pc.if_else(pc.starts_with(digits, "-"), "-", "")
    padded = pc.ascii_lpad(pc.ascii_ltrim(digits, "-"), scale + 1, "0")
    point = pc.binary_replace_slice(padded, -scale, -scale, ".")
    return pc.binary_join_element_wise(sign, point, "")
