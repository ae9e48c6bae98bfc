"""The leftovers of deleted and cancelled jobs, until they are cleared away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.core.maintenance import Discard, DiscardStore
from ladingd.store import leftovers

if TYPE_CHECKING:
    from collections.abc import Set

    from ladingd.store.sqlite.database import Database


class SqlDiscardStore(DiscardStore):
    """Each method is one function of ``leftovers`` in one transaction. Writes wait for disk space."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pending(self) -> tuple[Discard, ...]:
        return await self._database.read(leftovers.pending)

    async def done(self, discard: Discard) -> None:
        await self._database.write_patiently(leftovers.done, discard)

    async def known(self) -> Set[str]:
        return await self._database.read(leftovers.known)
