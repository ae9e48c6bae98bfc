"""OBSERVING.md agrees with the code: message ids, log fields, metrics, rules."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ladingd.core.access import CallClass
from ladingd.core.bill import Counts
from ladingd.core.job import Change, ChangeKind, Failure
from ladingd.core.origin import Origin, working_for
from ladingd.core.state import TRANSITIONS, Event, State
from ladingd.run.workers.pool import Workers
from ladingd.telemetry import journald
from ladingd.telemetry import log_events as occasions
from ladingd.telemetry.log_events import LogEvent, log_event_of, tell, tell_change
from ladingd.telemetry.logs import _add_origin
from ladingd.telemetry.metrics import Metrics
from tests.integration.api.fakes import NOON, a_job

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator

    from ladingd.core.job import Job

TEXT = (Path(occasions.__file__).parents[2] / "OBSERVING.md").read_text()
NUMBER = re.compile(r"^(lading_[a-z_]+|process_[a-z_]+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)


@pytest.fixture
async def metrics() -> AsyncIterator[Metrics]:
    made, workers = Metrics(), Workers(2)

    async def jobs() -> dict[State, int]:
        return dict.fromkeys(State, 0) | {State.RUNNING: 3}

    made.look_at(jobs=jobs, calls=lambda: dict.fromkeys(CallClass, 2), workers=workers)
    yield made
    await workers.close()


async def numbers(metrics: Metrics) -> dict[tuple[str, str], float]:
    """The values by name and labels."""
    body, _ = await metrics.render()
    return {(name, labels): float(value) for name, labels, value in NUMBER.findall(body.decode())}


def changes() -> list[Change]:
    """A change of every kind and every cause."""
    every = [Change(revision=1, kind=kind, job=a_job(), time=NOON) for kind in ChangeKind if kind != "MOVED"]
    for state, row in TRANSITIONS.items():
        for event, after in row.items():
            job = a_job(state=after, attempt=1, failure=Failure(code="F", message="f") if after == "FAILED" else None)
            every.append(Change(revision=2, kind=ChangeKind.MOVED, job=job, time=NOON, from_state=state, cause=event))
    return every


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, "fields", {})
    assert isinstance(fields, dict)
    return fields


# The log


def test_the_message_ids_are_those_of_the_document() -> None:
    said = dict(re.findall(r"^\| `([A-Z_]+)` \| `([0-9a-f]{32})` \|", TEXT, re.MULTILINE))
    assert said == {event.name: event.value for event in LogEvent}


def test_every_change_is_an_occasion_and_every_occasion_of_a_job_is_one_of_a_change() -> None:
    assert {log_event_of(change) for change in changes()} == {one for one in LogEvent if one.name.startswith("JOB_")}


def test_the_fields_of_lines_are_those_of_the_document(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    tell(LogEvent.DAEMON_READY, "ready")
    with working_for(Origin(call="c", job="j", attempt=1, chunk=0)):
        for change in changes():
            tell_change(change)
    caplog.handler.addFilter(_add_origin)
    used = {name for record in caplog.records if _add_origin(record) for name in fields_of(record)}
    used |= {"call", "chunk", "error_id", "method"}
    rows = re.findall(r"^\| (`[a-z_`, ]+) \| (`LADING_[^|]+|`MESSAGE_ID`) \|", TEXT, re.MULTILINE)
    named = {
        name: journal
        for json_names, journal_names in rows
        for name, journal in zip(
            re.findall(r"`([a-z_]+)`", json_names), re.findall(r"`([A-Z_]+)`", journal_names), strict=True
        )
    }
    assert used == set(named)
    for name, journal in named.items():
        assert journal == journald._OWN_NAMES.get(name, f"LADING_{name.upper()}")


def test_the_end_of_a_job_says_why_and_what_came_of_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    counts = Counts(read=12, inserted=9, rejected=2, empty=1, errors=2)
    finished = a_job(state=State.FINISHED, counts=counts, attempt=1)
    failed = a_job(state=State.FAILED, failure=Failure(code="TARGET_LOST", message="it is away"), attempt=3)
    facts: dict[str, Any] = {"kind": ChangeKind.MOVED, "time": NOON, "from_state": State.RUNNING, "correlation": "c9"}
    tell_change(Change(revision=8, job=finished, cause=Event.COMPLETE, **facts))
    tell_change(Change(revision=9, job=failed, cause=Event.ERROR, **facts))
    said = [(record.levelname, record.getMessage(), fields_of(record)) for record in caplog.records]
    bill = "12 read = 9 inserted + 2 rejected + 1 empty"
    assert said[0][:2] == ("INFO", f"jobs/a1 RUNNING → FINISHED: finished: every record is accounted for: {bill}")
    assert said[0][2]["bill"]["inserted"] == 9
    assert said[1][:2] == ("ERROR", "jobs/a1 RUNNING → FAILED: it is away")
    assert said[1][2] == {
        "event": "JOB_FAILED",
        "message_id": LogEvent.JOB_FAILED.value,
        "job": "a1",
        "revision": 9,
        "code": "TARGET_LOST",
        "call": "c9",
        "from_state": "RUNNING",
        "state": "FAILED",
        "cause": "ERROR",
        "attempt": 3,
    }


# The metrics


async def test_the_rules_are_rules_about_metrics_that_there_are(metrics: Metrics) -> None:
    metrics.begun("/lading.v1.JobService/GetJob")("OK")
    shown = {name for name, _ in await numbers(metrics)}
    (block,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    (group,) = yaml.safe_load(block)["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"]) >= 10
    for rule in group["rules"]:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["annotations"]["summary"]
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
        assert rule["expr"].count("(") == rule["expr"].count(")")
        used = set(re.findall(r"lading_[a-z_]+", rule["expr"]))
        assert used or rule["alert"] == "LadingDown"
        assert used <= shown, rule["alert"]


async def test_the_document_names_every_metric_and_no_other(metrics: Metrics) -> None:
    metrics.begun("/lading.v1.JobService/GetJob")("OK")
    metrics.worked("process", 0.1)
    families = {
        re.sub(r"_(bucket|count|sum)$", "", name) for name, _ in await numbers(metrics) if name.startswith("lading_")
    }
    named = set(re.findall(r"`(lading_[a-z_]+)(?:\{[a-z, ]+\})?`", TEXT))
    assert named == families
    table = re.search(r"The ten most important metrics:\n\n(.*?)\n\n", TEXT, re.DOTALL)
    assert table is not None
    assert len(re.findall(r"^\| `", table[1], re.MULTILINE)) == 10


async def test_jobs_records_and_rejects_are_counted(metrics: Metrics) -> None:
    def moved(state: State, cause: Event, seconds: float) -> Change:
        at = NOON + timedelta(seconds=seconds)
        return Change(revision=1, kind=ChangeKind.MOVED, job=a_job(state=state), time=at, cause=cause)

    metrics.changed(moved(State.QUEUED, Event.START, 0))
    metrics.changed(moved(State.RUNNING, Event.SLOT_FREE, 3))
    before, after = a_job(), a_job(counts=Counts(read=10, inserted=7, rejected=3, errors=4, warnings=1))
    metrics.counted(before, after, 100)
    metrics.counted(after, before, 0)
    shown = await numbers(metrics)
    assert shown["lading_queue_wait_seconds_sum", ""] == 3
    assert shown["lading_job_changes_total", 'state="RUNNING"'] == 1
    assert shown["lading_jobs", 'state="RUNNING"'] == 3
    assert shown["lading_records_total", 'outcome="inserted",type="import"'] == 7
    assert shown["lading_records_total", 'outcome="rejected",type="import"'] == 3
    assert shown["lading_rejects_total", 'severity="error"'] == 4
    assert shown["lading_rejects_total", 'severity="warning"'] == 1
    assert shown["lading_source_bytes_total", ""] == 100


async def test_a_store_that_does_not_answer_is_told_and_hides_no_other_number(
    metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    async def jobs() -> dict[State, int]:
        raise OSError("gone")

    await metrics.render()
    metrics._read_jobs = jobs
    shown = await numbers(metrics)
    assert shown["lading_store_readable", ""] == 0
    assert shown["lading_watchers", ""] == 2
    assert "lading_jobs" not in {name for name, _ in shown}, "numbers of before are none of now"
    assert "gone" in caplog.text


async def test_labels_are_few_whatever_happens(metrics: Metrics) -> None:
    for number in range(50):
        job: Job = a_job(id=f"job-{number}", label=f"label {number}")
        metrics.counted(a_job(), job, 1)
        metrics.changed(Change(revision=number, kind=ChangeKind.CREATED, job=job, time=datetime.now(UTC)))
    body, _ = await metrics.render()
    assert b"job-" not in body
    assert b"label " not in body


@pytest.mark.parametrize("kind", ChangeKind)
def test_a_change_of_any_kind_is_told_and_counted(kind: ChangeKind) -> None:
    """A change that the feed cannot report would end the daemon."""
    moved = {"from_state": State.EDITING, "cause": Event.START} if kind is ChangeKind.MOVED else {}
    change = Change(revision=1, kind=kind, job=a_job(state=State.QUEUED), time=NOON, **moved)
    tell_change(change)
    Metrics().changed(change)
