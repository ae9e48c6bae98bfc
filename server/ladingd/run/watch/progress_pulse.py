"""The progress of running jobs, shown to all watchers in a common pulse."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ladingd.core.job import ChangeKind
from ladingd.core.state import ACTIVE

if TYPE_CHECKING:
    from collections.abc import Callable

    from ladingd.core.job import Change, Job
    from ladingd.run.watch.notifier import Notifier

PULSE_SECONDS = 0.2
"""Progress is shown this often at most."""


class ProgressPulse:
    """Keeps the latest progress of each job. ``on_beat`` is called at each pulse, before watchers wake."""

    def __init__(self, notifier: Notifier, on_beat: Callable[[], None]) -> None:
        self._notifier = notifier
        self._on_beat = on_beat
        self.number = 0
        """How many pulses there were."""
        self.quiet = False
        """No more progress is shown."""
        self._shown: dict[str, tuple[int, Job]] = {}
        """The latest progress of each job, with the number of its pulse."""
        self._fresh: dict[str, Job] = {}
        """The progress that the next pulse shows."""
        self._revisions: dict[str, int] = {}
        """The last change of each active job: progress from before it is outdated."""
        self._last = 0.0
        self._due: asyncio.TimerHandle | None = None

    def progressed(self, job: Job) -> None:
        """Show this progress at the next pulse; the latest of each job wins."""
        if self.quiet:
            return
        self._fresh[job.id] = job
        if self._due is None:
            loop = asyncio.get_running_loop()
            self._due = loop.call_at(max(loop.time(), self._last + PULSE_SECONDS), self._beat)

    def rested(self, job_id: str) -> None:
        """Forget the progress of a job that runs no more."""
        self._shown.pop(job_id, None)
        self._fresh.pop(job_id, None)

    def still(self) -> None:
        """Show no more progress."""
        self.quiet = True
        self._fresh.clear()
        self._shown.clear()
        if self._due is not None:
            self._due.cancel()

    @property
    def pending(self) -> bool:
        """Whether there is progress that the next pulse shows."""
        return bool(self._fresh)

    def since(self, number: int, job_id: str = "") -> list[Job]:
        """The progress of all jobs, or of one, that pulses after this one have shown and no change has overtaken."""
        wanted = [job_id] if job_id in self._shown else () if job_id else list(self._shown)
        latest = (self._shown[wanted_id] for wanted_id in wanted)
        return [job for seen, job in latest if seen > number and job.revision >= self._revisions.get(job.id, 0)]

    def changed(self, change: Change) -> None:
        """A change overtakes the progress from before it."""
        job_id = change.job.id
        if change.kind is not ChangeKind.DELETED and change.job.state in ACTIVE:
            self._revisions[job_id] = change.revision
            return
        self._revisions.pop(job_id, None)
        if (fresh := self._fresh.get(job_id)) is not None and fresh.revision <= change.revision:
            del self._fresh[job_id]
        if (seen := self._shown.get(job_id)) is not None and seen[1].revision <= change.revision:
            del self._shown[job_id]

    def forget(self) -> None:
        """Forget what was shown: changes were missed."""
        self._shown.clear()
        self._revisions.clear()

    def _beat(self) -> None:
        self._due = None
        self._last = asyncio.get_running_loop().time()
        self.number += 1
        self._shown.update((job_id, (self.number, job)) for job_id, job in self._fresh.items())
        self._on_beat()
        jobs = tuple(self._fresh)
        self._fresh.clear()
        self._notifier.notify(*jobs)
