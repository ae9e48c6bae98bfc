"""Finding the uploads that jobs may still need."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.core.spec import ExportSpec, File, ImportSpec, Table
from ladingd.core.state import State
from ladingd.run.upkeep.upload_sweeper import UploadSweeper
from tests.integration.api.fakes import a_job

if TYPE_CHECKING:
    from collections.abc import Set

    from ladingd.core.files import InUse
    from ladingd.core.job import Job

PATIENCE = 10
UPLOAD = File(root="uploads", path="a")


class Jobs:
    """Returns its jobs by state."""

    def __init__(self, *jobs: Job) -> None:
        self.jobs = jobs

    async def in_states(self, states: Set[State]) -> tuple[Job, ...]:
        return tuple(job for job in self.jobs if job.state in states)


class Uploads:
    """Records when it is swept. The first sweep fails."""

    def __init__(self) -> None:
        self.times: list[datetime] = []
        self.used: list[bool] = []
        self.twice = asyncio.Event()

    async def sweep(self, now: datetime, in_use: InUse) -> tuple[str, ...]:
        self.times.append(now)
        self.used.append(await in_use(UPLOAD))
        if len(self.times) == 1:
            raise PermissionError("no")
        self.twice.set()
        return ("b",)


def sweep_of(jobs: Any, uploads: Any = None) -> UploadSweeper:
    return UploadSweeper(jobs, uploads, pause=0.01)


def importing(path: str, state: State, root: str = "uploads", ended: timedelta = timedelta()) -> Job:
    spec = ImportSpec(files=(File(root=root, path=path),), target=Table(table="t"))
    return a_job(spec=spec, state=state, end_time=datetime.now(UTC) - ended)


@pytest.mark.parametrize("state", State)
async def test_a_job_that_may_go_on_needs_its_file(state: State) -> None:
    needed = state not in (State.FINISHED, State.CANCELED)
    assert await sweep_of(Jobs(importing("a/x.csv", state))).in_use(UPLOAD) is needed


async def test_a_job_that_failed_needs_its_file_for_a_week() -> None:
    for ended, needed in ((timedelta(days=6), True), (timedelta(days=8), False)):
        assert await sweep_of(Jobs(importing("a/x.csv", State.FAILED, ended=ended))).in_use(UPLOAD) is needed
    assert await sweep_of(Jobs(importing("a/x.csv", State.PAUSED, ended=timedelta(days=8)))).in_use(UPLOAD)


async def test_the_destination_of_an_export_is_needed() -> None:
    spec = ExportSpec(source=Table(table="t"), file=File(root="uploads", path="a/out.csv"))
    assert await sweep_of(Jobs(a_job(spec=spec, state=State.RUNNING))).in_use(UPLOAD)


async def test_only_what_is_named_is_needed() -> None:
    jobs = Jobs(
        importing("ab/x.csv", State.RUNNING),
        importing("b/a/x.csv", State.RUNNING),
        importing("a/x.csv", State.RUNNING, root="local"),
    )
    assert not await sweep_of(jobs).in_use(UPLOAD)


async def test_it_goes_on_after_what_it_cannot_remove() -> None:
    uploads = Uploads()
    running = asyncio.create_task(sweep_of(Jobs(importing("a/x.csv", State.PAUSED)), uploads).run())
    try:
        await asyncio.wait_for(uploads.twice.wait(), PATIENCE)
    finally:
        running.cancel()
        await asyncio.wait([running], timeout=PATIENCE)
    assert uploads.used[:2] == [True, True]
    assert abs(datetime.now(UTC) - uploads.times[0]) < timedelta(minutes=1)
