"""Whether a watcher may still read a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ladingd.core.job import Job
    from ladingd.core.ports import Check, JobStore
    from ladingd.run.watch.notifier import Notifier


class Permission:
    """Repeats a check whenever something has happened to the job."""

    def __init__(self, jobs: JobStore, notifier: Notifier, job_id: str, check: Check | None) -> None:
        self._jobs = jobs
        self._notifier = notifier
        self._job_id = job_id
        self._check = check
        self._bell = notifier.listen(job_id)

    async def ask(self) -> Job:
        """The job as it is. Raises JobNotFound, and what the check raises."""
        self._bell = self._notifier.listen(self._job_id)
        job = await self._jobs.get(self._job_id)
        if self._check is not None:
            self._check(job)
        return job

    async def renew(self) -> None:
        """Ask again if something has happened to the job since the last time."""
        if self._check is not None and self._bell.is_set():
            await self.ask()
