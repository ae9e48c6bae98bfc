"""Strikes at each named moment. ``python -m tests.chaos --failpoints`` strikes in every way at each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.failpoint import VARIABLE, Action, Failpoint, Moment, Side, install
from tests.chaos.striking import IN_CHUNK, strike_chunk, strike_recovery

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


@pytest.mark.parametrize(
    ("moment", "passing"), [(Moment.SPOOLED, 0), (Moment.AFTER_CLAIM, 4), (Moment.AFTER_COMMIT, 4)]
)
async def test_a_worker_that_is_killed_while_it_reads_a_compressed_file(
    trial: Trial, moment: Moment, passing: int
) -> None:
    assert await strike_chunk(trial, moment, Action.KILL, passing=passing, packed=True) == []


@pytest.mark.parametrize("moment", [Moment.AFTER_CLAIM, Moment.AFTER_COMMIT])
async def test_a_defect_in_a_worker(trial: Trial, moment: Moment) -> None:
    (failure,) = await strike_chunk(trial, moment, Action.RAISE)
    assert failure.code == "INTERNAL"


@pytest.mark.parametrize("moment", [Moment.BEFORE_COMMIT])
async def test_a_worker_that_hangs_and_is_killed_by_hand(trial: Trial, moment: Moment) -> None:
    assert await strike_chunk(trial, moment, Action.HANG) == []


async def test_a_recovery_that_is_killed_at_every_step(trial: Trial) -> None:
    await strike_recovery(trial, Action.KILL)


def test_a_failpoint_whose_place_is_gone_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    gone = Failpoint(moment=Moment.BEGIN, side=Side.BEFORE, place="ladingd.core.state:never_was")
    with pytest.raises(LookupError, match="never_was is gone"):
        install([gone])
