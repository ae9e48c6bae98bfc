"""The leftovers of deleted jobs, until they are cleared away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select, union_all
from sqlalchemy import delete as delete_from

from ladingd.core.maintenance import Discard, DiscardStore
from ladingd.store.tables import discards, jobs

if TYPE_CHECKING:
    from collections.abc import Set

    from sqlalchemy import Connection

    from ladingd.store.sqlite.database import Database

_PENDING = select(discards.c.job_id, discards.c.uid, discards.c.plan).order_by(discards.c.sequence)
"""All leftovers, the oldest first. The columns are the fields of core.maintenance.Discard."""

_DONE = delete_from(discards).where(discards.c.uid == bindparam("of_uid"))
"""Remove a leftover that is cleared away."""

_KNOWN = union_all(select(jobs.c.uid), select(discards.c.uid))
"""The uids whose files are not orphans."""


class SqlDiscardStore(DiscardStore):
    """Each method is one function of this module in one transaction. Writes wait for disk space."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pending(self) -> tuple[Discard, ...]:
        return await self._database.read(_pending)

    async def done(self, uid: str) -> None:
        await self._database.write_patiently(_done, uid)

    async def known(self) -> Set[str]:
        return await self._database.read(_known)


def _pending(connection: Connection) -> tuple[Discard, ...]:
    return tuple(Discard(**row._mapping) for row in connection.execute(_PENDING))


def _done(connection: Connection, uid: str) -> None:
    connection.execute(_DONE, {"of_uid": uid})


def _known(connection: Connection) -> Set[str]:
    return frozenset(connection.scalars(_KNOWN))
