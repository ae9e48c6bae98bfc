"""Watches of a daemon that breaks them, compacts changes and falls silent must still show the right events."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from lading.v1 import job_pb2
from lading_client import client as client_module
from lading_client import watch as watch_module
from lading_client.model import ENDED, State, WatchEvent, WatchKind
from lading_client.transport.backoff import Backoff
from tests.harness.waiting import until_async
from tests.unit.client.fake_service import Event, FakeService, holds

if TYPE_CHECKING:
    from lading_client.client import Client

STEPS = 250
LIVE = (job_pb2.STATE_QUEUED, job_pb2.STATE_RUNNING, job_pb2.STATE_PAUSING, job_pb2.STATE_PAUSED)
OVER = (job_pb2.STATE_FINISHED, job_pb2.STATE_CANCELED)
FILTERS = ("", "", "state = QUEUED|RUNNING", 'label = "a*"', 'state = RUNNING|FINISHED AND label = "a*"')


class Watcher:
    """The events that a watcher was shown."""

    def __init__(self, client: Client, condition: str) -> None:
        self._client = client
        self.condition = condition
        self.events: list[WatchEvent] = []

    @property
    def last(self) -> dict[str, WatchEvent]:
        """The last event of each job, by its uid."""
        return {event.job.uid: event for event in self.events if event.job}

    async def follow(self, chance: random.Random) -> None:
        async with aclosing(self._client.watch(filter=self.condition)) as events:
            async for event in events:
                self.events.append(event)
                for _ in range(chance.choice((0, 0, 0, 9))):
                    await asyncio.sleep(0)

    def up_to_date(self, service: FakeService) -> bool:
        """Whether the last events agree with the current jobs."""
        last = self.last
        for job in service.jobs.values():
            shown = last.get(job.uid)
            if shown is None or shown.job is None:
                if holds(self.condition, job):
                    return False
            elif shown.kind is WatchKind.DELETED or (
                shown.job.revision != job.revision and (self._holds(shown) or holds(self.condition, job))
            ):
                return False
        there = {job.uid for job in service.jobs.values()}
        return all(
            uid in there or event.kind is WatchKind.DELETED or not self._holds(event) for uid, event in last.items()
        )

    def _holds(self, event: WatchEvent) -> bool:
        assert event.job is not None
        job = job_pb2.Job(label=event.job.label, state=f"STATE_{event.job.state}")
        return holds(self.condition, job)


def hardship(service: FakeService, chance: random.Random) -> None:
    """One event that happens to the jobs or watches."""
    over = [job for job in service.jobs.values() if job.state in OVER]
    live = [job for job in service.jobs.values() if job.state not in OVER]
    match chance.choices(
        ("make", "move", "end", "delete", "label", "compact", "break", "stall", "few"), (4, 14, 3, 1, 1, 2, 2, 1, 2)
    )[0]:
        case "make":
            number = service.revision + 1
            service.put(f"j{number}", uid=f"u{number}", label=chance.choice("ab"), state=job_pb2.STATE_QUEUED)
        case "move" if live:
            service.move(chance.choice(live).name, chance.choice(LIVE))
        case "end" if live:
            service.move(chance.choice(live).name, chance.choice(OVER))
        case "delete" if over:
            service.change(chance.choice(over), Event.KIND_DELETED)
        case "label" if live:
            changed = job_pb2.Job()
            changed.CopyFrom(chance.choice(live))
            changed.label = chance.choice("ab")
            service.change(changed)
        case "compact":
            service.compact()
        case "break":
            service.break_off()
        case "stall":
            service.stall_after.append(chance.randrange(4))
        case "few":
            service.break_after.append(chance.randrange(6))


@pytest.mark.parametrize("seed", range(12))
async def test_nothing_is_missed_or_shown_twice_or_out_of_order(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(client_module, "SILENCE_SECONDS", 0.02)
    monkeypatch.setattr(watch_module, "Backoff", lambda: Backoff(first=0.002, longest=0.02))
    chance = random.Random(seed)
    watchers = [Watcher(client, condition) for condition in FILTERS]
    tasks = [asyncio.create_task(watcher.follow(random.Random(seed))) for watcher in watchers]
    for _ in range(STEPS):
        hardship(service, chance)
        # Some changes come in bursts, others one by one.
        await asyncio.sleep(chance.choice((0.0, 0.0, 0.0005, 0.002)))
    service.stall_after.clear()
    service.break_after.clear()

    async def all_up_to_date() -> bool:
        assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
        return all(watcher.up_to_date(service) for watcher in watchers)

    await until_async(all_up_to_date, "every watcher is shown how things are")
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for watcher in watchers:
        check(watcher, service)


def check(watcher: Watcher, service: FakeService) -> None:
    """Check that events were shown in order and once, and include the end of every existing job."""
    revisions: dict[str, int] = {}
    gone: set[str] = set()
    for event in watcher.events:
        assert event.job is not None
        assert event.kind in (WatchKind.SNAPSHOT, WatchKind.CHANGED, WatchKind.DELETED)
        assert event.job.uid not in gone, f"{event} after its end"
        if event.kind is WatchKind.DELETED:
            gone.add(event.job.uid)
        else:
            assert event.job.revision > revisions.get(event.job.uid, 0), f"{event} twice or too late"
            revisions[event.job.uid] = event.job.revision
    if watcher.condition == "":
        ends = {job.uid for job in service.jobs.values() if job.state in OVER}
        shown = {
            e.job.uid for e in watcher.events if e.job and e.job.state in ENDED and e.kind is not WatchKind.DELETED
        }
        assert ends <= shown
        assert {e.job.state for e in watcher.events if e.job} >= {State.FINISHED, State.CANCELED}
