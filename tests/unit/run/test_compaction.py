"""The oldest changes are forgotten, a few at a time and never the latest."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import RevisionCompacted
from ladingd.core.state import Event
from ladingd.run.compaction import Compaction

if TYPE_CHECKING:
    from tests.unit.run.conftest import Rig


async def test_a_watch_from_before_is_told_so(rig: Rig) -> None:
    job = await rig.queued(1)
    for _ in range(3):
        await rig.command(job.id, Event.PAUSE)
        await rig.command(job.id, Event.START)
    task = asyncio.create_task(Compaction(rig.store, keep=3).run())
    async with asyncio.timeout(10):
        while True:
            try:
                await rig.store.changes(4, limit=1)
            except RevisionCompacted as compacted:
                oldest = compacted.oldest
                break
            await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert oldest == 6
    assert [change.revision for change in await rig.store.changes(5, limit=10)] == [6, 7, 8]
    with pytest.raises(RevisionCompacted):
        await anext(rig.watch.jobs(revision=4))
