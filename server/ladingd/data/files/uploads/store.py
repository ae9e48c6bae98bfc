"""The uploads of clients: kept apart during the transfer, and moved beneath the root of uploads when they are whole."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ladingd.core.clock import utc_now
from ladingd.core.errors import FileInUse, FileNotFound, QuotaExceeded, UploadMismatch
from ladingd.core.files import KEPT_FOR, UPLOADS, Reception, UploadStore, is_upload_id
from ladingd.core.spec import File
from ladingd.data.files.shared_file import Handle, held
from ladingd.data.files.uploads.quota import disk, entries, size
from ladingd.data.files.uploads.reception import UploadReception
from ladingd.data.files.uploads.record import UploadRecord
from ladingd.data.storage.work_dir import draft_of, sync_directory, sync_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime, timedelta
    from pathlib import Path

    from ladingd.core.files import Announcement, InUse, Upload
    from ladingd.data.files.uploads.quota import UploadRoom

FILE_LIMIT = 64 << 30


class UploadFiles(UploadStore):
    """The uploads in a directory.

    ``uploads/ID/NAME`` is a whole file, ``receiving/ID.part`` a file in transfer, ``receiving/ID.json`` its record
    while either exists, and ``receiving/ID.owner`` the caller who used the id first. ``file_limit`` is the limit for
    one file in bytes and may change at any time.
    """

    def __init__(self, room: UploadRoom, *, file_limit: int = FILE_LIMIT) -> None:
        self.root = room.root
        self.file_limit = file_limit
        self._room = room
        self._receiving = room.receiving
        self._lock = threading.Lock()
        """Held while an upload begins, becomes visible or is removed. Taken before the lock of any reception."""
        self._running: dict[str, UploadReception] = {}

    @asynccontextmanager
    async def receive(self, announced: Announcement, offset: int, owner: str) -> AsyncIterator[Reception]:
        # The earlier call for the same file may hang in a dead connection for minutes, so the new one takes over.
        async with held(lambda: self._begin(announced, offset, owner), UploadReception.release) as reception:
            for former in reception.former:
                former.tell()
            yield reception

    async def claim(self, upload_id: str, owner: str) -> str:
        return await asyncio.to_thread(self._claim_alone, upload_id, owner)

    async def owner(self, upload_id: str) -> str:
        return await asyncio.to_thread(self._owner, upload_id)

    async def get(self, upload_id: str) -> Upload:
        return await asyncio.to_thread(self._get, upload_id)

    async def delete(self, upload_id: str, in_use: InUse) -> None:
        await asyncio.to_thread(self._require, upload_id)
        if await in_use(File(root=UPLOADS, path=upload_id)):
            raise FileInUse(f"{UPLOADS}/{upload_id}")
        for former in await asyncio.to_thread(self._remove, upload_id):
            former.tell()

    async def sweep(
        self,
        now: datetime,
        in_use: InUse,
        *,
        incomplete_for: timedelta = KEPT_FOR,
        unused_for: timedelta = KEPT_FOR,
    ) -> tuple[str, ...]:
        removed = []
        for upload_id in await asyncio.to_thread(self._ids):
            whole = await asyncio.to_thread(self._is_whole, upload_id)
            # Even without a file: the owner of an id must be known until its export begins.
            if await in_use(File(root=UPLOADS, path=upload_id)):
                await asyncio.to_thread(self._touch, upload_id, now)
            elif await asyncio.to_thread(self._expire, upload_id, now - (unused_for if whole else incomplete_for)):
                removed.append(upload_id)
        return tuple(removed)

    # In threads

    def _claim_alone(self, upload_id: str, owner: str) -> str:
        with self._lock, disk():
            return self._claim(upload_id, owner)

    def _claim(self, upload_id: str, owner: str) -> str:
        if known := self._owner(upload_id):
            if known == owner:
                os.utime(self._owner_path(upload_id))
            return known
        self._make_directories()
        _write(self._owner_path(upload_id), owner.encode())
        return owner

    def _owner(self, upload_id: str) -> str:
        try:
            return self._owner_path(upload_id).read_text("utf-8")
        except FileNotFoundError:
            return ""

    def _begin(self, announced: Announcement, offset: int, owner: str) -> UploadReception:
        with self._lock, disk():
            if self._claim(announced.upload_id, owner) != owner:
                raise UploadMismatch(f"{UPLOADS}/{announced.upload_id} belongs to somebody else; use a new id", 0)
            record = self._record(announced.upload_id)
            if record is not None and record.announced != announced:
                raise UploadMismatch(
                    f"{record.name} was begun with another name, size or hash; use a new id", self._there(record)
                )
            if announced.size > self.file_limit:
                raise QuotaExceeded(f"the file has {announced.size} bytes; the limit is {self.file_limit}")
            new = record is None
            if record is None:
                record = UploadRecord(announced=announced, create_time=utc_now())
            elif self._place(record).exists():
                return UploadReception(self, record, None, announced.size, former=())
            former = self._end_running(record.id)
            there = self._there(record)
            if offset > there:
                raise UploadMismatch(f"only {there} bytes of {record.name} were received; continue from there", there)
            # Bytes that others have announced count while they send.
            promised = sum(each.missing for each in self._running.values())
            self._room.check(announced.size - offset, promised=promised, given_up=there - offset)
            self._make_directories()
            if new:
                _write(self._record_path(record.id), record.to_json())
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            part = Handle(os.open(self._part(record.id), flags, 0o600))
            try:
                part.truncate(offset)
            except BaseException:
                part.close()
                raise
            reception = self._running[record.id] = UploadReception(self, record, part, offset, former=former)
            return reception

    def check_disk(self, coming: int) -> None:
        """Check that the bytes fit. Raises QuotaExceeded."""
        self._room.check_disk(coming)

    def publish(self, reception: UploadReception) -> None:
        """Publish a whole file, unless another call has taken over. Raises UploadMismatch."""
        record = reception.record
        with self._lock, disk():
            reception.check()
            reception.close()
            place = self._place(record)
            place.parent.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self.root)
            self._part(record.id).replace(place)
            sync_directory(place.parent)
            sync_directory(self._receiving)
            self._running.pop(record.id, None)

    def drop(self, reception: UploadReception) -> None:
        """Remove the received bytes, unless another call has taken over."""
        with self._lock:
            if self._running.get(reception.record.id) is reception:
                reception.close()
                del self._running[reception.record.id]
                self._forget(reception.record.id)

    def leave(self, reception: UploadReception) -> None:
        """End a reception. The received bytes stay."""
        with self._lock:
            if self._running.get(reception.record.id) is reception:
                del self._running[reception.record.id]

    def _get(self, upload_id: str) -> Upload:
        with self._lock:
            record = self._record(upload_id)
            if record is None:
                raise FileNotFound(f"{UPLOADS}/{upload_id}")
            complete = self._place(record).exists()
            received = record.announced.size if complete else self._there(record)
            return record.upload(received, complete=complete)

    def _require(self, upload_id: str) -> None:
        with self._lock:
            if self._newest_use(upload_id) is None:
                raise FileNotFound(f"{UPLOADS}/{upload_id}")

    def _remove(self, upload_id: str) -> tuple[UploadReception, ...]:
        with self._lock:
            former = self._end_running(upload_id)
            self._forget(upload_id)
            return former

    def _expire(self, upload_id: str, before: datetime) -> bool:
        with self._lock:
            used = self._newest_use(upload_id)
            if upload_id in self._running or used is None or used >= before.timestamp():
                return False
            self._forget(upload_id)
            return True

    def _end_running(self, upload_id: str) -> tuple[UploadReception, ...]:
        former = self._running.pop(upload_id, None)
        if former is None:
            return ()
        # A write under way ends first; no other follows.
        former.close()
        return (former,)

    def _forget(self, upload_id: str) -> None:
        directory = self.root / upload_id
        if directory.exists():
            shutil.rmtree(directory)
        self._part(upload_id).unlink(missing_ok=True)
        self._record_path(upload_id).unlink(missing_ok=True)
        # The record goes last: with it, a crash leaves nothing that is not found again.
        self._owner_path(upload_id).unlink(missing_ok=True)

    def _ids(self) -> list[str]:
        with self._lock:
            names = {path.name for path in entries(self.root)} | {path.stem for path in entries(self._receiving)}
        return sorted(name for name in names if is_upload_id(name))

    def _is_whole(self, upload_id: str) -> bool:
        return (self.root / upload_id).exists()

    def _newest_use(self, upload_id: str) -> float | None:
        directory = self.root / upload_id
        known = (self._part(upload_id), self._record_path(upload_id), self._owner_path(upload_id))
        places = (directory, *entries(directory), *known)
        times = []
        for path in places:
            try:
                times.append(path.lstat().st_mtime)
            except FileNotFoundError:
                continue
        return max(times, default=None)

    def _touch(self, upload_id: str, now: datetime) -> None:
        with self._lock:
            for path in (self.root / upload_id, self._owner_path(upload_id)):
                if path.exists():
                    os.utime(path, (now.timestamp(), now.timestamp()))

    def _there(self, record: UploadRecord) -> int:
        if self._place(record).exists():
            return record.announced.size
        return size(self._part(record.id))

    def _place(self, record: UploadRecord) -> Path:
        return self.root / record.id / record.announced.file_name

    def _part(self, upload_id: str) -> Path:
        return self._receiving / f"{upload_id}.part"

    def _record_path(self, upload_id: str) -> Path:
        return self._receiving / f"{upload_id}.json"

    def _owner_path(self, upload_id: str) -> Path:
        return self._receiving / f"{upload_id}.owner"

    def _make_directories(self) -> None:
        for directory in (self.root, self._receiving):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _record(self, upload_id: str) -> UploadRecord | None:
        try:
            return UploadRecord.from_json(upload_id, self._record_path(upload_id).read_bytes())
        except FileNotFoundError:
            return None


def _write(path: Path, content: bytes) -> None:
    draft = draft_of(path)
    with draft.open("wb") as file:
        file.write(content)
        sync_file(file)
    draft.replace(path)
    sync_directory(path.parent)
