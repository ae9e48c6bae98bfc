"""The service manager's side of sd_notify: a socket that receives the daemons' notifications."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Self

from tests.harness.waiting import PATIENCE, until

if TYPE_CHECKING:
    from pathlib import Path

TALK = ("STATUS", "WATCHDOG", "EXTEND_TIMEOUT_USEC")
"""Variables that may be sent any number of times."""


class ServiceManager:
    """Listens during a ``with`` block. It reads continuously, because the kernel queues only ten datagrams."""

    def __init__(self, path: Path, *, abstract: bool = False) -> None:
        self.address = f"@{path}" if abstract else str(path)
        self.heard: list[dict[str, str]] = []
        """All datagrams so far, in order."""
        self._looked_at = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{path}" if abstract else str(path))
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.settle()
        self._socket.shutdown(socket.SHUT_RD)
        self._thread.join(PATIENCE)
        self._socket.close()

    def hears(self, name: str, value: str = "", *, patience: float = PATIENCE) -> dict[str, str]:
        """Wait for the next datagram with this variable, and with this value if given. Raises AssertionError."""

        def looked() -> dict[str, str] | None:
            for datagram in self.heard[self._looked_at :]:
                self._looked_at += 1
                if name in datagram and value in ("", datagram[name]):
                    return datagram
            return None

        found = until(looked, f"{name}={value} is said; heard: {self.heard}", patience=patience)
        assert found is not None
        return found

    def settle(self) -> None:
        """Wait until everything sent so far is received."""
        mark = {"MARK": str(len(self.heard))}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(PATIENCE)
            sender.sendto(f"MARK={mark['MARK']}".encode(), self._socket.getsockname())
        until(lambda: mark in self.heard, "the mark is heard")
        self.heard.remove(mark)

    @property
    def said(self) -> list[str]:
        """The names of the variables of each datagram, in order, without TALK."""
        self.settle()
        names = ["+".join(name for name in datagram if name not in TALK) for datagram in self.heard]
        return [each for each in names if each]

    def _listen(self) -> None:
        while datagram := self._socket.recv(8192):
            pairs = (line.partition("=") for line in datagram.decode().split("\n"))
            self.heard.append({name: value for name, _, value in pairs})
