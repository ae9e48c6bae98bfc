"""What clients send: kept apart while it comes, and put beneath the root of uploads when it is whole."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import shutil
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ladingd.core.errors import FileInUse, FileNotFound, QuotaExceeded, UploadMismatch
from ladingd.core.files import (
    KEPT_FOR,
    PIECE_BYTES,
    UPLOADS,
    Announcement,
    Reception,
    Upload,
    UploadStore,
    is_upload_id,
)
from ladingd.core.spec import File
from ladingd.data.handle import Closed, Handle, held
from ladingd.data.workplace import draft_of, sync_directory, sync_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from datetime import timedelta
    from pathlib import Path

    from ladingd.core.files import InUse

FILE_LIMIT = 64 << 30
TOTAL_LIMIT = 256 << 30
DISK_RESERVE = 256 << 20
"""What uploads leave free on the disk: the store of jobs is there as well, and stops the daemon where it is full."""

SYNC_BYTES = 64 << 20

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class UploadFiles(UploadStore):
    """Beneath a directory: ``uploads/ID/NAME`` is a whole file, ``receiving/ID.part`` one that comes, and
    ``receiving/ID.json`` what was announced of it, as long as either is there.

    ``file_limit`` is for one file, ``total_limit`` for all that is kept, ``disk_reserve`` for what is left free; bytes.
    """

    def __init__(
        self,
        directory: Path,
        *,
        file_limit: int = FILE_LIMIT,
        total_limit: int = TOTAL_LIMIT,
        disk_reserve: int = DISK_RESERVE,
    ) -> None:
        self.root = directory / UPLOADS
        self._receiving = directory / "receiving"
        self.limit(file_limit=file_limit, total_limit=total_limit)
        self._disk_reserve = disk_reserve
        self._lock = threading.Lock()
        """Held while an upload begins, becomes visible or is removed. Taken before the lock of any reception."""
        self._running: dict[str, _Reception] = {}

    def limit(self, *, file_limit: int, total_limit: int) -> None:
        """Take no more than this, from the next file on."""
        self._file_limit = file_limit
        self._total_limit = total_limit

    @asynccontextmanager
    async def receive(self, announced: Announcement, offset: int) -> AsyncIterator[Reception]:
        # The one that sent the same file before may hang in a dead connection for minutes: so the new one takes over.
        async with held(lambda: self._begin(announced, offset), _Reception.release) as reception:
            for former in reception.former:
                former.tell()
            yield reception

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
            if whole and await in_use(File(root=UPLOADS, path=upload_id)):
                await asyncio.to_thread(self._touch, upload_id, now)
            elif await asyncio.to_thread(self._expire, upload_id, now - (unused_for if whole else incomplete_for)):
                removed.append(upload_id)
        return tuple(removed)

    # In threads

    def _begin(self, announced: Announcement, offset: int) -> _Reception:
        with self._lock, _disk():
            record = self._record(announced.upload_id)
            if record is not None and record.announced != announced:
                raise UploadMismatch(
                    f"{record.name} was begun with another name, size or hash; make a new id", self._there(record)
                )
            if announced.size > self._file_limit:
                raise QuotaExceeded(f"the file has {announced.size} bytes; at most {self._file_limit} are taken")
            new = record is None
            if record is None:
                record = _Record(announced=announced, create_time=datetime.now(UTC))
            elif self._place(record).exists():
                return _Reception(self, record, None, announced.size, former=())
            former = self._end_running(record.id)
            there = self._there(record)
            if offset > there:
                raise UploadMismatch(f"of {record.name} only {there} bytes are there; go on from them", there)
            self._check_quota(announced.size - offset, given_up=there - offset)
            self._make_directories()
            if new:
                self._write_record(record)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            part = Handle(os.open(self._part(record.id), flags, 0o600))
            try:
                part.truncate(offset)
            except BaseException:
                part.close()
                raise
            reception = self._running[record.id] = _Reception(self, record, part, offset, former=former)
            return reception

    def _check_quota(self, coming: int, *, given_up: int) -> None:
        """Raises QuotaExceeded. What others have announced and not sent counts as long as they are sending."""
        promised = sum(each.missing for each in self._running.values())
        kept = self._kept_bytes() - given_up
        if kept + promised + coming > self._total_limit:
            raise QuotaExceeded(
                f"{kept + promised} bytes of uploads are kept or come; with these {coming} it would be more than "
                f"{self._total_limit}: delete some, or wait until those that no job uses are removed"
            )
        self.check_disk(promised + coming - given_up)

    def check_disk(self, coming: int) -> None:
        """See that so many bytes have room. Raises QuotaExceeded."""
        directory = next(path for path in (self._receiving, *self._receiving.parents) if path.exists())
        disk = os.statvfs(directory)
        if disk.f_bavail * disk.f_frsize < coming + self._disk_reserve:
            raise QuotaExceeded(f"the daemon's disk has no room for {coming} bytes more")

    def publish(self, reception: _Reception) -> None:
        """Give a whole file its name, unless another one has taken over. Raises UploadMismatch."""
        record = reception.record
        with self._lock, _disk():
            reception.check()
            reception.close()
            place = self._place(record)
            place.parent.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self.root)
            self._part(record.id).replace(place)
            sync_directory(place.parent)
            sync_directory(self._receiving)
            self._running.pop(record.id, None)

    def drop(self, reception: _Reception) -> None:
        """Remove what has come, unless another one has taken over."""
        with self._lock:
            if self._running.get(reception.record.id) is reception:
                reception.close()
                del self._running[reception.record.id]
                self._forget(reception.record.id)

    def leave(self, reception: _Reception) -> None:
        """It receives no more; what has come stays."""
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

    def _remove(self, upload_id: str) -> tuple[_Reception, ...]:
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

    def _end_running(self, upload_id: str) -> tuple[_Reception, ...]:
        former = self._running.pop(upload_id, None)
        if former is None:
            return ()
        # What it is writing is written first; nothing of it comes after.
        former.close()
        return (former,)

    def _forget(self, upload_id: str) -> None:
        directory = self.root / upload_id
        if directory.exists():
            shutil.rmtree(directory)
        self._part(upload_id).unlink(missing_ok=True)
        # The last: as long as it is there, what is left is found again after a crash.
        self._record_path(upload_id).unlink(missing_ok=True)

    def _ids(self) -> list[str]:
        with self._lock:
            names = {path.name for path in _entries(self.root)} | {path.stem for path in _entries(self._receiving)}
        return sorted(name for name in names if is_upload_id(name))

    def _is_whole(self, upload_id: str) -> bool:
        return (self.root / upload_id).exists()

    def _newest_use(self, upload_id: str) -> float | None:
        directory = self.root / upload_id
        places = (directory, *_entries(directory), self._part(upload_id), self._record_path(upload_id))
        times = []
        for path in places:
            try:
                times.append(path.lstat().st_mtime)
            except FileNotFoundError:
                continue
        return max(times, default=None)

    def _touch(self, upload_id: str, now: datetime) -> None:
        with self._lock:
            directory = self.root / upload_id
            if directory.exists():
                os.utime(directory, (now.timestamp(), now.timestamp()))

    def _kept_bytes(self) -> int:
        parts = _sizes(self._receiving)
        return sum(parts) + sum(size for directory in _entries(self.root) for size in _sizes(directory))

    def _there(self, record: _Record) -> int:
        if self._place(record).exists():
            return record.announced.size
        return _size(self._part(record.id))

    def _place(self, record: _Record) -> Path:
        return self.root / record.id / record.announced.file_name

    def _part(self, upload_id: str) -> Path:
        return self._receiving / f"{upload_id}.part"

    def _record_path(self, upload_id: str) -> Path:
        return self._receiving / f"{upload_id}.json"

    def _make_directories(self) -> None:
        for directory in (self.root, self._receiving):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _write_record(self, record: _Record) -> None:
        path = self._record_path(record.id)
        draft = draft_of(path)
        with draft.open("wb") as file:
            file.write(record.to_json())
            sync_file(file)
        draft.replace(path)
        sync_directory(path.parent)

    def _record(self, upload_id: str) -> _Record | None:
        try:
            return _Record.from_json(upload_id, self._record_path(upload_id).read_bytes())
        except FileNotFoundError:
            return None


class _Reception(Reception):
    """Without a part where the whole file is there already. ``former`` are those it has taken over from."""

    def __init__(
        self, store: UploadFiles, record: _Record, part: Handle | None, offset: int, *, former: tuple[_Reception, ...]
    ) -> None:
        self.record = record
        self.former = former
        self._store = store
        self._part = part
        self._received = offset
        self._unsynced = 0
        # What was there before is hashed at the end, once, however often the sending breaks off.
        self._hash = hashlib.sha256() if offset == 0 else None
        self._closed = False
        self._told: Callable[[], None] | None = None

    @property
    def complete(self) -> bool:
        return self._part is None

    @property
    def missing(self) -> int:
        return self.record.announced.size - self._received

    def when_taken_over(self, call: Callable[[], None] | None) -> None:
        self._told = call

    def tell(self) -> None:
        """Say in the event loop that another one has taken over."""
        if self._told is not None:
            self._told()

    def check(self) -> None:
        if self._closed:
            raise UploadMismatch(f"another call goes on with {self.record.name}, or removes it", self._received)

    def close(self) -> None:
        """Let nothing more be written; waits for what is being written."""
        self._closed = True
        if self._part is not None:
            self._part.close()

    async def write(self, data: bytes) -> None:
        await asyncio.to_thread(self._write, data)

    async def finish(self) -> Upload:
        return await asyncio.to_thread(self._finish)

    def release(self) -> None:
        """Make what has come durable and let go of it."""
        if self._part is None:
            return
        try:
            if self._unsynced:
                with suppress(Closed), _disk():
                    self._part.sync()
        finally:
            self.close()
            self._store.leave(self)

    def _write(self, data: bytes) -> None:
        if len(data) > self.missing or self._part is None:
            self._store.drop(self)
            raise UploadMismatch(f"more came of {self.record.name} than was announced; nothing of it was kept", 0)
        try:
            with _disk():
                self._part.write(data, self._received)
                self._received += len(data)
                self._unsynced += len(data)
                if self._hash is not None:
                    self._hash.update(data)
                if self._unsynced >= SYNC_BYTES:
                    self._part.sync()
                    self._unsynced = 0
                    self._store.check_disk(self.missing)
        except Closed:
            self.check()
            raise
        except QuotaExceeded:
            # The daemon itself needs the room more than half a file does.
            self._store.drop(self)
            raise

    def _finish(self) -> Upload:
        announced = self.record.announced
        if self._part is None:
            return self.record.upload(announced.size, complete=True)
        if self.missing:
            # Also what a broken connection looks like from here.
            raise UploadMismatch(
                f"{self._received} of {announced.size} bytes of {self.record.name} have come; go on from there",
                self._received,
            )
        try:
            with _disk():
                self._part.sync()
                self._unsynced = 0
            digest = self._hash.digest() if self._hash is not None else self._digest(self._part)
        except Closed:
            self.check()
            raise
        if digest != announced.sha256:
            self._store.drop(self)
            raise UploadMismatch(f"what came of {self.record.name} has another hash; nothing of it was kept", 0)
        self._store.publish(self)
        return self.record.upload(announced.size, complete=True)

    def _digest(self, part: Handle) -> bytes:
        digest, place = hashlib.sha256(), 0
        while piece := part.read(PIECE_BYTES, place):
            digest.update(piece)
            place += len(piece)
        return digest.digest()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Record:
    """What was announced, and when."""

    announced: Announcement
    create_time: datetime

    @property
    def id(self) -> str:
        return self.announced.upload_id

    @property
    def name(self) -> str:
        """As the API has it."""
        return f"{UPLOADS}/{self.id}"

    def upload(self, received: int, *, complete: bool) -> Upload:
        return Upload(
            id=self.id,
            file_name=self.announced.file_name,
            size=self.announced.size,
            received=received,
            complete=complete,
            create_time=self.create_time,
        )

    def to_json(self) -> bytes:
        facts = {
            "file_name": self.announced.file_name,
            "size": self.announced.size,
            "sha256": self.announced.sha256.hex(),
            "create_time": self.create_time.isoformat(),
        }
        return json.dumps(facts).encode()

    @classmethod
    def from_json(cls, upload_id: str, text: bytes) -> _Record:
        facts = json.loads(text)
        announced = Announcement(
            upload_id=upload_id,
            file_name=facts["file_name"],
            size=facts["size"],
            sha256=bytes.fromhex(facts["sha256"]),
        )
        return cls(announced=announced, create_time=datetime.fromisoformat(facts["create_time"]))


@contextmanager
def _disk() -> Iterator[None]:
    """Raises QuotaExceeded where the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise QuotaExceeded("the daemon's disk is full") from error


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _sizes(directory: Path) -> list[int]:
    return [_size(path) for path in _entries(directory)]
