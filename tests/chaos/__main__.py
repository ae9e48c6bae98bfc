"""The long form: ``python -m tests.chaos --kills 200``, ``--sigterms 500`` or ``--failpoints``."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.data.files.compression import CODECS
from ladingd.data.formats.registry import FORMATS
from tests.chaos.changes import Change
from tests.chaos.database import DuckdbFile, PostgresServer, SqliteFile
from tests.chaos.forms import CSV, Form
from tests.chaos.killing import kill_at_random
from tests.chaos.outcome import Difference
from tests.chaos.stopping import stop_at_random
from tests.chaos.striking import FATAL, HOOKS, IN_CHUNK, strike_chunk, strike_columns, strike_hook, strike_recovery
from tests.chaos.trial import Trial
from tests.harness.postgres import PostgresProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lading_client.model import State

KINDS = ("sqlite", "postgres", "duckdb")
CHUNKS, RECORDS_BETWEEN = 200, 2000
MERGED_CHUNKS, MERGED_RECORDS_BETWEEN = 40, 250
"""The same for records that are staged and merged."""
KILLS_OF_A_JOB = 10
STOPS_OF_A_JOB = 10
STOPS_CHUNKS = 40


def main() -> int:
    """Run the requested tests. Returns 1 if anything was lost or doubled."""
    arguments = _parse()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="lading-"))
        stack.callback(shutil.rmtree, folder)
        kinds = KINDS if arguments.target == "all" else (arguments.target,)
        form = Form(file_format=arguments.file_format, codec=arguments.compression, change=Change(arguments.change))
        # The daemon with failpoints merges small files in several slices.
        failpoints = arguments.failpoints or form.change is not Change.INSERT
        trials = [stack.enter_context(_trial(folder, kind, failpoints=failpoints)) for kind in kinds]
        if arguments.failpoints:
            return asyncio.run(_strike(trials))
        _say(f"seed {arguments.seed}")
        if arguments.sigterms:
            return asyncio.run(_stop(trials, arguments.sigterms, random.Random(arguments.seed)))
        return asyncio.run(_kill(trials, form, arguments.kills, random.Random(arguments.seed)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--kills", type=int, default=200, help="so many random deaths, in as many jobs as they take")
    what.add_argument("--sigterms", type=int, default=0, help="so many SIGTERMs at random moments instead")
    what.add_argument("--failpoints", action="store_true", help="every action at every named moment instead")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the random moments")
    parser.add_argument("--target", choices=(*KINDS, "all"), default="all")
    formats, codecs = sorted(each.name for each in FORMATS), sorted(each.name for each in CODECS)
    parser.add_argument("--file-format", choices=formats, default=CSV, help="of the file, for --kills")
    parser.add_argument("--compression", choices=codecs, default="", help="of the file, for --kills")
    parser.add_argument("--change", choices=[*Change], default=Change.INSERT, help="of the table, for --kills")
    return parser.parse_args()


@contextmanager
def _trial(folder: Path, kind: str, *, failpoints: bool) -> Iterator[Trial]:
    home = folder / kind
    home.mkdir()
    with ExitStack() as stack:
        if kind == "sqlite":
            trial = Trial(home, SqliteFile(home / "target.db"), failpoints=failpoints)
        elif kind == "duckdb":
            trial = Trial(home, DuckdbFile(home / "target.duckdb"), failpoints=failpoints)
        else:
            process = PostgresProcess(home)
            stack.callback(process.clean_up)
            process.start()
            trial = Trial(home, PostgresServer(process), failpoints=failpoints)
        stack.callback(trial.clean_up)
        yield trial


async def _kill(trials: Sequence[Trial], form: Form, kills: int, chance: random.Random) -> int:
    """Kill until there were ``kills`` deaths, alternating between the kinds of databases."""
    merges = form.change is not Change.INSERT
    chunks, records = (MERGED_CHUNKS, MERGED_RECORDS_BETWEEN) if merges else (CHUNKS, RECORDS_BETWEEN)
    lost, doubled, wrong, dead = 0, 0, 0, 0
    for number, trial in enumerate(cycle(trials), start=1):
        if dead >= kills:
            break
        undisturbed = await trial.undisturbed(chunks, form)
        begin = time.monotonic()
        run = await trial.begin(chunks, form=form)
        at_most = min(KILLS_OF_A_JOB, kills - dead)
        killed = await kill_at_random(trial, run, at_most, chance, records=records)
        outcome = await trial.finish(run)
        difference = Difference.between(undisturbed, outcome)
        if merges:
            assert sorted(undisturbed.rows) == sorted(form.change.rows(chunks))
        dead += len(killed)
        lost += difference.lost.total()
        doubled += difference.doubled.total()
        wrong += bool(difference)
        deaths = ", ".join(f"{times} {victim}" for victim, times in sorted(Counter(killed).items()))
        restarts = "".join(f"; started again after {failure.code}" for failure in run.failures)
        _say(
            f"job {number:3} {form} {trial.database.name:8} {time.monotonic() - begin:5.1f} s, {len(killed):2} kills"
            f" ({deaths or 'none'}){restarts}; sha256 {outcome.digest[:12]}: {difference or 'as undisturbed'}"
        )
    _say(f"{dead} kills: {lost} lost, {doubled} doubled")
    return 1 if wrong else 0


async def _stop(trials: Sequence[Trial], sigterms: int, chance: random.Random) -> int:
    """Stop this often, alternating between the kinds of databases. Raises AssertionError for any deviation."""
    found: Counter[State] = Counter()
    told = 0
    for number, trial in enumerate(cycle(trials), start=1):
        if told >= sigterms:
            break
        begin = time.monotonic()
        at_most = min(STOPS_OF_A_JOB, sigterms - told)
        states = await stop_at_random(trial, at_most, chance, chunks=STOPS_CHUNKS, records=RECORDS_BETWEEN)
        told += at_most
        found.update(states)
        _say(
            f"round {number:3} {trial.database.name:8} {time.monotonic() - begin:5.1f} s, {told} SIGTERMs: all as told"
        )
    kept = ", ".join(f"{times} {state}" for state, times in sorted(found.items()))
    _say(f"{told} SIGTERMs; of the jobs they found, after exit 0: {kept}; every bill balances")
    return 0


async def _strike(trials: Sequence[Trial]) -> int:
    """Strike in every way at every moment. Raises AssertionError for any difference."""
    for trial in trials:
        for action in FATAL:
            for moment in IN_CHUNK[trial.database.name]:
                await strike_chunk(trial, moment, action)
                _say(f"{trial.database.name:8} {action:5} {moment}: as undisturbed")
            for hook in range(HOOKS):
                await strike_hook(trial, hook, action)
            await strike_columns(trial, action)
            _say(f"{trial.database.name:8} {action:5} in hooks and while columns are added: as undisturbed")
            await strike_recovery(trial, action)
            _say(f"{trial.database.name:8} {action:5} at every step of the recovery: as undisturbed")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
