"""A real server of the API on a Unix socket, with fakes behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from lading.v1.job_service_pb2_grpc import JobServiceStub
from ladingd.api.server import ApiServer
from tests.integration.api.fakes import (
    ANYONE,
    DEADLINE,
    NOW,
    FakeAudit,
    FakeControl,
    FakeRejects,
    FakeStore,
    FakeTokens,
    FakeWatch,
    no_files,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass
class Api:
    """A running server, a channel to it, and the fakes behind it."""

    server: ApiServer
    socket: Path
    channel: grpc.aio.Channel
    stub: JobServiceStub
    store: FakeStore
    control: FakeControl
    rejects: FakeRejects
    watch: FakeWatch
    tokens: FakeTokens
    audit: FakeAudit
    stopped: list[bool] = field(default_factory=list)

    async def stop(self, grace: float = DEADLINE) -> bool:
        self.stopped.append(await self.server.stop(grace))
        return self.stopped[-1]


@pytest.fixture
async def api(folder: Path) -> AsyncIterator[Api]:
    store, control, rejects, watch = FakeStore(), FakeControl(), FakeRejects(), FakeWatch()
    tokens, audit = FakeTokens(), FakeAudit()
    socket = folder / "s"
    server = ApiServer(
        socket=socket,
        jobs=store,
        chunks=store,
        journal=store,
        rejects=rejects,
        control=control,
        watch=watch,
        **no_files(folder),
        tokens=tokens,
        audit=audit,
        local=ANYONE,
        clock=lambda: NOW,
    )
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        running = Api(server, socket, channel, JobServiceStub(channel), store, control, rejects, watch, tokens, audit)
        yield running
        if not running.stopped:
            watch.closed.set()
            watch.endless = False
            await running.stop(1)
