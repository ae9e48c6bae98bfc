"""Whether a file is still the one that was planned."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ladingd.core.errors import SourceChanged
from ladingd.core.plan import Fingerprint

if TYPE_CHECKING:
    from ladingd.data.files import Source

_SPAN = 64 << 10


def take(source: Source, size: int | None = None) -> Fingerprint:
    """The fingerprint of a file, or of its first ``size`` bytes."""
    size = source.size if size is None else size
    return Fingerprint(
        size=size,
        head=_hash(source.read(0, min(_SPAN, size))),
        tail=_hash(source.read(max(0, size - _SPAN), size)),
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


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _describe(fingerprint: Fingerprint) -> str:
    return f"{fingerprint.size} bytes (head {fingerprint.head[:12]}, tail {fingerprint.tail[:12]})"
