"""Files to a daemon and from it. What breaks off goes on where it was."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import stat
import threading
import time
import uuid
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.v1 import file_service_pb2 as pb
from lading.v1 import spec_pb2
from lading_client.errors import (
    DaemonError,
    DeadlineExceeded,
    FileNotFound,
    InvalidArgument,
    LadingError,
    TooManyCalls,
    Unavailable,
)
from lading_client.files.destination import check_replaceable, destination
from lading_client.spec import File
from lading_client.transport.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

    from lading_client.transport.calls import Calls

    Progress = Callable[[int, int], None]
    """Is told how many bytes have gone, of how many."""

GIVE_UP_SECONDS = 60.0
"""How long a file may make no progress, while the daemon cannot be reached or is busy."""

_PIECE = 512 << 10
_HASHED = 4 << 20
_CHANGES = 3
"""How often a file may be another one before a download of it gives up."""
_AGAIN = (Unavailable, TooManyCalls, DeadlineExceeded)


class FileChanged(LadingError):
    """The file became another one while it was on its way."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"{path} has changed while it was on its way; try again when nobody writes it")


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """A file that the daemon keeps until no job has needed it for a day. ``name`` is `uploads/ID`."""

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
    """Send a regular file. With the ``upload_id``, a UUID, of one that was broken off it goes on after what is there.

    Raises OSError, FileChanged, UploadMismatch, QuotaExceeded, and Unavailable after ``give_up_after`` seconds in vain.
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
        sent: pb.Upload = await _persistently(sending.go_on, lambda: sending.gone, give_up_after)
    return StoredFile(name=sent.name, file=File(root=sent.file.root, path=sent.file.path), size=sent.size)


async def delete_upload(calls: Calls, name: str) -> None:
    """Remove `uploads/ID` from the daemon. Raises FileNotFound, and FileInUse where a job needs it."""
    await calls.once("DeleteUpload", pb.DeleteUploadRequest(name=name))


async def download(
    calls: Calls,
    file: File,
    to: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    give_up_after: float = GIVE_UP_SECONDS,
) -> int:
    """Fetch a file that stands beneath a root of the daemon, and return its size. It gets its name when it is whole.

    Until then it is a hidden file beside; another call for the same file goes on with that. Raises OSError,
    FileNotFound, InvalidArgument, FileChanged, and Unavailable after ``give_up_after`` seconds in vain.
    """
    path = destination(to)
    if not overwrite:
        _check_free(path)
    fetching = _Fetching(calls, file, path, progress)
    try:
        await _persistently(fetching.go_on, lambda: fetching.come, give_up_after)
        await asyncio.to_thread(fetching.put, overwrite=overwrite)
    finally:
        fetching.close()
    return fetching.come


async def _persistently(go_on: Callable[[], Awaitable[Any]], gone: Callable[[], int], give_up_after: float) -> Any:
    """Go on until it is done, as long as there is progress in ``give_up_after`` seconds."""
    backoff = Backoff()
    before, since = gone(), time.monotonic()
    while True:
        try:
            return await go_on()
        except _AGAIN as error:
            if gone() > before:
                before, since = gone(), time.monotonic()
                backoff.reset()
            if time.monotonic() - since >= give_up_after:
                raise
            await asyncio.sleep(backoff.after(error.retry_delay))


class _Sending:
    """An upload, over as many calls as it takes."""

    def __init__(
        self, calls: Calls, local: _LocalFile, begin: pb.UploadFileRequest.Begin, progress: Progress | None
    ) -> None:
        self.gone = 0
        self._calls = calls
        self._local = local
        self._begin = begin
        self._progress = progress or (lambda gone, size: None)

    async def go_on(self) -> pb.Upload:
        """Send what the daemon lacks."""
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
    """An open file to send, as it was when it was opened."""

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
        """The SHA-256 of all of it. Raises FileChanged."""
        # A piece at a time, so that whoever interrupts does not have to wait for the whole file.
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
    # A named pipe without a writer would block; O_NONBLOCK means nothing to a regular file.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        yield _LocalFile(descriptor=descriptor, path=os.fspath(path), size=found.st_size, modified=found.st_mtime_ns)
    finally:
        os.close(descriptor)


def _check_free(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


class _Fetching:
    """A download, over as many calls as it takes."""

    def __init__(self, calls: Calls, file: File, path: Path, progress: Progress | None) -> None:
        self.come = 0
        self._calls = calls
        self._file = file
        self._path = path
        self._progress = progress or (lambda come, size: None)
        self._draft: _Draft | None = None
        self._changes = 0

    async def go_on(self) -> None:
        """Fetch what is lacking. Raises FileChanged where it is another file again and again."""
        while not await self._fetch():
            self._changes += 1
            if self._changes > _CHANGES:
                raise FileChanged(f"{self._file.root}:{self._file.path}")

    def put(self, *, overwrite: bool) -> None:
        """Give the whole file its name."""
        if self._draft is None:
            raise RuntimeError("nothing was fetched")
        self._draft.put(self._path, overwrite=overwrite)

    def close(self) -> None:
        """Leave what has come for another time."""
        if self._draft is not None:
            self._draft.close()
            self._draft = None

    async def _fetch(self) -> bool:
        """One call; False where it has to be asked for from another place."""
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
            # The file has become shorter than what we have of the one before.
            self._discard()
            return False
        return True

    def _goes_on(self, description: pb.DownloadFileResponse.Description, offset: int) -> bool:
        """Whether what comes goes on from what is there."""
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
    """A hidden file beside the one to be, for one state of the daemon's file."""

    def __init__(self, descriptor: int, path: Path, etag: str) -> None:
        self.etag = etag
        self.size = os.fstat(descriptor).st_size
        self._path = path
        self._descriptor = descriptor
        # A cancelled download closes the file, whose number may be another one's then: not while a thread writes.
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def beside(cls, path: Path, etag: str) -> _Draft:
        """The draft that is there already, or an empty one. Raises OSError, also where somebody else writes it."""
        # The daemon's words are no file names.
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
            # Another one has given it its name just before we had the lock.
            os.close(descriptor)

    def shorten(self, size: int) -> None:
        """More than the whole file cannot be right."""
        if self.size > size:
            os.ftruncate(self._descriptor, 0)
            self.size = 0

    def add(self, data: bytes) -> None:
        """Write what comes next."""
        left = memoryview(data)
        with self._lock:
            while left and not self._closed:
                written = os.pwrite(self._descriptor, left, self.size)
                left = left[written:]
                self.size += written

    def put(self, path: Path, *, overwrite: bool) -> None:
        """Make it durable and give it its name. Raises FileExistsError."""
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
        """It is of no use any more."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave it as it is."""
        with self._lock:
            self._closed = True
            os.close(self._descriptor)
