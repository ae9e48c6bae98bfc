"""Passes every change of a job, once and in order, to the log and the metrics."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ladingd.core.errors import RevisionCompacted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ladingd.core.job import Change
    from ladingd.core.ports import ChangeStore
    from ladingd.run.watch.notifier import Notifier

BATCH = 500
GATHERING = 0.05
"""Seconds between the bell and the read: changes come in bursts, and one read gets them all."""

log = logging.getLogger(__name__)


class ChangeFeed:
    """A cursor over the stored changes, like a watcher, so it misses none.

    Each function in ``tell`` is called with every change, on the loop, and must not raise.
    """

    def __init__(self, store: ChangeStore, notifier: Notifier, tell: Sequence[Callable[[Change], None]]) -> None:
        self._store = store
        self._notifier = notifier
        self._tell = tell
        self._told = 0

    async def begin(self) -> None:
        """Start with the changes after now."""
        self._told = await self._store.revision()

    async def run(self) -> None:
        """Pass on changes as they come, until cancelled. ``catch_up`` passes on the rest."""
        while True:
            rung = self._notifier.listen()
            await self.catch_up()
            await rung.wait()
            await asyncio.sleep(GATHERING)

    async def catch_up(self) -> None:
        """Pass on all changes up to now."""
        while changes := await self._next():
            for change in changes:
                self._told = change.revision
                for tell in self._tell:
                    tell(change)

    async def _next(self) -> tuple[Change, ...]:
        try:
            return await self._store.changes(self._told, limit=BATCH)
        except RevisionCompacted as gone:
            log.warning(
                "the changes from revision %d to %d were deleted before they were logged",
                self._told + 1,
                gone.oldest - 1,
            )
            self._told = gone.oldest - 1
            return await self._store.changes(self._told, limit=BATCH)
