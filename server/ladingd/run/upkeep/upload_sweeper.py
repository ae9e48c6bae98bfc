"""Removes uploads that no job needs."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ladingd.core.clock import utc_now
from ladingd.core.state import State

if TYPE_CHECKING:
    from ladingd.core.files import UploadStore
    from ladingd.core.ports import JobStore
    from ladingd.core.spec import File

log = logging.getLogger(__name__)

PAUSE = 1800.0
"""Seconds between two rounds; far less than uploads are kept."""

FAILED_FOR = timedelta(days=7)
"""How long the upload of a failed job is kept for another start."""

_MAY_NEED = frozenset(State) - {State.FINISHED, State.CANCELED}
"""A job in any other state never changes again."""


class UploadSweeper:
    """Removes uploads, and what exports left beside them, once no job needs them."""

    def __init__(self, jobs: JobStore, uploads: UploadStore, *, pause: float = PAUSE) -> None:
        self._jobs = jobs
        self._uploads = uploads
        self._pause = pause

    async def in_use(self, file: File) -> bool:
        """Whether a job may still need a file under this directory."""
        directory = PurePosixPath(file.path)
        return any(
            directory in PurePosixPath(each.path).parents for each in await self._needed() if each.root == file.root
        )

    async def _needed(self) -> list[File]:
        """The files that jobs may still need."""
        before = utc_now() - FAILED_FOR
        jobs = await self._jobs.in_states(_MAY_NEED)
        kept = (job for job in jobs if job.state is not State.FAILED or (job.end_time or before) > before)
        return [file for job in kept for file in job.spec.named_files]

    async def run(self) -> None:
        """Run rounds until cancelled."""
        while True:
            try:
                for upload_id in await self._uploads.sweep(utc_now(), self.in_use):
                    log.info("removed uploads/%s, which no job needs", upload_id)
            except OSError as error:
                log.warning("an upload that no job needs cannot be removed: %s", error)
            await asyncio.sleep(self._pause)
