"""Uploads files to a daemon. A broken upload continues where it stopped."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.v1 import file_service_pb2 as pb
from lading_client.errors import DaemonError, FileNotFound
from lading_client.files.persistence import GIVE_UP_SECONDS, FileChanged, persistently
from lading_client.spec import File

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from lading_client.files.persistence import Progress
    from lading_client.transport.calls import Calls

_PIECE = 512 << 10
_HASHED = 4 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """An uploaded file. The daemon keeps it until no job has needed it for a day. ``name`` is `uploads/ID`."""

    name: str
    file: File
    size: int


async def upload(
    calls: Calls,
    path: str | os.PathLike[str],
    *,
    file_name: str = "",
    upload_id: str = "",
    progress: Progress | None = None,
    give_up_after: float = GIVE_UP_SECONDS,
) -> StoredFile:
    """Upload a regular file. With the ``upload_id``, a UUID, of a broken upload, it continues that upload.

    Raises OSError, FileChanged, UploadMismatch, QuotaExceeded, and Unavailable after ``give_up_after`` seconds without
    success.
    """
    with _opened(path) as local:
        sending = _Sending(
            calls,
            local,
            pb.UploadFileRequest.Begin(
                upload_id=upload_id or str(uuid.uuid4()),
                file_name=file_name or Path(path).name,
                size=local.size,
                sha256=await local.digest(),
            ),
            progress,
        )
        sent: pb.Upload = await persistently(sending.go_on, lambda: sending.gone, give_up_after)
    return StoredFile(name=sent.name, file=File(root=sent.file.root, path=sent.file.path), size=sent.size)


async def delete_upload(calls: Calls, name: str) -> None:
    """Delete `uploads/ID` from the daemon. Raises FileNotFound, and FileInUse if a job needs the file."""
    await calls.once("DeleteUpload", pb.DeleteUploadRequest(name=name))


class _Sending:
    """An upload, over as many calls as needed."""

    def __init__(
        self, calls: Calls, local: _LocalFile, begin: pb.UploadFileRequest.Begin, progress: Progress | None
    ) -> None:
        self.gone = 0
        self._calls = calls
        self._local = local
        self._begin = begin
        self._progress = progress or (lambda gone, size: None)

    async def go_on(self) -> pb.Upload:
        """Send the bytes that the daemon lacks."""
        upload = await self._there()
        if upload is not None and upload.complete:
            self._tell(upload.size)
            return upload
        self._begin.offset = 0 if upload is None else min(upload.received, self._local.size)
        try:
            sent: pb.Upload = await self._calls.send("UploadFile", self._requests())
        except DaemonError:
            self._local.check()
            raise
        return sent

    async def _there(self) -> pb.Upload | None:
        try:
            request = pb.GetUploadRequest(name=f"uploads/{self._begin.upload_id}")
            found: pb.Upload = await self._calls.repeatable("GetUpload", request)
        except FileNotFound:
            return None
        return found

    async def _requests(self) -> AsyncGenerator[pb.UploadFileRequest, None]:
        yield pb.UploadFileRequest(begin=self._begin)
        place = self._begin.offset
        self._tell(place)
        while place < self._local.size:
            piece = await asyncio.to_thread(self._local.read, _PIECE, place)
            yield pb.UploadFileRequest(data=piece)
            place += len(piece)
            self._tell(place)

    def _tell(self, place: int) -> None:
        self.gone = max(self.gone, place)
        self._progress(place, self._local.size)


@dataclass(frozen=True, kw_only=True, slots=True)
class _LocalFile:
    """An open file to send, with its size and time when it was opened."""

    descriptor: int
    path: str
    size: int
    modified: int

    def read(self, size: int, place: int) -> bytes:
        """Bytes from a place before the end. Raises FileChanged."""
        piece = os.pread(self.descriptor, min(size, self.size - place), place)
        if not piece:
            raise FileChanged(self.path)
        return piece

    async def digest(self) -> bytes:
        """The SHA-256 of the whole file. Raises FileChanged."""
        # One piece at a time, so that an interrupt does not have to wait for the whole file.
        digest, place = hashlib.sha256(), 0
        while place < self.size:
            place += await asyncio.to_thread(self._feed, digest, place)
        self.check()
        return digest.digest()

    def check(self) -> None:
        """Raises FileChanged."""
        now = os.fstat(self.descriptor)
        if (now.st_size, now.st_mtime_ns) != (self.size, self.modified):
            raise FileChanged(self.path)

    def _feed(self, digest: Any, place: int) -> int:
        piece = self.read(_HASHED, place)
        digest.update(piece)
        return len(piece)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[_LocalFile]:
    # Opening a named pipe without a writer would block. O_NONBLOCK has no effect on a regular file.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        yield _LocalFile(descriptor=descriptor, path=os.fspath(path), size=found.st_size, modified=found.st_mtime_ns)
    finally:
        os.close(descriptor)
