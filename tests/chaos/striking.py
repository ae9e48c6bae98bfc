"""Strikes jobs at named moments."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tests.chaos.failpoint import Action, Moment
from tests.chaos.outcome import Difference
from tests.chaos.records import CHUNK_RECORDS, NAMES
from tests.chaos.trial import OUTAGE
from tests.harness.waiting import until_async

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from lading_client.model import Failure
    from tests.chaos.forms import Form
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

IN_SPOOL: Mapping[Moment, int] = {Moment.SPOOLING: 0, Moment.SPOOLED: 0}
"""While a compressed file is unpacked, each with the number of unharmed passes before."""
IN_FORM: Mapping[Moment, int] = {Moment.AFTER_CLAIM: 2, Moment.AFTER_COMMIT: 1}
"""The same while the chunks of a file in any form are imported."""
IN_EXPORT: Mapping[Moment, int] = {Moment.PUT: 2, Moment.ENTERED: 3, Moment.COMPLETE: 0, Moment.PUBLISHED: 0}
"""In an export."""
IN_HOOK = (Moment.HOOK_RUN, Moment.HOOK_COMMITTED)
"""In a hook."""
HOOKS = 4
"""The hooks of a job: half of them run before it, and half of them after it."""
PROVENANCE = 4
"""The columns of provenance."""
DEATHS, BETWEEN = 2, 8
"""How often the daemon is killed while all forms are imported, and the unharmed passes before each time."""

FATAL = (Action.KILL, Action.RAISE, Action.HANG)

FORGIVEN: Mapping[Action, Set[str]] = {
    Action.KILL: OUTAGE,
    Action.RAISE: frozenset({"INTERNAL"}),
    Action.HANG: OUTAGE,
    Action.FULL: frozenset(),
    Action.STORE_FULL: frozenset(),
}
"""The allowed failure codes of a job after each kind of strike."""


async def strike_chunk(trial: Trial, moment: Moment, action: Action, *, passing: int = 4) -> list[Failure]:
    """Strike once in the middle of a job. Returns its failures. Raises AssertionError if its outcome differs."""
    undisturbed = await trial.undisturbed(CHUNKS)
    trial.failpoints.disarm()
    trial.failpoints.arm(moment, action, passing=passing)
    run = await trial.begin(CHUNKS)
    outcome = await trial.finish(run, forgiven=FORGIVEN[action])
    assert [(strike.moment, strike.action) for strike in trial.failpoints.strikes()] == [(moment, action)]
    assert not (difference := Difference.between(undisturbed, outcome)), f"{moment}, {action}: {difference}"
    return run.failures


async def strike_hook(trial: Trial, hook: int, action: Action) -> list[Failure]:
    """Strike twice in one of the hooks of a job, counted from 0. Returns its failures. Raises AssertionError if a hook
    has not run once, or if the outcome differs."""
    undisturbed = await trial.undisturbed(CHUNKS)
    marks = trial.make_marks()
    trial.failpoints.disarm()
    for moment in IN_HOOK:
        trial.failpoints.arm(moment, action, passing=hook)
    sql = [f"INSERT INTO {marks} VALUES ({number})" for number in range(HOOKS)]
    run = await trial.begin(CHUNKS, before=tuple(sql[: HOOKS // 2]), after=tuple(sql[HOOKS // 2 :]))
    outcome = await trial.finish(run, forgiven=FORGIVEN[action])
    assert {strike.moment for strike in trial.failpoints.strikes()} == set(IN_HOOK)
    assert sorted(trial.database.rows(marks)) == [(number,) for number in range(HOOKS)]
    assert not (difference := Difference.between(undisturbed, outcome)), f"hook {hook}, {action}: {difference}"
    return run.failures


async def strike_columns(trial: Trial, action: Action) -> None:
    """Strike while columns are added to the table, and before the daemon knows it. Raises AssertionError if the outcome
    differs in more than the new columns."""
    undisturbed = await trial.undisturbed(CHUNKS)
    moments = (Moment.COLUMNS, Moment.COLUMNS_ADDED)
    trial.failpoints.disarm()
    for moment in moments:
        trial.failpoints.arm(moment, action)
    run = await trial.begin(CHUNKS, provenance=True)
    outcome = await trial.finish(run, forgiven=FORGIVEN[action])
    assert {strike.moment for strike in trial.failpoints.strikes()} == set(moments)
    assert {len(row) for row in trial.database.rows(run.table)} == {len(NAMES) + PROVENANCE}
    outcome = replace(outcome, rows=Counter(row[: len(NAMES)] for row in outcome.rows.elements()))
    assert not (difference := Difference.between(undisturbed, outcome)), f"columns, {action}: {difference}"


async def strike_form(trial: Trial, form: Form) -> None:
    """Kill workers at several moments of one job. Raises AssertionError if its outcome differs."""
    undisturbed = await trial.undisturbed(CHUNKS, form)
    assert undisturbed.rejects.total() == form.refused(CHUNKS)
    assert undisturbed.rows.total() == CHUNKS * CHUNK_RECORDS - form.refused(CHUNKS) + 1
    trial.failpoints.disarm()
    moments = {**(IN_SPOOL if form.codec else {}), **IN_FORM}
    for moment, passing in moments.items():
        trial.failpoints.arm(moment, Action.KILL, passing=passing)
    outcome = await trial.finish(await trial.begin(CHUNKS, form=form))
    assert {strike.moment for strike in trial.failpoints.strikes()} == set(moments)
    assert not (difference := Difference.between(undisturbed, outcome)), f"{form}: {difference}"


async def strike_export(trial: Trial, form: Form) -> None:
    """Kill workers at every moment of an export. Raises AssertionError if its file has other records than the table."""
    table = await trial.undisturbed_table(CHUNKS)
    trial.failpoints.disarm()
    for moment, passing in IN_EXPORT.items():
        trial.failpoints.arm(moment, Action.KILL, passing=passing)
    run, path = await trial.begin_export(table, form)
    await trial.finish(run)
    assert {strike.moment for strike in trial.failpoints.strikes()} == set(IN_EXPORT)
    assert Counter(await trial.imported(path, form)) == Counter(trial.database.rows(table))
    assert [each.name for each in path.parent.glob(f".{path.name}*")] == []


async def strike_daemon(trial: Trial, forms: Sequence[Form]) -> None:
    """Kill the daemon while it imports files in all these forms. Raises AssertionError if an outcome differs."""
    undisturbed = {form: await trial.undisturbed(CHUNKS, form) for form in forms}
    trial.failpoints.disarm()
    runs = {form: await trial.begin(CHUNKS, form=form) for form in forms}
    for _ in range(DEATHS):
        before = len(trial.endings)
        trial.failpoints.arm(Moment.NOTED, Action.KILL, passing=BETWEEN)
        await until_async(partial(_has_died, trial, before), "the daemon is struck")
    for form, run in runs.items():
        difference = Difference.between(undisturbed[form], await trial.finish(run))
        assert not difference, f"{form}: {difference}"
    assert len(trial.failpoints.strikes()) == DEATHS


async def _has_died(trial: Trial, before: int) -> bool:
    """Whether a daemon has died since then. If so, the next one serves."""
    await asyncio.to_thread(trial.revive)
    return len(trial.endings) > before


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
