"""Sends SIGTERM at random moments: the short form of ``python -m tests.chaos --sigterms 500``."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

import pytest

from tests.chaos.stopping import stop_at_random

if TYPE_CHECKING:
    from tests.chaos.trial import Trial

CHUNKS = 40


@pytest.mark.timeout(180)
async def test_stops_at_random(trial: Trial) -> None:
    seed = random.randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")  # Shown where the test fails.
    left = await stop_at_random(trial, 10, random.Random(seed), chunks=CHUNKS, records=500)
    assert left.total() == 10
