"""A journal of the tests' own, and the daemon that writes to it where it is started as this module.

Its place is what ``JOURNAL`` says. Worker processes import this module again, and so write there too.
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
    """A journal that reads when it is asked to."""

    def __init__(self, path: Path, patience: float | None = PATIENCE) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._path = str(path)
        self._socket.bind(self._path)
        self._socket.settimeout(patience)
        self.files = 0

    def read(self) -> dict[str, str]:
        """The fields of the next line."""
        return dict(_fields(self.read_raw()))

    def read_raw(self) -> bytes:
        """The next line as it was sent."""
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
        """Have this read after all that was sent by now."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(word, self._path)

    def close(self) -> None:
        self._socket.close()


def _fields(data: bytes) -> Iterator[tuple[str, str]]:
    """As systemd's JOURNAL_NATIVE_PROTOCOL has it."""
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
