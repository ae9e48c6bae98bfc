"""Daemons that start at the same moment with the same state directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.database import SqliteFile
from tests.chaos.outcome import Difference
from tests.chaos.striking import CHUNKS
from tests.chaos.trial import Trial
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUNS_ALREADY = 75


@pytest.fixture
def trial(folder: Path) -> Iterator[Trial]:
    """A daemon only for this test."""
    trial = Trial(folder, SqliteFile(folder / "target.db"))
    yield trial
    trial.clean_up()


async def test_one_of_five_serves(trial: Trial) -> None:
    undisturbed = await trial.undisturbed(CHUNKS)
    run = await trial.begin(CHUNKS)
    await trial.progress(run, 100)
    trial.kill_daemon()
    racing = [trial.daemon.spawn() for _ in range(5)]
    try:
        until(lambda: sum(process.poll() is not None for process in racing) >= 4, "all but one have ended")
        (trial.daemon.process,) = (process for process in racing if process.poll() is None)
        outcome = await trial.finish(run)
    finally:
        for process in racing:
            if process.poll() is None and process is not trial.daemon.process:
                process.kill()
                process.wait()
    assert [process.returncode for process in racing if process.returncode is not None] == [RUNS_ALREADY] * 4
    assert not (difference := Difference.between(undisturbed, outcome)), difference
