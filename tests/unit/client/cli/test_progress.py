"""The display of running jobs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from lading_client.cli.display.progress import Bars, Lines, News, Pace, line
from lading_client.model import Counters, Job, Progress, State
from lading_client.spec import File, ImportSpec, JobSpec, Table

if TYPE_CHECKING:
    import pytest

JOB = Job(
    name="jobs/7",
    spec=JobSpec(kind=ImportSpec(files=(File(path="a.csv"),), target=Table(table="t"))),
    state=State.RUNNING,
    counters=Counters(processed=1_200_000),
    progress=Progress(percent=42.0, records_per_second=300_000.0, time_left=timedelta(seconds=12)),
)


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_hour_has_about_fifty_lines_of_progress() -> None:
    clock = Clock()
    pace = Pace(clock)
    due = []
    while clock.now < 3600:
        clock.now += 0.2
        if pace.due():
            due.append(clock.now)
    assert 4.9 < due[0] < 5.3
    assert 40 < len(due) < 60
    assert due[-1] > 3200


def test_without_a_terminal_progress_is_shown_by_lines() -> None:
    clock, written = Clock(), []
    show = Lines(written.append, clock)
    show(replace(JOB, state=State.QUEUED))
    show(JOB)
    for second in range(1, 11):
        clock.now = float(second)
        show(JOB)
    show(replace(JOB, state=State.FINISHED))
    running = "jobs/7  ⚙ Execution in progress  42 %  1,200,000 records  300,000/s  12.0 s left"
    assert written == ["jobs/7  ◷ Waiting to start", running, running, running, "jobs/7  ✔ Finished"]


def test_a_line_of_a_job_that_does_not_run_or_has_just_begun_has_no_figures() -> None:
    assert line(replace(JOB, counters=Counters(), progress=Progress())) == "jobs/7  ⚙ Execution in progress"
    assert line(replace(JOB, state=State.PAUSED)) == "jobs/7  ‖ Paused"


def test_a_job_at_rest_is_no_news_twice() -> None:
    clock = Clock()
    news = News(clock)
    paused = replace(JOB, state=State.PAUSED)
    assert news.holds(paused)
    clock.now = 1000.0
    assert not news.holds(paused)
    assert news.holds(JOB)


def test_a_narrow_terminal_shows_how_far_each_job_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The state's label is truncated, not the figures."""
    monkeypatch.setenv("COLUMNS", "44")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Bars(named=True) as bars:
        bars(replace(JOB, name="jobs/kjwh6qz3firg"))
    drawn = capsys.readouterr().err
    assert "jobs/kjwh6qz3firg" in drawn
    assert "42 %" in drawn
    assert "12.0 s left" in drawn
    assert "…" not in drawn
