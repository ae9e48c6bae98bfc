"""Very many small jobs through one daemon: what it holds must not grow with them."""

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
_DELETED = 10
"""Every so manyth job is deleted when it is done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """After so many jobs: bytes of memory (PSS) of the daemon alone and with its workers, descriptors of all."""

    jobs: int
    daemon: int
    all: int
    descriptors: int

    @classmethod
    def of(cls, pid: int, jobs: int) -> Sample:
        """What is held now."""
        below = descendants(pid)
        memory = {each: pss(each) for each in (pid, *below)}
        descriptors = sum(_descriptors(each) for each in memory)
        return cls(jobs=jobs, daemon=memory[pid], all=sum(memory.values()), descriptors=descriptors)

    def text(self) -> str:
        """For people."""
        return (
            f"{self.jobs:,} jobs: {self.all / _MEGABYTE:.0f} MB, the daemon alone {self.daemon / _MEGABYTE:.0f} MB, "
            f"{self.descriptors} descriptors"
        )


def soak(bench: Workbench) -> Iterator[Figure]:
    """Small imports, each made, started and watched to its end, a tenth deleted; growth since the first tenth."""
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
    first, last = samples[0], samples[-1]
    for what, few, many, unit, goal in (
        ("growth of memory", first.all, last.all, "MB", 30),
        ("growth of the daemon's own memory", first.daemon, last.daemon, "MB", 20),
        ("growth of descriptors", first.descriptors, last.descriptors, "", 4),
    ):
        yield Figure(
            case="soak",
            what=what,
            ours=last.text(),
            other=first.text(),
            value=(many - few) / (_MEGABYTE if unit else 1),
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
                if done % max(jobs // 10, 1) == 0:
                    samples.append(Sample.of(pid, done))
                    print(f"  {samples[-1].text()}", flush=True)

    async with asyncio.TaskGroup() as callers:
        for _ in range(_CALLERS):
            callers.create_task(caller())
    return samples


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except FileNotFoundError:
        return 0  # It has just ended.
