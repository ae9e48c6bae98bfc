"""The answers of the server when a handler fails, is cancelled or cancels itself."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2 as details

from lading.v1 import job_service_pb2 as pb
from ladingd.api.interceptors.guard import Guard
from ladingd.core.errors import JobNotFound
from ladingd.core.origin import current
from ladingd.run.watch.events import WatchEvent, WatchKind
from tests.integration.api.answers import refused, unpacked
from tests.integration.api.fakes import DEADLINE, NOON, a_job, eventually
from tests.integration.api.test_error_answers import EXAMPLES

EVENT = WatchEvent(kind=WatchKind.CHANGED, revision=8, time=NOON, job=a_job())


@pytest.mark.parametrize(("error", "code"), EXAMPLES, ids=lambda value: type(value).__name__)
async def test_a_known_error_arrives_with_code_and_reason(api, error, code):
    api.store.error = error
    failed, status = await refused(api.stub.GetJob(pb.GetJobRequest(name="jobs/a1"), timeout=DEADLINE))
    assert failed.code() is grpc.StatusCode[code]
    (info,) = unpacked(status, details.ErrorInfo)
    assert info.reason == error.code


async def test_an_error_in_a_stream_arrives_after_what_was_sent(api):
    api.watch.events, api.watch.error = [EVENT], JobNotFound("a1")
    call = api.stub.WatchJobs(pb.WatchJobsRequest(), timeout=DEADLINE)
    assert (await call.read()).revision == 8
    failed, status = await refused(call.read())
    assert failed.code() is grpc.StatusCode.NOT_FOUND
    assert unpacked(status, details.ErrorInfo)[0].reason == "JOB_NOT_FOUND"
    assert api.watch.cleaned_up.is_set()


@pytest.mark.parametrize("streaming", [False, True], ids=["unary", "stream"])
async def test_an_unknown_error_keeps_its_text_to_itself(api, caplog, streaming: bool):
    api.store.error = api.watch.error = RuntimeError("password=s3cret")
    if streaming:
        call = api.stub.WatchJobs(pb.WatchJobsRequest(), timeout=DEADLINE).read()
    else:
        call = api.stub.GetJob(pb.GetJobRequest(name="jobs/a1"), timeout=DEADLINE)
    failed, status = await refused(call)
    assert failed.code() is grpc.StatusCode.INTERNAL
    assert "s3cret" not in f"{failed.details()} {failed.trailing_metadata()} {failed.debug_error_string()}"
    (info,) = unpacked(status, details.ErrorInfo)
    error_id = info.metadata["error_id"]
    assert re.fullmatch(r"[0-9a-f]{8}", error_id)
    (record,) = (r for r in caplog.records if r.levelname == "ERROR" and r.name == "ladingd.telemetry.internal_errors")
    assert error_id in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is api.store.error


@pytest.mark.parametrize("streaming", [False, True], ids=["unary", "stream"])
async def test_a_handler_that_cancels_itself_does_not_leave_the_client_waiting(api, streaming: bool):
    api.store.error = api.watch.error = asyncio.CancelledError()
    if streaming:
        call = api.stub.WatchJobs(pb.WatchJobsRequest(), timeout=DEADLINE).read()
    else:
        call = api.stub.GetJob(pb.GetJobRequest(name="jobs/a1"), timeout=DEADLINE)
    failed, status = await refused(call)
    assert (failed.code(), failed.details()) == (grpc.StatusCode.UNAVAILABLE, "shutting down")
    (info,) = unpacked(status, details.ErrorInfo)
    assert info.reason == "SHUTTING_DOWN"


async def test_a_client_that_goes_away_ends_its_idle_stream(api):
    api.watch.events = [EVENT]
    call = api.stub.WatchJobs(pb.WatchJobsRequest(), timeout=DEADLINE)
    await call.read()
    call.cancel()
    async with asyncio.timeout(DEADLINE):
        await api.watch.cleaned_up.wait()


async def test_a_client_that_goes_away_without_reading_ends_its_stream_too(api):
    large = replace(EVENT, job=a_job(description="x" * 900_000))
    api.watch.events, api.watch.endless = [large], True
    call = api.stub.WatchJobs(pb.WatchJobsRequest(), timeout=DEADLINE)
    await call.read()
    before = 0
    async with asyncio.timeout(DEADLINE):
        # Fills the window, so that the handler blocks in a write.
        while before != api.watch.sent:
            before = api.watch.sent
            await asyncio.sleep(0.2)
    call.cancel()
    async with asyncio.timeout(DEADLINE):
        await api.watch.cleaned_up.wait()


async def test_a_client_that_goes_away_cancels_its_unary_call(api, caplog):
    api.control.hold = asyncio.Event()
    call = api.stub.StartJob(pb.StartJobRequest(name="jobs/a1"), timeout=DEADLINE)
    running = asyncio.ensure_future(call)
    async with asyncio.timeout(DEADLINE):
        await api.control.held.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await eventually(lambda: api.control.released)
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []


async def test_a_deadline_cancels_the_call(api):
    api.control.hold = asyncio.Event()
    failed, _ = await refused(api.stub.StartJob(pb.StartJobRequest(name="jobs/a1"), timeout=0.2))
    assert failed.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: api.control.released)


async def test_an_unknown_method_is_unimplemented(api):
    call = api.channel.unary_unary("/lading.v1.JobService/Sink")
    failed, _ = await refused(call(b"", timeout=DEADLINE))
    assert failed.code() is grpc.StatusCode.UNIMPLEMENTED


class _Context:
    """The parts of a call with a connected client that the guard needs."""

    def __init__(self) -> None:
        self.answers: list[tuple[grpc.StatusCode, str]] = []
        self.trailers: tuple[tuple[str, str], ...] = ()

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def time_remaining(self) -> float | None:
        return None

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.trailers = metadata

    def code(self) -> grpc.StatusCode | None:
        return self.answers[-1][0] if self.answers else None

    async def abort(self, code: grpc.StatusCode, details: str, trailers: tuple[tuple[str, str], ...]) -> None:
        self.answers.append((code, details))
        self.trailers = trailers
        raise grpc.aio.AbortError("aborted")


async def _guarded(guard: Guard, behaviour: Any) -> Any:
    async def continuation(details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(behaviour)

    handler = await guard.intercept_service(continuation, SimpleNamespace(method="/x.Y/Z"))
    assert handler is not None
    return handler.unary_unary


async def test_a_cancellation_from_outside_is_never_swallowed():
    guard, context = Guard(), _Context()
    behaviour = await _guarded(guard, lambda request, context: asyncio.Event().wait())
    task = asyncio.create_task(behaviour(None, context))
    await eventually(lambda: guard.idle_seconds() == 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert context.answers == []
    assert await guard.drained(DEADLINE)


async def test_a_client_that_leaves_while_its_call_is_ended_is_not_answered():
    guard, context = Guard(), _Context()
    behaviour = await _guarded(guard, lambda request, context: asyncio.Event().wait())
    task = asyncio.create_task(behaviour(None, context))
    await eventually(lambda: guard.idle_seconds() == 0)
    guard.end("x.Y")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert context.answers == []


async def test_ending_a_service_leaves_the_others_alone():
    guard, context = Guard(), _Context()
    behaviour = await _guarded(guard, lambda request, context: asyncio.Event().wait())
    task = asyncio.create_task(behaviour(None, context))
    await eventually(lambda: guard.idle_seconds() == 0)
    guard.end("x")
    assert not await guard.drained(0.05)
    guard.end("x.Y")
    with pytest.raises(grpc.aio.AbortError):
        await task
    assert [details for _, details in context.answers] == ["shutting down"]
    assert await guard.drained(DEADLINE)


async def test_a_handler_that_will_not_end_is_reported():
    guard, release = Guard(), asyncio.Event()
    behaviour = await _guarded(guard, lambda request, context: release.wait())
    task = asyncio.create_task(behaviour(None, _Context()))
    await eventually(lambda: guard.idle_seconds() == 0)
    assert not await guard.drained(0.05)
    release.set()
    assert await guard.drained(DEADLINE)
    await task


@pytest.mark.parametrize(
    ("wanted", "kept"), [("order-7/a.b:c", True), ("", False), ("two words", False), ("x" * 65, False), (None, False)]
)
async def test_a_call_is_known_by_its_correlation_id_from_the_first_line_to_the_trailers(
    api, caplog, wanted: str | None, kept: bool
):
    api.store.error = RuntimeError("broken")
    metadata = () if wanted is None else (("x-correlation-id", wanted),)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await api.stub.GetJob(pb.GetJobRequest(name="jobs/a1"), timeout=DEADLINE, metadata=metadata)
    (answered,) = [value for key, value in failed.value.trailing_metadata() if key == "x-correlation-id"]
    assert (answered == wanted) is kept
    assert re.fullmatch(r"[A-Za-z0-9._:/-]{1,64}", answered)
    (record,) = (r for r in caplog.records if r.levelname == "ERROR" and r.name == "ladingd.telemetry.internal_errors")
    assert record.fields["error_id"] in failed.value.details()


async def test_a_good_answer_bears_the_correlation_id_too(api):
    api.store.put(a_job())
    call = api.stub.GetJob(pb.GetJobRequest(name="jobs/a1"), timeout=DEADLINE, metadata=(("x-correlation-id", "me"),))
    await call
    assert ("x-correlation-id", "me") in tuple(await call.trailing_metadata())


async def test_every_call_is_observed_with_its_outcome():
    seen: list[tuple[str, str]] = []

    async def fails(request: Any, context: Any) -> Any:
        raise JobNotFound("a1")

    async def answers(request: Any, context: Any) -> Any:
        return current().call

    reached = asyncio.Event()

    async def waits(request: Any, context: Any) -> Any:
        reached.set()
        await asyncio.Event().wait()

    guard = Guard([lambda method: lambda code: seen.append((method, code))])
    with pytest.raises(grpc.aio.AbortError):
        await asyncio.create_task((await _guarded(guard, fails))(None, _Context()))
    context = _Context()
    assert (("x-correlation-id", await asyncio.create_task((await _guarded(guard, answers))(None, context))),) == (
        context.trailers
    )
    waiting = asyncio.create_task((await _guarded(guard, waits))(None, _Context()))
    await reached.wait()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert seen == [("/x.Y/Z", "NOT_FOUND"), ("/x.Y/Z", "OK"), ("/x.Y/Z", "CANCELLED")]
