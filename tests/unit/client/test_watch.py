"""Watches show every event once, even if the connection breaks."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import error_details_pb2 as details

from lading.v1 import job_pb2, job_service_pb2
from lading_client import client as client_module
from lading_client.client import Client
from lading_client.errors import NotFound, TooManyCalls, Unavailable
from lading_client.model import State, WatchEvent
from tests.harness.waiting import until_async
from tests.unit.client.fake_service import FakeService, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

DEADLINE = 10.0
KIND = job_service_pb2.WatchJobsResponse


async def take(events: AsyncGenerator[WatchEvent, None], count: int) -> list[WatchEvent]:
    """The next ``count`` events."""
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
        # All this happens while the watch is broken, and is compacted before it returns.
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


async def test_a_filter_shows_how_a_job_leaves_it(client: Client, service: FakeService) -> None:
    service.put("a", state=job_pb2.STATE_RUNNING)
    service.put("b", state=job_pb2.STATE_PAUSED)
    async with aclosing(client.watch(filter="state = RUNNING")) as events:
        await take(events, 1)
        service.move("jobs/b", job_pb2.STATE_CANCELED)
        service.move("jobs/a", job_pb2.STATE_FINISHED)
        assert facts(await take(events, 1)) == [("CHANGED", "jobs/a", 4)]


async def test_what_left_a_filter_unseen_is_shown_and_not_taken_for_deleted(
    client: Client, service: FakeService
) -> None:
    for name in ("same", "ends", "goes", "left"):
        service.put(name, state=job_pb2.STATE_RUNNING)
    async with aclosing(client.watch(filter="state = RUNNING")) as events:
        await take(events, 4)
        service.move("jobs/left", job_pb2.STATE_PAUSED)
        await take(events, 1)
        service.move("jobs/ends", job_pb2.STATE_FINISHED)
        service.change(service.jobs["jobs/goes"], KIND.KIND_DELETED)
        service.put("new", state=job_pb2.STATE_RUNNING)
        service.compact()
        seen = await take(events, 3)
        # Jobs that were looked up are not looked up or shown again.
        service.move("jobs/same", job_pb2.STATE_PAUSING)
        service.compact()
        seen += await take(events, 1)
    assert [(e.kind.value, e.job.name, e.job.state.value) for e in seen if e.job] == [
        ("SNAPSHOT", "jobs/new", "RUNNING"),
        ("SNAPSHOT", "jobs/ends", "FINISHED"),
        ("DELETED", "jobs/goes", "RUNNING"),
        ("SNAPSHOT", "jobs/same", "PAUSING"),
    ]


async def test_one_job_that_was_deleted_unseen_is_shown_so(client: Client, service: FakeService) -> None:
    service.put("a", state=job_pb2.STATE_RUNNING)
    async with asyncio.timeout(DEADLINE), aclosing(client.watch("jobs/a")) as events:
        await take(events, 1)
        service.change(service.jobs["jobs/a"], KIND.KIND_DELETED)
        service.compact()
        [event] = await take(events, 1)
        with pytest.raises(NotFound):
            await take(events, 1)
    assert event.job is not None
    assert (event.kind.value, event.job.state) == ("DELETED", State.RUNNING)


async def test_a_store_of_an_earlier_day_is_shown_as_it_is(client: Client, service: FakeService) -> None:
    for _ in range(5):
        service.put("a", state=job_pb2.STATE_RUNNING)
    async with aclosing(client.watch("jobs/a")) as events:
        await take(events, 1)
        # The revisions start again, below the last one shown.
        service.restore()
        service.put("a", state=job_pb2.STATE_RUNNING)
        service.move("jobs/a", job_pb2.STATE_FINISHED)
        service.break_off()
        [event] = await take(events, 1)
    assert event.job is not None
    assert (event.kind.value, event.revision, event.job.state) == ("SNAPSHOT", 2, State.FINISHED)


async def test_a_watch_that_hears_nothing_begins_again(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "SILENCE_SECONDS", 0.3)
    service.put("a")
    service.stall_after = [2]
    async with aclosing(client.watch()) as events:
        await take(events, 1)
        service.move("jobs/a", job_pb2.STATE_QUEUED)
        assert facts(await take(events, 1)) == [("CHANGED", "jobs/a", 2)]


async def test_a_watch_that_is_one_too_many_is_refused_and_one_that_comes_back_waits(
    client: Client, service: FakeService
) -> None:
    info = details.ErrorInfo(reason="TOO_MANY_CALLS", domain="lading", metadata={"class": "watches"})
    service.put("a")
    service.fail_next(grpc.StatusCode.RESOURCE_EXHAUSTED, info)
    async with aclosing(client.watch()) as events:
        with pytest.raises(TooManyCalls):
            await take(events, 1)
    async with aclosing(client.watch()) as events:
        await take(events, 1)
        service.fail_next(grpc.StatusCode.RESOURCE_EXHAUSTED, info)
        service.break_off()
        service.move("jobs/a", job_pb2.STATE_QUEUED)
        assert facts(await take(events, 1)) == [("CHANGED", "jobs/a", 2)]


async def test_rejects_go_on_after_a_break(client: Client, service: FakeService) -> None:
    service.rejects = [job_pb2.Reject(line=n) for n in range(1, 6)]
    service.break_after = [2, 0, 1]
    async with asyncio.timeout(DEADLINE):
        seen = [event async for event in client.watch_rejects("jobs/a", sequence=1)]
    assert [(event.sequence, event.reject.line) for event in seen] == [(2, 2), (3, 3), (4, 4), (5, 5)]
    asked = [r.sequence for r in service.requests if isinstance(r, job_service_pb2.WatchRejectsRequest)]
    assert asked == [1, 3, 3, 4]


async def test_the_journal_goes_on_after_a_break(client: Client, service: FakeService) -> None:
    service.journal = [job_pb2.JournalEntry(sequence=n, code="NOTE", message=str(n)) for n in (3, 5, 8, 9)]
    service.break_after = [2, 1]
    async with asyncio.timeout(DEADLINE):
        entries = [entry async for entry in client.watch_journal("jobs/a")]
    assert [entry.sequence for entry in entries] == [3, 5, 8, 9]
