"""Very many small jobs through one daemon while clients come and go. Its resources must not grow."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lading_client.client import Client
from lading_client.model import AT_REST, State
from tests.bench.churn import Churn
from tests.bench.errors import expect
from tests.bench.measure import pss
from tests.bench.result import Figure
from tests.harness.daemon import DaemonProcess, descendants
from tests.harness.jobs import importing, write_people

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.workbench import Workbench

_MEGABYTE = 1_000_000
_RECORDS = 20
_CALLERS = 4
_PATIENCE = 60.0
_LOOKS = (100, 300, 1_000, 3_000)
"""Samples are taken after these numbers of jobs, and after every tenth of all jobs."""
_DELETED = 10
"""Every tenth job is deleted when it is done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """The resources after ``jobs`` jobs: memory (PSS, bytes) of the daemon alone, with its workers, and of the largest
    worker; descriptors and threads of the daemon."""

    jobs: int
    daemon: int
    largest: int
    all: int
    processes: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int, jobs: int) -> Sample:
        """The current resources."""
        daemon = pss(pid)
        others = [pss(each) for each in descendants(pid)]
        return cls(
            jobs=jobs,
            daemon=daemon,
            largest=max(others, default=0),
            all=daemon + sum(others),
            processes=1 + len(others),
            descriptors=_number_in(pid, "fd"),
            threads=_number_in(pid, "task"),
        )

    def text(self) -> str:
        """A line for people."""
        return (
            f"{self.jobs:,} jobs: the daemon {self.daemon / _MEGABYTE:.1f} MB, {self.descriptors} descriptors, "
            f"{self.threads} threads; {self.processes} processes {self.all / _MEGABYTE:.0f} MB, "
            f"the largest worker {self.largest / _MEGABYTE:.1f} MB"
        )


def soak(bench: Workbench) -> Iterator[Figure]:
    """Small imports, each made, started and watched to its end, while watchers, connections, files and failing jobs
    come and go. A tenth of the jobs is deleted. Figures: the growth since the first tenth."""
    home = bench.work / "soak"
    home.mkdir()
    daemon = DaemonProcess(home)
    try:
        daemon.start()
        begin = time.perf_counter()
        samples = asyncio.run(_run(daemon, bench.jobs))
        seconds = time.perf_counter() - begin
        with closing(sqlite3.connect(daemon.target)) as target:
            expect("rows", target.execute("SELECT count(*) FROM people").fetchone()[0], bench.jobs * _RECORDS)
        expect("exit status", daemon.stop(), 0)
    finally:
        daemon.clean_up()
    first, last = next(each for each in samples if each.jobs >= bench.jobs // 10), samples[-1]
    for what, few, many, unit, goal in (
        ("growth of the daemon's own memory", first.daemon, last.daemon, "%", 5),
        ("growth of all memory", first.all, last.all, "%", 5),
        ("growth of the largest worker", first.largest, last.largest, "%", 5),
        ("growth of descriptors", first.descriptors, last.descriptors, "", 15),
        ("growth of threads", first.threads, last.threads, "", 2),
    ):
        yield Figure(
            case="soak",
            what=what,
            ours=last.text(),
            other=first.text(),
            value=100 * (many / few - 1) if unit else many - few,
            unit=unit,
            goal=goal,
        )
    yield Figure(
        case="soak",
        what="jobs a second",
        ours=f"{bench.jobs:,} in {seconds:.0f} s",
        other="",
        value=bench.jobs / seconds,
        unit="1/s",
    )


async def _run(daemon: DaemonProcess, jobs: int) -> list[Sample]:
    assert daemon.process is not None
    pid = daemon.process.pid
    people = write_people(daemon.folder / "people.csv", _RECORDS)
    numbers = iter(range(1, jobs + 1))
    samples: list[Sample] = []
    done = 0
    churn = Churn(daemon, people)

    async def caller() -> None:
        nonlocal done
        async with Client(daemon.address, timeout=_PATIENCE) as client:
            for number in numbers:
                job = await client.create_job(importing(people))
                await client.start_job(job.name)
                async with asyncio.timeout(_PATIENCE), aclosing(client.watch(job.name)) as events:
                    async for event in events:
                        if event.job is not None and event.job.state in AT_REST:
                            expect(f"state of {job.name}", event.job.state, State.FINISHED)
                            break
                if number % _DELETED == 0:
                    await client.delete_job(job.name)
                done += 1
                if done % max(jobs // 10, 1) == 0 or done in _LOOKS:
                    samples.append(Sample.of(pid, done))
                    print(f"  {samples[-1].text()}", flush=True)

    async with asyncio.TaskGroup() as tasks:
        churning = tasks.create_task(churn.run())
        callers = [tasks.create_task(caller()) for _ in range(_CALLERS)]
        await asyncio.wait(callers)
        churning.cancel()
    print(f"  meanwhile: {', '.join(f'{number:,} {what}' for what, number in churn.done.items())}", flush=True)
    return samples


def _number_in(pid: int, directory: str) -> int:
    return len(os.listdir(f"/proc/{pid}/{directory}"))
