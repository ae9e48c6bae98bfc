"""Commands of users on jobs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from ladingd.core.errors import (
    EtagMismatch,
    JobNotFound,
    PermissionDenied,
    RequestIdReused,
    RequestJobDeleted,
    ShuttingDown,
    TargetUnavailable,
)
from ladingd.core.origin import Effect, effect
from ladingd.core.state import Event, State
from ladingd.run import control as control_module
from ladingd.run.control import Control
from tests.unit.run.conftest import SPEC

if TYPE_CHECKING:
    from ladingd.core.job import Job
    from ladingd.core.ports import Check
    from ladingd.core.spec import JobSpec
    from ladingd.run.workers.pool import Workers
    from tests.unit.run.conftest import Rig


async def anything(_: JobSpec) -> None:
    """Permit everything."""


@pytest.fixture
def control(rig: Rig) -> Control:
    workers = cast("Workers", rig.workers)
    return Control(
        jobs=rig.store,
        transfer=rig.transfer,
        workers=workers,
        notifier=rig.notifier,
        cleanup=rig.cleanup,
        disk_space=rig.disk_space,
    )


async def test_a_clone_has_spec_and_texts_and_a_life_of_its_own(rig: Rig, control: Control) -> None:
    model = await rig.queued(1)
    await rig.store.edit(model.id, label="nightly", description="from the shop")
    clone = await control.clone(model.id, permit=anything)
    assert (clone.spec, clone.label, clone.description) == (model.spec, "nightly", "from the shop")
    assert (clone.state, clone.attempt, clone.uid != model.uid) == (State.EDITING, 0, True)
    other = await control.clone(model.id, permit=anything, label="again", new_id="mine")
    assert (other.id, other.label) == ("mine", "again")


async def test_a_clone_is_of_the_spec_that_was_permitted(rig: Rig, control: Control) -> None:
    model = await rig.queued(1)
    asked: list[JobSpec] = []

    async def nothing(spec: JobSpec) -> None:
        asked.append(spec)
        raise PermissionDenied("submitter", "another connection")

    with pytest.raises(PermissionDenied):
        await control.clone(model.id, permit=nothing, new_id="mine")
    assert asked == [model.spec]
    with pytest.raises(JobNotFound):
        await rig.store.get("mine")


async def test_the_same_request_makes_one_clone(rig: Rig, control: Control) -> None:
    model = await rig.queued(1)
    clone = await control.clone(model.id, permit=anything, request_id="r", request_digest="d")
    await rig.store.command(model.id, Event.CANCEL)
    await rig.store.delete(model.id)
    assert await control.clone(model.id, permit=anything, request_id="r", request_digest="d") == clone
    with pytest.raises(RequestIdReused):
        await control.clone(model.id, permit=anything, request_id="r", request_digest="other")
    with pytest.raises(JobNotFound):
        await control.clone(model.id, permit=anything)


async def test_nothing_is_cloned_on_the_way_out(rig: Rig, control: Control) -> None:
    model = await rig.queued(1)
    control.close()
    with pytest.raises(ShuttingDown):
        await control.clone(model.id, permit=anything)


async def test_what_was_written_is_announced_though_nobody_waits_for_it(
    rig: Rig, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await rig.queued(1)
    rung = rig.notifier.listen(job.id)
    written, gate = asyncio.Event(), asyncio.Event()
    command = rig.store.command

    async def slowly(job_id: str, event: Event, *, etag: str = "", check: Check | None = None) -> Job:
        done = await command(job_id, event, etag=etag)
        written.set()
        await gate.wait()
        return done

    monkeypatch.setattr(rig.store, "command", slowly)
    known = Effect()
    effect.set(known)
    call = asyncio.create_task(control.command(job.id, Event.PAUSE))
    await written.wait()
    call.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(10):
        await rung.wait()
    stored = await rig.store.get(job.id)
    assert stored.state is State.PAUSED
    assert known.job == stored


async def test_a_deletion_that_nobody_waits_for_has_an_effect_all_the_same(
    rig: Rig, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await rig.queued(1)
    await rig.store.command(job.id, Event.CANCEL)
    asked, gate = asyncio.Event(), asyncio.Event()
    delete = rig.store.delete

    async def slowly(job_id: str, *, etag: str = "", check: Check | None = None) -> Job:
        asked.set()
        await gate.wait()
        return await delete(job_id, etag=etag)

    monkeypatch.setattr(rig.store, "delete", slowly)
    known = Effect()
    effect.set(known)
    call = asyncio.create_task(control.delete(job.id))
    await asked.wait()
    call.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert known.job is not None
    assert known.job.id == job.id
    with pytest.raises(JobNotFound):
        await rig.store.get(job.id)


async def test_a_spec_is_not_checked_for_ever(rig: Rig, control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "TIMEOUT", 0.01)
    rig.workers.hold("plan")
    with pytest.raises(TargetUnavailable, match="no answer within"):
        await control.create(SPEC, label="", description="")
    assert rig.workers.killed == 1


async def test_a_job_starts_with_what_its_caller_may_use_now(rig: Rig, control: Control) -> None:
    job = await rig.queued(1)
    await rig.command(job.id, Event.PAUSE)
    asked: list[JobSpec] = []

    async def nothing(spec: JobSpec) -> None:
        asked.append(spec)
        raise PermissionDenied("submitter", "another connection")

    with pytest.raises(PermissionDenied):
        await control.command(job.id, Event.START, permit=nothing)
    with pytest.raises(PermissionDenied):
        await control.edit(job.id, spec=job.spec, permit=nothing)
    assert asked == [job.spec, job.spec]
    assert (await rig.store.get(job.id)).state is State.PAUSED
    assert (await control.command(job.id, Event.CANCEL, permit=nothing)).state is State.CANCELED


async def test_a_job_starts_with_the_spec_that_was_permitted(rig: Rig, control: Control) -> None:
    job = await control.create(SPEC, label="", description="")
    other = replace(SPEC, chunk_bytes=SPEC.chunk_bytes + 1)

    async def slowly(_: JobSpec) -> None:
        await rig.store.edit(job.id, spec=other, plan=job.plan)

    with pytest.raises(EtagMismatch):
        await control.command(job.id, Event.START, permit=slowly)
    assert (await rig.store.get(job.id)).state is State.EDITING


async def test_a_job_is_owned_by_whoever_made_or_cloned_it(rig: Rig, control: Control) -> None:
    job = await control.create(SPEC, label="", description="", owner="anna", shared=True)
    clone = await control.clone(job.id, permit=anything, owner="ben")
    assert [(each.owner, each.shared) for each in (job, clone)] == [("anna", True), ("ben", False)]


async def test_a_request_of_another_makes_another_job(rig: Rig, control: Control) -> None:
    request = {"label": "", "description": "", "request_id": "r", "request_digest": "d"}
    first = await control.create(SPEC, owner="anna", **request)
    assert (await control.create(SPEC, owner="ben", **request)).id != first.id
    assert await control.create(SPEC, owner="anna", **request) == first
    await control.delete(first.id)
    with pytest.raises(RequestJobDeleted):
        await control.create(SPEC, owner="anna", **request)
