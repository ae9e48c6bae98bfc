"""Answers Prometheus by HTTP on a loopback port or a Unix socket, in the daemon's own event loop."""

from __future__ import annotations

import asyncio
import logging
import socket as sockets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Render = Callable[[str], Awaitable[tuple[bytes, str]]]

PATH = "/metrics"
SOCKET_MODE = 0o660
TIMEOUT = 10.0
"""Seconds that a scraper may take to send its request and read the response."""
_MOST = 16
_HEAD_BYTES = 8 << 10

_log = logging.getLogger(__name__)


class MetricsServer:
    """Serves the result of ``render`` for the request's ``Accept`` header to a few clients at a time. A connection
    carries one request."""

    def __init__(self, render: Render, *, listen: str = "", socket: Path | None = None) -> None:
        self._render = render
        self._listen = listen
        self._socket = socket
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def __str__(self) -> str:
        return " and ".join(str(place) for place in (self._socket, self._listen) if place)

    async def start(self) -> str:
        """Listen and return the addresses as text. Raises OSError."""
        places: list[str] = []
        if self._socket is not None:
            _require_free(self._socket)
            self._servers.append(await asyncio.start_unix_server(self._accept, self._socket, limit=_HEAD_BYTES))
            self._socket.chmod(SOCKET_MODE)
            places.append(str(self._socket))
        if self._listen:
            host, _, port = self._listen.rpartition(":")
            server = await asyncio.start_server(self._accept, host.strip("[]"), int(port), limit=_HEAD_BYTES)
            self._servers.append(server)
            host, port = server.sockets[0].getsockname()[:2]
            places.append(f"{host}:{port}")
        return " and ".join(places)

    async def stop(self) -> None:
        """Close all connections at once, even in the middle of a response."""
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._socket is not None and self._servers:  # Otherwise the socket is another program's.
            self._socket.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= _MOST:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer), name="scrape")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head.decode("latin-1")))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            _log.debug("a scraper's connection is dropped: %r", error)
        finally:
            writer.transport.abort()

    async def _answer(self, head: str) -> bytes:
        request, *lines = head.split("\r\n")
        method, _, rest = request.partition(" ")
        if rest.split(" ")[0].partition("?")[0] != PATH:
            return _response("404 Not Found", b"only /metrics is here\n")
        if method != "GET":
            return _response("405 Method Not Allowed", b"only GET\n", "Allow: GET")
        named = (line.partition(":") for line in lines)
        accept = next((value.strip() for name, _, value in named if name.lower() == "accept"), "")
        try:
            body, content_type = await self._render(accept)
        except Exception:
            _log.exception("the metrics cannot be rendered")
            return _response("500 Internal Server Error", b"the daemon's log says more\n")
        return _response("200 OK", body, content_type=content_type)


def _response(status: str, body: bytes, *headers: str, content_type: str = "text/plain; charset=utf-8") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "Connection: close", "", ""]).encode() + body


def _require_free(path: Path) -> None:
    """Raises OSError if another program serves on this socket: listening would silently take it over."""
    with sockets.socket(sockets.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise FileExistsError(17, "another program serves there", str(path))
