"""Files that come from clients and go to them."""

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
"""The root that uploaded files stand beneath, as `UPLOAD_ID/FILE_NAME`. Exports may be written there, too."""

PIECE_BYTES = 1 << 20
"""The most that comes or goes at once."""

KEPT_FOR = timedelta(hours=24)
"""How long what is of no use is kept."""

_UPLOAD_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

InUse = Callable[[File], Awaitable[bool]]
"""Whether a job may still need what stands beneath a directory, in either direction. It is asked with the root
`uploads` and an upload's id as the path."""


def is_upload_id(text: str) -> bool:
    """Whether it is a UUID in its usual spelling, in small letters."""
    return _UPLOAD_ID.fullmatch(text) is not None


def upload_id_beneath(path: str) -> str:
    """The id of the upload that a path beneath the root of uploads leads into, read as whoever opens it reads it;
    empty where it leads into none."""
    first = next(iter(PurePosixPath(path).parts), "")
    return first if is_upload_id(first) else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcement:
    """What a client says of a file before it sends it. ``sha256`` is that of the whole file, 32 bytes."""

    upload_id: str
    file_name: str
    size: int
    sha256: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """A file that comes, or has come. It can be named as ``file`` once it is complete."""

    id: str
    file_name: str
    size: int
    received: int
    complete: bool
    create_time: datetime

    @property
    def file(self) -> File:
        """What a spec names it by."""
        return File(root=UPLOADS, path=f"{self.id}/{self.file_name}")


class Reception(ABC):
    """One client's sending of one file. Another one that begins with the same file takes over: this one ends then."""

    @property
    @abstractmethod
    def complete(self) -> bool:
        """Whether nothing needs to be sent: the whole file is there."""

    @abstractmethod
    def when_taken_over(self, call: Callable[[], None] | None) -> None:
        """Have this called, in the event loop, when another one takes over."""

    @abstractmethod
    def check(self) -> None:
        """Raises UploadMismatch where another one has taken over."""

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Keep what has come. Raises UploadMismatch, also for more than was announced, and QuotaExceeded."""

    @abstractmethod
    async def finish(self) -> Upload:
        """See that all is there and right, and make it visible, at once and durably.

        Raises UploadMismatch: where bytes are missing, what has come is kept; where the hash differs, nothing is.
        """


class UploadStore(ABC):
    """Keeps what clients send. No method blocks the event loop."""

    @abstractmethod
    def receive(self, announced: Announcement, offset: int, owner: str) -> AbstractAsyncContextManager[Reception]:
        """Begin with a file, or go on with it after ``offset`` bytes; those behind are forgotten.

        At the end of the block, however it comes, what was written is kept durably. Raises UploadMismatch where fewer
        bytes are there or the id is that of another file or owner, QuotaExceeded.
        """

    @abstractmethod
    async def claim(self, upload_id: str, owner: str) -> str:
        """Whose an id is. It is theirs who have named it first, in a call or in a spec, until it is removed."""

    @abstractmethod
    async def owner(self, upload_id: str) -> str:
        """Whose an id is; empty where nobody has named it."""

    @abstractmethod
    async def get(self, upload_id: str) -> Upload:
        """Raises FileNotFound."""

    @abstractmethod
    async def delete(self, upload_id: str, in_use: InUse) -> None:
        """Remove all beneath an id: an upload, whole or not, or what an export has left there.

        Raises FileNotFound, and UploadMismatch where a job needs it.
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
        """Remove uploads of which nothing has come for a while, and what no job has used for a while; their ids.

        To be called several times in the shorter of the two spans: what is in use then counts as used at that time.
        """


class Dispatch(ABC):
    """One file on its way to a client. ``etag`` changes when the file does."""

    size: int
    etag: str

    @abstractmethod
    def pieces(self) -> AsyncGenerator[bytes, None]:
        """The rest of the file, each piece read when it is asked for. Raises SourceUnreadable, also where the file
        changes meanwhile."""


class FileSender(ABC):
    """Gives out files that stand beneath the daemon's roots. No method blocks the event loop."""

    @abstractmethod
    def send(self, file: File, offset: int) -> AbstractAsyncContextManager[Dispatch]:
        """Open a file. Raises FileNotFound, and InvalidRequest for what is no regular file beneath its root."""
