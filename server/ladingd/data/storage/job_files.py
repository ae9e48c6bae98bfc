"""The daemon's view of the files of jobs in the work directory. Standard library only."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from ladingd.core.maintenance import JobFiles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from ladingd.data.storage.work_dir import WorkDir


class WorkDirFiles(JobFiles):
    """Each job has a directory beneath ``jobs``, named after its uid."""

    def __init__(self, work_dir: WorkDir) -> None:
        self._work_dir = work_dir

    async def sizes(self) -> Mapping[str, int]:
        return await asyncio.to_thread(self._sizes)

    async def forget(self, uid: str) -> None:
        await asyncio.to_thread(self._work_dir.forget, uid)

    async def set_aside(self, uid: str) -> None:
        await asyncio.to_thread(self._work_dir.set_aside, uid)

    async def forget_orphans(self, before: datetime) -> None:
        await asyncio.to_thread(self._work_dir.forget_orphans, before.timestamp())

    def _sizes(self) -> dict[str, int]:
        return {uid: _bytes_in(self._work_dir.job(uid)) for uid in self._work_dir.uids()}


def _bytes_in(directory: Path) -> int:
    total = 0
    for path, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except FileNotFoundError:
                continue  # Removed meanwhile.
    return total
