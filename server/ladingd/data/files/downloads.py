"""Sends files beneath the daemon's roots to clients."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ladingd.core.errors import FileNotFound, InvalidRequest, SourceUnreadable
from ladingd.core.files import PIECE_BYTES, Dispatch, FileSender
from ladingd.data.files.roots import PathRefused, open_beneath
from ladingd.data.files.shared_file import Handle, held

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping
    from pathlib import Path

    from ladingd.core.spec import File


class RootFiles(FileSender):
    """Opens files component by component beneath their roots, so that a link swapped in later is not followed.

    The daemon's ``own_files`` are never sent.
    """

    def __init__(self, roots: Mapping[str, Path], own_files: Mapping[str, Path]) -> None:
        self._roots = roots
        self._own_files = own_files

    @asynccontextmanager
    async def send(self, file: File, offset: int) -> AsyncIterator[Dispatch]:
        async with held(lambda: self._open(file), _OpenFile.close) as opened:
            if offset > opened.state.size:
                raise InvalidRequest("offset", f"{opened.path} has only {opened.state.size} bytes")
            yield _Dispatch(opened, offset)

    def _open(self, file: File) -> _OpenFile:
        try:
            source = open_beneath(self._roots, self._own_files, file)
        except PathRefused as error:
            if error.missing:
                raise FileNotFound(f"file {file.path} beneath {file.root}") from error
            raise InvalidRequest(f"file.{error.field}", error.problem) from error
        handle = Handle(source.descriptor)
        return _OpenFile(handle=handle, path=source.path, state=_State.of(handle.stat()))


@dataclass(frozen=True, kw_only=True, slots=True)
class _State:
    """Identifies a file and its content at one moment."""

    device: int
    inode: int
    modified: int
    size: int

    @classmethod
    def of(cls, found: os.stat_result) -> _State:
        return cls(device=found.st_dev, inode=found.st_ino, modified=found.st_mtime_ns, size=found.st_size)


@dataclass(frozen=True, kw_only=True, slots=True)
class _OpenFile:
    handle: Handle
    path: str
    state: _State

    def close(self) -> None:
        self.handle.close()

    def read(self, place: int) -> bytes:
        """The bytes at an offset. Raises SourceUnreadable."""
        try:
            piece = self.handle.read(min(PIECE_BYTES, self.state.size - place), place)
            changed = not piece or _State.of(self.handle.stat()) != self.state
        except OSError as error:
            raise SourceUnreadable(f"{self.path} cannot be read: {error.strerror}") from error
        if changed:
            raise SourceUnreadable(f"{self.path} has changed while it was sent; ask for it from the beginning")
        return piece


class _Dispatch(Dispatch):
    def __init__(self, opened: _OpenFile, offset: int) -> None:
        self._opened = opened
        self._offset = offset
        self.size = opened.state.size
        # Clients must not learn inode numbers.
        self.etag = hashlib.sha256(repr(opened.state).encode()).hexdigest()[:32]

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        place = self._offset
        while place < self.size:
            piece = await asyncio.to_thread(self._opened.read, place)
            place += len(piece)
            yield piece
