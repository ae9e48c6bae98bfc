"""The files of jobs in the work directory, as the daemon looks after them. Standard library only."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from ladingd.core.upkeep import JobFiles
from ladingd.data.workplace import Workplace

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class WorkplaceFiles(JobFiles):
    """Beneath ``jobs`` each job has a directory, named after its uid."""

    def __init__(self, work_dir: Path) -> None:
        self._workplace = Workplace(directory=work_dir)

    async def sizes(self) -> Mapping[str, int]:
        return await asyncio.to_thread(self._sizes)

    async def forget(self, uid: str) -> None:
        await asyncio.to_thread(self._workplace.forget, uid)

    def _sizes(self) -> dict[str, int]:
        jobs = self._workplace.directory / "jobs"
        if not jobs.is_dir():
            return {}
        return {entry.name: _bytes_in(entry.path) for entry in os.scandir(jobs) if entry.is_dir(follow_symlinks=False)}


def _bytes_in(directory: str) -> int:
    total = 0
    for path, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except FileNotFoundError:
                continue  # Removed meanwhile.
    return total
