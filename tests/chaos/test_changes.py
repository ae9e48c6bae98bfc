"""Kills processes at random in merges: the short form of ``python -m tests.chaos --change upsert``."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

import pytest

from tests.chaos.changes import MERGES, Change
from tests.chaos.forms import Form
from tests.chaos.killing import Victim, kill_at_random
from tests.chaos.outcome import Difference
from tests.chaos.striking import IN_CHUNK

if TYPE_CHECKING:
    from tests.chaos.trial import Trial

CHUNKS = 10


@pytest.mark.parametrize("trial", [*IN_CHUNK], indirect=True)
@pytest.mark.parametrize("change", MERGES)
async def test_kills_at_random(trial: Trial, change: Change) -> None:
    form = Form(change=change)
    undisturbed = await trial.undisturbed(CHUNKS, form)
    assert sorted(undisturbed.rows) == sorted(change.rows(CHUNKS))
    assert undisturbed.rejects.total() == change.refused(CHUNKS)
    seed = random.randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")  # Shown where the test fails.
    chance = random.Random(seed)
    killed: list[Victim] = []
    while not killed:  # A job may be done before the kill.
        run = await trial.begin(CHUNKS, form=form)
        killed = await kill_at_random(trial, run, 1, chance, records=250)
        outcome = await trial.finish(run)
        assert not (difference := Difference.between(undisturbed, outcome)), f"{killed}: {difference}"
