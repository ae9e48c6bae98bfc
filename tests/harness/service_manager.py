"""The side of sd_notify that the service manager has: a socket on which daemons say how they are."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Self

from tests.harness.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

TALK = ("STATUS", "WATCHDOG", "EXTEND_TIMEOUT_USEC")
"""What is said besides, any number of times."""


class ServiceManager:
    """Listens while its ``with`` block lasts."""

    def __init__(self, path: Path, *, abstract: bool = False) -> None:
        self.address = f"@{path}" if abstract else str(path)
        self.heard: list[dict[str, str]] = []
        """All datagrams so far, in order."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{path}" if abstract else str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def hears(self, name: str, value: str = "", *, patience: float = PATIENCE) -> dict[str, str]:
        """Wait for the next datagram with this variable, and value where one is named. Raises AssertionError."""
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                datagram = self._receive()
            except TimeoutError:
                break
            if name in datagram and value in ("", datagram[name]):
                return datagram
        raise AssertionError(f"not within {patience:g} s: {name}={value}; heard: {self.heard}")

    def drain(self) -> None:
        """Take what has been said already."""
        self._socket.setblocking(False)
        while True:
            try:
                self._receive()
            except BlockingIOError:
                return

    @property
    def said(self) -> list[str]:
        """What was said but for the talk besides: the names of the variables of each datagram, in order."""
        self.drain()
        names = ["+".join(name for name in datagram if name not in TALK) for datagram in self.heard]
        return [each for each in names if each]

    @property
    def last(self) -> str:
        """The names of the variables of the last datagram."""
        return "+".join(self.heard[-1])

    def _receive(self) -> dict[str, str]:
        pairs = (line.partition("=") for line in self._socket.recv(8192).decode().split("\n"))
        self.heard.append({name: value for name, _, value in pairs})
        return self.heard[-1]
