"""The audit trail in the store's file."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, insert, select

from ladingd.core.access import AuditEntry, Deed
from ladingd.core.errors import InvalidRequest
from ladingd.core.ports import AuditStore, Page
from ladingd.store.tables import audit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from ladingd.store.sqlite.database import Database

_BEFORE = re.compile(rb"audit<([1-9][0-9]{0,17})")

_APPEND = insert(audit)
"""Append an entry."""

_NEWEST = select(audit).order_by(audit.c.sequence.desc()).limit(bindparam("at_most"))
"""The latest entries, the newest first."""

_OLDER = _NEWEST.where(audit.c.sequence < bindparam("before"))
"""The entries before a sequence number, the newest first."""


class SqlAuditStore(AuditStore):
    """Every method may raise StoreUnusable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, deeds: Sequence[Deed]) -> None:
        await self._database.write_patiently(_add, deeds)

    async def list(self, *, size: int, token: str = "") -> Page[AuditEntry]:
        return await self._database.read(_list, size, token)


def _add(connection: Connection, deeds: Sequence[Deed]) -> None:
    if deeds:
        connection.execute(_APPEND, [asdict(deed) for deed in deeds])


def _list(connection: Connection, size: int, token: str) -> Page[AuditEntry]:
    if token:
        found = connection.execute(_OLDER, {"before": _sequence_of(token), "at_most": size + 1}).all()
    else:
        found = connection.execute(_NEWEST, {"at_most": size + 1}).all()
    shown = found[:size]
    return Page(
        items=tuple(_entry(**row._mapping) for row in shown),
        next_token=_token_of(shown[-1].sequence) if len(found) > size else "",
    )


def _entry(sequence: int, **fields: object) -> AuditEntry:
    return AuditEntry(sequence=sequence, deed=Deed(**fields))  # type: ignore[arg-type]


def _token_of(sequence: int) -> str:
    return base64.urlsafe_b64encode(b"audit<%d" % sequence).decode()


def _sequence_of(token: str) -> int:
    try:
        match = _BEFORE.fullmatch(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise _foreign() from error
    if match is None:
        raise _foreign()
    return int(match[1])


def _foreign() -> InvalidRequest:
    return InvalidRequest(
        "page_token", "was not issued by a list of audit entries; leave it out to start from the beginning"
    )
