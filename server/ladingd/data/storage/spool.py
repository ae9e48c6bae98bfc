"""The bytes of one chunk of an export: in memory while they are few, else in a file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Self

from ladingd.data.storage.work_dir import sync_file, writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _typeshed import ReadableBuffer

MEMORY = 32 << 20
"""How many bytes stay in memory."""

_BLOCK = 1 << 20
_BUFFER = 1 << 18


class Spool:
    """Bytes that are written once, through ``file``, and read any number of times. A large spool goes to ``path``.

    The end of a ``with`` block empties the spool and removes the file, unless the file was renamed. Errors of the file
    are raised as DestinationRefused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pieces = _Pieces(path)
        self.file = io.BufferedWriter(self._pieces, _BUFFER)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pieces.discard()
        self.file.close()
        self.path.unlink(missing_ok=True)

    def size(self) -> int:
        """The number of bytes written."""
        self.file.flush()
        return self._pieces.size

    def blocks(self) -> Iterator[bytes]:
        """The bytes written."""
        self.file.flush()
        if self._pieces.spilt is None:
            yield from self._pieces.kept
            return
        self._pieces.spilt.flush()
        with self.path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block

    def keep(self) -> None:
        """Move all bytes into the file, durably."""
        self.file.flush()
        with writing(self.path.parent):
            sync_file(self._pieces.spill())


class _Pieces(io.RawIOBase):
    """Takes what the buffer flushes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: list[bytes] = []
        self.size = 0
        self.spilt: io.BufferedWriter | None = None
        self._discarded = False

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        piece = bytes(data)
        if self._discarded:  # Closing the buffer flushes it to here.
            return len(piece)
        self.size += len(piece)
        with writing(self.path.parent):
            if self.spilt is None and self.size <= MEMORY:
                self.kept.append(piece)
            else:
                self.spill().write(piece)
        return len(piece)

    def spill(self) -> io.BufferedWriter:
        """The file, with all bytes written so far."""
        if self.spilt is None:
            self.spilt = self.path.open("wb")
            self.spilt.writelines(self.kept)
            self.kept.clear()
        return self.spilt

    def discard(self) -> None:
        self._discarded = True
        self.kept.clear()
        if self.spilt is not None:
            self.spilt.close()
