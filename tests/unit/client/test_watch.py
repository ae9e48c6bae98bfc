"""Watches: every event once, whatever becomes of the connection."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import grpc
import pytest

from lading.v1 import job_pb2, job_service_pb2
from lading_client.client import Client
from lading_client.errors import NotFound, Unavailable
from lading_client.model import State, WatchEvent
from tests.harness.waiting import until_async
from tests.unit.client.fake_service import FakeService, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

DEADLINE = 10.0
KIND = job_service_pb2.WatchJobsResponse


async def take(events: AsyncGenerator[WatchEvent, None], count: int) -> list[WatchEvent]:
    """The next so many events."""
    async with asyncio.timeout(DEADLINE):
        return [await anext(events) for _ in range(count)]


def facts(events: list[WatchEvent]) -> list[tuple[str, str, int]]:
    return [(e.kind.value, e.job.name if e.job else "", e.revision) for e in events]


async def test_snapshot_then_changes(client: Client, service: FakeService) -> None:
    service.put("a")
    service.put("b")
    async with aclosing(client.watch()) as events:
        first = await take(events, 2)
        service.move("jobs/a", job_pb2.STATE_QUEUED)
        then = await take(events, 1)
    assert facts(first) == [("SNAPSHOT", "jobs/a", 2), ("SNAPSHOT", "jobs/b", 2)]
    assert facts(then) == [("CHANGED", "jobs/a", 3)]
    assert then[0].job is not None
    assert then[0].job.state is State.QUEUED


async def test_it_goes_on_after_a_break_without_showing_anything_twice(client: Client, service: FakeService) -> None:
    service.put("a")
    service.break_after = [3, 0, 1]
    async with aclosing(client.watch("jobs/a")) as events:
        await take(events, 1)
        for state in (job_pb2.STATE_QUEUED, job_pb2.STATE_RUNNING, job_pb2.STATE_PAUSING, job_pb2.STATE_PAUSED):
            service.move("jobs/a", state)
        seen = await take(events, 4)
    assert [e.job.state for e in seen if e.job] == [State.QUEUED, State.RUNNING, State.PAUSING, State.PAUSED]
    asked = [r.revision for r in service.requests if isinstance(r, job_service_pb2.WatchJobsRequest)]
    assert asked == [0, 2, 2, 3]


async def test_a_snapshot_that_breaks_off_is_asked_for_again(client: Client, service: FakeService) -> None:
    for name in "abc":
        service.put(name)
    service.break_after = [2]
    async with aclosing(client.watch(bookmarks=True)) as events:
        seen = await take(events, 4)
    assert [(e.kind.value, e.job.name if e.job else "") for e in seen] == [
        ("SNAPSHOT", "jobs/a"),
        ("SNAPSHOT", "jobs/b"),
        ("SNAPSHOT", "jobs/c"),
        ("BOOKMARK", ""),
    ]


async def test_compaction_shows_what_differs_and_what_is_gone(client: Client, service: FakeService) -> None:
    service.put("same")
    service.put("moves")
    service.put("goes")
    service.break_after = [4]
    async with aclosing(client.watch()) as events:
        await take(events, 3)
        # All this happens unseen, and is no longer kept when the watch comes back.
        service.move("jobs/moves", job_pb2.STATE_QUEUED)
        service.change(service.jobs["jobs/goes"], KIND.KIND_DELETED)
        service.put("new")
        service.compacted = service.revision
        seen = await take(events, 3)
    assert [(e.kind.value, e.job.name if e.job else "") for e in seen] == [
        ("SNAPSHOT", "jobs/moves"),
        ("SNAPSHOT", "jobs/new"),
        ("DELETED", "jobs/goes"),
    ]


async def test_from_a_revision_there_is_no_snapshot(client: Client, service: FakeService) -> None:
    service.put("a")
    service.move("jobs/a", job_pb2.STATE_QUEUED)
    async with aclosing(client.watch("jobs/a", revision=1)) as events:
        assert facts(await take(events, 1)) == [("CHANGED", "jobs/a", 2)]


async def test_it_outlives_the_daemon(socket: Path) -> None:
    service = FakeService()
    server = await serve(service, socket)
    service.put("a")
    async with Client(f"unix:{socket}") as client, aclosing(client.watch("jobs/a")) as events:
        await take(events, 1)
        service.move("jobs/a", job_pb2.STATE_INTERRUPTED)
        await take(events, 1)
        await server.stop(None)
        service.move("jobs/a", job_pb2.STATE_QUEUED)
        waiting = asyncio.create_task(take(events, 1))
        again = await serve(service, socket)
        assert facts(await waiting) == [("CHANGED", "jobs/a", 3)]
    await again.stop(None)


async def test_it_gives_up_when_told_to(socket: Path) -> None:
    async with Client(f"unix:{socket}") as client, aclosing(client.watch(give_up_after=0.3)) as events:
        with pytest.raises(Unavailable):
            await take(events, 1)


async def test_other_errors_are_not_for_trying_again(client: Client, service: FakeService) -> None:
    service.fail_next(grpc.StatusCode.NOT_FOUND)
    async with aclosing(client.watch("jobs/none")) as events:
        with pytest.raises(NotFound):
            await take(events, 1)


async def test_leaving_a_watch_ends_it_on_the_daemon(client: Client, service: FakeService) -> None:
    service.put("a")
    async with aclosing(client.watch()) as events:
        await take(events, 1)
        assert service.watchers == 1

    async def left() -> bool:
        return service.watchers == 0

    await until_async(left, "the watch to end")


async def test_the_journal_goes_on_after_a_break(client: Client, service: FakeService) -> None:
    service.journal = [job_pb2.JournalEntry(sequence=n, code="NOTE", message=str(n)) for n in (3, 5, 8, 9)]
    service.break_after = [2, 1]
    async with asyncio.timeout(DEADLINE):
        entries = [entry async for entry in client.watch_journal("jobs/a")]
    assert [entry.sequence for entry in entries] == [3, 5, 8, 9]
