"""The change feed reports each change once and in order, also to late observers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ladingd.core.state import Event
from ladingd.run.watch.change_feed import ChangeFeed

if TYPE_CHECKING:
    from ladingd.core.job import Change
    from tests.unit.run.conftest import Rig


async def test_changes_are_told_once_and_in_order_also_those_at_the_end(rig: Rig) -> None:
    told: list[Change] = []
    await rig.queued(1)
    change_feed = ChangeFeed(rig.store, rig.notifier, [told.append])
    await change_feed.begin()
    running = asyncio.create_task(change_feed.run())
    await rig.command("job1", Event.PAUSE)
    while not told:  # noqa: ASYNC110 - pytest's own deadline ends it
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    await rig.command("job1", Event.START)
    await rig.command("job1", Event.CANCEL)
    await change_feed.catch_up()
    await change_feed.catch_up()
    assert [change.cause for change in told] == [Event.PAUSE, Event.START, Event.CANCEL]
    assert [change.revision for change in told] == [3, 4, 5]


async def test_what_was_forgotten_meanwhile_is_said_and_the_rest_told(rig: Rig, caplog) -> None:  # type: ignore[no-untyped-def]
    told: list[Change] = []
    change_feed = ChangeFeed(rig.store, rig.notifier, [told.append])
    await rig.queued(1)
    for command in (Event.PAUSE, Event.START, Event.CANCEL):
        await rig.store.command("job1", command)
    assert await rig.store.compact(keep=2) == 3
    await change_feed.catch_up()
    assert [change.revision for change in told] == [4, 5]
    assert "the changes from revision 1 to 3 were deleted before they were logged" in caplog.text
