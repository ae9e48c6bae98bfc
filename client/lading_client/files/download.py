"""Downloads files from a daemon. A broken download continues where it stopped."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING

from lading.v1 import file_service_pb2 as pb
from lading.v1 import spec_pb2
from lading_client.errors import InvalidArgument, Unavailable
from lading_client.files.destination import check_replaceable, destination
from lading_client.files.persistence import GIVE_UP_SECONDS, FileChanged, persistently

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from lading_client.files.persistence import Progress
    from lading_client.spec import File
    from lading_client.transport.calls import Calls

_CHANGES = 3
"""How often a file may change before its download gives up."""


async def download(
    calls: Calls,
    file: File,
    to: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    give_up_after: float = GIVE_UP_SECONDS,
) -> int:
    """Download a file beneath a root of the daemon and return its size. The file gets its name when it is complete.

    Until then it is a hidden file in the same directory. Another download of the same file continues it. Raises
    OSError, FileNotFound, InvalidArgument, FileChanged, and Unavailable after ``give_up_after`` seconds in vain.
    """
    path = destination(to)
    if not overwrite:
        _check_free(path)
    fetching = _Fetching(calls, file, path, progress)
    try:
        await persistently(fetching.go_on, lambda: fetching.come, give_up_after)
        await asyncio.to_thread(fetching.put, overwrite=overwrite)
    finally:
        fetching.close()
    return fetching.come


def _check_free(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


class _Fetching:
    """A download, over as many calls as needed."""

    def __init__(self, calls: Calls, file: File, path: Path, progress: Progress | None) -> None:
        self.come = 0
        self._calls = calls
        self._file = file
        self._path = path
        self._progress = progress or (lambda come, size: None)
        self._draft: _Draft | None = None
        self._changes = 0

    async def go_on(self) -> None:
        """Fetch the missing bytes. Raises FileChanged if the file changes repeatedly."""
        while not await self._fetch():
            self._changes += 1
            if self._changes > _CHANGES:
                raise FileChanged(f"{self._file.root}:{self._file.path}")

    def put(self, *, overwrite: bool) -> None:
        """Give the complete file its name."""
        if self._draft is None:
            raise RuntimeError("nothing was fetched")
        self._draft.put(self._path, overwrite=overwrite)

    def close(self) -> None:
        """Keep the received bytes for a later download."""
        if self._draft is not None:
            self._draft.close()
            self._draft = None

    async def _fetch(self) -> bool:
        """Make one call. Returns False if another call must ask for a different offset."""
        offset = 0 if self._draft is None else self._draft.size
        file = spec_pb2.File(root=self._file.root, path=self._file.path)
        request = pb.DownloadFileRequest(file=file, offset=offset)
        try:
            async with aclosing(self._calls.stream("DownloadFile", request, _response)) as responses:
                first = await anext(responses, None)
                if first is None:
                    raise Unavailable("the daemon has sent nothing", code="UNAVAILABLE")
                if not self._goes_on(first.description, offset):
                    return False
                await self._take(responses, first.description.size)
        except InvalidArgument:
            if not offset:
                raise
            # The file has changed and is now shorter than the received bytes.
            self._discard()
            return False
        return True

    def _goes_on(self, description: pb.DownloadFileResponse.Description, offset: int) -> bool:
        """Whether the response continues the received bytes."""
        if self._draft is not None and self._draft.etag != description.etag:
            self._discard()
        if self._draft is None:
            self._draft = _Draft.beside(self._path, description.etag)
            self._draft.shorten(description.size)
        return self._draft.size == offset

    def _discard(self) -> None:
        if self._draft is not None:
            self._draft.remove()
        self.close()
        self.come = 0

    async def _take(self, responses: AsyncGenerator[pb.DownloadFileResponse, None], size: int) -> None:
        draft = self._draft
        if draft is None:
            raise RuntimeError("there is nothing to write into")
        self._tell(draft.size, size)
        async for response in responses:
            await asyncio.to_thread(draft.add, response.data)
            self._tell(draft.size, size)
        if draft.size != size:
            raise Unavailable(f"the daemon ended after {draft.size} of {size} bytes", code="UNAVAILABLE")

    def _tell(self, come: int, size: int) -> None:
        self.come = come
        self._progress(come, size)


def _response(message: pb.DownloadFileResponse) -> pb.DownloadFileResponse:
    return message


class _Draft:
    """A hidden file beside the destination, for one version of the daemon's file."""

    def __init__(self, descriptor: int, path: Path, etag: str) -> None:
        self.etag = etag
        self.size = os.fstat(descriptor).st_size
        self._path = path
        self._descriptor = descriptor
        # A cancelled download closes the file, and another file may then get its descriptor. The lock keeps a writing
        # thread from writing to that file.
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def beside(cls, path: Path, etag: str) -> _Draft:
        """The existing draft, or an empty one. Raises OSError, also if another process writes the draft."""
        # The daemon's etag is not safe as a file name.
        mark = hashlib.sha256(f"{path.name}\0{etag}".encode(errors="surrogateescape")).hexdigest()[:16]
        draft = path.with_name(f".{path.name[:48]}.{mark}.part")
        while True:
            descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                raise OSError(error.errno, "another download of the same file is under way", str(path)) from error
            if draft.exists() and os.path.samestat(os.fstat(descriptor), draft.stat()):
                return cls(descriptor, draft, etag)
            # Another process renamed the draft just before we got the lock.
            os.close(descriptor)

    def shorten(self, size: int) -> None:
        """Empty the draft if it is larger than the whole file: it must be wrong."""
        if self.size > size:
            os.ftruncate(self._descriptor, 0)
            self.size = 0

    def add(self, data: bytes) -> None:
        """Write the next bytes."""
        left = memoryview(data)
        with self._lock:
            while left and not self._closed:
                written = os.pwrite(self._descriptor, left, self.size)
                left = left[written:]
                self.size += written

    def put(self, path: Path, *, overwrite: bool) -> None:
        """Make the draft durable and rename it. Raises FileExistsError."""
        os.fsync(self._descriptor)
        if not overwrite:
            _check_free(path)
        check_replaceable(path)
        self._path.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def remove(self) -> None:
        """Delete the draft."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the draft and keep it."""
        with self._lock:
            self._closed = True
            os.close(self._descriptor)
