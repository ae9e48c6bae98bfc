"""The contract of stores for changes, revisions and journals."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.core.errors import CommandNotAllowed, RequestIdReused, RevisionCompacted
from ladingd.core.job import Change, ChangeKind, Level
from ladingd.core.journal import describe
from ladingd.core.origin import Origin, work_for
from ladingd.core.state import Event, State
from tests.harness.listing import everything

if TYPE_CHECKING:
    from ladingd.core.ports import JobStore

# Changes


async def test_what_calls_want_is_known_by_them_and_what_comes_of_it_too(store: JobStore, new_job: Any) -> None:
    for call, want in (
        ("c-create", lambda: store.create(new_job("a"))),
        ("c-start", lambda: store.command("a", Event.START)),
        ("", lambda: store.move("a", Event.SLOT_FREE)),
        ("c-edit", lambda: store.edit("a", label="new")),
        ("", lambda: store.move("a", Event.SHUTDOWN)),
        ("", lambda: store.move("a", Event.RESUME)),
        ("c-cancel", lambda: store.command("a", Event.CANCEL)),
        ("c-delete", lambda: store.delete("a")),
    ):
        work_for(Origin(call=call))
        await want()
    changes = await store.changes(0, limit=10)
    assert [change.correlation for change in changes] == [
        "c-create",
        "c-start",
        "c-start",
        "c-edit",
        "c-start",
        "c-start",
        "c-cancel",
        "c-delete",
    ]
    assert [change.job.correlation for change in changes][3:5] == ["c-start", "c-start"], "an edit runs nothing"


async def test_the_numbers_of_jobs_are_those_of_their_states(store: JobStore, new_job: Any) -> None:
    assert await store.numbers() == dict.fromkeys(State, 0)
    for job_id in "abc":
        await store.create(new_job(job_id))
    await store.command("b", Event.START)
    await store.delete("c")
    assert await store.numbers() == dict.fromkeys(State, 0) | {State.EDITING: 1, State.QUEUED: 1}


async def test_an_empty_store_is_at_revision_zero(store: JobStore) -> None:
    assert await everything(store) == (0, ())
    assert await store.revision() == 0
    assert await store.changes(0, limit=10) == ()


async def test_each_change_tells_what_became_of_the_job(store: JobStore, new_job: Any) -> None:
    created = await store.create(new_job("a"))
    edited = await store.edit("a", label="new")
    queued = await store.command("a", Event.START)
    canceled = await store.command("a", Event.CANCEL)
    deleted = await store.delete("a")
    changes = await store.changes(0, limit=10)
    times = [change.time for change in changes]
    assert changes == (
        Change(revision=1, kind=ChangeKind.CREATED, job=created, time=times[0]),
        Change(revision=2, kind=ChangeKind.EDITED, job=edited, time=edited.update_time),
        Change(
            revision=3,
            kind=ChangeKind.MOVED,
            job=queued,
            time=queued.update_time,
            from_state=State.EDITING,
            cause=Event.START,
        ),
        Change(
            revision=4,
            kind=ChangeKind.MOVED,
            job=canceled,
            time=canceled.update_time,
            from_state=State.QUEUED,
            cause=Event.CANCEL,
        ),
        Change(revision=5, kind=ChangeKind.DELETED, job=deleted, time=times[4], from_state=State.CANCELED),
    )
    assert deleted == canceled
    assert times == sorted(times)


async def test_changes_follow_in_order_and_in_portions(store: JobStore, new_job: Any) -> None:
    for number in range(7):
        await store.create(new_job(f"j{number}"))
    seen: list[int] = []
    while changes := await store.changes(seen[-1] if seen else 0, limit=3):
        seen += [change.revision for change in changes]
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert await store.changes(1_000, limit=3) == ()


async def test_a_snapshot_is_all_jobs_the_oldest_first(store: JobStore, new_job: Any) -> None:
    for job_id in "cab":
        await store.create(new_job(job_id))
    await store.command("c", Event.START)
    await store.delete("a")
    revision, jobs = await everything(store)
    assert revision == 5
    assert [job.id for job in jobs] == ["c", "b"]
    assert jobs == (await store.get("c"), await store.get("b"))


async def test_a_snapshot_and_the_changes_after_it_miss_nothing(store: JobStore, new_job: Any) -> None:
    await store.create(new_job("a"))
    revision = await store.revision()
    assert await store.changes(revision, limit=10) == ()
    queued = await store.command("a", Event.START)
    assert [change.job for change in await store.changes(revision, limit=10)] == [queued]


async def test_revisions_are_never_used_again(stores: Any, store: JobStore, new_job: Any) -> None:
    await store.create(new_job("a"))
    await store.delete("a")
    await stores.close(store)
    stores.compact(2)
    store = await stores.open()
    assert await everything(store) == (2, ())
    assert (await store.create(new_job("a"))).revision == 3


async def test_compacted_changes_are_missed_by_name(stores: Any, store: JobStore, new_job: Any) -> None:
    for number in range(5):
        await store.create(new_job(f"j{number}"))
    stores.compact(3)
    for after in (0, 2):
        with pytest.raises(RevisionCompacted) as caught:
            await store.changes(after, limit=10)
        assert (caught.value.revision, caught.value.oldest) == (after, 4)
    assert [change.revision for change in await store.changes(3, limit=10)] == [4, 5]
    assert len((await everything(store))[1]) == 5


async def test_concurrent_commands_make_one_change_each(store: JobStore, new_job: Any) -> None:
    names = [f"j{number}" for number in range(10)]
    await asyncio.gather(*(store.create(new_job(name)) for name in names))
    commands = [Event.START, Event.PAUSE, Event.START, Event.PAUSE]

    async def drive(name: str) -> list[int]:
        return [(await store.command(name, command)).revision for command in commands]

    revisions = await asyncio.gather(*(drive(name) for name in names))
    assert all(own == sorted(set(own)) for own in revisions)
    changes = await store.changes(0, limit=1_000)
    assert [change.revision for change in changes] == list(range(1, 51))
    told = {change.revision: change.job for change in changes if change.kind is ChangeKind.MOVED}
    assert sorted(told) == sorted(revision for own in revisions for revision in own)
    assert {job.id: job for job in told.values()} == {job.id: job for job in (await everything(store))[1]}


async def test_of_many_same_commands_at_once_one_takes_effect(store: JobStore, new_job: Any) -> None:
    job = await store.create(new_job("a"))
    answers = await asyncio.gather(*(store.command("a", Event.START) for _ in range(20)))
    assert {answer.revision for answer in answers} == {job.revision + 1}
    assert len(await store.changes(0, limit=100)) == 2


async def test_of_many_same_requests_at_once_one_makes_the_job(store: JobStore, new_job: Any) -> None:
    jobs = [new_job(f"j{number}") for number in range(20)]
    made = await asyncio.gather(*(store.create(job, request_id="r", request_digest="d") for job in jobs))
    assert len({job.id for job in made}) == 1
    assert len((await everything(store))[1]) == 1


async def test_who_follows_while_others_write_sees_every_change_once(store: JobStore, new_job: Any) -> None:
    seen: list[int] = []

    async def follow() -> None:
        while len(seen) < 60:
            seen.extend(change.revision for change in await store.changes(seen[-1] if seen else 0, limit=7))

    async def work(name: str) -> None:
        await store.create(new_job(name))
        await store.command(name, Event.START)
        await store.command(name, Event.CANCEL)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(follow())
        for number in range(20):
            group.create_task(work(f"j{number}"))
    assert seen == list(range(1, 61))


async def test_a_refusal_leaves_no_trace(store: JobStore, bring: Any) -> None:
    await bring(store, "a", State.FINISHED)
    known = await everything(store), await store.changes(0, limit=100), await store.journal("a", limit=100)
    with pytest.raises(CommandNotAllowed):
        await store.command("a", Event.START)
    assert (await everything(store), await store.changes(0, limit=100), await store.journal("a", limit=100)) == known


# Journal


async def test_each_change_has_its_journal_entry(store: JobStore, bring: Any) -> None:
    await bring(store, "a", State.FAILED)
    await store.edit("a", label="after")
    entries = await store.journal("a", limit=100)
    changes = await store.changes(0, limit=100)
    assert [(entry.level, entry.code, entry.message) for entry in entries] == [describe(one) for one in changes]
    assert [entry.time for entry in entries] == [change.time for change in changes]
    assert {entry.job_id for entry in entries} == {"a"}


async def test_a_journal_is_read_on_from_a_sequence_number(store: JobStore, new_job: Any, clock: Any) -> None:
    await store.create(new_job("a"))
    await store.create(new_job("b"))
    for number in range(5):
        await store.write_journal("a", Level.WARNING, f"CODE_{number}", f"message {number}")
        await store.write_journal("b", Level.ERROR, "OTHER", "not of a")
    first = await store.journal("a", limit=2)
    rest = await store.journal("a", after=first[-1].sequence, limit=100)
    assert [entry.code for entry in first + rest] == ["CREATED", *(f"CODE_{number}" for number in range(5))]
    sequences = [entry.sequence for entry in first + rest]
    assert sequences == sorted(set(sequences))
    assert rest[-1] == replace(rest[-1], level=Level.WARNING, message="message 4", job_id="a")
    assert await store.journal("a", after=sequences[-1], limit=100) == ()
    assert await store.revision() == 2


async def test_sequence_numbers_are_never_used_again(store: JobStore, new_job: Any) -> None:
    await store.create(new_job("a"))
    (entry,) = await store.journal("a", limit=10)
    await store.delete("a")
    await store.create(new_job("a"))
    (again,) = await store.journal("a", limit=10)
    assert again.sequence > entry.sequence


# Close


async def test_what_was_asked_for_before_the_close_is_done(stores: Any, store: JobStore, new_job: Any) -> None:
    waiting = [asyncio.create_task(store.create(new_job(f"j{number}"))) for number in range(20)]
    await asyncio.sleep(0)  # The calls have begun, but none is done.
    await stores.close(store)
    made = await asyncio.gather(*waiting)
    store = await stores.open()
    assert (await everything(store))[1] == tuple(sorted(made, key=lambda job: job.revision))


async def test_the_notes_of_a_plan_stand_in_the_journal(store: JobStore, new_job: Any) -> None:
    job = new_job("a")
    job = await store.create(replace(job, plan=replace(job.plan, notes=("one", "two"), detected="header: yes")))
    await store.replan("a", replace(job.plan, notes=("three",), detected=""))
    entries = [(entry.level, entry.code, entry.message) for entry in await store.journal("a", limit=100)]
    assert entries == [
        (Level.INFO, "CREATED", "created"),
        (Level.INFO, "DETECTED", "header: yes"),
        (Level.WARNING, "NOTE", "one"),
        (Level.WARNING, "NOTE", "two"),
        (Level.WARNING, "NOTE", "three"),
    ]


async def test_the_job_that_a_request_made(store: JobStore, new_job: Any) -> None:
    assert await store.made_by("anna", "r", "d") is None
    job = await store.create(new_job("a", owner="anna"), request_id="r", request_digest="d")
    assert await store.made_by("anna", "r", "d") == job
    with pytest.raises(RequestIdReused):
        await store.made_by("anna", "r", "other")
    assert await store.made_by("robot", "r", "d") is None
    assert (await store.create(new_job("b", owner="robot"), request_id="r", request_digest="d")).id == "b"
    assert await store.made_by("anna", "r", "d") == job
