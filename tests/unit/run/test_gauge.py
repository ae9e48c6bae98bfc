"""How fast a job goes and how long it will take."""

from __future__ import annotations

from datetime import timedelta

from ladingd.run.gauge import LONGEST, Gauge


def test_the_rate_of_the_last_seconds_and_what_is_left() -> None:
    time = [0.0]
    gauge = Gauge(1000, lambda: time[0])
    time[0] = 2.0
    gauge.add(100, 10)
    progress = gauge.progress()
    assert (progress.fraction, progress.rate, progress.time_left) == (0.1, 5.0, timedelta(seconds=18))


def test_nothing_is_said_of_ages() -> None:
    """Keys from one to the greatest there is would take longer than a timedelta can hold."""
    time = [0.0]
    gauge = Gauge(2**64, lambda: time[0])
    time[0] = 1.0
    gauge.add(1, 1)
    assert gauge.progress().time_left is None
    gauge = Gauge(int(LONGEST) + 1, lambda: time[0])
    time[0] = 2.0
    gauge.add(1, 1)
    assert gauge.progress().time_left is None
    gauge.add(1, 1)
    assert gauge.progress().time_left == timedelta(seconds=(LONGEST - 1) / 2)
