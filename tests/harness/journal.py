"""A journald socket for tests. Started as a module, this runs a daemon that writes to it.

The variable ``JOURNAL`` has its path. Worker processes import this module again, and so write to it too.
"""

from __future__ import annotations

import fcntl
import os
import socket
from typing import TYPE_CHECKING

from ladingd.telemetry import journald
from tests.harness.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Journal:
    """A journal that reads on demand."""

    def __init__(self, path: Path, patience: float | None = PATIENCE) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._path = str(path)
        self._socket.bind(self._path)
        self._socket.settimeout(patience)
        self.files = 0

    def read(self) -> dict[str, str]:
        """The fields of the next entry."""
        return dict(_fields(self.read_raw()))

    def read_raw(self) -> bytes:
        """The next entry as it was sent."""
        data, files, _, _ = socket.recv_fds(self._socket, 1 << 20, 1)
        if files:
            (file,) = files
            self.files += 1
            seals = fcntl.fcntl(file, fcntl.F_GET_SEALS)
            assert seals & fcntl.F_SEAL_WRITE, "the journal takes no file that could still change"
            assert data == b""
            data = os.pread(file, os.fstat(file).st_size, 0)
            os.close(file)
        return data

    def end(self, word: bytes) -> None:
        """Make this the next thing to read after everything sent so far."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(word, self._path)

    def close(self) -> None:
        self._socket.close()


def _fields(data: bytes) -> Iterator[tuple[str, str]]:
    """Parse the format of systemd's JOURNAL_NATIVE_PROTOCOL."""
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, end, data = rest[8 : 8 + size], rest[8 + size : 9 + size], rest[9 + size :]
            assert end == b"\n"
        else:
            data = rest
        yield name.decode(), value.decode()


if place := os.environ.get("JOURNAL"):
    journald.JOURNAL_SOCKET = place

if __name__ == "__main__":
    from ladingd.__main__ import main

    main()
