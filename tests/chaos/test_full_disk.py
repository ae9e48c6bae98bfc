"""A disk that is full where the daemon keeps its own files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.failpoint import Action, Moment
from tests.chaos.striking import strike_chunk

if TYPE_CHECKING:
    from tests.chaos.trial import Trial


async def test_no_room_for_rejects(trial: Trial) -> None:
    (failure,) = await strike_chunk(trial, Moment.REJECTS, Action.FULL)
    assert failure.code == "DESTINATION_REFUSED"
    assert "cannot write into its directory" in failure.message
    assert "No space left on device" in failure.message


async def test_no_room_for_the_store(trial: Trial) -> None:
    before = len(trial.endings)
    assert await strike_chunk(trial, Moment.STORE_COMMIT, Action.STORE_FULL) == []
    assert trial.endings[before:] == [1]
    said = trial.daemon.log.read_text().splitlines()
    store = trial.daemon.state_dir / "store.db"
    assert f"ladingd: the store {store} cannot be used: database or disk is full" in said
