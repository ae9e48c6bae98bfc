"""Tells the service manager that a serving daemon is alive, and what it is doing."""

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
"""Seconds between two status messages, at least. A message is sent only if the status has changed."""
LOOK_SECONDS = 5.0
"""Seconds between two counts of the watchers, whose coming and going raises no event."""
DRAIN_SECONDS = 1.0
"""Seconds between two requests for more time while chunks in flight finish. Each request asks for ten times as long."""


class Supervision:
    """Each method runs as a task of its own until it is cancelled. ``watchers`` returns their present number."""

    def __init__(
        self,
        sd_notify: SdNotify,
        *,
        jobs: JobStore,
        listen: Callable[[], asyncio.Event],
        watchers: Callable[[], int],
        waits: Callable[[], str] = str,
    ) -> None:
        """``listen`` returns an event that the next change of any job sets. ``waits`` returns what the store waits for,
        or nothing if it does not wait."""
        self._sd_notify = sd_notify
        self._jobs = jobs
        self._listen = listen
        self._watchers = watchers
        self._waits = waits
        self._told = ""
        self._trouble = ""

    async def live(self) -> None:
        """Give the watchdog a sign of life while the event loop runs and the store works, or waits for a lock or for
        disk space. If the event loop or the store hangs, there is no sign."""
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
        """The result of a reload was just sent. A failed reload stays in the status until a reload succeeds."""
        self._told = message
        self._trouble = "" if well else "; the last reload failed: the log says why"

    async def drain(self) -> None:
        """Ask for more time while chunks in flight finish. The caller limits how long that may take."""
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
    """While the block waits for the store, say so to the manager and ask it for more time."""

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
