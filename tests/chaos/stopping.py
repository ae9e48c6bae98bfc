"""Sends SIGTERM at random moments: in the middle of a job, right after a pause or a cancel, during the start."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
from collections import Counter
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from lading_client.errors import CommandNotAllowed
from lading_client.model import State
from tests.chaos.outcome import Difference
from tests.harness.daemon import heeds
from tests.harness.waiting import until, until_async

if TYPE_CHECKING:
    import random

    from lading_client.client import Client
    from tests.chaos.trial import Run, Trial

_LONGEST_START = 0.8
_ACTIVE = {State.RUNNING, State.PAUSING, State.CANCELING}
_LEFT = {State.INTERRUPTED, State.QUEUED, State.FINISHED}
"""The allowed states, after the daemon's end, of a job that was not paused or cancelled."""


async def stop_at_random(
    trial: Trial, times: int, chance: random.Random, *, chunks: int, records: int
) -> Counter[State]:
    """Stop the daemon ``times`` times and restart it. Returns the states in which it left jobs. ``records`` is the most
    records that are processed between two signals.

    Raises AssertionError if a job was left active or was not resumed, if its bill does not balance, or if a daemon did
    not exit with 0.
    """
    left: Counter[State] = Counter()
    run = await trial.begin(chunks)
    for _ in range(times):
        if (await trial.look(run)).state is State.FINISHED:
            await _finish(trial, run, chunks)
            run = await trial.begin(chunks)
        match chance.choice(("middle", "middle", "start", "pause", "cancel")):
            case "middle":
                await trial.progress(run, chance.randint(1, records))
                await asyncio.to_thread(_stop, trial)
                left[_left(trial, run)] += 1
            case "start":
                await asyncio.to_thread(trial.kill_daemon)
                await asyncio.to_thread(_stop_start, trial, chance.uniform(0, _LONGEST_START))
                left[_left(trial, run, died=True)] += 1
            case "pause":
                left[await _stop_paused(trial, chunks)] += 1
            case "cancel":
                left[await _stop_canceled(trial, chunks)] += 1
    await _finish(trial, run, chunks)
    return left


async def _stop_paused(trial: Trial, chunks: int) -> State:
    run = await trial.begin(chunks)
    await trial.progress(run, 1)
    with suppress(CommandNotAllowed):  # The job is done already.
        await trial.ask(lambda client: client.pause_job(run.name))
    await asyncio.to_thread(_stop, trial)
    left = _left(trial, run, State.PAUSED)
    with suppress(CommandNotAllowed):
        await trial.ask(lambda client: client.start_job(run.name))
    await _finish(trial, run, chunks)
    return left


async def _stop_canceled(trial: Trial, chunks: int) -> State:
    run = await trial.begin(chunks)
    await trial.progress(run, 1)
    with suppress(CommandNotAllowed):
        await trial.ask(lambda client: client.cancel_job(run.name))
    await asyncio.to_thread(_stop, trial)
    left = _left(trial, run, State.CANCELED)

    async def agrees(client: Client) -> bool:
        job = await client.get_job(run.name)
        bill = job.bill
        assert job.state is left
        return (
            bill.read == bill.inserted + bill.rejected
            and bill.inserted + 1 == len(trial.database.rows(run.table))
            and bill.rejected == len([reject async for reject in client.rejects(run.name)])
        )

    # The next daemon asks the ledger about the chunks that were in flight.
    await until_async(lambda: trial.ask(agrees), f"the bill of {run.name} is what there is in target and rejects")
    return left


async def _finish(trial: Trial, run: Run, chunks: int) -> None:
    undisturbed = await trial.undisturbed(chunks)
    difference = Difference.between(undisturbed, await trial.finish(run))
    assert not difference, f"{run.name}: {difference}"


def _stop(trial: Trial) -> None:
    """Stop a serving daemon."""
    trial.revive()
    _expect_order(trial, trial.daemon.stop())


def _stop_start(trial: Trial, seconds: float) -> None:
    """Stop a daemon that was started after a kill, ``seconds`` after its first log lines."""
    daemon = trial.daemon
    daemon.process = process = daemon.spawn()
    until(lambda: heeds(process.pid, signal.SIGTERM), "it heeds signals")
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    _expect_order(trial, daemon.stop())


def _expect_order(trial: Trial, status: int) -> None:
    assert status == 0, f"it exits with {status}\n{trial.daemon.log.read_text()[-5000:]}"


def _left(trial: Trial, run: Run, commanded: State = State.INTERRUPTED, *, died: bool = False) -> State:
    """The state in which a job was left. ``died``: the daemon before the stopped one was killed."""
    with closing(sqlite3.connect(trial.daemon.state_dir / "store.db")) as store:
        states = {f"jobs/{name}": State[state] for name, state in store.execute("SELECT id, state FROM jobs")}
    left = states[run.name]
    if died and left is State.RUNNING:
        return left  # The start was cancelled before the recovery of jobs.
    assert not _ACTIVE.intersection(states.values()), states
    assert left in _LEFT | {commanded}, f"{run.name} was left {left}"
    return left
