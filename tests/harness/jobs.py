"""Jobs for tests: files of simple records, a watch of one job, and a target whose writers must wait."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from lading_client.model import State, WatchEvent, WatchKind
from lading_client.spec import File, ImportSpec, JobSpec, OnRestart, Table
from tests.harness.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from lading_client.client import Client
    from lading_client.model import Job


def write_people(path: Path, number: int) -> Path:
    """Write a clean file of ``number`` records with id and name."""
    lines = ["id,name", *(f"{index},person {index}" for index in range(1, number + 1))]
    path.write_text("\n".join(lines) + "\n")
    return path


def importing(path: Path, *, chunk_bytes: int = 0, on_restart: OnRestart = OnRestart.UNSPECIFIED) -> JobSpec:
    """The spec for importing a file into the table ``people`` of the connection ``local``."""
    spec = ImportSpec(files=(File(path=str(path).lstrip("/")),), target=Table(table="people"), chunk_bytes=chunk_bytes)
    return JobSpec(kind=spec, on_restart=on_restart)


def rows(target: Path, table: str = "people") -> list[tuple[object, ...]]:
    """All rows of a table, in the order of their insertion."""
    with sqlite3.connect(target) as connection:
        found = connection.execute(f'SELECT * FROM "{table}" ORDER BY rowid').fetchall()
    connection.close()
    return found


@contextmanager
def held(target: Path) -> Iterator[sqlite3.Connection]:
    """Hold the write lock of a target. Writers wait until the end of the block, or until a commit in it."""
    connection = sqlite3.connect(target, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    finally:
        connection.close()


class Follower:
    """The events that a watch of one job has shown so far."""

    def __init__(self) -> None:
        self.events: list[WatchEvent] = []
        self._more = asyncio.Event()

    @property
    def states(self) -> list[State]:
        """The states in the order of the events, without repetitions."""
        return [event.job.state for event in self.events if event.job and event.kind is not WatchKind.PROGRESS]

    def add(self, event: WatchEvent) -> None:
        """Record an event."""
        self.events.append(event)
        self._more.set()

    async def sees(self, *states: State) -> Job:
        """Wait until the last state is one of these. Returns the job of that event."""
        async with asyncio.timeout(PATIENCE):
            while True:
                self._more.clear()
                changes = [event for event in self.events if event.kind is not WatchKind.PROGRESS and event.job]
                if changes and changes[-1].job is not None and changes[-1].job.state in states:
                    return changes[-1].job
                await self._more.wait()

    async def sees_records(self, number: int) -> Job:
        """Wait until at least ``number`` records are processed."""
        async with asyncio.timeout(PATIENCE):
            while True:
                self._more.clear()
                job = self.events[-1].job if self.events else None
                if job is not None and job.counters.processed >= number:
                    return job
                await self._more.wait()


@asynccontextmanager
async def followed(client: Client, name: str) -> AsyncIterator[Follower]:
    """Follow a job while the block runs."""
    follower = Follower()

    async def follow() -> None:
        async with aclosing(client.watch(name)) as events:
            async for event in events:
                follower.add(event)

    task = asyncio.create_task(follow())
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.wait([task])
