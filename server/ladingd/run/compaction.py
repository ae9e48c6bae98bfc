"""Forgets the oldest changes, so that the store does not grow for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ladingd.core.ports import JobStore

KEEP = 100_000
"""How many of the latest changes a watch can go on after."""
PAUSE = 600.0
"""How many seconds pass between two looks at them."""


class Compaction:
    """A watch that wants to go on further back is told so and begins with a snapshot."""

    def __init__(self, store: JobStore, *, keep: int = KEEP, pause: float = PAUSE) -> None:
        self._store = store
        self._keep = keep
        self._pause = pause

    async def run(self) -> None:
        """Until it is cancelled."""
        gone = 0
        while True:
            before, gone = gone, await self._store.compact(keep=self._keep)
            # It forgets some at a time, and lets others have the store in between.
            await asyncio.sleep(self._pause if gone == before else 0.1)
