"""A fake daemon, a client that calls it in this process, and the command line in a separate process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from lading_client.client import Client
from tests.unit.client.fake_service import FakeService, serve
from tests.unit.client.service_transport import ServiceTransport

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE = 20.0


@pytest.fixture
def socket(folder: Path) -> Path:
    return folder / "daemon.sock"


@pytest.fixture
async def service() -> FakeService:
    """A fake daemon without a channel."""
    return FakeService()


@pytest.fixture
async def served(socket: Path) -> AsyncIterator[FakeService]:
    """A fake daemon that listens on the socket."""
    fake = FakeService()
    server = await serve(fake, socket)
    yield fake
    await server.stop(None)


@pytest.fixture
async def client(service: FakeService) -> AsyncIterator[Client]:
    async with Client(transport=ServiceTransport(service), timeout=5.0) as client:
        yield client


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The documents on standard output, one per line."""
        return [json.loads(line) for line in self.out.splitlines()]


Lading = Callable[..., Coroutine[Any, Any, Result]]


def clean_environment(home: Path) -> dict[str, str]:
    """An environment without the user's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "LADING"))}
    return kept | {"HOME": str(home), "TERM": "dumb", "COLUMNS": "120", "TZ": "UTC"}


@pytest.fixture
def lading(socket: Path, tmp_path: Path) -> Lading:
    """Runs the command line in a separate process, with the fake daemon."""

    async def run(*arguments: str, stdin: str = "", environment: dict[str, str] | None = None) -> Result:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", "lading_client", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env=environment or clean_environment(tmp_path) | {"LADING_SERVER": f"unix:{socket}"},
        )
        async with asyncio.timeout(DEADLINE):
            out, err = await process.communicate(stdin.encode())
        return Result(status=process.returncode or 0, out=out.decode(), err=err.decode())

    return run
