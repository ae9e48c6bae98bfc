"""Helper processes for measurements.

``python -m tests.bench.peers bare SOCKET MESSAGE`` is a server of grpc.aio with nothing behind it; ``… calls ADDRESS
NAME`` makes unary calls until its input ends and prints how long each took; ``… elements FILE DATABASE`` imports XML
into SQLite as a short script does.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import grpc
import grpc.aio
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from lading.v1 import job_service_pb2
from tests.bench.records import COLUMNS
from tests.bench.standstill import jobs_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

BARE_METHOD = "/bare.Bare/Stream"
_PATIENCE = 60.0
_CALLS_PER_SECOND = 20


async def serve_bare(socket: str, message: bytes) -> None:
    """Send one message as often as each request says, until the input ends."""
    sent = job_service_pb2.WatchJobsResponse.FromString(message)

    async def stream(request: bytes, _: Any) -> AsyncIterator[job_service_pb2.WatchJobsResponse]:
        for _ in range(int(request)):
            yield sent

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_stream_rpc_method_handler(
        stream, response_serializer=job_service_pb2.WatchJobsResponse.SerializeToString
    )
    _, service, method = BARE_METHOD.split("/")
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


async def make_calls(address: str, name: str) -> None:
    """Call GetJob and health alternately, each at its time."""
    seconds: list[float] = []
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    async with grpc.aio.insecure_channel(address) as channel, asyncio.TaskGroup() as calls:
        jobs, health = jobs_of(channel), HealthStub(channel)

        async def call(number: int) -> None:
            begin = time.perf_counter()
            if number % 2:
                await health.Check(HealthCheckRequest(), timeout=_PATIENCE)
            else:
                await jobs.GetJob(job_service_pb2.GetJobRequest(name=name), timeout=_PATIENCE)
            seconds.append(time.perf_counter() - begin)

        number = 0
        due = time.perf_counter()
        while not ended.done():
            calls.create_task(call(number))
            number += 1
            due += 1 / _CALLS_PER_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
    print(json.dumps(seconds))


def import_elements(file: str, database: str) -> None:
    """Import the elements ``record`` of a file into a new table, in bounded memory."""
    Path(database).unlink(missing_ok=True)

    def rows() -> Iterator[list[str | None]]:
        events = ElementTree.iterparse(file, events=("start", "end"))
        _, root = next(events)
        for event, element in events:
            if event == "end" and element.tag == "record":
                fields = {field.tag: field.text for field in element}
                yield [fields.get(name) for name in COLUMNS]
                root.clear()

    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"CREATE TABLE records ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})")
        connection.executemany(f"INSERT INTO records VALUES ({', '.join('?' * len(COLUMNS))})", rows())


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["bare", socket, message]:
            asyncio.run(serve_bare(socket, Path(message).read_bytes()))
        case ["elements", file, database]:
            import_elements(file, database)
        case ["calls", address, name]:
            asyncio.run(make_calls(address, name))
        case _:
            sys.exit(__doc__)
