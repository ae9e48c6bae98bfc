"""The contract of stores for owners, sharing and checks of rights."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.core.access import Principal, Role
from ladingd.core.errors import InvalidRequest, JobNotFound
from ladingd.core.job import ChangeKind
from ladingd.core.selection import EVERY, NEWEST_FIRST, Comparison, Condition, Field, Selection
from ladingd.core.state import Event
from tests.harness.listing import everything

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ladingd.core.job import Job
    from ladingd.core.ports import JobStore

ANNA = Principal(name="anna", role=Role.SUBMITTER)


@pytest.fixture
async def many(store: JobStore, new_job: Any) -> JobStore:
    """Jobs of two owners, some shared, and a job without an owner."""
    for job_id, owner, shared in (
        ("a", "anna", False),
        ("b", "ben", False),
        ("c", "ben", True),
        ("d", "", False),
        ("e", "anna", True),
        ("f", "", True),
        ("g", "anna", False),
    ):
        await store.create(new_job(job_id, owner=owner, shared=shared))
    return store


def where(field: Field, *values: str | bool, comparison: Comparison = Comparison.IS) -> Selection:
    return Selection(conditions=(Condition(field=field, comparison=comparison, values=values),))


@pytest.mark.parametrize(
    ("selection", "ids"),
    [
        (EVERY, "gfedcba"),
        (where(Field.OWNER, "anna"), "gea"),
        (where(Field.OWNER, "anna", ""), "gfeda"),
        (where(Field.OWNER, "anna", comparison=Comparison.IS_NOT), "fdcb"),
        (where(Field.SHARED, True), "fec"),
        (where(Field.SHARED, False), "gdba"),
        (ANNA.visible(EVERY), "gfeca"),
        (ANNA.visible(where(Field.OWNER, "ben")), "c"),
        (Principal(name="", role=Role.SUBMITTER).visible(EVERY), "fec"),
        (Principal(name="anna", role=Role.VIEWER).visible(EVERY), "gfedcba"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 100])
async def test_lists(many: JobStore, selection: Selection, ids: str, size: int) -> None:
    found: list[Job] = []
    token = ""
    while True:
        page = await many.list(size=size, token=token, selection=selection, order=NEWEST_FIRST)
        found += page.items
        if not (token := page.next_token):
            break
    assert "".join(job.id for job in found) == ids
    _, every = await everything(many)
    assert "".join(job.id for job in reversed(every) if selection.holds(job)) == ids


async def test_a_page_of_one_caller_is_none_of_another(many: JobStore) -> None:
    page = await many.list(size=1, selection=EVERY)
    for principal in (ANNA, replace(ANNA, name="ben")):
        with pytest.raises(InvalidRequest):
            await many.list(size=1, token=page.next_token, selection=principal.visible(EVERY))


async def test_sharing_is_a_change_of_its_own_kind(store: JobStore, new_job: Any) -> None:
    await store.create(new_job("a", owner="anna"))
    await store.edit("a", shared=True, label="x")
    assert (await store.edit("a", shared=True)).revision == 2
    await store.edit("a", label="y")
    withdrawn = await store.edit("a", shared=False, label="secret")
    kinds = [change.kind for change in await store.changes(0, limit=10)]
    assert kinds == [ChangeKind.CREATED, ChangeKind.SHARED, ChangeKind.EDITED, ChangeKind.WITHDRAWN]
    assert await store.withdrawn() == {"uid of a": withdrawn.revision}
    assert [entry.code for entry in await store.journal("a", limit=10)] == ["CREATED", "SHARED", "EDITED", "WITHDRAWN"]
    await store.delete("a")
    assert await store.withdrawn() == {"uid of a": withdrawn.revision}, "as long as the changes are kept"
    await store.compact(keep=1)
    assert await store.withdrawn() == {}


CHECKED: dict[str, Callable[[JobStore, Any], Awaitable[Any]]] = {
    "edit": lambda store, check: store.edit("a", label="x", etag="wrong", check=check),
    "delete": lambda store, check: store.delete("a", etag="wrong", check=check),
    "command": lambda store, check: store.command("a", Event.PAUSE, etag="wrong", check=check),
    "journal": lambda store, check: store.journal("a", limit=1, check=check),
}


@pytest.mark.parametrize("name", CHECKED)
async def test_what_a_check_refuses_tells_and_changes_nothing(store: JobStore, new_job: Any, name: str) -> None:
    job = await store.create(new_job("a"))
    seen: list[Job] = []

    def refuse(job: Job) -> None:
        seen.append(job)
        raise JobNotFound(job.id)

    with pytest.raises(JobNotFound):
        await CHECKED[name](store, refuse)
    assert seen == [job]
    assert await store.get("a") == job
    assert await store.revision() == job.revision
