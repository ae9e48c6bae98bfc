"""Receives one file from one client."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

from ladingd.core.errors import QuotaExceeded, UploadMismatch
from ladingd.core.files import PIECE_BYTES, Reception
from ladingd.data.files.shared_file import Closed, Handle
from ladingd.data.files.uploads.quota import disk

if TYPE_CHECKING:
    from collections.abc import Callable

    from ladingd.core.files import Upload
    from ladingd.data.files.uploads.record import UploadRecord
    from ladingd.data.files.uploads.store import UploadFiles

SYNC_BYTES = 64 << 20


class UploadReception(Reception):
    """``part`` is None if the whole file is stored already. ``former`` are the calls that this one replaces."""

    def __init__(
        self,
        store: UploadFiles,
        record: UploadRecord,
        part: Handle | None,
        offset: int,
        *,
        former: tuple[UploadReception, ...],
    ) -> None:
        self.record = record
        self.former = former
        self._store = store
        self._part = part
        self._received = offset
        self._unsynced = 0
        # Bytes of earlier calls are hashed once, at the end, however often the upload breaks off.
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
        """Tell the event loop that another call has taken over."""
        if self._told is not None:
            self._told()

    def check(self) -> None:
        if self._closed:
            raise UploadMismatch(f"another call continues or removes {self.record.name}", self._received)

    def close(self) -> None:
        """Stop all writes. Waits for a write under way."""
        self._closed = True
        if self._part is not None:
            self._part.close()

    async def write(self, data: bytes) -> None:
        await asyncio.to_thread(self._write, data)

    async def finish(self) -> Upload:
        return await asyncio.to_thread(self._finish)

    def release(self) -> None:
        """Make the received bytes durable and close the file."""
        if self._part is None:
            return
        try:
            if self._unsynced:
                with suppress(Closed), disk():
                    self._part.sync()
        finally:
            self.close()
            self._store.leave(self)

    def _write(self, data: bytes) -> None:
        if len(data) > self.missing or self._part is None:
            self._store.drop(self)
            raise UploadMismatch(f"{self.record.name} is longer than announced; nothing of it was kept", 0)
        try:
            with disk():
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
            # The daemon needs the space more than half an upload does.
            self._store.drop(self)
            raise

    def _finish(self) -> Upload:
        announced = self.record.announced
        if self._part is None:
            return self.record.upload(announced.size, complete=True)
        if self.missing:
            # A broken connection looks the same from here.
            raise UploadMismatch(
                f"{self._received} of {announced.size} bytes of {self.record.name} were received; continue from there",
                self._received,
            )
        try:
            with disk():
                self._part.sync()
                self._unsynced = 0
            digest = self._hash.digest() if self._hash is not None else self._digest(self._part)
        except Closed:
            self.check()
            raise
        if digest != announced.sha256:
            self._store.drop(self)
            raise UploadMismatch(f"{self.record.name} does not have the announced hash; nothing of it was kept", 0)
        self._store.publish(self)
        return self.record.upload(announced.size, complete=True)

    def _digest(self, part: Handle) -> bytes:
        digest, place = hashlib.sha256(), 0
        while piece := part.read(PIECE_BYTES, place):
            digest.update(piece)
            place += len(piece)
        return digest.digest()
