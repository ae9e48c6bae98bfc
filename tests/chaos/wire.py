"""A proxy between daemon and PostgreSQL that cuts connections while a transaction is committed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from pathlib import Path

_START = 3 << 16
"""The protocol version in the startup message ("Message Formats" in the manual)."""
_COMMITS = (b"QCOMMIT\0", b"P\0COMMIT\0")
"""COMMIT as a simple query, and as an unnamed prepared statement."""
_READY = b"Z\0\0\0\5"
LATENCY = 0.2
"""Seconds that a message can still be in transit when its sender is gone."""


class Cut(Enum):
    """When the connection is cut."""

    BEFORE = auto()
    """The server never sees the COMMIT."""
    AFTER = auto()
    """The server has committed, and its answer is lost."""
    LATE = auto()
    """The daemon's connection ends first, and the server gets the COMMIT later."""


class Wire:
    """A proxy on a Unix socket in a folder, to the socket of a server. It cuts every third COMMIT."""

    def __init__(self, folder: Path, server: Path, cut: Cut, *, cuts: int) -> None:
        self.left = cuts
        """The number of cuts that are left."""
        self._folder = folder
        self._server = server
        self._cut = cut
        self._seen = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._folder.mkdir(exist_ok=True)
        self._listener = await asyncio.start_unix_server(self._connected, self._folder / ".s.PGSQL.5432")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._join(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # One of the two has hung up, or the test is over.
        finally:
            await _hang_up(writer)
            self._tasks.discard(task)

    async def _join(self, reader: StreamReader, writer: StreamWriter) -> None:
        answers, server = await asyncio.open_unix_connection(self._server)
        answering = asyncio.create_task(_pass_on(answers, writer))
        try:
            started = False
            while True:
                message = await _message(reader, typed=started)
                started = started or int.from_bytes(message[4:8]) == _START
                if started and self._is_to_be_cut(message):
                    answering.cancel()
                    await asyncio.wait([answering])
                    await self._break(message, answers, server, writer)
                    return
                server.write(message)
                await server.drain()
        finally:
            answering.cancel()
            await asyncio.wait([answering])
            await _hang_up(server)

    def _is_to_be_cut(self, message: bytes) -> bool:
        if not (message[:1] + message[5:]).startswith(_COMMITS):
            return False
        self._seen += 1
        if self._seen % 3 or not self.left:
            return False
        self.left -= 1
        return True

    async def _break(self, commit: bytes, answers: StreamReader, server: StreamWriter, daemon: StreamWriter) -> None:
        if self._cut is Cut.BEFORE:
            return
        if self._cut is Cut.LATE:
            await _hang_up(daemon)
            await asyncio.sleep(LATENCY)
        server.write(commit)
        await answers.readuntil(_READY)


async def _message(reader: StreamReader, *, typed: bool) -> bytes:
    head = await reader.readexactly(5 if typed else 4)
    return head + await reader.readexactly(int.from_bytes(head[-4:]) - 4)


async def _pass_on(reader: StreamReader, writer: StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _hang_up(writer: StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError, asyncio.CancelledError):
        await writer.wait_closed()
