"""The contract of stores for filters, orders and compacted changes."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.core.errors import CommandNotAllowed, EtagMismatch, InvalidRequest, RevisionCompacted
from ladingd.core.plan import Chunk
from ladingd.core.selection import EVERY, NEWEST_FIRST, Comparison, Condition, Field, Order, Selection, value_of
from ladingd.core.state import Event, State
from tests.harness.listing import everything

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ladingd.core.job import Job
    from ladingd.core.ports import JobStore

ORDERS = [Order(field=field, descending=descending) for field in Field for descending in (False, True)]


@pytest.fixture
async def many(store: JobStore, new_job: Any, export_job: Any, bring: Any) -> JobStore:
    """Jobs of both types, in many states, some with the same label."""
    await store.create(new_job("a", label="nightly load"))
    await store.create(export_job("b"))
    await bring(store, "c", State.FINISHED)
    await bring(store, "d", State.RUNNING)
    await bring(store, "e", State.FAILED)
    await store.create(new_job("f", label="nightly load"))
    await store.create(new_job("g", label="100% \\ _"))
    await store.command("f", Event.START)
    return store


async def listed(store: JobStore, size: int, selection: Selection = EVERY, order: Order = NEWEST_FIRST) -> list[Job]:
    jobs: list[Job] = []
    token = ""
    while True:
        page = await store.list(size=size, token=token, selection=selection, order=order)
        jobs += page.items
        token = page.next_token
        if not token:
            return jobs
        assert len(page.items) == size


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("size", [1, 2, 100])
async def test_pages_in_any_order(many: JobStore, order: Order, size: int) -> None:
    newest_first = await listed(many, 100)
    assert [job.id for job in newest_first] == list("gfedcba")
    valued = [job for job in newest_first if value_of(job, order.field) is not None]
    # Sorting is stable, so the newest of equal jobs stays first.
    expected = sorted(valued, key=lambda job: str(value_of(job, order.field)), reverse=order.descending)
    expected += [job for job in newest_first if value_of(job, order.field) is None]
    assert await listed(many, size, order=order) == expected


async def test_numbers_of_jobs_by_state(many: JobStore) -> None:
    numbers = await many.numbers()
    assert {state: number for state, number in numbers.items() if number} == {
        State.EDITING: 3,
        State.QUEUED: 1,
        State.RUNNING: 1,
        State.FINISHED: 1,
        State.FAILED: 1,
    }


async def test_the_same_jobs_as_the_selection_itself_says(many: JobStore) -> None:
    every = await listed(many, 100)
    noon = every[3].update_time
    conditions = [
        Condition(field=Field.STATE, comparison=comparison, values=values)
        for comparison in (Comparison.IS, Comparison.IS_NOT)
        for values in [("EDITING",), ("RUNNING", "FAILED"), ("PAUSED",)]
    ]
    conditions += [
        Condition(field=Field.TYPE, comparison=Comparison.IS, values=("export",)),
        Condition(field=Field.TYPE, comparison=Comparison.IS_NOT, values=("export",)),
    ]
    conditions += [
        Condition(field=Field.LABEL, comparison=comparison, values=values, prefix=prefix)
        for comparison in (Comparison.IS, Comparison.IS_NOT)
        for values in [("nightly",), ("night", "100% \\ _"), ("100% \\",), ("",)]
        for prefix in (False, True)
    ]
    conditions += [
        Condition(field=field, comparison=comparison, values=(noon + timedelta(seconds=shift),))
        for field in (Field.CREATE_TIME, Field.UPDATE_TIME, Field.START_TIME, Field.END_TIME)
        for comparison in (Comparison.BEFORE, Comparison.NOT_AFTER, Comparison.AFTER, Comparison.NOT_BEFORE)
        for shift in (-1, 0, 1)
    ]
    told_apart = 0
    for condition in conditions:
        selection = Selection(conditions=(condition,))
        expected = [job for job in every if selection.holds(job)]
        told_apart += 0 < len(expected) < len(every)
        assert await listed(many, 2, selection) == expected, condition
    assert told_apart > 30
    both = Selection(conditions=(conditions[0], conditions[7]))
    assert [job.id for job in await listed(many, 100, both)] == ["g", "a"]


async def test_new_jobs_shift_no_page(many: JobStore, new_job: Any) -> None:
    order = Order(field=Field.LABEL, descending=False)
    before = await listed(many, 100, order=order)
    first = await many.list(size=3, order=order)
    await many.create(new_job("new", label=""))
    rest = await many.list(size=100, token=first.next_token, order=order)
    assert [*first.items, *rest.items] == before


async def test_a_token_goes_with_its_list_only(many: JobStore) -> None:
    token = (await many.list(size=1)).next_token
    editing = Condition(field=Field.STATE, comparison=Comparison.IS, values=("EDITING",))
    others: list[dict[str, Any]] = [
        {"order": Order(field=Field.LABEL)},
        {"order": Order(descending=False)},
        {"selection": Selection(conditions=(editing,))},
    ]
    for other in others:
        with pytest.raises(InvalidRequest) as caught:
            await many.list(size=1, token=token, **other)
        assert caught.value.field == "page_token"


@pytest.mark.parametrize(
    "facts",
    [
        {"key": 1 << 63},
        {"key": -(1 << 63) - 1},
        {"key": 10**400},
        {"key": "\ud800"},
        {"key": 0.5},
        {"key": [1]},
        {"sequence": 0},
        {"sequence": 1 << 63},
        {"sequence": 1.0},
        {"sequence": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("order", [Order(field=Field.LABEL), NEWEST_FIRST], ids=str)
async def test_a_token_that_nobody_has_given_out_is_refused(
    many: JobStore, order: Order, facts: Mapping[str, Any]
) -> None:
    token = (await many.list(size=1, order=order)).next_token
    forged = json.dumps(json.loads(base64.urlsafe_b64decode(token)) | facts)
    with pytest.raises(InvalidRequest) as caught:
        await many.list(size=1, order=order, token=base64.urlsafe_b64encode(forged.encode()).decode())
    assert caught.value.field == "page_token"


async def test_an_edit_that_is_only_checked_changes_nothing(store: JobStore, new_job: Any) -> None:
    created = await store.create(new_job("a", label="old"))
    would_be = await store.edit("a", label="new", validate_only=True)
    assert (would_be.label, would_be.revision) == ("new", created.revision)
    assert await everything(store) == (1, (created,))
    with pytest.raises(EtagMismatch):
        await store.edit("a", label="new", etag='"0"', validate_only=True)
    await store.command("a", Event.START)
    with pytest.raises(CommandNotAllowed):
        await store.edit("a", spec=created.spec, plan=created.plan, validate_only=True)


async def test_compaction_keeps_the_latest(store: JobStore, new_job: Any) -> None:
    for number in range(6):
        await store.create(new_job(f"j{number}"))
    assert await store.compact(keep=10) == 0
    assert await store.compact(keep=2) == 4
    assert await store.compact(keep=5) == 4, "what is forgotten stays forgotten"
    assert [change.revision for change in await store.changes(4, limit=10)] == [5, 6]
    with pytest.raises(RevisionCompacted) as caught:
        await store.changes(3, limit=10)
    assert caught.value.oldest == 5
    assert await store.compact(keep=0) == 6
    assert await store.changes(6, limit=10) == ()
    assert (await store.create(new_job("next"))).revision == 7


async def test_chunks_from_one_on(store: JobStore, bring: Any) -> None:
    await bring(store, "a", State.RUNNING)
    await store.add_chunks("a", [Chunk(ordinal=place, start=place, end=place + 1) for place in range(3)])
    assert [kept.chunk.ordinal for kept in await store.chunks("a", first=1)] == [1, 2]
    assert await store.chunks("a", first=3) == ()
