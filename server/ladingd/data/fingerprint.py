"""Whether a file is still the one that was planned."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from ladingd.core.errors import SourceChanged
from ladingd.core.plan import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.plan import Chunk
    from ladingd.data.files import Source

_SPAN = 64 << 10


def take(source: Source, size: int | None = None) -> Fingerprint:
    """The fingerprint of a file, or of its first ``size`` bytes."""
    size = source.size if size is None else size
    return Fingerprint(
        size=size,
        head=_hash(source.read(0, min(_SPAN, size))),
        tail=_hash(source.read(max(0, size - _SPAN), size)),
        modified=source.modified,
    )


def check(source: Source, planned: Fingerprint) -> None:
    """Raises SourceChanged where the file is not the planned one any more."""
    size = source.size
    now = take(source, min(size, planned.size))
    if now != planned:
        raise SourceChanged(
            f"{source.path} is not the file the job was planned with: it had {_describe(planned)}, "
            f"it has {_describe(take(source))}"
        )
    if size > planned.size:
        raise SourceChanged(f"{source.path} has changed: {size - planned.size} bytes were appended")


def digest(data: bytes | memoryview) -> str:
    """What the bytes of a chunk add up to, as words of 64 bits. No hash: it is taken of every byte, twice, and must
    cost no more than reading it."""
    words = np.frombuffer(data, "<u8", len(data) // 8)
    rest = int.from_bytes(data[words.nbytes :], "little")
    return f"{(int(words.sum(dtype=np.uint64)) + rest) % (1 << 64):016x}"


def check_chunk(source: Source, chunk: Chunk, data: bytes) -> None:
    """Raises SourceChanged where the bytes of a chunk are not those that it was cut from."""
    now = digest(data)
    if chunk.digest not in (None, now):
        raise SourceChanged(
            f"{source.path} is not the file the job was planned with: its bytes {chunk.start:,} to {chunk.end:,} added "
            f"up to {chunk.digest}, they add up to {now}"
        )


def check_chunks(source: Source, planned: Fingerprint, chunks: Sequence[Chunk]) -> None:
    """The same for chunks that were cut some time ago, if the file was written since it was planned."""
    if source.modified == planned.modified:
        return
    for chunk in chunks:
        if chunk.digest is not None:
            check_chunk(source, chunk, source.read(chunk.start, chunk.end))


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _describe(fingerprint: Fingerprint) -> str:
    return f"{fingerprint.size} bytes (head {fingerprint.head[:12]}, tail {fingerprint.tail[:12]})"
