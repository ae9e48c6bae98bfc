"""Ends worker processes that have been idle for a while. Together with the forkserver they take more memory than the
daemon."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ladingd.run.workers.forkserver import FORKSERVER

if TYPE_CHECKING:
    from ladingd.run.workers.pool import Workers


class IdleReaper:
    """Ends idle workers and the forkserver. The next call starts them again, which takes half a second."""

    def __init__(self, *pools: Workers, after: float) -> None:
        """``after``: seconds without work."""
        self._pools = pools
        self._after = after

    async def run(self) -> None:
        """Check periodically, until cancelled."""
        while True:
            await asyncio.sleep(self._after / 2)
            if all([await pool.rest(self._after) for pool in self._pools]):
                await asyncio.to_thread(FORKSERVER.end)
