"""Watchers whose connections break, that stall, and whose next changes are compacted meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import grpc.aio

from lading.v1 import job_service_pb2
from lading_client.client import Client
from lading_client.model import State, WatchEvent, WatchKind
from tests.bench.errors import expect
from tests.bench.standstill import Mover, jobs_of, standstill
from tests.harness.waiting import PATIENCE

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

    from tests.bench.standstill import Standstill

WATCHERS = 50
JOBS = 1_000
MOVES = 9_000
"""Each job is also cancelled once."""
_MOVERS = 4
_LONG = 900.0
_KEPT = 500
"""The number of changes that a compaction keeps, and the seconds between compactions."""
_FORGETTING = 2.0
_BREAK = (0.5, 8.0)
"""The shortest and longest life of a connection, in seconds."""
_STALL = (0.001, 2.0)
"""The probability that a watcher stalls after an event, and the longest stall in seconds."""
_SLEEPERS = 10
"""Every tenth watcher sleeps once until another watcher has seen this many changes. That is more than the daemon keeps
in memory, so the sleeper's next changes are compacted."""
_SLEEP = 6_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The numbers of errors that all watchers saw, by kind. All should be 0."""

    faults: Mapping[str, int]
    text: str


def hardship(home: Path) -> Outcome:
    """Move the jobs, break the connections, and collect what the watchers saw."""
    with standstill(home, jobs=JOBS) as still:
        command = [sys.executable, "-m", "tests.bench.hardship", str(still.daemon.socket), str(home / "wire")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watching:
            try:
                assert watching.stdout is not None
                expect("what the watchers said", watching.stdout.readline().strip(), "ready")
                made = asyncio.run(_transitions(still))
                said, _ = watching.communicate("", timeout=_LONG)
            finally:
                watching.kill()
    seen = Counter(json.loads(said))
    names = ("missed terminal states", "events out of order", "events shown twice")
    text = (
        f"{WATCHERS} watchers, {made:,} transitions: {seen['events']:,} changes and {seen['snapshots']:,} snapshots "
        f"shown, {seen['breaks']:,} breaks, {seen['stalls']:,} stalls"
    )
    return Outcome(faults={name: seen[name] for name in names}, text=text)


async def _transitions(still: Standstill) -> int:
    stop = threading.Event()
    forgetting = asyncio.create_task(asyncio.to_thread(_forget, still.store, stop))
    names = still.names[1:]
    try:
        async with grpc.aio.insecure_channel(still.address) as channel:

            async def move(share: list[str]) -> None:
                mover = Mover(channel, share)
                for _ in range(MOVES // _MOVERS):
                    await mover.move()
                for name in share:
                    request = job_service_pb2.CancelJobRequest(name=name)
                    await jobs_of(channel).CancelJob(request, timeout=PATIENCE)

            async with asyncio.TaskGroup() as tasks:
                for index in range(_MOVERS):
                    tasks.create_task(move(names[index::_MOVERS]))
    finally:
        stop.set()
        await forgetting
    return MOVES // _MOVERS * _MOVERS + len(names)


def _forget(store: Path, stop: threading.Event) -> None:
    """Delete all but the latest changes, without the daemon's knowledge."""
    while not stop.wait(_FORGETTING):
        with closing(sqlite3.connect(store, timeout=PATIENCE)) as connection, connection:
            ((revision,),) = connection.execute("SELECT revision FROM history").fetchall()
            gone = max(0, revision - _KEPT)
            connection.execute("DELETE FROM changes WHERE revision <= ?", (gone,))
            connection.execute("UPDATE history SET compacted = max(compacted, ?)", (gone,))


class Wire:
    """A proxy on a Unix socket that breaks its connections at random."""

    def __init__(self, path: Path, daemon: Path, chance: random.Random) -> None:
        self.breaks = 0
        self._path = path
        self._daemon = daemon
        self._chance = chance
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_unix_server(self._connected, self._path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        answers, daemon = await asyncio.open_unix_connection(self._daemon)
        try:
            async with asyncio.timeout(self._chance.uniform(*_BREAK)), asyncio.TaskGroup() as both:
                both.create_task(_pass_on(reader, daemon))
                both.create_task(_pass_on(answers, writer))
        except TimeoutError:
            self.breaks += 1
        except asyncio.CancelledError:
            pass  # The connection has ended.
        finally:
            for each in (writer, daemon):
                # Discards unsent data.
                each.transport.abort()
            self._tasks.discard(task)


async def _pass_on(reader: StreamReader, writer: StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()


class Watcher:
    """Records what a watch shows, and which events are wrong."""

    def __init__(self, number: int, morning: asyncio.Event) -> None:
        self.seen: Counter[str] = Counter()
        self.ready = asyncio.Event()
        self._sleeps = number % _SLEEPERS == 0
        self._morning = morning
        self._chance = random.Random(number)
        self._last: dict[str, int] = {}
        self._changed = 0
        self._canceled: set[str] = set()

    async def follow(self, address: str) -> None:
        """Watch until every job except the one in the slot is CANCELED."""
        async with Client(address) as client, aclosing(client.watch(bookmarks=True)) as events:
            async for event in events:
                self._note(event)
                if len(self._canceled) == JOBS:
                    return
                await self._stall()

    @property
    def missed(self) -> int:
        """The number of terminal states that were not shown."""
        return JOBS - len(self._canceled)

    def _note(self, event: WatchEvent) -> None:
        job = event.job
        if event.kind is WatchKind.BOOKMARK or job is None:
            self.ready.set()
            return
        if event.kind is WatchKind.PROGRESS:
            return
        self.seen["snapshots" if event.kind is WatchKind.SNAPSHOT else "events"] += 1
        before = self._last.get(job.name, -1)
        if job.revision == before:
            self.seen["events shown twice"] += 1
        elif job.revision < before:
            self.seen["events out of order"] += 1
        self._last[job.name] = job.revision
        if event.kind is WatchKind.CHANGED:
            if event.revision < self._changed:
                self.seen["events out of order"] += 1
            self._changed = event.revision
        if self.seen["events"] == _SLEEP:
            self._morning.set()
        if job.state is State.CANCELED:
            self._canceled.add(job.name)

    async def _stall(self) -> None:
        if self._sleeps and self.seen["events"] == 100:
            self._sleeps = False
            self.seen["stalls"] += 1
            await self._morning.wait()
        elif self._chance.random() < _STALL[0]:
            self.seen["stalls"] += 1
            await asyncio.sleep(self._chance.uniform(0.0, _STALL[1]))


async def watch(daemon: Path, wire: Path) -> None:
    """Run all watchers, each on its own connection. Returns what they saw."""
    morning = asyncio.Event()
    watchers = [Watcher(number, morning) for number in range(WATCHERS)]
    async with Wire(wire, daemon, random.Random(5)) as broken:
        tasks = [asyncio.create_task(watcher.follow(f"unix:{wire}")) for watcher in watchers]
        await asyncio.gather(*(watcher.ready.wait() for watcher in watchers))
        print("ready", flush=True)
        # When the input ends, all transitions are done. The watchers must then end by themselves.
        await asyncio.to_thread(sys.stdin.read)
        await asyncio.wait(tasks, timeout=_LONG / 2)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()
    total = Counter({"breaks": broken.breaks})
    for watcher in watchers:
        total += watcher.seen
        total["missed terminal states"] += watcher.missed
    print(json.dumps(total))


if __name__ == "__main__":
    asyncio.run(watch(Path(sys.argv[1]), Path(sys.argv[2])))
