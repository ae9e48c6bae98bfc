"""Reads the rejects of chunks: one file of JSON lines for each chunk with rejects, and a last line with their groups.
`lines.py` writes them.

Standard library only: the daemon reads rejects, and must not load Arrow.
"""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import datetime
from os import SEEK_END
from typing import TYPE_CHECKING, Any, BinaryIO

from ladingd.core.errors import InvalidRequest, RejectsLost
from ladingd.core.job import Connector, Reject, RejectType
from ladingd.core.ports import Page, RejectReader
from ladingd.core.reject_group import ALL_REJECTS, Place, RejectFilter, RejectGroup, joined

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ladingd.data.storage.work_dir import WorkDir


PAGE_BYTES = 3 << 20
"""The size of a page in bytes, small enough for one message. A longer reject gets a page of its own."""
GROUPS = "groups"
"""The key of the last line."""
_GROUPS_BEGIN = f'{{"{GROUPS}":'.encode()
_TAIL = 1 << 16
"""The size in bytes of most last lines."""
_LOST = -1
"""The offset of the last page, which says that rejects are lost."""


class RejectFiles(RejectReader):
    """Reads the rejects that workers have written into the work directory."""

    def __init__(self, work_dir: WorkDir) -> None:
        self._work_dir = work_dir

    async def read(
        self, job_uid: str, chunks: Sequence[int], *, size: int, token: str = "", wanted: RejectFilter = ALL_REJECTS
    ) -> Page[Reject]:
        return await asyncio.to_thread(self._read, job_uid, chunks, size, token, wanted)

    async def groups(self, job_uid: str, chunks: Sequence[int]) -> tuple[RejectGroup, ...]:
        return await asyncio.to_thread(self._groups, job_uid, chunks)

    def _groups(self, job_uid: str, chunks: Sequence[int]) -> tuple[RejectGroup, ...]:
        self._check(job_uid, chunks)
        paths = (self._work_dir.rejects(job_uid, chunk) for chunk in chunks)
        return joined(group for path in paths for group in _groups_in(path))

    def _read(self, job_uid: str, chunks: Sequence[int], size: int, token: str, wanted: RejectFilter) -> Page[Reject]:
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
                if not wanted.is_open and not any(map(wanted.takes, _last_line(file))):
                    continue
                _seek(file, offset if chunk == first else 0)
                while (line := file.readline()) and not line.startswith(_GROUPS_BEGIN):
                    reject = _reject(line)
                    if not wanted.takes(reject):
                        continue
                    held += len(line)
                    if len(items) == size or (items and held > PAGE_BYTES):
                        return Page(items=tuple(items), next_token=_encode(chunk, file.tell() - len(line)))
                    items.append(reject)
        return self._last(job_uid, chunks, tuple(items))

    def _last(self, job_uid: str, chunks: Sequence[int], items: tuple[Reject, ...]) -> Page[Reject]:
        try:
            self._check(job_uid, chunks)
        except RejectsLost:
            if not items:
                raise
            return Page(items=items, next_token=_encode(chunks[0], _LOST))
        return Page(items=items)

    def _check(self, job_uid: str, chunks: Sequence[int]) -> None:
        """Check that the rejects of all chunks are there. Raises RejectsLost."""
        paths = (self._work_dir.rejects(job_uid, chunk) for chunk in chunks)
        if lost := [path for path in paths if not path.exists()]:
            raise RejectsLost(str(lost[0].relative_to(self._work_dir.directory)), len(lost))


def _groups_in(path: Path) -> list[RejectGroup]:
    """The groups of a file."""
    with path.open("rb") as file:
        return _last_line(file)


def _last_line(file: BinaryIO) -> list[RejectGroup]:
    """The groups in the last line of a file."""
    size, reach = file.seek(0, SEEK_END), _TAIL
    while True:
        file.seek(max(0, size - reach))
        _, newline, line = file.read().rstrip(b"\n").rpartition(b"\n")
        if newline or reach >= size:
            break
        reach *= 4
    found = json.loads(line) if line.startswith(_GROUPS_BEGIN) else {}
    return [_group(facts) for facts in found.get(GROUPS, ())]


def _group(facts: dict[str, Any]) -> RejectGroup:
    return RejectGroup(
        **facts
        | {
            "type": RejectType(facts["type"]),
            "connector": Connector(facts["connector"]),
            "places": tuple(Place(**place) for place in facts["places"]),
            "values": tuple(facts["values"]),
        }
    )


def _seek(file: BinaryIO, offset: int) -> None:
    """Move to the line that a page token names."""
    file.seek(max(0, offset - 1))
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
