"""The ports for files that clients upload and download."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ladingd.core.spec import File

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

UPLOADS = "uploads"
"""The root of uploaded files, whose paths are `UPLOAD_ID/FILE_NAME`. Exports may also be written there."""

PIECE_BYTES = 1 << 20
"""The most bytes of a file in one message."""

KEPT_FOR = timedelta(hours=24)
"""How long unused uploads are kept."""

_UPLOAD_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

InUse = Callable[[File], Awaitable[bool]]
"""Whether a job may still read or write below a directory. It is called with the root `uploads` and an upload's id as
the path."""


def is_upload_id(text: str) -> bool:
    """Whether the text is a UUID in its usual spelling, in lower case."""
    return _UPLOAD_ID.fullmatch(text) is not None


def upload_id_beneath(path: str) -> str:
    """The id of the upload that contains this path below the root of uploads; empty if none does. The path is parsed in
    the same way as when a file is opened."""
    first = next(iter(PurePosixPath(path).parts), "")
    return first if is_upload_id(first) else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcement:
    """A client's description of a file that it will send. ``sha256`` is the digest of the whole file, 32 bytes."""

    upload_id: str
    file_name: str
    size: int
    sha256: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """An uploaded file, complete or not. Specs can name a complete one as ``file``."""

    id: str
    file_name: str
    size: int
    received: int
    complete: bool
    create_time: datetime

    @property
    def file(self) -> File:
        """The name of the upload in a spec."""
        return File(root=UPLOADS, path=f"{self.id}/{self.file_name}")


class Reception(ABC):
    """Receives one file from one client. It ends when another reception of the same file begins and takes over."""

    @property
    @abstractmethod
    def complete(self) -> bool:
        """Whether the whole file was received."""

    @abstractmethod
    def when_taken_over(self, call: Callable[[], None] | None) -> None:
        """Set the function to call, in the event loop, when another reception takes over."""

    @abstractmethod
    def check(self) -> None:
        """Raises UploadMismatch if another reception has taken over."""

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Append data. Raises UploadMismatch, also for more bytes than were announced, and QuotaExceeded."""

    @abstractmethod
    async def finish(self) -> Upload:
        """Verify the size and digest of the file, then publish it atomically and durably.

        Raises UploadMismatch. If bytes are missing, the received part is kept; if the digest differs, it is removed.
        """


class UploadStore(ABC):
    """Stores uploaded files. No method blocks the event loop."""

    @abstractmethod
    def receive(self, announced: Announcement, offset: int, owner: str) -> AbstractAsyncContextManager[Reception]:
        """Begin an upload, or continue it after ``offset`` bytes and discard the bytes after them.

        The written bytes are durable at the end of the block, even if it ends by an exception. Raises QuotaExceeded,
        and UploadMismatch if fewer bytes were received or the id belongs to another file or owner.
        """

    @abstractmethod
    async def claim(self, upload_id: str, owner: str) -> str:
        """The owner of an id. The first to name the id, in a call or a spec, owns it until it is removed."""

    @abstractmethod
    async def owner(self, upload_id: str) -> str:
        """The owner of an id; empty if nobody has named it."""

    @abstractmethod
    async def get(self, upload_id: str) -> Upload:
        """Raises FileNotFound."""

    @abstractmethod
    async def delete(self, upload_id: str, in_use: InUse) -> None:
        """Remove everything below an id: an upload, complete or not, or the files of an export.

        Raises FileNotFound, and FileInUse if a job needs the files.
        """

    @abstractmethod
    async def sweep(
        self,
        now: datetime,
        in_use: InUse,
        *,
        incomplete_for: timedelta = KEPT_FOR,
        unused_for: timedelta = KEPT_FOR,
    ) -> tuple[str, ...]:
        """Remove incomplete uploads that receive no data, and files that no job uses, after these spans. Returns their
        ids.

        Call it several times within the shorter span: each call notes which files are in use at that time.
        """


class Dispatch(ABC):
    """One file on its way to a client. ``etag`` changes when the file does."""

    size: int
    etag: str

    @abstractmethod
    def pieces(self) -> AsyncGenerator[bytes, None]:
        """The rest of the file. Each piece is read on demand. Raises SourceUnreadable, also if the file changes
        meanwhile."""


class FileSender(ABC):
    """Sends files below the daemon's roots. No method blocks the event loop."""

    @abstractmethod
    def send(self, file: File, offset: int) -> AbstractAsyncContextManager[Dispatch]:
        """Open a file. Raises FileNotFound, and InvalidRequest if it is not a regular file below its root."""
