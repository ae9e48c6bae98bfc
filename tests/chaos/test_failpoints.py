"""Strikes at each named moment. ``python -m tests.chaos --failpoints`` strikes in every way at each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.failpoint import VARIABLE, Action, Failpoint, Moment, Side, install
from tests.chaos.forms import FORMS, PLAIN_FORMS, Form
from tests.chaos.striking import (
    HOOKS,
    IN_CHUNK,
    strike_chunk,
    strike_columns,
    strike_daemon,
    strike_export,
    strike_form,
    strike_hook,
    strike_recovery,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.trial import Trial


@pytest.mark.parametrize(
    ("trial", "moment"),
    [(kind, moment) for kind, moments in IN_CHUNK.items() for moment in moments],
    indirect=["trial"],
)
async def test_a_worker_that_is_killed(trial: Trial, moment: Moment) -> None:
    assert await strike_chunk(trial, moment, Action.KILL) == []


@pytest.mark.parametrize("trial", ["sqlite"], indirect=True)
@pytest.mark.parametrize("form", FORMS, ids=str)
async def test_workers_that_are_killed_with_every_form_of_file(trial: Trial, form: Form) -> None:
    await strike_form(trial, form)


@pytest.mark.parametrize("trial", ["sqlite"], indirect=True)
@pytest.mark.parametrize("form", PLAIN_FORMS, ids=str)
async def test_workers_that_are_killed_in_exports_to_every_format(trial: Trial, form: Form) -> None:
    await strike_export(trial, form)


@pytest.mark.parametrize("trial", ["sqlite"], indirect=True)
async def test_a_daemon_that_is_killed_while_it_imports_every_form_of_file(trial: Trial) -> None:
    await strike_daemon(trial, FORMS)


@pytest.mark.parametrize("moment", [Moment.AFTER_CLAIM, Moment.AFTER_COMMIT])
async def test_a_defect_in_a_worker(trial: Trial, moment: Moment) -> None:
    (failure,) = await strike_chunk(trial, moment, Action.RAISE)
    assert failure.code == "INTERNAL"


@pytest.mark.parametrize("moment", [Moment.BEFORE_COMMIT])
async def test_a_worker_that_hangs_and_is_killed_by_hand(trial: Trial, moment: Moment) -> None:
    assert await strike_chunk(trial, moment, Action.HANG) == []


@pytest.mark.parametrize("trial", [*IN_CHUNK], indirect=True)
@pytest.mark.parametrize("hook", range(HOOKS))
async def test_a_worker_that_is_killed_in_a_hook(trial: Trial, hook: int) -> None:
    assert await strike_hook(trial, hook, Action.KILL) == []


@pytest.mark.parametrize("trial", [*IN_CHUNK], indirect=True)
async def test_a_worker_that_is_killed_while_it_adds_columns(trial: Trial) -> None:
    await strike_columns(trial, Action.KILL)


async def test_a_defect_in_a_hook(trial: Trial) -> None:
    failures = await strike_hook(trial, 1, Action.RAISE)
    assert {failure.code for failure in failures} == {"INTERNAL"}


async def test_a_recovery_that_is_killed_at_every_step(trial: Trial) -> None:
    await strike_recovery(trial, Action.KILL)


def test_a_failpoint_whose_place_is_gone_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    gone = Failpoint(moment=Moment.BEGIN, side=Side.BEFORE, place="ladingd.core.state:never_was")
    with pytest.raises(LookupError, match="never_was is gone"):
        install([gone])
