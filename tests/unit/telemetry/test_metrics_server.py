"""Answers to Prometheus, and badly behaved scrapers."""

from __future__ import annotations

import asyncio
import stat
from typing import TYPE_CHECKING

import pytest

from ladingd.telemetry import metrics_server as scrape
from ladingd.telemetry.metrics_server import MetricsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


async def shown(accept: str) -> tuple[bytes, str]:
    if accept == "broken":
        raise ValueError("secret")
    return f"asked for {accept}\n".encode(), "text/x"


@pytest.fixture
async def place(folder: Path) -> AsyncIterator[Path]:
    server = MetricsServer(shown, socket=folder / "m")
    assert await server.start() == str(folder / "m")
    yield folder / "m"
    await server.stop()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def ask(place: Path, question: str) -> str:
    reader, writer = await asyncio.open_unix_connection(place)
    writer.write(question.encode())
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.decode()


async def test_a_scrape_is_answered_in_the_format_it_accepts(place: Path) -> None:
    answer = await ask(place, "GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\nACCEPT: one, two\r\n\r\n")
    head, _, body = answer.partition("\r\n\r\n")
    assert head.splitlines()[0] == "HTTP/1.1 200 OK"
    assert "Content-Type: text/x" in head
    assert f"Content-Length: {len(body)}" in head
    assert body == "asked for one, two\n"
    assert mode_of(place) == 0o660


@pytest.mark.parametrize(
    ("question", "status"),
    [
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
        ("\r\n\r\n", "404"),
        ("GET /metrics HTTP/1.1\r\nAccept: broken\r\n\r\n", "500"),
    ],
)
async def test_nothing_else_is_there(place: Path, question: str, status: str) -> None:
    answer = await ask(place, question)
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert "secret" not in answer


async def test_a_question_without_an_end_is_not_read_for_ever(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await ask(place, "GET /metrics HTTP/1.1\r\n" + "x" * 20_000) == ""
    monkeypatch.setattr(scrape, "TIMEOUT", 0.05)
    assert await ask(place, "GET /metr") == ""


async def test_a_crowd_is_sent_away_and_those_that_wait_do_not_hold_up_the_end(folder: Path) -> None:
    server = MetricsServer(shown, socket=folder / "m")
    await server.start()
    idle = [await asyncio.open_unix_connection(folder / "m") for _ in range(20)]
    async with asyncio.timeout(5):
        refused = 0
        while refused < 4:
            gone = [reader.at_eof() for reader, _ in idle]
            refused = sum(gone)
            await asyncio.sleep(0)
        await server.stop()
    for reader, writer in idle:
        assert await reader.read() == b""
        writer.close()
    assert not (folder / "m").exists()


async def test_a_socket_in_use_is_not_taken_over_and_a_dead_one_is(folder: Path, place: Path) -> None:
    with pytest.raises(FileExistsError, match="another program"):
        await MetricsServer(shown, socket=place).start()
    left = folder / "left"
    server = await asyncio.start_unix_server(lambda *_: None, left)
    server.close()
    await server.wait_closed()
    again = MetricsServer(shown, socket=left)
    await again.start()
    await again.stop()


async def test_a_port_is_served_too() -> None:
    server = MetricsServer(shown, listen="127.0.0.1:0")
    host, _, port = (await server.start()).rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    async with asyncio.timeout(5):
        assert b"200 OK" in await reader.read()
    writer.close()
    await writer.wait_closed()
    await server.stop()
