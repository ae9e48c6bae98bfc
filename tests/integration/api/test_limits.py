"""Limits by class of call: what is refused, what is never starved, and that every place is freed."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as details
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2_grpc import HealthStub, add_HealthServicer_to_server

import lading.v1
from lading.v1 import job_service_pb2 as pb
from lading.v1.job_service_pb2_grpc import JobServiceServicer, JobServiceStub, add_JobServiceServicer_to_server
from ladingd.api.interceptors.guard import Guard
from ladingd.api.interceptors.limits import Limits
from ladingd.api.methods import METHODS
from ladingd.core.access import CallClass
from tests.integration.api.answers import refused, unpacked
from tests.integration.api.fakes import DEADLINE, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator
    from pathlib import Path

    from google.protobuf.descriptor import MethodDescriptor

WATCHERS = 1000
SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1 << 16))
"""By default the window of a client that does not read grows to megabytes before its stream stalls."""


def methods() -> Iterator[tuple[str, MethodDescriptor]]:
    """Every method of every service of the package, by its full name."""
    for module in pkgutil.iter_modules(lading.v1.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"lading.v1.{module.name}").DESCRIPTOR
            for service in file.services_by_name.values():
                for method in service.methods:
                    yield f"{service.full_name}/{method.name}", method


OF_LADING = dict(methods())


class JobServicer(JobServiceServicer):
    """Blocks in every call until it is released, then raises ``error`` if it is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.error: BaseException | None = None
        self.inside = 0
        self.large = pb.WatchJobsResponse()
        self.large.job.description = "x" * 20_000
        self.endless = False

    async def _wait(self) -> None:
        self.inside += 1
        try:
            await self.go.wait()
        finally:
            self.inside -= 1
        if self.error is not None:
            raise self.error

    async def GetJob(self, request: Any, context: Any) -> Any:
        await self._wait()
        return lading.v1.job_pb2.Job(name=request.name)

    async def PauseJob(self, request: Any, context: Any) -> Any:
        await self._wait()
        return lading.v1.job_pb2.Job(name=request.name)

    async def WatchJobs(self, request: Any, context: Any) -> AsyncGenerator[pb.WatchJobsResponse, None]:
        self.inside += 1
        try:
            yield pb.WatchJobsResponse(revision=1)
            while self.endless:
                yield self.large
            await self.go.wait()
        finally:
            self.inside -= 1
        if self.error is not None:
            raise self.error


@dataclass
class Served:
    """A running server with limits, and a channel to it."""

    limits: Limits
    jobs: JobServicer
    channel: grpc.aio.Channel
    stub: JobServiceStub

    def get(self, *, timeout: float | None = DEADLINE) -> Any:
        return self.stub.GetJob(pb.GetJobRequest(name="jobs/a1"), timeout=timeout)

    def pause(self, *, timeout: float | None = DEADLINE) -> Any:
        return self.stub.PauseJob(pb.PauseJobRequest(name="jobs/a1"), timeout=timeout)

    def watch(self, *, timeout: float | None = DEADLINE) -> Any:
        return self.stub.WatchJobs(pb.WatchJobsRequest(), timeout=timeout)

    async def health(self) -> int:
        answer = await HealthStub(self.channel).Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE)
        status: int = answer.status
        return status

    async def count(self, call_class: CallClass, number: int) -> None:
        """Wait until ``number`` calls of a class run."""
        await eventually(lambda: self.limits.running[call_class] == number)


@asynccontextmanager
async def serving(folder: Path, **limits: Any) -> AsyncIterator[Served]:
    jobs, limiting, guard = JobServicer(), Limits(**limits), Guard()
    server = grpc.aio.server(interceptors=(guard, limiting))
    add_JobServiceServicer_to_server(jobs, server)
    add_HealthServicer_to_server(health.HealthServicer(), server)
    server.add_insecure_port(f"unix:{folder / 's'}")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{folder / 's'}", options=SMALL_WINDOW) as channel:
            yield Served(limiting, jobs, channel, JobServiceStub(channel))
    finally:
        await server.stop(0)
        assert await guard.drained(DEADLINE)
    assert set(limiting.running.values()) == {0}


class TestTheTable:
    def test_every_method_of_every_service_has_an_entry(self):
        assert {name for name, method in METHODS.items() if method.call_class} == set(OF_LADING)
        assert {"lading.v1.JobService/GetJob", "lading.v1.FileService/UploadFile"} < set(OF_LADING)

    @pytest.mark.parametrize("name", OF_LADING)
    def test_what_streams_is_a_watch_or_a_transfer(self, name: str):
        method = OF_LADING[name]
        streams = method.client_streaming or method.server_streaming
        assert streams == (METHODS[name].call_class in (CallClass.WATCHES, CallClass.TRANSFERS))

    @pytest.mark.parametrize("name", OF_LADING)
    def test_the_name_of_a_method_says_its_class(self, name: str):
        verb = name.rpartition("/")[2]
        assert (METHODS[name].call_class is CallClass.WATCHES) == verb.startswith("Watch")
        assert (METHODS[name].call_class is CallClass.READS) == verb.startswith(("Get", "List"))

    def test_health_and_reflection_are_free(self):
        free = {name.partition("/")[0] for name, method in METHODS.items() if method.call_class is None}
        assert free == {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
        assert descriptor_pool.Default().FindServiceByName("grpc.health.v1.Health") is not None


class TestTooMany:
    @pytest.mark.parametrize("call_class", ["commands", "reads", "watches"])
    async def test_one_more_than_may_is_refused_at_once_and_the_others_are_not(self, folder, call_class: str):
        async with serving(folder, **{call_class: 2}) as served:
            call = {"commands": served.pause, "reads": served.get, "watches": lambda: served.watch().read()}[call_class]
            running = [asyncio.ensure_future(call()) for _ in range(2)]
            await served.count(CallClass(call_class), 2)
            failed, status = await refused(call())
            assert failed.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            (info,) = unpacked(status, details.ErrorInfo)
            assert (info.reason, dict(info.metadata)) == ("TOO_MANY_CALLS", {"class": call_class})
            (retry,) = unpacked(status, details.RetryInfo)
            assert isinstance(retry, details.RetryInfo)
            assert Duration.ToTimedelta(retry.retry_delay) > timedelta(0)
            assert served.limits.running[CallClass(call_class)] == 2
            served.jobs.go.set()
            await asyncio.gather(*running)

    async def test_a_full_class_leaves_the_others_alone(self, folder):
        async with serving(folder, reads=1) as served:
            reading = asyncio.ensure_future(served.get())
            await served.count(CallClass.READS, 1)
            watching = served.watch()
            assert (await watching.read()).revision == 1
            pausing = asyncio.ensure_future(served.pause())
            await served.count(CallClass.COMMANDS, 1)
            assert await served.health() == health_pb2.HealthCheckResponse.SERVING
            served.jobs.go.set()
            await asyncio.gather(reading, pausing)
            watching.cancel()

    async def test_a_place_that_is_given_back_is_taken_again(self, folder):
        async with serving(folder, reads=1) as served:
            served.jobs.go.set()
            for _ in range(20):
                await served.get()
                await served.count(CallClass.READS, 0)

    @pytest.mark.timeout(120)
    async def test_a_thousand_watchers_starve_neither_a_pause_nor_a_health_check(self, folder):
        async with serving(folder, watches=WATCHERS, commands=1) as served:
            served.jobs.endless = True
            watchers = [served.watch(timeout=None) for _ in range(WATCHERS)]
            # None of them reads: their windows fill up, and their handlers block in a write.
            async with asyncio.timeout(60):
                await asyncio.gather(*(watcher.read() for watcher in watchers))
            failed, status = await refused(served.watch().read())
            assert failed.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert dict(unpacked(status, details.ErrorInfo)[0].metadata) == {"class": "watches"}
            served.jobs.go.set()
            assert (await served.pause()).name == "jobs/a1"
            assert await served.health() == health_pb2.HealthCheckResponse.SERVING
            assert served.limits.running[CallClass.WATCHES] == WATCHERS
            for watcher in watchers:
                watcher.cancel()
            await served.count(CallClass.WATCHES, 0)
            assert served.jobs.inside == 0


class TestThePlaceIsGivenBack:
    @pytest.mark.parametrize("streaming", [False, True], ids=["unary", "stream"])
    async def test_when_the_handler_raises(self, folder, streaming: bool):
        async with serving(folder, reads=1, watches=1) as served:
            served.jobs.error = RuntimeError("broken")
            served.jobs.go.set()
            for _ in range(3):
                if streaming:
                    watch = served.watch()
                    await watch.read()
                    failed, _ = await refused(watch.read())
                else:
                    failed, _ = await refused(served.get())
                assert failed.code() is grpc.StatusCode.INTERNAL
                await served.count(CallClass.WATCHES if streaming else CallClass.READS, 0)

    async def test_when_the_client_of_a_unary_call_goes_away(self, folder):
        async with serving(folder, reads=1) as served:
            call = served.get()
            await served.count(CallClass.READS, 1)
            call.cancel()
            await served.count(CallClass.READS, 0)
            assert served.jobs.inside == 0

    @pytest.mark.parametrize("endless", [False, True], ids=["idle", "held up in a write"])
    async def test_when_the_client_of_a_stream_goes_away(self, folder, endless: bool):
        async with serving(folder, watches=1) as served:
            served.jobs.endless = endless
            call = served.watch()
            await call.read()
            assert served.limits.running[CallClass.WATCHES] == 1
            call.cancel()
            await served.count(CallClass.WATCHES, 0)
            assert served.jobs.inside == 0

    async def test_when_the_connection_breaks(self, folder):
        async with serving(folder, watches=1) as served:
            async with grpc.aio.insecure_channel(f"unix:{folder / 's'}") as other:
                await JobServiceStub(other).WatchJobs(pb.WatchJobsRequest(), timeout=DEADLINE).read()
                assert served.limits.running[CallClass.WATCHES] == 1
            await served.count(CallClass.WATCHES, 0)

    async def test_when_the_stream_comes_to_its_end(self, folder):
        async with serving(folder, watches=1) as served:
            served.jobs.go.set()
            for _ in range(3):
                assert [message.revision async for message in served.watch()] == [1]
                await served.count(CallClass.WATCHES, 0)


class TestDeadlines:
    @pytest.mark.parametrize("call_class", ["commands", "reads"])
    async def test_a_call_without_one_gets_one(self, folder, call_class: str):
        async with serving(folder, command_seconds=0.2, read_seconds=0.2) as served:
            call = served.pause if call_class == "commands" else served.get
            async with asyncio.timeout(DEADLINE):
                failed, status = await refused(call(timeout=None))
            assert failed.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            (info,) = unpacked(status, details.ErrorInfo)
            assert info.reason == "DEADLINE_EXCEEDED"
            assert served.jobs.inside == 0

    async def test_the_clients_own_holds_where_it_is_longer(self, folder):
        async with serving(folder, read_seconds=0.1) as served:
            call = asyncio.ensure_future(served.get(timeout=DEADLINE))
            await served.count(CallClass.READS, 1)
            done, _ = await asyncio.wait([call], timeout=0.5)
            assert not done
            served.jobs.go.set()
            assert (await call).name == "jobs/a1"

    async def test_a_watch_has_none(self, folder):
        async with serving(folder, command_seconds=0.1, read_seconds=0.1) as served:
            watch = served.watch(timeout=None)
            await watch.read()
            rest = asyncio.ensure_future(watch.read())
            done, _ = await asyncio.wait([rest], timeout=0.5)
            assert not done
            served.jobs.go.set()
            assert await rest is grpc.aio.EOF

    async def test_a_timeout_within_the_handler_is_no_deadline(self, folder):
        async with serving(folder) as served:
            served.jobs.error = TimeoutError("of something else")
            served.jobs.go.set()
            failed, _ = await refused(served.get(timeout=None))
            assert failed.code() is grpc.StatusCode.INTERNAL

    async def test_a_client_that_goes_away_before_it_is_no_deadline_either(self, folder, caplog):
        async with serving(folder) as served:
            call = served.get(timeout=None)
            await served.count(CallClass.READS, 1)
            call.cancel()
            await served.count(CallClass.READS, 0)
        assert [record for record in caplog.records if record.levelname == "ERROR"] == []
