"""The events of watches as the bytes of messages, made once for all watchers."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from ladingd.api.convert import watch_message
from ladingd.run.watch import KEPT, WatchKind

if TYPE_CHECKING:
    from ladingd.run.watch import WatchEvent

_LISTED = 2_000
_OF_CHANGES = frozenset({WatchKind.CHANGED, WatchKind.DELETED})


class Shown:
    """As many of the latest changes as the watch itself holds. To convert one takes as long as to send it."""

    def __init__(self) -> None:
        self._messages: OrderedDict[int, bytes] = OrderedDict()
        self._listed: dict[int, tuple[WatchEvent, bytes]] = {}
        self._revision = 0

    def message(self, event: WatchEvent) -> bytes:
        """The event as it is sent."""
        if event.kind is WatchKind.SNAPSHOT:
            return self._of_snapshot(event)
        if event.kind not in _OF_CHANGES:
            return watch_message(event).SerializeToString()
        known = self._messages.get(event.revision)
        if known is None:
            known = self._messages[event.revision] = watch_message(event).SerializeToString()
            if len(self._messages) > KEPT:
                self._messages.popitem(last=False)
        return known

    def _of_snapshot(self, event: WatchEvent) -> bytes:
        """Watchers that come at the same time are shown the same jobs."""
        if event.revision != self._revision or len(self._listed) >= _LISTED:
            self._listed.clear()
            self._revision = event.revision
        known = self._listed.get(id(event.job))
        if known is None or known[0].job is not event.job:
            known = self._listed[id(event.job)] = event, watch_message(event).SerializeToString()
        return known[1]
