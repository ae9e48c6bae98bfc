"""The events of watches as encoded messages, encoded once for all watchers."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from ladingd.api.messages.job import watch_message, withdrawn_message
from ladingd.run.watch.events import WatchKind
from ladingd.run.watch.snapshot import LISTED_SECONDS

if TYPE_CHECKING:
    from ladingd.run.watch.events import WatchEvent

KEPT_BYTES = 2 << 20
"""The most bytes that messages of changes may take, and also the most that a list may take."""
_MESSAGE_BYTES = 200
"""The memory overhead of a message, in bytes."""
_OF_CHANGES = frozenset({WatchKind.CHANGED, WatchKind.DELETED})


class EncodedEvents:
    """Caches the latest changes, as many as fit. Encoding a change takes as long as sending it."""

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._messages: OrderedDict[int, bytes] = OrderedDict()
        self._listed: dict[int, tuple[WatchEvent, bytes]] = {}
        self._revision = 0
        self._bytes = 0
        self._listed_bytes = 0

    @property
    def size(self) -> int:
        """The bytes of memory that the cache takes, roughly."""
        return self._bytes + self._listed_bytes

    def message(self, event: WatchEvent) -> bytes:
        """The event as an encoded message."""
        if event.kind is WatchKind.SNAPSHOT:
            return self._of_snapshot(event)
        if event.kind is WatchKind.WITHDRAWN and event.job is not None:
            return withdrawn_message(event.job, event.revision, event.time).SerializeToString()
        if event.kind not in _OF_CHANGES:
            return watch_message(event).SerializeToString()
        known = self._messages.get(event.revision)
        if known is None:
            known = self._messages[event.revision] = watch_message(event).SerializeToString()
            self._bytes += len(known) + _MESSAGE_BYTES
            while self._bytes > self._most_bytes:
                self._bytes -= len(self._messages.popitem(last=False)[1]) + _MESSAGE_BYTES
        return known

    def _of_snapshot(self, event: WatchEvent) -> bytes:
        """Watchers that connect at the same time get the same list of jobs."""
        if event.revision != self._revision or self._listed_bytes > self._most_bytes:
            self._forget_list()
            self._revision = event.revision
        known = self._listed.get(id(event.job))
        if known is None or known[0].job is not event.job:
            if not self._listed:
                # The watch has dropped its list by then. Without this the jobs of a list would stay in memory.
                asyncio.get_running_loop().call_later(2 * LISTED_SECONDS, self._forget_list)
            known = self._listed[id(event.job)] = event, watch_message(event).SerializeToString()
            self._listed_bytes += len(known[1]) + _MESSAGE_BYTES
        return known[1]

    def _forget_list(self) -> None:
        self._listed.clear()
        self._listed_bytes = 0
