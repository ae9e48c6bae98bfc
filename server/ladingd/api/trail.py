"""Writes the audit trail: who did what, and with which outcome."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ladingd.core.access import Deed
    from ladingd.core.ports import AuditStore

_log = logging.getLogger(__name__)

REFUSED = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})
"""These outcomes are recorded for every method."""

_A_MINUTE, _HOSTS = 20, 1_000
_MOST_WAITING = 10_000
"""The most deeds that may wait for the store. Further deeds go only to the log."""


class _UnauthenticatedCalls:
    """Counts the unauthenticated calls of the current minute."""

    def __init__(self) -> None:
        self._minute = 0
        self._calls: Counter[tuple[str, str]] = Counter()

    def counts(self, deed: Deed) -> bool:
        """Whether a call is among the first of its method and host in this minute, and so gets an entry."""
        minute = int(deed.time.timestamp()) // 60
        if minute != self._minute:
            self._minute = minute
            self._calls.clear()
        host = deed.peer.rpartition(":")[0] if len(self._calls) < _HOSTS else "any"
        self._calls[deed.method, host] += 1
        return self._calls[deed.method, host] <= _A_MINUTE


class Trail:
    """Writes deeds to the store. Deeds that arrive during a write share the next transaction."""

    def __init__(self, store: AuditStore) -> None:
        self._store = store
        self._waiting: list[tuple[Deed, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._unauthenticated = _UnauthenticatedCalls()

    def note(self, deed: Deed, reason: str = "") -> Awaitable[None]:
        """Write a deed, even if nobody awaits the result. The result is done when the deed is durable or logged as
        lost.

        ``reason`` goes only to the log. Only some unauthenticated calls a minute are recorded: anybody can make them.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if deed.outcome == "UNAUTHENTICATED" and not self._unauthenticated.counts(deed):
            written.set_result(None)
            return written
        _log.log(
            logging.WARNING if deed.outcome in REFUSED else logging.INFO,
            "%s by %r (%s) from %s: %s %s%s",
            deed.method,
            deed.principal,
            deed.role or "no role",
            deed.peer,
            deed.outcome,
            # It is the caller's text and may contain line ends.
            ascii(deed.resource),
            f", {reason!a}" if reason else "",
        )
        if len(self._waiting) >= _MOST_WAITING:
            _log.error("this entry is not in the audit trail, %d are waiting to be written: %r", _MOST_WAITING, deed)
            written.set_result(None)
            return written
        self._waiting.append((deed, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="audit")
        return asyncio.shield(written)

    async def close(self) -> None:
        """Wait until everything is written."""
        if self._writer is not None:
            await self._writer

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            deeds = [deed for deed, _ in batch]
            try:
                await self._store.add(deeds)
            except Exception:
                # The calls are over and cannot be undone.
                _log.exception("these entries are not in the audit trail: %r", deeds)
            for _, written in batch:
                if not written.done():
                    written.set_result(None)
