"""Jobs, journal entries, rejects and watch events as messages."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from lading.v1 import job_pb2, job_service_pb2, spec_pb2
from ladingd.api.messages.job import job_message, journal_entry_message, reject_message, watch_message
from ladingd.core.bill import Counts
from ladingd.core.job import Connector, Failure, JournalEntry, Level, Progress, Reject, RejectType
from ladingd.core.spec import Header, OnRestart
from ladingd.core.state import State
from ladingd.run.watch.events import WatchEvent, WatchKind
from tests.integration.api.fakes import NOON, NOW, a_job

if TYPE_CHECKING:
    from collections.abc import Iterable
    from enum import StrEnum

KINDS = [kind for kind in WatchKind if kind is not WatchKind.WITHDRAWN]
"""Callers see a withdrawn job as deleted."""

COUNTS = Counts(
    read=100,
    inserted=40,
    updated=20,
    deleted=4,
    unchanged=6,
    rejected=11,
    filtered=8,
    ignored_doubles=7,
    empty=4,
    errors=12,
    warnings=3,
    doubles=9,
    duplicates=26,
)


def test_every_field_of_a_job_arrives():
    job = a_job(
        label="a & b ",
        description="of May",
        state=State.FAILED,
        attempt=2,
        counts=COUNTS,
        total=100,
        progress=Progress(fraction=0.25, rate=12.5, time_left=timedelta(seconds=90)),
        failure=Failure(code="TARGET_REFUSED", message="no"),
        start_time=NOON + timedelta(minutes=1),
        end_time=NOON + timedelta(minutes=3),
    )
    message = job_message(job, NOW)
    assert (message.name, message.label, message.description) == ("jobs/a1", "a & b ", "of May")
    assert message.state == job_pb2.STATE_FAILED
    assert (message.failure.code, message.failure.message) == ("TARGET_REFUSED", "no")
    assert (message.revision, message.etag, message.attempt) == (7, '"7"', 2)
    assert (message.progress.percent, message.progress.records_per_second) == (25, 12.5)
    assert message.progress.time_left.ToTimedelta() == timedelta(seconds=90)
    assert message.create_time.ToDatetime(NOON.tzinfo) == NOON
    assert message.end_time.ToDatetime(NOON.tzinfo) == job.end_time
    assert message.duration.ToTimedelta() == timedelta(minutes=2)
    assert message.counters == job_pb2.Counters(
        total=100, processed=100, success=70, empty=4, errors=12, warnings=3, rejects=11, doubles=9, duplicates=26
    )
    assert message.bill == job_pb2.Bill(
        read=100,
        inserted=40,
        updated=20,
        deleted=4,
        unchanged=6,
        rejected=11,
        filtered=8,
        ignored_doubles=7,
        empty=4,
    )


def test_what_is_not_known_yet_is_absent():
    message = job_message(a_job(), NOW)
    for absent in ("failure", "start_time", "end_time", "duration"):
        assert not message.HasField(absent)
    assert not message.counters.HasField("total")
    assert not message.progress.HasField("time_left")


def test_an_empty_source_has_a_total_of_zero():
    assert job_message(a_job(total=0), NOW).counters.HasField("total")


def test_the_duration_of_a_running_job_ends_now():
    message = job_message(a_job(state=State.RUNNING, start_time=NOON), NOW)
    assert message.duration.ToTimedelta() == timedelta(hours=1)


def test_a_clock_that_was_set_back_makes_no_negative_duration():
    running = a_job(state=State.RUNNING, start_time=NOW + timedelta(hours=1))
    assert job_message(running, NOW).duration.ToTimedelta() == timedelta()
    ended = a_job(state=State.FINISHED, start_time=NOW, end_time=NOON)
    assert job_message(ended, NOW).duration.ToTimedelta() == timedelta()


@pytest.mark.parametrize("state", State)
def test_every_state_has_its_message(state: State):
    message = job_message(a_job(state=state), NOW)
    assert job_pb2.State.Name(message.state) == f"STATE_{state.value}"


def test_the_states_of_the_api_are_those_of_the_domain():
    assert {name.removeprefix("STATE_") for name in job_pb2.State.keys()} == {*State, "UNSPECIFIED"}  # noqa: SIM118


@pytest.mark.parametrize(
    ("members", "names", "prefix"),
    [
        (Level, job_pb2.JournalLevel.keys(), "JOURNAL_LEVEL_"),
        (Connector, job_pb2.Connector.keys(), "CONNECTOR_"),
        (RejectType, job_pb2.RejectType.keys(), "REJECT_TYPE_"),
        (KINDS, job_service_pb2.WatchJobsResponse.Kind.keys(), "KIND_"),
        (OnRestart, spec_pb2.OnRestart.keys(), "ON_RESTART_"),
    ],
)
def test_every_word_of_the_domain_is_one_of_the_api(members: Iterable[StrEnum], names: list[str], prefix: str):
    assert {f"{prefix}{member.name}" for member in members} == set(names) - {f"{prefix}UNSPECIFIED"}


def test_every_header_is_one_of_the_api():
    names = {name.removeprefix("HEADER_").replace("UNSPECIFIED", "DEFAULT") for name in spec_pb2.Header.keys()}  # noqa: SIM118
    assert names == {header.name for header in Header}


@pytest.mark.parametrize("level", Level)
def test_a_journal_entry(level: Level):
    entry = JournalEntry(sequence=3, job_id="a1", time=NOON, level=level, code="CREATED", message="created")
    message = journal_entry_message(entry)
    assert (message.sequence, message.code, message.message) == (3, "CREATED", "created")
    assert message.time.ToDatetime(NOON.tzinfo) == NOON
    assert job_pb2.JournalLevel.Name(message.level) == f"JOURNAL_LEVEL_{level.name}"


@pytest.mark.parametrize("connector", Connector)
@pytest.mark.parametrize("kind", RejectType)
def test_a_reject(kind: RejectType, connector: Connector):
    reject = Reject(
        type=kind,
        time=NOON,
        file="a.csv",
        line=12,
        record=10,
        raw='1,"é\n"',
        column="born",
        value="2023-02-30",
        connector=connector,
        code="NOT_A_DATE",
        message="'2023-02-30' is not a date",
    )
    message = reject_message(reject)
    assert job_pb2.RejectType.Name(message.type) == f"REJECT_TYPE_{kind.name}"
    assert job_pb2.Connector.Name(message.connector) == f"CONNECTOR_{connector.name}"
    for plain in ("file", "line", "record", "raw", "column", "value", "code", "message"):
        assert getattr(message, plain) == getattr(reject, plain)


@pytest.mark.parametrize("kind", KINDS)
def test_a_watch_event(kind: WatchKind):
    event = WatchEvent(kind=kind, revision=9, time=NOON, job=a_job())
    message = watch_message(event)
    assert job_service_pb2.WatchJobsResponse.Kind.Name(message.kind) == f"KIND_{kind.name}"
    assert message.revision == 9
    assert message.job == job_message(a_job(), NOW)
    assert not watch_message(replace(event, job=None)).HasField("job")
