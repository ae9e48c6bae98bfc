"""The rate and the remaining time of a job."""

from __future__ import annotations

from datetime import timedelta

from ladingd.run.attempt.throughput import LONGEST, Throughput


def test_the_rate_of_the_last_seconds_and_what_is_left() -> None:
    time = [0.0]
    throughput = Throughput(1000, lambda: time[0])
    time[0] = 2.0
    throughput.add(1, 100, 10)
    progress = throughput.progress()
    assert (progress.fraction, progress.rate, progress.time_left) == (0.1, 5.0, timedelta(seconds=18))


def test_nothing_is_said_of_ages() -> None:
    """Keys from 1 to the maximum would take longer than a timedelta can hold."""
    time = [0.0]
    throughput = Throughput(2**64, lambda: time[0])
    time[0] = 1.0
    throughput.add(2, 1, 1)
    assert throughput.progress().time_left is None
    throughput = Throughput(int(LONGEST) + 1, lambda: time[0])
    time[0] = 2.0
    throughput.add(3, 1, 1)
    assert throughput.progress().time_left is None
    throughput.add(4, 1, 1)
    assert throughput.progress().time_left == timedelta(seconds=(LONGEST - 1) / 2)


def test_a_chunk_that_says_how_far_it_is_counts_until_it_is_done() -> None:
    time = [0.0]
    throughput = Throughput(1, lambda: time[0])
    time[0] = 2.0
    throughput.hear(0, 0.25, 100)
    progress = throughput.progress()
    assert (progress.fraction, progress.rate, progress.time_left) == (0.25, 50.0, timedelta(seconds=6))
    throughput.hear(0, 1.0, 400)
    progress = throughput.progress()
    assert (progress.fraction, progress.time_left) == (0.99, None), "not all before it is committed"
    time[0] = 4.0
    throughput.add(0, 1, 400)
    progress = throughput.progress()
    assert (progress.fraction, progress.time_left) == (1.0, None), "the job still has to come to its end"
    assert throughput.rest().rate == 100.0


def test_a_chunk_that_was_given_up_is_not_counted() -> None:
    throughput = Throughput(10, lambda: 0.0)
    throughput.hear(0, 0.5, 100)
    throughput.drop(0)
    assert throughput.progress().fraction == 0.0
