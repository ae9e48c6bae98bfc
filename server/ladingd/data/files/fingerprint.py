"""Checks that a file is still the planned one."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from ladingd.core.errors import SourceChanged
from ladingd.core.plan import HEAD, Fingerprint
from ladingd.data.files.digest import is_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ladingd.core.plan import Chunk
    from ladingd.data.files.roots import Source


def take(source: Source, size: int, reach: int, state: str) -> Fingerprint:
    """The fingerprint of the first ``size`` bytes of a file. The head is the first ``reach`` bytes.

    ``state`` is the state of the file before the first read.
    """
    return Fingerprint(
        size=size,
        head=_hash(source.blocks(0, min(reach, size))),
        tail=_hash(source.blocks(max(0, size - HEAD), size)),
        reach=reach,
        modified=source.modified,
        state=state,
    )


def check(source: Source, planned: Fingerprint) -> None:
    """Raise SourceChanged if the file is no longer the planned one."""
    size = source.size
    now = take(source, min(size, planned.size), planned.reach, "")
    if now != planned:
        raise SourceChanged(
            f"{source.path} is not the file the job was planned with: it had {_describe(planned)}, "
            f"it has {_describe(replace(now, size=size))}"
        )
    if size > planned.size:
        raise SourceChanged(f"{source.path} has changed: {size - planned.size} bytes were appended")


def check_chunk(source: Source, chunk: Chunk, found: str, unit: str = "bytes") -> None:
    """Raise SourceChanged if the bytes of a chunk no longer have the digest of the cut."""
    if is_digest(chunk.digest) and found != chunk.digest:
        raise SourceChanged(
            f"{source.path} is not the file the job was planned with: its {unit} {chunk.start:,} to {chunk.end:,} "
            "have changed since they were read"
        )


def check_chunks(
    source: Source, planned: Fingerprint, chunks: Sequence[Chunk], digest_of: Callable[[Chunk], str]
) -> None:
    """The same for chunks that were cut earlier, if the file may have been written since the plan."""
    if _is_untouched(source, planned):
        return
    for chunk in chunks:
        if not is_digest(chunk.digest):
            raise SourceChanged(
                f"{source.path} was written after an earlier version of Lading had begun to read it, and that version "
                "kept no digest that proves that the bytes are the same: import the file with a new job"
            )
        check_chunk(source, chunk, digest_of(chunk))


def _is_untouched(source: Source, planned: Fingerprint) -> bool:
    """Whether the file is certainly unwritten since the plan.

    Anybody can set back the time of the last write, but not the time of the inode's last change.
    """
    return source.state == planned.state if planned.state else source.modified == planned.modified


def _hash(blocks: Iterable[bytes]) -> str:
    state = hashlib.sha256()
    for block in blocks:
        state.update(block)
    return state.hexdigest()


def _describe(fingerprint: Fingerprint) -> str:
    return f"{fingerprint.size} bytes (head {fingerprint.head[:12]}, tail {fingerprint.tail[:12]})"
