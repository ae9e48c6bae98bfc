"""The journal's own protocol: a datagram of fields for each line, or a sealed memory file if the line is too long.

systemd documents it in ``JOURNAL_NATIVE_PROTOCOL``.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

JOURNAL_SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "ladingd"
TIMEOUT = 0.2
"""Seconds that one line may wait for the journal: its queue is short, and its reader is sometimes busy."""

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_OWN_NAMES = {"message_id": "MESSAGE_ID"}
_TOO_LONG = (errno.EMSGSIZE, errno.ENOBUFS)
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class JournalHandler(logging.Handler):
    """Waits a moment for a full journal, and then not again until the journal accepts a line. Lines that it does not
    accept are lost. The next accepted line is preceded by their number."""

    def __init__(self, path: str = "") -> None:
        super().__init__()
        self._path = path or JOURNAL_SOCKET
        self._socket: socket.socket | None = None
        self._lost = 0
        self._exceptions = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            datagram = b"".join(_encoded(name, value) for name, value in self._fields(record))
            if self._lost and self._send(self._about_lost()):
                self._lost = 0
            if not self._send(datagram):
                self._lost += 1
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._forget_socket()
        super().close()

    def _fields(self, record: logging.LogRecord) -> Iterator[tuple[str, object]]:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self._exceptions.formatException(record.exc_info)
        yield "MESSAGE", message
        yield "PRIORITY", priority(record.levelno)
        yield "SYSLOG_IDENTIFIER", IDENTIFIER
        yield "CODE_FILE", record.pathname
        yield "CODE_LINE", record.lineno
        yield "CODE_FUNC", record.funcName
        yield "LADING_LOGGER", record.name
        for name, value in getattr(record, "fields", {}).items():
            yield _OWN_NAMES.get(name, f"LADING_{name.upper()}"), value

    def _about_lost(self) -> bytes:
        message = f"{self._lost} log lines are lost: the journal did not accept them"
        fields = {"MESSAGE": message, "PRIORITY": priority(logging.WARNING), "SYSLOG_IDENTIFIER": IDENTIFIER}
        return b"".join(_encoded(name, value) for name, value in fields.items())

    def _send(self, datagram: bytes) -> bool:
        """Whether the journal accepted the datagram."""
        try:
            connected = self._connected()
            connected.settimeout(0.0 if self._lost else TIMEOUT)
            try:
                connected.send(datagram)
            except OSError as error:
                if error.errno not in _TOO_LONG:
                    raise
                self._send_file(datagram)
        except OSError:
            # The journal is full, stopped or restarted. A new socket finds the restarted journal.
            self._forget_socket()
            return False
        return True

    def _send_file(self, datagram: bytes) -> None:
        file = os.memfd_create("lading-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            rest = memoryview(datagram)
            while rest:
                rest = rest[os.write(file, rest) :]
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
            socket.send_fds(self._connected(), [b""], [file])
        finally:
            os.close(file)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            try:
                made.connect(self._path)
            except OSError:
                made.close()
                raise
            self._socket = made
        return self._socket

    def _forget_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def priority(level: int) -> int:
    """The syslog priority of a level."""
    return next((number for least, number in _PRIORITIES if level >= least), 7)


def _encoded(name: str, value: object) -> bytes:
    text = json.dumps(value) if isinstance(value, dict) else str(value)
    content = text.encode("utf-8", "backslashreplace")
    if b"\n" not in content:
        return name.encode() + b"=" + content + b"\n"
    return name.encode() + b"\n" + len(content).to_bytes(8, "little") + content + b"\n"
