"""Reads the rejects of chunks: one file of JSON lines for each chunk with rejects. `lines.py` writes them.

Standard library only: the daemon reads rejects, and must not load Arrow.
"""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO

from ladingd.core.errors import InvalidRequest, RejectsLost
from ladingd.core.job import Connector, Reject, RejectType
from ladingd.core.ports import Page, RejectReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.storage.work_dir import WorkDir


PAGE_BYTES = 3 << 20
"""The size of a page in bytes, small enough for one message. A longer reject gets a page of its own."""
_LOST = -1
"""The offset of the last page, which says that rejects are lost."""


class RejectFiles(RejectReader):
    """Reads the rejects that workers have written into the work directory."""

    def __init__(self, work_dir: WorkDir) -> None:
        self._work_dir = work_dir

    async def read(self, job_uid: str, chunks: Sequence[int], *, size: int, token: str = "") -> Page[Reject]:
        return await asyncio.to_thread(self._read, job_uid, chunks, size, token)

    def _read(self, job_uid: str, chunks: Sequence[int], size: int, token: str) -> Page[Reject]:
        first, offset = _decode(token) if token else (None, 0)
        if first is not None and first not in chunks:
            raise InvalidRequest("page_token", "does not belong to this list")
        if offset == _LOST:
            return self._last(job_uid, chunks, ())
        items: list[Reject] = []
        held = 0
        for chunk in chunks[chunks.index(first) if first is not None else 0 :]:
            path = self._work_dir.rejects(job_uid, chunk)
            try:
                opened = path.open("rb")
            except FileNotFoundError:
                continue  # The last page says so.
            with opened as file:
                if chunk == first:
                    _seek(file, offset)
                while line := file.readline():
                    held += len(line)
                    if len(items) == size or (items and held > PAGE_BYTES):
                        return Page(items=tuple(items), next_token=_encode(chunk, file.tell() - len(line)))
                    items.append(_reject(line))
        return self._last(job_uid, chunks, tuple(items))

    def _last(self, job_uid: str, chunks: Sequence[int], items: tuple[Reject, ...]) -> Page[Reject]:
        paths = (self._work_dir.rejects(job_uid, chunk) for chunk in chunks)
        lost = [path for path in paths if not path.exists()]
        if not lost:
            return Page(items=items)
        if not items:
            raise RejectsLost(str(lost[0].relative_to(self._work_dir.directory)), len(lost))
        return Page(items=items, next_token=_encode(chunks[0], _LOST))


def _seek(file: BinaryIO, offset: int) -> None:
    """Move to the line that a page token names."""
    if offset > 0:
        file.seek(offset - 1)
    if offset < 0 or (offset > 0 and file.read(1) != b"\n"):
        raise InvalidRequest("page_token", "does not belong to this list")


def _reject(line: bytes) -> Reject:
    facts = json.loads(line)
    return Reject(
        **facts
        | {
            "type": RejectType(facts["type"]),
            "connector": Connector(facts["connector"]),
            "time": datetime.fromisoformat(facts["time"]),
        }
    )


def _encode(chunk: int, offset: int) -> str:
    return base64.urlsafe_b64encode(f"{chunk}:{offset}".encode()).decode()


def _decode(token: str) -> tuple[int, int]:
    try:
        chunk, offset = base64.urlsafe_b64decode(token.encode()).decode().split(":")
        if int(offset) not in range(_LOST, 1 << 63):
            raise ValueError
        return int(chunk), int(offset)
    except ValueError as error:
        raise InvalidRequest("page_token", "does not belong to this list") from error
