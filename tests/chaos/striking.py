"""Strikes jobs at named moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.failpoint import Action, Moment
from tests.chaos.outcome import Difference
from tests.chaos.trial import OUTAGE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from lading_client.model import Failure
    from tests.chaos.trial import Trial

CHUNKS = 20

_IN_CHUNK = (
    Moment.BEFORE_CLAIM,
    Moment.AFTER_CLAIM,
    Moment.REJECTS,
    Moment.BEFORE_COMMIT,
    Moment.AFTER_COMMIT,
)
IN_CHUNK: Mapping[str, Sequence[Moment]] = {
    "sqlite": _IN_CHUNK,
    "postgres": (*_IN_CHUNK, Moment.KEYS),
    "duckdb": _IN_CHUNK,
}
"""The life of a chunk, for each kind of database."""
IN_RECOVERY: Mapping[Moment, int] = {
    Moment.NOTED: 3,
    Moment.ORPHANED: 0,
    Moment.RECOVERED: 0,
    Moment.BEGIN: 1,
    Moment.SETTLED: 0,
}
"""The death of a daemon, then the strikes at its successors, each with the number of unharmed passes before. If the
first strike is not fatal, there is nothing to recover."""

FATAL = (Action.KILL, Action.RAISE, Action.HANG)

FORGIVEN: Mapping[Action, Set[str]] = {
    Action.KILL: OUTAGE,
    Action.RAISE: frozenset({"INTERNAL"}),
    Action.HANG: OUTAGE,
    Action.FULL: frozenset(),
    Action.STORE_FULL: frozenset(),
}
"""The allowed failure codes of a job after each kind of strike."""


async def strike_chunk(
    trial: Trial, moment: Moment, action: Action, *, passing: int = 4, packed: bool = False
) -> list[Failure]:
    """Strike once in the middle of a job. Returns its failures. Raises AssertionError if its outcome differs.

    ``packed``: its file is compressed.
    """
    undisturbed = await trial.undisturbed(CHUNKS)
    trial.failpoints.disarm()
    trial.failpoints.arm(moment, action, passing=passing)
    run = await trial.begin(CHUNKS, packed=packed)
    outcome = await trial.finish(run, forgiven=FORGIVEN[action])
    assert [(strike.moment, strike.action) for strike in trial.failpoints.strikes()] == [(moment, action)]
    assert not (difference := Difference.between(undisturbed, outcome)), f"{moment}, {action}: {difference}"
    return run.failures


async def strike_recovery(trial: Trial, action: Action) -> None:
    """Kill a daemon, and strike at each step of the recovery. Each strike must be recovered from in turn."""
    undisturbed = await trial.undisturbed(CHUNKS)
    trial.failpoints.disarm()
    for moment, passing in IN_RECOVERY.items():
        trial.failpoints.arm(moment, Action.KILL if moment is Moment.NOTED else action, passing=passing)
    run = await trial.begin(CHUNKS)
    outcome = await trial.finish(run, forgiven=FORGIVEN[action])
    assert {strike.moment for strike in trial.failpoints.strikes()} == set(IN_RECOVERY)
    assert not (difference := Difference.between(undisturbed, outcome)), f"recovery, {action}: {difference}"
