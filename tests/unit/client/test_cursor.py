"""Finds the new events of a stream."""

from __future__ import annotations

from dataclasses import replace

from lading_client.model import Counters, Job, Progress, State, WatchEvent, WatchKind
from lading_client.spec import File, ImportSpec, JobSpec, Table
from lading_client.watch import Cursor

JOB = Job(
    name="jobs/a",
    spec=JobSpec(kind=ImportSpec(files=(File(path="a"),), target=Table(table="t"))),
    state=State.RUNNING,
    revision=5,
)


def event(kind: WatchKind, revision: int, job: Job | None = JOB) -> WatchEvent:
    return WatchEvent(kind=kind, revision=revision, job=job, time=None)


def test_progress_does_not_move_the_cursor() -> None:
    cursor = Cursor(5)
    cursor.begin()
    assert cursor.accept(event(WatchKind.PROGRESS, 9))
    assert cursor.revision == 5


def test_the_same_progress_is_shown_once() -> None:
    cursor = Cursor(5)
    cursor.begin()
    half = replace(JOB, progress=Progress(percent=50.0), counters=Counters(processed=10))
    assert cursor.accept(event(WatchKind.PROGRESS, 5, half))
    cursor.begin()
    assert cursor.accept(event(WatchKind.PROGRESS, 5, half)) == []
    assert cursor.accept(event(WatchKind.PROGRESS, 5, replace(half, counters=Counters(processed=11))))


def test_progress_of_a_state_that_is_over_is_not_shown() -> None:
    cursor = Cursor(5)
    cursor.begin()
    assert cursor.accept(event(WatchKind.CHANGED, 6, replace(JOB, state=State.FINISHED, revision=6)))
    assert cursor.accept(event(WatchKind.PROGRESS, 6, replace(JOB, progress=Progress(percent=50.0)))) == []


def test_a_change_that_was_shown_is_not_shown_again() -> None:
    cursor = Cursor(4)
    cursor.begin()
    assert cursor.accept(event(WatchKind.CHANGED, 5))
    assert cursor.accept(event(WatchKind.CHANGED, 5)) == []
    assert cursor.revision == 5


def test_a_bookmark_moves_the_cursor() -> None:
    cursor = Cursor(4)
    cursor.begin()
    cursor.accept(event(WatchKind.BOOKMARK, 40, None))
    assert cursor.revision == 40
