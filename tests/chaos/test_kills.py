"""Kills processes at random: the short form of ``python -m tests.chaos``."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

from tests.chaos.killing import Victim, kill, kill_at_random, victims
from tests.chaos.outcome import Difference
from tests.chaos.records import CHUNK_RECORDS, refused

if TYPE_CHECKING:
    from tests.chaos.trial import Trial

CHUNKS = 40


async def test_an_undisturbed_job_accounts_for_every_record(trial: Trial) -> None:
    outcome = await trial.undisturbed(CHUNKS)
    assert outcome.rejects.total() == refused(CHUNKS)
    assert outcome.rows.total() == CHUNKS * CHUNK_RECORDS - refused(CHUNKS) + 1
    assert outcome.rows.total() == len(outcome.rows), "every row is another one"
    assert not Difference.between(outcome, outcome)


async def test_every_victim_once(trial: Trial) -> None:
    undisturbed = await trial.undisturbed(CHUNKS)
    chance = random.Random(7)
    run = await trial.begin(CHUNKS)
    for victim in victims(trial):
        await trial.progress(run, 300)
        kill(trial, victim, chance)
    outcome = await trial.finish(run)
    assert not (difference := Difference.between(undisturbed, outcome)), difference


async def test_kills_at_random(trial: Trial) -> None:
    undisturbed = await trial.undisturbed(CHUNKS)
    seed = random.randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")  # Shown where the test fails.
    chance = random.Random(seed)
    killed: list[Victim] = []
    while not killed:  # A job may be done before the kill.
        run = await trial.begin(CHUNKS)
        killed = await kill_at_random(trial, run, 2, chance, records=500)
        outcome = await trial.finish(run)
        assert not (difference := Difference.between(undisturbed, outcome)), f"{killed}: {difference}"
