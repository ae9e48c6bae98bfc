"""Breaks connections while a transaction is committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.outcome import Difference
from tests.chaos.striking import CHUNKS
from tests.chaos.wire import Cut, Wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.trial import Trial
    from tests.harness.postgres import PostgresProcess


@pytest.mark.parametrize("cut", Cut)
async def test_a_connection_that_is_cut_during_commit(
    trials: Callable[[str], Trial], home: Path, server: PostgresProcess, cut: Cut
) -> None:
    trial = trials("postgres")
    trial.failpoints.disarm()
    undisturbed = await trial.undisturbed(CHUNKS)
    async with Wire(home / "wire", server.socket, cut, cuts=3) as wire:
        run = await trial.begin(CHUNKS, connection="wire")
        outcome = await trial.finish(run, forgiven=frozenset())
    assert wire.left == 0
    assert not (difference := Difference.between(undisturbed, outcome)), difference
