"""Tokens in the store's file."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, insert, select, update

from ladingd.core.access import Token
from ladingd.core.clock import utc_now
from ladingd.core.ports import TokenStore
from ladingd.store.tables import tokens

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Connection

    from ladingd.store.sqlite.database import Database

_COLUMNS = tuple(column for column in tokens.c if column.name != "sequence")

_BY_ID = select(*_COLUMNS).where(tokens.c.id == bindparam("wanted"))
"""The token with an id."""

_UNREVOKED = select(*_COLUMNS).where(tokens.c.name == bindparam("wanted"), tokens.c.revoke_time.is_(None))
"""The tokens of a name that are not revoked. Some may have expired."""

_ALL = select(*_COLUMNS).order_by(tokens.c.sequence)
"""All tokens, the oldest first."""

_REVOKE = (
    update(tokens)
    .where(tokens.c.name == bindparam("wanted"), tokens.c.revoke_time.is_(None))
    .values(revoke_time=bindparam("now"))
)
"""Revoke the tokens of a name."""


class SqlTokenStore(TokenStore):
    """Each method is one function of this module in one transaction. Every method may raise StoreUnusable."""

    def __init__(self, database: Database, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now

    async def add(self, token: Token) -> bool:
        return await self._database.write(_add, token, self._now())

    async def get(self, token_id: str) -> Token | None:
        return await self._database.read(_get, token_id)

    async def list(self) -> tuple[Token, ...]:
        return await self._database.read(_list)

    async def revoke(self, name: str) -> bool:
        return await self._database.write(_revoke, name, self._now())


def _add(connection: Connection, token: Token, now: datetime) -> bool:
    namesakes = [Token(**row._mapping) for row in connection.execute(_UNREVOKED, {"wanted": token.name})]
    if any(one.in_force(now) for one in namesakes):
        return False
    connection.execute(insert(tokens), asdict(token))
    return True


def _get(connection: Connection, token_id: str) -> Token | None:
    row = connection.execute(_BY_ID, {"wanted": token_id}).one_or_none()
    return None if row is None else Token(**row._mapping)


def _list(connection: Connection) -> tuple[Token, ...]:
    return tuple(Token(**row._mapping) for row in connection.execute(_ALL))


def _revoke(connection: Connection, name: str, now: datetime) -> bool:
    return connection.execute(_REVOKE, {"wanted": name, "now": now}).rowcount > 0
