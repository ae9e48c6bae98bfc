"""Kills processes at random in the middle of a job."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING

from lading_client.model import State
from tests.chaos.database import PostgresServer
from tests.harness.waiting import until

if TYPE_CHECKING:
    import random

    from tests.chaos.trial import Run, Trial

_LONGEST_WAIT = 1.0
_LONGEST_MERGE = 0.3
"""Seconds that most merges of these files take at least."""


class Victim(StrEnum):
    """A process to kill."""

    DAEMON = "daemon"
    WORKER = "worker"
    BOTH = "both"
    SERVER = "server"


def victims(trial: Trial) -> list[Victim]:
    """The processes that can be killed."""
    return [victim for victim in Victim if victim is not Victim.SERVER or isinstance(trial.database, PostgresServer)]


async def kill_at_random(trial: Trial, run: Run, kills: int, chance: random.Random, *, records: int) -> list[Victim]:
    """Kill ``kills`` times, or until the job is done, and restart what was killed. Returns the victims. ``records`` is
    the most records that are processed between two kills."""
    killed: list[Victim] = []
    while len(killed) < kills:
        # By the clock, kills hit the beginnings of daemons and attempts; by records, they hit the middle.
        if chance.random() < 0.3:
            await asyncio.sleep(chance.uniform(0, _LONGEST_WAIT))
            job = await trial.look(run)
        elif run.merges and chance.random() < 0.3:
            await trial.merging(run)
            await asyncio.sleep(chance.uniform(0, _LONGEST_MERGE))
            job = await trial.look(run)
        else:
            job = await trial.progress(run, chance.randint(1, records))
        if job.state is State.FINISHED:
            break
        victim = chance.choice(victims(trial))
        await asyncio.to_thread(kill, trial, victim, chance)
        killed.append(victim)
    return killed


def kill(trial: Trial, victim: Victim, chance: random.Random) -> None:
    """Kill a victim, and restart it if it does not restart by itself."""
    if victim is Victim.SERVER:
        assert isinstance(trial.database, PostgresServer)
        trial.database.process.kill()
        trial.database.process.start()
        return
    if victim is not Victim.DAEMON:
        worker = chance.choice(until(lambda: trial.daemon.workers, "there are workers"))
        with suppress(ProcessLookupError):  # The process has ended by itself.
            os.kill(worker, signal.SIGKILL)
    if victim is not Victim.WORKER:
        trial.kill_daemon()
        trial.revive()
