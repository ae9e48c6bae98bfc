"""The server itself: its socket, health, reflection and how it stops."""

from __future__ import annotations

import asyncio
import stat
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from lading.v1 import job_service_pb2 as pb
from ladingd.api.listener import Listener
from ladingd.api.server import ApiServer
from ladingd.run.watch.events import WatchEvent, WatchKind
from tests.integration.api.answers import refused
from tests.integration.api.fakes import (
    ANYONE,
    DEADLINE,
    NOON,
    FakeAudit,
    FakeControl,
    FakeRejects,
    FakeStore,
    FakeTokens,
    FakeWatch,
    a_job,
    eventually,
    no_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
from typing import Any

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = ["", "lading.v1.JobService"]


def a_server(socket: Path, *listeners: Listener) -> ApiServer:
    return ApiServer(
        socket=socket,
        jobs=FakeStore(),
        chunks=FakeStore(),
        journal=FakeStore(),
        rejects=FakeRejects(),
        control=FakeControl(),
        watch=FakeWatch(),
        **no_files(socket.parent),
        tokens=FakeTokens(),
        audit=FakeAudit(),
        local=ANYONE,
        listeners=listeners,
    )


async def health_of(channel: grpc.aio.Channel, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    return (await HealthStub(channel).Check(request, timeout=DEADLINE)).status


async def rest_of(stream: Any, seen: Callable[[Any], None] = lambda message: None) -> None:
    while (message := await stream.read()) is not grpc.aio.EOF:
        seen(message)


async def test_the_socket_is_for_owner_and_group(api):
    assert stat.S_ISSOCK(api.socket.stat().st_mode)
    assert stat.S_IMODE(api.socket.stat().st_mode) == 0o660


async def test_a_path_that_is_no_plain_uri(folder):
    socket = folder / "a b%20é#?"
    server = a_server(socket)
    await server.start()
    try:
        assert socket.is_socket()
        async with grpc.aio.insecure_channel(f"unix:{quote(str(socket))}") as channel:
            assert await health_of(channel, "") == SERVING
    finally:
        assert await server.stop(1)


@pytest.mark.parametrize("path", ["x" * 120, "missing/s"])
async def test_a_socket_that_cannot_be_made(folder, path):
    server = a_server(folder / path)
    with pytest.raises(OSError, match="socket"):
        await server.start()
    assert await server.stop(0)


async def test_nobody_reaches_the_socket_before_all_addresses_are_open(folder):
    """A client that connects, and then changes a certificate, must find a server that has read the old one."""
    missing = folder / "missing.pem"
    server = a_server(folder / "s", Listener(address="localhost:0", certificate=missing, key=missing))
    with pytest.raises(FileNotFoundError, match="missing"):
        await server.start()
    assert not (folder / "s").exists()
    assert await server.stop(0)


@pytest.mark.parametrize("service", SERVICES)
async def test_health(api, service):
    assert await health_of(api.channel, service) == SERVING
    await api.server.refuse()
    assert await health_of(api.channel, service) == NOT_SERVING


async def test_health_of_no_service(api):
    failed, _ = await refused(HealthStub(api.channel).Check(health_pb2.HealthCheckRequest(service="x")))
    assert failed.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection(api):
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="lading.v1.JobService"),
    ]
    call = ServerReflectionStub(api.channel).ServerReflectionInfo(iter(requests), timeout=DEADLINE)
    services, files = [answer async for answer in call]
    assert {service.name for service in services.list_services_response.service} == {
        "lading.v1.JobService",
        "lading.v1.AuditService",
        "lading.v1.TableService",
        "lading.v1.FileService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert len(files.file_descriptor_response.file_descriptor_proto) >= 1


async def test_a_message_that_is_too_large(api):
    failed, _ = await refused(api.stub.GetJob(pb.GetJobRequest(name="x" * (5 << 20)), timeout=DEADLINE))
    assert failed.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_idle_is_the_time_without_calls(api):
    api.control.hold = asyncio.Event()
    call = asyncio.ensure_future(api.stub.StartJob(pb.StartJobRequest(name="jobs/a1"), timeout=DEADLINE))
    async with asyncio.timeout(DEADLINE):
        await api.control.held.wait()
    assert api.server.idle_seconds() == 0
    api.control.hold.set()
    await call
    await eventually(lambda: api.server.idle_seconds() > 0)
    before = time.monotonic()
    await health_of(api.channel, "")
    await eventually(lambda: api.server.idle_seconds() > 0)
    assert api.server.idle_seconds() < time.monotonic() - before


async def test_a_crowd_of_calls_is_answered(api):
    api.store.put(a_job())
    calls = (api.stub.GetJob(pb.GetJobRequest(name="jobs/a1"), timeout=6 * DEADLINE) for _ in range(2000))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [answer for answer in answers if isinstance(answer, BaseException)] == []


async def test_stop_ends_at_once_when_only_health_and_reflection_are_followed(api):
    watch = HealthStub(api.channel).Watch(health_pb2.HealthCheckRequest(), timeout=DEADLINE)
    assert (await watch.read()).status == SERVING
    reflection = ServerReflectionStub(api.channel).ServerReflectionInfo(timeout=DEADLINE)
    await reflection.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    await reflection.read()
    loop = asyncio.get_running_loop()
    begin = loop.time()
    assert await api.stop(grace=DEADLINE)
    assert loop.time() - begin < DEADLINE / 2
    failed, _ = await refused(rest_of(watch))
    assert failed.code() is grpc.StatusCode.UNAVAILABLE


async def test_stop_lets_a_call_come_to_its_end(api):
    api.control.hold = asyncio.Event()
    call = asyncio.ensure_future(api.stub.StartJob(pb.StartJobRequest(name="jobs/a1"), timeout=DEADLINE))
    async with asyncio.timeout(DEADLINE):
        await api.control.held.wait()
    stopping = asyncio.create_task(api.stop())
    await eventually(lambda: not api.socket.exists())
    api.control.hold.set()
    assert (await call).name == "jobs/a1"
    assert await stopping


async def test_stop_lets_watches_send_their_last(api):
    api.watch.events = [WatchEvent(kind=WatchKind.CHANGED, revision=n, time=NOON, job=a_job()) for n in range(2000)]
    call = api.stub.WatchJobs(pb.WatchJobsRequest(), timeout=DEADLINE)
    await call.read()
    api.watch.closed.set()
    stopping = asyncio.create_task(api.stop())
    revisions: list[int] = []
    failed, _ = await refused(rest_of(call, lambda message: revisions.append(message.revision)))
    assert revisions == list(range(1, 2000))
    assert (failed.code(), failed.details()) == (grpc.StatusCode.UNAVAILABLE, "shutting down")
    assert await stopping


async def test_stop_cancels_and_awaits_what_outlives_the_grace(api):
    api.watch.events = [WatchEvent(kind=WatchKind.CHANGED, revision=8, time=NOON, job=a_job())]
    call = api.stub.WatchJobs(pb.WatchJobsRequest(), timeout=DEADLINE)
    await call.read()
    assert await api.stop(grace=0.2)
    assert api.watch.cleaned_up.is_set()


async def test_nothing_is_left_of_the_socket(api):
    assert await api.stop()
    assert not api.socket.exists()
