"""The bytes of one chunk of an export: in memory while they are few, else in a file."""

from __future__ import annotations

import io
import mmap
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

_free: list[mmap.mmap] = []
"""Memory of spools that have ended. New memory costs a page fault for every 4 KB, a tenth of an export's CPU."""


def _reserve(size: int = MEMORY) -> mmap.mmap:
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


class Spool:
    """Bytes that are written once, through ``file``, and read any number of times. A large spool goes to ``path``.

    The end of a ``with`` block empties the spool and removes the file, unless the file was renamed. Errors of the file
    are raised as DestinationRefused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes = _Bytes(path)
        self.file = io.BufferedWriter(self._bytes, _BUFFER)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bytes.discard()
        self.file.close()
        self.path.unlink(missing_ok=True)

    def size(self) -> int:
        """The number of bytes written."""
        self.file.flush()
        return self._bytes.size

    def blocks(self) -> Iterator[ReadableBuffer]:
        """The bytes written."""
        self.file.flush()
        if self._bytes.spilt is None:
            yield self._bytes.kept()
            return
        self._bytes.spilt.flush()
        with self.path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block

    def keep(self) -> None:
        """Move all bytes into the file, durably."""
        self.file.flush()
        with writing(self.path.parent):
            sync_file(self._bytes.spill())


class _Bytes(io.RawIOBase):
    """Takes what the buffer flushes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.memory = _free.pop() if _free else _reserve()
        self.spilt: io.BufferedWriter | None = None
        self._discarded = False

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        length = memoryview(data).nbytes
        if self._discarded:  # Closing the buffer flushes it to here.
            return length
        with writing(self.path.parent):
            if self.spilt is None and self.size + length <= MEMORY:
                self.memory[self.size : self.size + length] = data
            else:
                self.spill().write(data)
        self.size += length
        return length

    def kept(self) -> memoryview:
        """The bytes in memory."""
        return memoryview(self.memory)[: self.size]

    def spill(self) -> io.BufferedWriter:
        """The file, with all bytes written so far."""
        if self.spilt is None:
            self.spilt = self.path.open("wb")
            self.spilt.write(self.kept())
        return self.spilt

    def discard(self) -> None:
        if not self._discarded:
            _free.append(self.memory)
        self._discarded = True
        if self.spilt is not None:
            self.spilt.close()
