"""The cache of encoded events."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ladingd.api.messages import encoded_events as shown
from ladingd.api.messages.encoded_events import EncodedEvents
from ladingd.run.watch.events import WatchEvent, WatchKind
from tests.integration.api.fakes import a_job, eventually

if TYPE_CHECKING:
    import pytest

    from ladingd.core.job import Job


def event(job: Job, revision: int, kind: WatchKind) -> WatchEvent:
    return WatchEvent(kind=kind, revision=revision, time=datetime.now(UTC), job=job)


async def test_the_messages_of_changes_are_bounded_by_bytes() -> None:
    kept = EncodedEvents(most_bytes=50_000)
    for revision in range(1, 200):
        job = replace(a_job(), description="x" * 1_000, revision=revision)
        message = kept.message(event(job, revision, WatchKind.CHANGED))
        assert kept.message(event(job, revision, WatchKind.CHANGED)) is message
        assert kept.size <= 50_000
    assert 10 < len(kept._messages) < 50


async def test_the_jobs_of_a_list_are_not_kept_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown, "LISTED_SECONDS", 0.01)
    kept, job = EncodedEvents(), a_job()
    first = kept.message(event(job, 1, WatchKind.SNAPSHOT))
    assert kept.message(event(job, 1, WatchKind.SNAPSHOT)) is first
    assert kept.size
    await eventually(lambda: not kept.size)
    assert not kept._listed
