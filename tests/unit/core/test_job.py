"""The effects of a move on other fields than the state."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest

from ladingd.core.bill import Counts
from ladingd.core.job import Change, ChangeKind, Failure, Job, Level, Progress
from ladingd.core.journal import describe
from ladingd.core.plan import Fingerprint, ImportPlan, PlannedFile
from ladingd.core.spec import File, ImportSpec, Table
from ladingd.core.state import ENDED, TRANSITIONS, Event, State, next_state
from ladingd.data.formats.csv.dialect import Dialect

MADE = datetime(2026, 1, 1, tzinfo=UTC)
BEGUN = MADE + timedelta(hours=1)
NOW = MADE + timedelta(hours=2)
FAILURE = Failure(code="TARGET_UNAVAILABLE", message="the database is gone")

FILE = File(path="a.csv")
TARGET = Table(table="a")
FRESH = Job(
    uid="u1",
    id="a",
    spec=ImportSpec(files=(FILE,), target=TARGET),
    plan=ImportPlan(
        files=(
            PlannedFile(
                name="in.csv",
                location=FILE,
                fingerprint=Fingerprint(size=0, head="", tail=""),
                layout=Dialect(delimiter=",", quote='"').layout(),
                start=0,
                end=0,
                first_line=1,
            ),
        ),
        columns=(),
        target=TARGET,
        create_table=True,
        chunk_bytes=1,
    ),
    create_time=MADE,
    update_time=MADE,
)

ALL = [(state, event) for state, events in TRANSITIONS.items() for event in events]
TOUCHED = {"state", "failure", "attempt", "settled", "update_time", "start_time", "end_time"}


def job_in(state: State) -> Job:
    """A job in a state, with values in every field that a move might reset."""
    return replace(
        FRESH,
        state=state,
        label="label",
        description="description",
        revision=7,
        attempt=3,
        counts=Counts(read=1, inserted=1),
        total=9,
        progress=Progress(fraction=0.5),
        failure=FAILURE if state in (State.FAILED, State.INTERRUPTED) else None,
        start_time=BEGUN,
        end_time=BEGUN if state in ENDED else None,
    )


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_a_job_moves_where_the_table_says(state: State, event: Event) -> None:
    moved = job_in(state).moved(event, NOW, FAILURE)
    assert (moved and moved.state) == next_state(state, event)


@pytest.mark.parametrize(("state", "event"), ALL)
def test_a_move_touches_what_belongs_to_it(state: State, event: Event) -> None:
    job = job_in(state)
    moved = job.moved(event, NOW, FAILURE)
    assert moved is not None
    same = {field.name for field in fields(Job) if getattr(moved, field.name) == getattr(job, field.name)}
    assert {field.name for field in fields(Job)} - same <= TOUCHED
    assert moved.update_time == NOW
    assert moved.end_time == (NOW if moved.state in ENDED else None)
    assert moved.failure == (FAILURE if moved.state in (State.FAILED, State.INTERRUPTED) else None)
    assert moved.attempt == (4 if event is Event.SLOT_FREE else 3)
    assert moved.settled is (event is not Event.SLOT_FREE)
    assert moved.start_time == BEGUN


def test_the_first_slot_gives_the_start_time_and_no_later_one() -> None:
    first = replace(FRESH, state=State.QUEUED).moved(Event.SLOT_FREE, BEGUN)
    assert first is not None
    assert (first.start_time, first.attempt, first.settled) == (BEGUN, 1, False)
    again = replace(first, state=State.QUEUED).moved(Event.SLOT_FREE, NOW)
    assert again is not None
    assert (again.start_time, again.attempt) == (BEGUN, 2)


def test_an_unsettled_job_stays_so_whatever_moves_it() -> None:
    for state, event in ALL:
        moved = replace(job_in(state), settled=False).moved(event, NOW, FAILURE)
        assert moved is not None
        assert moved.settled is False


def test_a_start_takes_failure_and_end_away() -> None:
    moved = job_in(State.FAILED).moved(Event.START, NOW)
    assert moved is not None
    assert (moved.state, moved.failure, moved.end_time) == (State.QUEUED, None, None)


def test_the_etag_changes_with_the_revision_alone() -> None:
    assert FRESH.etag == replace(FRESH, label="other").etag
    assert FRESH.etag != replace(FRESH, revision=1).etag


@pytest.mark.parametrize(("state", "event"), ALL)
def test_every_move_has_its_sentence_in_the_journal(state: State, event: Event) -> None:
    job = job_in(state).moved(event, NOW, FAILURE)
    assert job is not None
    change = Change(revision=8, kind=ChangeKind.MOVED, job=job, time=NOW, from_state=state, cause=event)
    level, code, message = describe(change)
    assert level is {
        Event.ERROR: Level.ERROR,
        Event.SHUTDOWN: Level.WARNING,
        Event.ORPHAN: Level.WARNING,
    }.get(event, Level.INFO)
    assert code == code.upper()
    assert message
    if event is Event.ERROR:
        assert (code, message) == (FAILURE.code, FAILURE.message)
    if event is Event.SLOT_FREE:
        assert message == "attempt 4 begins"


@pytest.mark.parametrize("kind", [ChangeKind.CREATED, ChangeKind.EDITED, ChangeKind.DELETED])
def test_every_other_change_has_its_word_in_the_journal(kind: ChangeKind) -> None:
    change = Change(revision=1, kind=kind, job=FRESH, time=NOW)
    assert describe(change) == (Level.INFO, kind.value, kind.value.lower())
