"""The contract of ``core.ports.JobStore`` for creating, reading and listing jobs."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.core.errors import (
    InvalidRequest,
    JobExists,
    JobNotFound,
    RequestIdReused,
)
from ladingd.core.job import Level, Progress
from ladingd.core.state import COMMANDS, Event, State
from tests.harness.listing import everything

if TYPE_CHECKING:
    from ladingd.core.ports import JobStore

COMMANDS_IN_ORDER = sorted(COMMANDS)


# Create and get


async def test_a_created_job_comes_back_whole_with_its_revision(store: JobStore, new_job: Any) -> None:
    job = new_job("a", label="Löschen\n'; --", description="\N{PILE OF POO} \x00 end")
    created = await store.create(job)
    assert created == replace(job, revision=1)
    assert await store.get("a") == created


async def test_an_export_comes_back_whole(store: JobStore, export_job: Any) -> None:
    created = await store.create(export_job("a"))
    assert await store.get("a") == created
    assert type(created.plan) is type((await store.get("a")).plan)


async def test_a_reopened_store_knows_everything(stores: Any, store: JobStore, new_job: Any, bring: Any) -> None:
    await store.create(new_job("a"), request_id="r", request_digest="d")
    await bring(store, "b", State.FAILED)
    await store.write_journal("a", Level.WARNING, "CODE", "message")
    known = await everything(store), await store.changes(0, limit=100), await store.journal("a", limit=100)
    await stores.close(store)

    store = await stores.open()
    assert (await everything(store), await store.changes(0, limit=100), await store.journal("a", limit=100)) == known
    assert (await store.create(new_job("c"), request_id="r", request_digest="d")).id == "a"


async def test_times_come_back_aware(store: JobStore, bring: Any) -> None:
    await bring(store, "a", State.FINISHED)
    job = await store.get("a")
    changes = await store.changes(0, limit=100)
    journal = await store.journal("a", limit=100)
    times = [job.create_time, job.update_time, job.start_time, job.end_time]
    times += [time for change in changes for time in (change.time, change.job.create_time)]
    times += [entry.time for entry in journal]
    assert {time.utcoffset() for time in times if time} == {timedelta(0)}
    assert None not in times
    assert pickle.loads(pickle.dumps(job)) == job


async def test_a_taken_id_is_refused(store: JobStore, new_job: Any) -> None:
    first = await store.create(new_job("a", label="first"))
    with pytest.raises(JobExists):
        await store.create(new_job("a", label="second"))
    assert await everything(store) == (1, (first,))
    assert len(await store.changes(0, limit=10)) == 1


async def test_a_new_job_is_editing(store: JobStore, new_job: Any) -> None:
    with pytest.raises(ValueError, match="EDITING"):
        await store.create(new_job("a", state=State.RUNNING))
    assert await everything(store) == (0, ())


async def test_the_same_request_again_gives_the_job_as_it_is_now(store: JobStore, new_job: Any) -> None:
    await store.create(new_job("a"), request_id="r", request_digest="d")
    queued = await store.command("a", Event.START)
    assert await store.create(new_job("b"), request_id="r", request_digest="d") == queued
    assert await everything(store) == (2, (queued,))


async def test_a_request_id_used_for_another_request_is_refused(store: JobStore, new_job: Any) -> None:
    await store.create(new_job("a"), request_id="r", request_digest="d")
    with pytest.raises(RequestIdReused):
        await store.create(new_job("b"), request_id="r", request_digest="e")
    with pytest.raises(JobNotFound):
        await store.get("b")


async def test_a_refused_creation_does_not_use_up_its_request_id(store: JobStore, new_job: Any) -> None:
    await store.create(new_job("a"))
    with pytest.raises(JobExists):
        await store.create(new_job("a"), request_id="r", request_digest="d")
    assert (await store.create(new_job("b"), request_id="r", request_digest="d")).id == "b"


async def test_creations_without_a_request_id_are_apart(store: JobStore, new_job: Any) -> None:
    await store.create(new_job("a"), request_digest="d")
    assert (await store.create(new_job("b"), request_digest="d")).id == "b"


@pytest.mark.parametrize("rate", [float("nan"), float("inf")])
async def test_what_could_not_be_read_again_is_not_stored(store: JobStore, new_job: Any, rate: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        await store.create(new_job("a", progress=Progress(rate=rate)))
    assert await everything(store) == (0, ())


NAMING = {
    "get": lambda store: store.get("none"),
    "edit": lambda store: store.edit("none", label="x"),
    "delete": lambda store: store.delete("none"),
    "command": lambda store: store.command("none", Event.START),
    "move": lambda store: store.move("none", Event.START),
    "write_journal": lambda store: store.write_journal("none", Level.INFO, "CODE", "message"),
    "journal": lambda store: store.journal("none", limit=1),
    "replan": lambda store: store.replan("none", None),
    "add_chunks": lambda store: store.add_chunks("none", []),
    "chunks": lambda store: store.chunks("none"),
    "commit_chunks": lambda store: store.commit_chunks("none", [], Progress()),
    "settle": lambda store: store.settle(
        "none", [], uid="uid of none", attempt=0, total=None, progress=Progress(), settled=True
    ),
}


@pytest.mark.parametrize("method", NAMING)
async def test_a_job_that_is_not_there(store: JobStore, new_job: Any, method: str) -> None:
    job = await store.create(new_job("a"))
    with pytest.raises(JobNotFound) as caught:
        await NAMING[method](store)
    assert caught.value.job_id == "none"
    assert await everything(store) == (1, (job,))


# Lists


async def test_a_list_shows_the_newest_first_in_pages(store: JobStore, new_job: Any) -> None:
    for number in range(7):
        await store.create(new_job(f"j{number}"))
    seen, token, sizes = [], "", []
    while True:
        page = await store.list(size=3, token=token)
        seen += [job.id for job in page.items]
        sizes.append(len(page.items))
        token = page.next_token
        if not token:
            break
    assert seen == [f"j{number}" for number in reversed(range(7))]
    assert sizes == [3, 3, 1]


async def test_a_full_last_page_has_no_token(store: JobStore, new_job: Any) -> None:
    for number in range(3):
        await store.create(new_job(f"j{number}"))
    assert (await store.list(size=3)).next_token == ""


async def test_pages_stand_still_while_jobs_come_and_go(store: JobStore, new_job: Any) -> None:
    for number in range(6):
        await store.create(new_job(f"j{number}"))
    first = await store.list(size=2)
    await store.create(new_job("late"))
    await store.delete("j4")  # The job in the token.
    await store.command("j1", Event.START)
    second = await store.list(size=2, token=first.next_token)
    third = await store.list(size=2, token=second.next_token)
    assert [job.id for page in (first, second, third) for job in page.items] == ["j5", "j4", "j3", "j2", "j1", "j0"]


@pytest.mark.parametrize(
    "token", ["x", "!!!!", "é", "5", "am9icw==", "am9iczww", "am9iczwtMQ==", "am9iczw1Cg==", "\x00"]
)
async def test_a_foreign_page_token_is_refused(store: JobStore, token: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await store.list(size=1, token=token)
    assert caught.value.field == "page_token"


async def test_in_states_the_one_longest_in_its_state_first(store: JobStore, new_job: Any) -> None:
    for job_id in "abc":
        await store.create(new_job(job_id))
    for job_id in "cab":
        await store.command(job_id, Event.START)
    await store.edit("c", label="edited since")
    assert [job.id for job in await store.in_states({State.QUEUED})] == ["c", "a", "b"]
    assert await store.in_states({State.RUNNING}) == ()
    assert await store.in_states(set()) == ()
    await store.move("c", Event.SLOT_FREE)
    both = await store.in_states({State.QUEUED, State.RUNNING})
    assert [job.id for job in both] == ["a", "b", "c"]


async def test_unsettled_from_the_begin_of_an_attempt_to_its_settling(store: JobStore, bring: Any) -> None:
    await bring(store, "a", State.RUNNING)
    await bring(store, "b", State.QUEUED)
    assert [job.id for job in await store.unsettled()] == ["a"]
    await store.move("a", Event.ORPHAN)
    assert [job.id for job in await store.unsettled()] == ["a"]
    await store.settle("a", [], uid="uid of a", attempt=1, total=None, progress=Progress(), settled=False)
    assert [job.id for job in await store.unsettled()] == ["a"]
    await store.settle("a", [], uid="uid of a", attempt=1, total=None, progress=Progress(), settled=True)
    assert await store.unsettled() == ()
