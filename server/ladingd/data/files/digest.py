"""Digests of bytes: XXH3 with 128 bits, which makes accidental collisions practically impossible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed import ReadableBuffer

_MARK = "xxh3:"
"""The prefix of a digest. Earlier versions kept sums of words without a prefix; a sum misses exchanged bytes."""


def digest(data: bytes | memoryview) -> str:
    """The digest of bytes in memory."""
    return _MARK + xxhash.xxh3_128_hexdigest(data)


def digest_all(blocks: Iterable[ReadableBuffer]) -> str:
    """The same digest for bytes in pieces."""
    state = xxhash.xxh3_128()
    for block in blocks:
        state.update(block)
    return _MARK + state.hexdigest()


def is_digest(text: str | None) -> bool:
    """Whether a stored text is a real digest. A sum of words proves nothing."""
    return text is not None and text.startswith(_MARK)
