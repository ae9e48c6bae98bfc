"""What the service manager hears of a daemon that serves: that it is alive, and what it is doing."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ladingd.core.errors import DiskFull, StoreUnusable
from ladingd.core.state import ACTIVE, State

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from ladingd.core.ports import JobStore
    from ladingd.host.sd_notify import SdNotify

log = logging.getLogger(__name__)

STATUS_SECONDS = 1.0
"""The status is told this often at most, and only when it is another one."""
LOOK_SECONDS = 5.0
"""Watchers come and go without announcement: so often they are counted."""
DRAIN_SECONDS = 1.0
"""While chunks in flight come to their end the manager is asked for patience this often, for ten times as long."""


class Supervision:
    """Each method is a task of its own, until it is cancelled. ``watchers`` says how many there are now."""

    def __init__(
        self,
        sd_notify: SdNotify,
        *,
        jobs: JobStore,
        listen: Callable[[], asyncio.Event],
        watchers: Callable[[], int],
        waits: Callable[[], str] = str,
    ) -> None:
        """``listen`` returns an event that the next change of any job sets; ``waits`` says what the store waits for,
        and is empty if it does not wait."""
        self._sd_notify = sd_notify
        self._jobs = jobs
        self._listen = listen
        self._watchers = watchers
        self._waits = waits
        self._told = ""
        self._trouble = ""

    async def live(self) -> None:
        """Show the watchdog that the event loop turns and that the store takes what is written, or waits for a lock or
        for room: where either hangs, nothing is shown."""
        if self._sd_notify.watchdog_seconds is None:
            return
        while True:
            try:
                await self._jobs.written()
                self._sd_notify.alive()
            except (StoreUnusable, DiskFull) as error:
                log.warning("no sign of life for the watchdog: %s", error)
            await asyncio.sleep(self._sd_notify.watchdog_seconds / 3)

    async def tell(self) -> None:
        """Tell what the daemon is doing."""
        while self._sd_notify.listened_to:
            changed = self._listen()
            try:
                if (status := await self.status()) != self._told:
                    self._sd_notify.status(status)
                    self._told = status
            except (StoreUnusable, DiskFull) as error:
                log.warning("no status for the service manager: %s", error)
            await asyncio.sleep(STATUS_SECONDS)
            try:
                async with asyncio.timeout(LOOK_SECONDS - STATUS_SECONDS):
                    await changed.wait()
            except TimeoutError:
                continue

    def reloaded(self, message: str, *, well: bool) -> None:
        """What a reload came to has just been told. One that went wrong is told of until another one goes well."""
        self._told = message
        self._trouble = "" if well else "; the last reload failed, the log says why"

    async def drain(self) -> None:
        """Ask for patience while chunks in flight come to their end. Whoever waits for them has a deadline."""
        while self._sd_notify.listened_to:
            self._sd_notify.extend(DRAIN_SECONDS * 10)
            await asyncio.sleep(DRAIN_SECONDS)

    async def status(self) -> str:
        """What the daemon is doing, in a line."""
        if waits := self._waits():
            return f"waiting: {waits}"
        numbers = await self._jobs.numbers()
        running = sum(numbers.get(state, 0) for state in ACTIVE)
        parts = [_counted(running, "job", " running"), f"{numbers.get(State.QUEUED, 0)} waiting"]
        return ", ".join([*parts, _counted(self._watchers(), "watcher")]) + self._trouble


@asynccontextmanager
async def awaited_start(sd_notify: SdNotify, waits: Callable[[], str]) -> AsyncGenerator[None, None]:
    """While the block waits for the store, tell the manager so and ask it for patience."""

    async def tell() -> None:
        while True:
            if said := waits():
                sd_notify.status(f"starting, waiting: {said}")
                sd_notify.extend(DRAIN_SECONDS * 10)
            await asyncio.sleep(DRAIN_SECONDS)

    telling = asyncio.create_task(tell(), name="start")
    try:
        yield
    finally:
        telling.cancel()


def _counted(number: int, what: str, doing: str = "") -> str:
    return f"{number} {what}{'' if number == 1 else 's'}{doing}"
