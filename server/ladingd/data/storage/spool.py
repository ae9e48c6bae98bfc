"""What one chunk of an export comes to, until it has its place: in memory as long as it is small, else in a file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Self

from ladingd.data.storage.work_dir import sync_file, writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _typeshed import ReadableBuffer

MEMORY = 32 << 20
"""How many bytes are kept in memory."""

_BLOCK = 1 << 20
_BUFFER = 1 << 18


class Spool:
    """Bytes to be written once, by ``file``, and read any number of times. ``path`` is where they may go meanwhile.

    At the end of a ``with`` block it is empty, and the file is gone unless it was given another name. The file's errors
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
        """How many bytes were written."""
        self.file.flush()
        return self._pieces.size

    def blocks(self) -> Iterator[bytes]:
        """What was written."""
        self.file.flush()
        if self._pieces.spilt is None:
            yield from self._pieces.kept
            return
        self._pieces.spilt.flush()
        with self.path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block

    def keep(self) -> None:
        """Have all of it in the file, durably."""
        self.file.flush()
        with writing(self.path.parent):
            sync_file(self._pieces.spill())


class _Pieces(io.RawIOBase):
    """What comes out of the buffer."""

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
        if self._discarded:  # closing the buffer empties it to here
            return len(piece)
        self.size += len(piece)
        with writing(self.path.parent):
            if self.spilt is None and self.size <= MEMORY:
                self.kept.append(piece)
            else:
                self.spill().write(piece)
        return len(piece)

    def spill(self) -> io.BufferedWriter:
        """The file, with all that was written so far."""
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
