"""The contract of stores for tokens and the audit trail."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from ladingd.core.access import Deed, Role, Token, issue
from ladingd.core.errors import InvalidRequest
from ladingd.store.audit import SqlAuditStore
from ladingd.store.sqlite.database import Database
from ladingd.store.tokens import SqlTokenStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ladingd.core.ports import AuditStore, TokenStore

NOW = datetime(2026, 5, 1, 12, 30, 1, 5, tzinfo=UTC)


class SqlitePlace:
    """One SQLite file with both stores."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store.db"
        self.now = NOW
        self.opened: list[Database] = []

    async def open(self) -> tuple[TokenStore, AuditStore]:
        database = Database(self.path)
        await database.open()
        self.opened.append(database)
        return SqlTokenStore(database, lambda: self.now), SqlAuditStore(database)


@pytest.fixture(params=[SqlitePlace])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlitePlace]:
    place = request.param(tmp_path)
    yield place
    for database in place.opened:
        await database.close()


@pytest.fixture
async def tokens(place: SqlitePlace) -> TokenStore:
    return (await place.open())[0]


@pytest.fixture
async def audit(place: SqlitePlace) -> AuditStore:
    return (await place.open())[1]


def a_token(name: str = "robot", **more: object) -> Token:
    return issue(name, Role.SUBMITTER, NOW, connections=("crm", "ü"), roots=("in",), **more)[0]  # type: ignore[arg-type]


def deeds(number: int) -> list[Deed]:
    return [
        Deed(
            time=NOW + timedelta(seconds=index),
            principal="ro'bot\n",
            role="operator",
            peer="ipv4:127.0.0.1:1",
            method="lading.v1.JobService/StartJob",
            resource=f"jobs/{index}",
            outcome="OK",
        )
        for index in range(number)
    ]


# Tokens


async def test_a_token_comes_back_whole(tokens: TokenStore) -> None:
    token = a_token(expire_time=NOW + timedelta(days=90))
    assert await tokens.add(token)
    assert await tokens.get(token.id) == token
    assert await tokens.get("0" * 16) is None


async def test_one_token_of_a_name_is_in_force(place: SqlitePlace, tokens: TokenStore) -> None:
    first, second = a_token(expire_time=NOW + timedelta(hours=1)), a_token()
    assert await tokens.add(first)
    assert not await tokens.add(second)
    assert await tokens.get(second.id) is None
    assert await tokens.add(a_token("other"))
    place.now += timedelta(hours=1)
    assert await tokens.add(second), "the first has expired"
    assert [token.name for token in await tokens.list()] == ["robot", "other", "robot"]


async def test_a_revoked_token_stays_revoked_and_its_name_is_free(tokens: TokenStore) -> None:
    token, other = a_token(), a_token("other")
    assert await tokens.add(token)
    assert await tokens.add(other)
    assert await tokens.revoke("robot")
    assert not await tokens.revoke("robot")
    assert not await tokens.revoke("nobody")
    assert await tokens.get(token.id) == replace(token, revoke_time=NOW)
    again = a_token()
    assert await tokens.add(again)
    assert await tokens.list() == (replace(token, revoke_time=NOW), other, again)


async def test_another_process_takes_effect_at_once(place: SqlitePlace, tokens: TokenStore) -> None:
    elsewhere, _ = await place.open()
    token = a_token()
    await elsewhere.add(token)
    assert await tokens.get(token.id) == token
    await elsewhere.revoke("robot")
    revoked = await tokens.get(token.id)
    assert revoked is not None
    assert revoked.revoke_time == NOW


# Audit


async def test_deeds_come_back_the_newest_first(audit: AuditStore) -> None:
    assert (await audit.list(size=10)).items == ()
    written = deeds(5)
    await audit.add(written[:2])
    await audit.add([])
    await audit.add(written[2:])
    page = await audit.list(size=10)
    assert [entry.deed for entry in page.items] == written[::-1]
    assert page.next_token == ""
    numbers = [entry.sequence for entry in page.items]
    assert numbers == sorted(numbers, reverse=True)


async def test_new_deeds_shift_no_page(audit: AuditStore) -> None:
    written = deeds(5)
    await audit.add(written)
    first = await audit.list(size=2)
    await audit.add(deeds(3))
    second = await audit.list(size=2, token=first.next_token)
    third = await audit.list(size=2, token=second.next_token)
    assert [entry.deed for page in (first, second, third) for entry in page.items] == written[::-1]
    assert third.next_token == ""


@pytest.mark.parametrize("token", ["x", "am9iczwx", "YXVkaXQ8MA==", "YXVkaXQ8", "ü", "A" * 5000])
async def test_a_foreign_page_token_is_refused(audit: AuditStore, token: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await audit.list(size=2, token=token)
    assert refused.value.field == "page_token"


async def test_a_deed_that_cannot_be_stored_leaves_nothing_of_its_batch(audit: AuditStore) -> None:
    good, bad = deeds(2)
    with pytest.raises(ValueError, match="zone"):
        await audit.add([good, replace(bad, time=datetime(2026, 5, 1))])
    assert (await audit.list(size=10)).items == ()
