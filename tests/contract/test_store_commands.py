"""The contract of stores for edits, deletions, commands and events."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.core.errors import (
    CommandNotAllowed,
    EtagMismatch,
    JobNotFound,
    RequestIdReused,
    RequestJobDeleted,
)
from ladingd.core.job import ChangeKind, Failure, Progress
from ladingd.core.state import ACTIVE, COMMANDS, DELETABLE, UNDER_WAY, Event, State, allowed_commands, next_state

if TYPE_CHECKING:
    from ladingd.core.ports import JobStore

COMMANDS_IN_ORDER = sorted(COMMANDS)


# Edit


async def test_an_edit_changes_what_is_given(store: JobStore, export_job: Any, new_job: Any) -> None:
    created = await store.create(new_job("a", label="old", description="text"))
    edited = await store.edit("a", label="new")
    assert edited == replace(created, label="new", revision=2, update_time=edited.update_time)
    assert edited.update_time > created.update_time
    assert (await store.edit("a", description="")).description == ""
    other = export_job("b")
    edited = await store.edit("a", spec=other.spec, plan=other.plan)
    assert (edited.spec, edited.plan, edited.label) == (other.spec, other.plan, "new")
    assert await store.get("a") == edited
    kinds = [change.kind for change in await store.changes(0, limit=10)]
    assert kinds == [ChangeKind.CREATED] + [ChangeKind.EDITED] * 3


async def test_an_edit_that_changes_nothing_is_no_change(store: JobStore, new_job: Any) -> None:
    created = await store.create(new_job("a", label="x"))
    assert await store.edit("a", label="x") == created
    assert await store.edit("a") == created
    assert await store.revision() == 1


async def test_a_spec_comes_with_its_plan(store: JobStore, new_job: Any) -> None:
    job = await store.create(new_job("a"))
    with pytest.raises(ValueError, match="plan"):
        await store.edit("a", spec=job.spec)
    with pytest.raises(ValueError, match="plan"):
        await store.edit("a", plan=job.plan)


@pytest.mark.parametrize("state", State)
async def test_texts_change_at_any_time_the_spec_while_editing(
    store: JobStore, bring: Any, export_job: Any, state: State
) -> None:
    await bring(store, "a", state)
    labelled = await store.edit("a", label="at any time")
    assert (labelled.label, labelled.state) == ("at any time", state)
    other = export_job("b")
    if state is State.EDITING:
        assert (await store.edit("a", spec=other.spec, plan=other.plan)).spec == other.spec
        return
    with pytest.raises(CommandNotAllowed) as caught:
        await store.edit("a", label="x", spec=other.spec, plan=other.plan)
    assert (caught.value.command, caught.value.state) == ("edit the spec of", state)
    assert await store.get("a") == labelled


# Delete


@pytest.mark.parametrize("state", State)
async def test_delete_where_the_state_allows_it(store: JobStore, bring: Any, state: State) -> None:
    job = await bring(store, "a", state)
    if state not in DELETABLE:
        with pytest.raises(CommandNotAllowed) as caught:
            await store.delete("a")
        assert (caught.value.command, caught.value.state) == ("delete", state)
        assert await store.get("a") == job
        return
    assert await store.delete("a") == job
    with pytest.raises(JobNotFound):
        await store.get("a")
    with pytest.raises(JobNotFound):
        await store.delete("a")


async def test_nothing_of_a_deleted_job_comes_back_with_its_id(store: JobStore, new_job: Any, bring: Any) -> None:
    await bring(store, "a", State.PAUSED)
    await store.delete("a")
    again = await store.create(new_job("a"))
    assert again.revision == 5
    assert await store.chunks("a") == ()
    assert [entry.code for entry in await store.journal("a", limit=10)] == ["CREATED"]


async def test_a_request_does_not_make_its_deleted_job_again(store: JobStore, new_job: Any) -> None:
    await store.create(new_job("a", owner="anna"), request_id="r", request_digest="d")
    await store.delete("a")
    for again in ("a", "b"):
        with pytest.raises(RequestJobDeleted) as refused:
            await store.create(replace(new_job(again, owner="anna"), uid="another"), request_id="r", request_digest="d")
        assert refused.value.job_id == "a"
        with pytest.raises(JobNotFound):
            await store.get(again)
    await store.create(replace(new_job("a", owner="anna"), uid="another"))
    with pytest.raises(RequestJobDeleted):
        await store.made_by("anna", "r", "d")  # The id was reused by another job.
    with pytest.raises(RequestIdReused):
        await store.made_by("anna", "r", "e")


# Etags


@pytest.mark.parametrize(
    "act",
    [
        lambda store, etag: store.edit("a", label="new", etag=etag),
        lambda store, etag: store.delete("a", etag=etag),
        lambda store, etag: store.command("a", Event.START, etag=etag),
    ],
)
async def test_an_etag_of_before_is_refused_and_the_newest_holds(store: JobStore, new_job: Any, act: Any) -> None:
    old = await store.create(new_job("a"))
    job = await store.edit("a", label="faster")
    with pytest.raises(EtagMismatch):
        await act(store, old.etag)
    assert await store.get("a") == job
    await act(store, job.etag)
    assert await store.revision() == job.revision + 1


async def test_progress_leaves_the_etag_alone(store: JobStore, bring: Any) -> None:
    job = await bring(store, "a", State.RUNNING)
    await store.commit_chunks("a", [], Progress(fraction=0.5))
    assert (await store.command("a", Event.PAUSE, etag=job.etag)).state is State.PAUSING


# Commands and events


@pytest.mark.parametrize("command", COMMANDS_IN_ORDER)
@pytest.mark.parametrize("state", State)
async def test_a_command_in_a_state(store: JobStore, bring: Any, state: State, command: Event) -> None:
    job = await bring(store, "a", state)
    target = next_state(state, command)
    if target is not None:
        moved = await store.command("a", command)
        assert (moved.state, moved.revision) == (target, job.revision + 1)
        assert await store.get("a") == moved
        return
    if state in UNDER_WAY[command]:
        assert await store.command("a", command) == job
    else:
        with pytest.raises(CommandNotAllowed) as caught:
            await store.command("a", command)
        assert (caught.value.state, caught.value.command) == (state, command.lower())
        assert caught.value.allowed == tuple(event.lower() for event in allowed_commands(state))
    assert await store.get("a") == job
    assert await store.revision() == job.revision


async def test_what_is_no_command_is_no_command(store: JobStore, bring: Any) -> None:
    await bring(store, "a", State.QUEUED)
    with pytest.raises(ValueError, match="SLOT_FREE"):
        await store.command("a", Event.SLOT_FREE)


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
async def test_an_event_in_a_state(store: JobStore, bring: Any, state: State, event: Event) -> None:
    job = await bring(store, "a", state)
    failure = Failure(code="SOURCE_CHANGED", message="other bytes")
    moved = await store.move("a", event, failure=failure)
    target = next_state(state, event)
    if target is None:
        assert moved is None
        assert await store.get("a") == job
        return
    assert moved is not None
    expected = job.moved(event, moved.update_time, failure)
    assert expected is not None
    assert moved == replace(expected, revision=job.revision + 1)
    assert await store.get("a") == moved


async def test_move_all_moves_those_it_can_and_no_others(store: JobStore, bring: Any) -> None:
    before = {state: await bring(store, state.lower(), state) for state in State}
    failure = Failure(code="DAEMON_STOPPED", message="shut down")
    revision = await store.revision()
    moved = await store.move_all(ACTIVE, Event.SHUTDOWN, failure=failure)
    assert {job.id: job.state for job in moved} == {
        "running": State.INTERRUPTED,
        "pausing": State.PAUSED,
        "canceling": State.CANCELED,
    }
    assert [job.revision for job in moved] == [revision + 1, revision + 2, revision + 3]
    assert {job.id: job.failure for job in moved}["running"] == failure
    for state, job in before.items():
        if state not in ACTIVE:
            assert await store.get(job.id) == job
    assert await store.move_all({State.EDITING, State.FINISHED}, Event.SHUTDOWN) == ()


async def test_a_job_may_rest_settled(store: JobStore, new_job: Any) -> None:
    await store.create(new_job("a"))
    await store.command("a", Event.START)
    running = await store.move("a", Event.SLOT_FREE)
    assert running is not None
    assert not running.settled
    done = await store.move("a", Event.COMPLETE, settled=True)
    assert done is not None
    assert done.settled
    assert await store.unsettled() == ()
