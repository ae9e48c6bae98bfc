"""A daemon that receives nonsense survives, answers with codes that blame the caller, and leaks nothing.

``LADING_FUZZ_SEED`` and ``LADING_FUZZ_ROUNDS`` choose other requests, and more of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from lading_client.client import Client
from ladingd.config import Settings
from ladingd.daemon import Daemon
from tests.harness.jobs import importing, write_people
from tests.harness.waiting import until, until_async
from tests.integration.api.answers import refused
from tests.integration.api.nonsense import Nonsense, methods_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.harness.daemon import DaemonProcess

SEED = int(os.environ.get("LADING_FUZZ_SEED", "4"))
ROUNDS = int(os.environ.get("LADING_FUZZ_ROUNDS", "60"))
"""The number of requests of each kind to each method."""
TOGETHER = 12
DEADLINE = 30.0
LISTENING = 0.05
"""How long a stream of answers is read before the caller hangs up."""
MAX_MESSAGE = 4 << 20

OURS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED}
"""Codes that blame the daemon."""

pytestmark = pytest.mark.timeout(300)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[str]:
    """Run a whole daemon in this process, so that its tasks can be counted. Yields its address."""
    settings = Settings(
        state_dir=folder / "state",
        socket=folder / "s",
        workers=1,
        roots={"local": folder},
        connections={"local": {"url": f"sqlite:///{folder / 'target.db'}"}},
    )
    # A stopped daemon lets signals end the process, but this process continues.
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    daemon = asyncio.create_task(Daemon(settings, lambda: (settings, ()), folder / "ladingd.toml").serve())
    address = f"unix:{folder / 's'}"
    try:
        async with asyncio.timeout(DEADLINE), grpc.aio.insecure_channel(address) as channel:
            await HealthStub(channel).Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
            await until_async(lambda: _none_named("warm-up"), "the workers are warm")
        yield address
    finally:
        if not daemon.done():
            os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            await daemon
        for number, handler in before.items():
            signal.signal(number, handler)


async def _none_named(beginning: str) -> bool:
    return not any(task.get_name().startswith(beginning) for task in asyncio.all_tasks())


async def services_of(channel: grpc.aio.Channel) -> list[str]:
    """The services that a daemon says it has."""
    requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
    call = ServerReflectionStub(channel).ServerReflectionInfo(iter(requests), timeout=DEADLINE)
    (answer,) = [answer async for answer in call]
    return sorted(service.name for service in answer.list_services_response.service)


class Caller:
    """Sends bytes to any method and records the outcome."""

    def __init__(self, channel: grpc.aio.Channel, blocking: grpc.Channel, *, listening: float = LISTENING) -> None:
        self._channel = channel
        self._blocking = blocking
        self._listening = listening
        self.codes: Counter[str] = Counter()
        self.blamed: list[str] = []

    async def call(self, method: Any, payloads: list[bytes], metadata: tuple[tuple[str, Any], ...] = ()) -> None:
        """Make a call. A stream of answers is read only for a moment."""
        path = f"/{method.containing_service.full_name}/{method.name}"
        try:
            if method.client_streaming:
                await asyncio.to_thread(self._send_all, path, method.server_streaming, payloads, metadata)
            elif method.server_streaming:
                call = self._channel.unary_stream(path)(payloads[0], timeout=DEADLINE, metadata=metadata)
                await self._listen(call)
            else:
                await self._channel.unary_unary(path)(payloads[0], timeout=DEADLINE, metadata=metadata)
            code = grpc.StatusCode.OK
        except grpc.RpcError as error:
            # Both kinds of gRPC errors have this method.
            code, details = error.code(), error.details()  # type: ignore[attr-defined]
            if code in OURS:
                self.blamed.append(f"{path}: {code.name} {details} for {[each.hex() for each in payloads]}")
        self.codes[code.name] += 1

    async def _listen(self, call: Any) -> None:
        try:
            async with asyncio.timeout(self._listening):
                while await call.read() is not grpc.aio.EOF:
                    pass
        except TimeoutError:
            pass
        finally:
            call.cancel()

    def _send_all(self, path: str, streaming: bool, payloads: list[bytes], metadata: Any) -> None:
        # The asyncio client reports its own error if the daemon answers before everything is sent.
        make = (self._blocking.stream_stream if streaming else self._blocking.stream_unary)(path)
        answer = make(iter(payloads), timeout=DEADLINE, metadata=metadata)
        if streaming:
            for _ in answer:
                pass


@asynccontextmanager
async def channels(address: str) -> AsyncIterator[tuple[grpc.aio.Channel, grpc.Channel]]:
    """A channel for asyncio and a channel for threads."""
    async with grpc.aio.insecure_channel(address) as channel:
        with grpc.insecure_channel(address) as blocking:
            yield channel, blocking


async def _all_of(sendings: Iterator[Any]) -> None:
    """Await them, at most TOGETHER at a time."""
    places = asyncio.Semaphore(TOGETHER)

    async def one(sending: Any) -> None:
        async with places:
            await sending

    async with asyncio.TaskGroup() as tasks:
        for sending in sendings:
            tasks.create_task(one(sending))


async def _prepared(address: str, folder: Path) -> dict[str, list[str]]:
    """Create some jobs. Returns texts for plausible requests."""
    file = write_people(folder / "people.csv", 100)
    names = []
    async with Client(address) as client:
        for number in range(3):
            spec = importing(file.relative_to(folder))
            names.append((await client.create_job(spec, job_id=f"a{number}")).name)
    return {
        "path": ["people.csv", "out.csv", "no/such.csv"],
        "root": ["", "local"],
        "connection": ["", "local"],
        "schema": [""],
        "table": ["people", "others"],
        "name": [*names, "jobs/none", "uploads/0a1b2c3d-0000-4000-8000-000000000000"],
        "parent": [*names, "jobs/none"],
        "job_id": ["a1", "b1", "", ""],
        "etag": ["", '"1"'],
        "page_token": [""],
        "filter": ["", "state = RUNNING", 'label = "x*"', "type = import AND state != FAILED", "state ="],
        "order_by": ["", "label desc", "create_time", "nothing"],
        "request_id": ["", "0a1b2c3d-0000-4000-8000-000000000001"],
        "sha256": ["x" * 32],
        "data": ["x" * 7, "x" * 100_000],
        "upload_id": ["0a1b2c3d-0000-4000-8000-000000000002"],
        "file_name": ["a.csv"],
        "delimiter": ["", ",", ";"],
        "quote": ["", '"'],
        "paths": ["label", "description", "spec"],
        "service": ["", "lading.v1.JobService"],
        "file_containing_symbol": ["lading.v1.JobService"],
    }


@pytest.mark.parametrize("damaged", [False, True], ids=["random fields", "damaged bytes"])
async def test_nonsense_is_refused_and_leaves_nothing_behind(folder: Path, caplog, damaged: bool):
    async with serving(folder) as address:
        plausible = await _prepared(address, folder)
        async with channels(address) as (channel, blocking):
            services = await services_of(channel)
            methods = [method for service in services for method in methods_of(service)]
            assert len(methods) > 12
            nonsense, caller = Nonsense(SEED, plausible), Caller(channel, blocking)
            make: Callable[[Any], bytes] = (
                nonsense.damaged if damaged else lambda kind: nonsense.message(kind).SerializeToString()
            )
            before = len(asyncio.all_tasks())
            await _all_of(
                caller.call(
                    method,
                    [make(method.input_type) for _ in range(nonsense.chance.randint(1, 4))],
                    nonsense.metadata(),
                )
                for _ in range(ROUNDS)
                for method in methods
            )
            assert caller.blamed == []
            assert caller.codes["INVALID_ARGUMENT"] > 0
            assert await _healthy(channel)
            await until_async(lambda: _no_more_tasks(before), "handlers and whatever they started have ended")
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


async def _healthy(channel: grpc.aio.Channel) -> bool:
    answer = await HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def _no_more_tasks(than: int) -> bool:
    return len(asyncio.all_tasks()) <= than


async def test_too_large_messages_and_headers_are_refused(folder: Path, caplog):
    async with serving(folder) as address, channels(address) as (channel, blocking):
        for service in await services_of(channel):
            for method in methods_of(service):
                caller = Caller(channel, blocking, listening=DEADLINE)
                await caller.call(method, [bytes(MAX_MESSAGE + 1)])
                assert caller.codes == {"RESOURCE_EXHAUSTED": 1}, method.full_name
        health = HealthStub(channel)
        for size in (20_000, 200_000):
            metadata = (("x-large", "x" * size),)
            failed, _ = await refused(
                health.Check(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=DEADLINE)
            )
            assert failed.code() not in OURS
            assert await _healthy(channel)
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def test_what_is_no_grpc_at_all(daemon: DaemonProcess):
    """Bytes straight into the socket: random, of another protocol, and frames of HTTP/2 that make no sense."""
    chance = Nonsense(SEED, {}).chance
    beginnings = (b"", PREFACE, PREFACE + SETTINGS, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01")
    with socket.socket(socket.AF_UNIX) as held:
        held.connect(str(daemon.socket))
        until(lambda: _connections(daemon) == 1, "a connection is seen")
    for number in range(300):
        beginning = beginnings[number % len(beginnings)]
        frames = b"".join(_frame(chance) for _ in range(chance.randint(0, 20)))
        _knock(daemon, beginning + (frames if chance.random() < 0.7 else chance.randbytes(chance.randint(0, 5000))))
    with grpc.insecure_channel(daemon.address) as channel:
        answer = HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    until(lambda: _connections(daemon) == 0, "the connections are closed")
    said = daemon.log.read_text(errors="replace")
    assert "Traceback" not in said
    assert "internal error" not in said
    assert daemon.stop() == 0


def _frame(chance: Any) -> bytes:
    content = chance.randbytes(chance.choice((0, 1, 8, 200)))
    length = len(content) if chance.random() < 0.8 else chance.getrandbits(24)
    kind, flags, stream = chance.randrange(12), chance.getrandbits(8), chance.choice((0, 1, 2, 3, 2**31 - 1))
    return length.to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + content


def _knock(daemon: DaemonProcess, sent: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(DEADLINE)
        door.connect(str(daemon.socket))
        try:
            door.sendall(sent)
            door.shutdown(socket.SHUT_WR)
            while door.recv(65536):
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass  # The daemon has closed the connection, which is a valid answer.


def _connections(daemon: DaemonProcess) -> int:
    """The number of connections, as listed by Linux with the socket's path; 03 means connected."""
    rows = [row.split() for row in Path("/proc/net/unix").read_text().splitlines()]
    return sum(1 for row in rows if row[-1] == str(daemon.socket) and row[5] == "03")
