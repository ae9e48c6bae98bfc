"""A whole job in a block."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from lading.v1 import job_pb2, job_service_pb2
from lading_client import errors
from lading_client.model import State
from lading_client.spec import File, ImportSpec, Table
from tests.harness.waiting import until_async
from tests.unit.client.fake_service import Event, FakeService

if TYPE_CHECKING:
    from lading_client.client import Client
    from lading_client.job_run import Run
    from lading_client.model import WatchEvent

DEADLINE = 10.0
SPEC = ImportSpec(files=(File(path="a.csv"),), target=Table(table="t"))
RUNS = (job_pb2.STATE_RUNNING,)


def asked(service: FakeService) -> list[str]:
    """The methods that were called, without watches."""
    names = [type(request).__name__.removesuffix("Request") for request in service.requests]
    return [name for name in names if name != "WatchJobs"]


def states(events: list[WatchEvent]) -> list[State]:
    return [event.job.state for event in events if event.job]


async def left(service: FakeService) -> None:
    """Wait until nobody watches any more."""

    async def condition() -> bool:
        return service.watchers == 0

    await until_async(condition, "the watch to end")


async def test_it_is_made_started_and_waited_for(client: Client, service: FakeService) -> None:
    async with asyncio.timeout(DEADLINE):
        async with client.run(SPEC, label="nightly", description="d", job_id="x") as run:
            assert run.name == "jobs/x"
        assert (run.job.state, run.job.label, run.job.description) == (State.FINISHED, "nightly", "d")
        assert (await run.finished()) == run.job
    assert asked(service) == ["CreateJob", "StartJob"]
    await left(service)


async def test_its_events_are_all_changes_from_the_start(client: Client, service: FakeService) -> None:
    async with asyncio.timeout(DEADLINE), client.run(SPEC) as run:
        seen = [event async for event in run]
        again = [event async for event in run.events()]
    assert states(seen) == [State.QUEUED, State.RUNNING, State.FINISHED]
    assert again == seen


async def test_of_progress_the_latest_is_shown(client: Client, service: FakeService) -> None:
    service.course = RUNS
    async with asyncio.timeout(DEADLINE), client.run(SPEC) as run:
        events = run.events()
        assert states([await anext(events), await anext(events)]) == [State.QUEUED, State.RUNNING]
        for percent in (10.0, 20.0):
            service.progress(run.name, percent)
        await shows(run, 20.0)
        event = await anext(events)
        assert event.job is not None
        assert event.job.progress.percent == 20.0
        service.move(run.name, job_pb2.STATE_FINISHED)
        assert states([event async for event in events]) == [State.FINISHED]


async def shows(run: Run, percent: float) -> None:
    """Wait until the run has seen this progress."""

    async def condition() -> bool:
        return run.job.progress.percent == percent

    await until_async(condition, f"{percent} %")


async def test_a_failure_is_raised_with_its_cause(client: Client, service: FakeService) -> None:
    service.course = (job_pb2.STATE_RUNNING, job_pb2.STATE_FAILED)

    def final(job: job_pb2.Job) -> None:
        job.failure.code, job.failure.message = "SOURCE_CHANGED", "the file is another one"

    service.final = final
    with pytest.raises(errors.JobFailed, match="jobs/1 failed: the file is another one") as caught:
        async with asyncio.timeout(DEADLINE), client.run(SPEC):
            pass
    assert caught.value.job.state is State.FAILED
    assert caught.value.failure is not None
    assert caught.value.failure.code == "SOURCE_CHANGED"
    # The job has ended, so there is nothing to cancel.
    assert asked(service) == ["CreateJob", "StartJob"]


async def test_what_was_raised_once_is_not_raised_again(client: Client, service: FakeService) -> None:
    service.course = (job_pb2.STATE_FAILED,)
    async with asyncio.timeout(DEADLINE), client.run(SPEC) as run:
        with pytest.raises(errors.JobFailed):
            await run.finished()


@pytest.mark.parametrize(
    ("change", "kind"), [("cancel", errors.JobCanceled), ("delete", errors.JobDeleted), ("pause", None)]
)
async def test_what_others_do_with_it(
    client: Client, service: FakeService, change: str, kind: type[errors.JobError] | None
) -> None:
    service.course = RUNS
    async with asyncio.timeout(DEADLINE), client.run(SPEC) as run:
        job = service.jobs[run.name]
        if change == "delete":
            service.change(job, Event.KIND_DELETED)
        elif change == "cancel":
            service.move(run.name, job_pb2.STATE_CANCELED)
        else:
            # A pause is not an end.
            for state in (job_pb2.STATE_PAUSED, job_pb2.STATE_QUEUED, job_pb2.STATE_FINISHED):
                service.move(run.name, state)
        if kind is None:
            assert (await run.finished()).state is State.FINISHED
        else:
            with pytest.raises(kind):
                await run.finished()


async def test_an_exception_in_the_block_cancels_the_job(client: Client, service: FakeService) -> None:
    service.course = RUNS
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(DEADLINE), client.run(SPEC):
            raise ZeroDivisionError
    assert asked(service) == ["CreateJob", "StartJob", "CancelJob"]
    await left(service)


async def test_a_canceled_task_cancels_the_job(client: Client, service: FakeService) -> None:
    service.course = RUNS

    async def work() -> None:
        async with client.run(SPEC):
            pass

    task = asyncio.create_task(work())

    async def watched() -> bool:
        return service.watchers == 1

    await until_async(watched, "a watcher")
    task.cancel()
    async with asyncio.timeout(DEADLINE):
        await asyncio.wait([task])
    assert task.cancelled()
    assert asked(service) == ["CreateJob", "StartJob", "CancelJob"]


async def test_the_job_goes_on_where_that_is_wanted(client: Client, service: FakeService) -> None:
    service.course = RUNS
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(DEADLINE), client.run(SPEC, cancel_on_error=False):
            raise ZeroDivisionError
    assert asked(service) == ["CreateJob", "StartJob"]


async def test_a_cancel_that_fails_is_told_beside_the_exception(client: Client, service: FakeService) -> None:
    service.course = RUNS

    async def work() -> None:
        async with asyncio.timeout(DEADLINE), client.run(SPEC) as run:
            # The watch has begun, so the next command fails.
            await anext(run.events())
            service.fail_next(grpc.StatusCode.UNAVAILABLE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        await work()
    assert caught.value.__notes__ == ["jobs/1 could not be canceled: as the test wants"]


async def test_a_start_without_an_answer_is_asked_for_again_and_happens_once(
    client: Client, service: FakeService
) -> None:
    made = await client.create_job(SPEC, request_id="r")
    # The first start succeeds, but its answer is lost.
    service.answers_lost = 1
    async with asyncio.timeout(DEADLINE), client.run(SPEC, request_id="r") as run:
        assert (await run.finished()).state is State.FINISHED
    starts = [request for request in service.requests if isinstance(request, job_service_pb2.StartJobRequest)]
    assert [request.etag for request in starts] == [made.etag] * 2
    assert service.jobs[made.name].attempt == 1


async def test_the_same_request_id_follows_the_same_job(client: Client, service: FakeService) -> None:
    service.course = RUNS
    job = await client.create_job(SPEC, request_id="r")
    await client.start_job(job.name)
    async with asyncio.timeout(DEADLINE), client.run(SPEC, request_id="r") as run:
        assert (run.name, run.job.state) == (job.name, State.RUNNING)
        service.move(run.name, job_pb2.STATE_FINISHED)
        assert (await run.finished()).state is State.FINISHED
    async with asyncio.timeout(DEADLINE), client.run(SPEC, request_id="r") as over:
        assert states([event async for event in over]) == []
        assert (await over.finished()).state is State.FINISHED
    assert len(service.jobs) == 1


async def test_a_spec_that_is_refused_makes_no_job(client: Client, service: FakeService) -> None:
    service.fail_next(grpc.StatusCode.INVALID_ARGUMENT)
    with pytest.raises(errors.InvalidArgument):
        async with client.run(SPEC):
            raise AssertionError("there is no job")
    assert asked(service) == ["CreateJob"]


async def test_a_daemon_that_is_gone_for_too_long(client: Client, service: FakeService) -> None:
    service.course = RUNS

    async def work() -> None:
        run = client.run(SPEC, give_up_after=0.3, cancel_on_error=False)
        async with asyncio.timeout(DEADLINE), run:
            for _ in range(9):
                service.fail_next(grpc.StatusCode.UNAVAILABLE)
            service.break_off()
            async for _ in run:
                pass

    with pytest.raises(errors.Unavailable):
        await work()
    assert service.jobs["jobs/1"].state == job_pb2.STATE_RUNNING


async def test_outside_of_its_block_there_is_no_job(client: Client) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        _ = client.run(SPEC).job
