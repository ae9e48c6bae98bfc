"""Gives slots to queued jobs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ladingd.core.errors import DiskFull, JobNotFound, StoreBusy, StoreUnusable
from ladingd.core.origin import Origin, working_for
from ladingd.core.state import Event, State
from ladingd.run.attempt.execution import Execution
from ladingd.run.workers.calls import internal_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from ladingd.core.job import Job
    from ladingd.core.ports import ChunkStore, JobStore, JournalStore, Transfer
    from ladingd.run.attempt.timeouts import Timeouts
    from ladingd.run.disk_space import DiskSpace
    from ladingd.run.watch.notifier import Notifier
    from ladingd.run.watch.watch import Watch
    from ladingd.run.workers.pool import Workers


class Scheduler:
    """Runs at most ``slots`` jobs at a time. The job that has waited longest comes first."""

    def __init__(
        self,
        *,
        slots: int,
        timeouts: Timeouts,
        jobs: JobStore,
        chunks: ChunkStore,
        journal: JournalStore,
        transfer: Transfer,
        workers: Workers,
        notifier: Notifier,
        watch: Watch,
        disk_space: DiskSpace,
        rested: Callable[[], None],
        observe: Callable[[Job, Job, int], None] | None = None,
    ) -> None:
        """``rested`` is called when a job has come to rest. ``observe`` receives changes of counts: see
        ``Reckoning``."""
        self._slots = slots
        self._timeouts = timeouts
        self._jobs = jobs
        self._chunks = chunks
        self._journal = journal
        self._transfer = transfer
        self._workers = workers
        self._notifier = notifier
        self._watch = watch
        self._disk_space = disk_space
        self._rested = rested
        self._observe = observe
        self._closed = False
        self._running: dict[str, asyncio.Task[None]] = {}
        self._executions: set[Execution] = set()
        self._filling = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """Whether any job runs."""
        return bool(self._running)

    async def run(self) -> None:
        """Hand out slots until closed, then wait until the last job rests. Errors of the store are raised."""
        async with asyncio.TaskGroup() as executions:
            while not self._closed:
                changed = self._notifier.listen()
                async with self._filling:
                    await self._fill(executions)
                await changed.wait()

    def adjust(self, *, slots: int, timeouts: Timeouts) -> None:
        """Use these limits from now on, also for running jobs. Fewer slots stop no running job."""
        self._slots = slots
        self._timeouts = timeouts
        for execution in self._executions:
            execution.adjust(timeouts)
        self._notifier.notify()

    async def close(self) -> None:
        """Hand out no more slots. After this no job becomes RUNNING."""
        self._closed = True
        async with self._filling:
            self._notifier.notify()

    async def _fill(self, executions: asyncio.TaskGroup) -> None:
        if len(self._running) >= self._slots:
            return
        for job in await self._jobs.in_states({State.QUEUED}):
            # A job that was paused and started again may be queued while its last execution is still leaving.
            if len(self._running) >= self._slots or self._closed or self._disk_space.short:
                return
            if job.id in self._running:
                continue
            try:
                moved = await self._jobs.move(job.id, Event.SLOT_FREE)
            except JobNotFound:
                continue  # Cancelled and deleted since it was listed.
            except (DiskFull, StoreBusy):
                if not self._closed:
                    raise
                return  # It stays queued.
            if moved is not None:
                self._notifier.notify(job.id)
                with working_for(_origin(moved)):
                    task = executions.create_task(self._execute(moved), name=f"job {job.id}")
                self._running[job.id] = task

    async def _execute(self, job: Job) -> None:
        execution = Execution(
            job,
            jobs=self._jobs,
            chunks=self._chunks,
            journal=self._journal,
            transfer=self._transfer,
            workers=self._workers,
            notifier=self._notifier,
            watch=self._watch,
            timeouts=self._timeouts,
            disk_space=self._disk_space,
            observe=self._observe,
        )
        self._executions.add(execution)
        try:
            await execution.run()
        except (asyncio.CancelledError, StoreUnusable):
            raise
        except (DiskFull, StoreBusy):
            if not self._closed:
                raise
            # Nothing more can be written; the next start reads the ledger.
        except Exception as error:
            # An error of one job is no reason to stop the others.
            await execution.abandon(internal_error(job.id, error))
        finally:
            self._executions.discard(execution)
            del self._running[job.id]
            self._watch.rested(job.id)
            self._rested()
            self._notifier.notify(job.id)


def _origin(job: Job) -> Origin:
    return Origin(call=job.correlation, job=job.id, uid=job.uid, attempt=job.attempt)
