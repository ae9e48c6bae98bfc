"""The state directory of the user's own daemon: which daemon holds it, and where the daemon listens."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING

from lading_client.errors import BadAddress, DaemonUnreachable, StateUnusable, UnsafeDirectory
from lading_client.transport.address import target_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_SECONDS = 5.0
"""Timeout of a connection. A hanging daemon accepts no more connections once its queue is full."""
_CREDENTIALS = Struct("3i")


class Status(StrEnum):
    """The status in a daemon's record."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The daemon that holds the directory. While it starts or stops, nobody listens and ``address`` is empty.

    ``pid`` is None for a daemon in another process namespace.
    """

    address: str
    pid: int | None
    status: Status


@dataclass(frozen=True, kw_only=True, slots=True)
class _Record:
    address: str
    pid: int
    host: str
    status: Status


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnState:
    """One user's state directory."""

    directory: Path
    environment: Mapping[str, str] = field(repr=False)

    @property
    def address(self) -> str:
        """The address in the daemon's record, or else the address that a new daemon would use."""
        record = self._record()
        return record.address if record else f"unix:{self.directory / 'ladingd.sock'}"

    def look(self) -> Found | None:
        """The daemon that holds the directory now; None if no daemon does.

        Raises UnsafeDirectory and StateUnusable, and DaemonUnreachable if a daemon holds it but cannot be called.
        """
        self._check()
        record = self._record()
        if record is None:
            if (old := self._without_record()) is not None:
                return old
        elif (peer := _listener(record.address)) is not None:
            return Found(address=record.address, pid=peer.pid, status=record.status)
        if not self._held():
            # Any files left here belong to a daemon that was killed.
            return None
        return self._silent(self._record())

    def _silent(self, record: _Record | None) -> Found:
        """The daemon that holds the directory but no longer listens on its socket."""
        if record is None:
            raise DaemonUnreachable.without_word(self.directory, self._pid())
        if record.host != socket.gethostname():
            raise DaemonUnreachable.elsewhere(self.directory, record.host)
        if not lives(record.pid):
            # The record of a killed daemon: its successor is starting.
            raise DaemonUnreachable.without_word(self.directory, None)
        if record.status is not Status.READY:
            return Found(address="", pid=record.pid, status=record.status)
        if (peer := _listener(record.address)) is not None:
            return Found(address=record.address, pid=peer.pid, status=record.status)
        raise DaemonUnreachable.silent(record.address.removeprefix("unix:"), record.pid)

    def _without_record(self) -> Found | None:
        """A daemon without a record: it is an older version, or started while the disk was full."""
        pid = self._pid()
        if pid is None:
            return None
        for path in (self.directory / "ladingd.sock", *self._old_sockets(pid)):
            address = f"unix:{path}"
            try:
                peer = _listener(address)
            except (UnsafeDirectory, BadAddress):
                continue
            # The listener may be another daemon of the user, with another directory.
            if peer is not None and peer.pid in (pid, None):
                return Found(address=address, pid=pid, status=Status.READY)
        return None

    def _old_sockets(self, pid: int) -> Iterator[Path]:
        """Sockets that an older version of the daemon may use. They depend on the session that started it."""
        for environment in (_environment_of(pid), self.environment):
            runtime = environment.get("XDG_RUNTIME_DIR", "")
            place = (
                Path(runtime, "lading")
                if runtime.startswith("/")
                else Path(environment.get("TMPDIR") or "/tmp", f"lading-{os.geteuid()}")
            )
            yield place / "ladingd.sock"

    def _check(self) -> None:
        """Check the directory: everybody who can write in it can pretend to be the daemon."""
        try:
            status = self.directory.stat()
        except FileNotFoundError:
            if self.directory.is_symlink():
                raise StateUnusable(
                    self.directory, f"it is a link to {self.directory.readlink()}, which is missing"
                ) from None
            return
        except OSError as error:
            raise StateUnusable(self.directory, error.strerror or str(error)) from error
        if not stat.S_ISDIR(status.st_mode):
            raise StateUnusable(self.directory, "it is not a directory")
        _check_private(self.directory, status, {os.geteuid()})

    def _record(self) -> _Record | None:
        try:
            facts = json.loads((self.directory / "daemon.json").read_text())
            return _Record(
                address=str(facts["address"]),
                pid=int(facts["pid"]),
                host=str(facts["host"]),
                status=Status(facts["status"]),
            )
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _pid(self) -> int | None:
        """The running process that the directory names. It may no longer be a daemon."""
        try:
            pid = int((self.directory / "ladingd.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if lives(pid) else None

    def _held(self) -> bool:
        """Whether a daemon holds the lock. A daemon that starts at this moment retries if this test holds the lock."""
        try:
            lock = os.open(self.directory / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False


@dataclass(frozen=True, kw_only=True, slots=True)
class _Peer:
    pid: int | None


def _listener(address: str) -> _Peer | None:
    """The process that listens on a socket; None if none does. Raises UnsafeDirectory; BadAddress for a long path."""
    target_of(address)
    path = Path(address.removeprefix("unix:"))
    try:
        _check_private(path.parent, path.parent.stat(), {os.geteuid(), 0})
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(CONNECT_SECONDS)
            connection.connect(str(path))
            return _peer(connection, path.parent)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError, TimeoutError):
        return None


def _peer(connection: socket.socket, directory: Path) -> _Peer:
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return _Peer(pid=None)
    pid, uid, _gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    if uid != os.geteuid():
        raise UnsafeDirectory(directory, f"has a socket of the user {uid}")
    # A pid of 0: the process is in another namespace.
    return _Peer(pid=pid or None)


def _check_private(directory: Path, status: os.stat_result, owners: set[int]) -> None:
    if status.st_uid not in owners:
        raise UnsafeDirectory(directory, f"belongs to the user {status.st_uid}")
    if status.st_mode & 0o022:
        raise UnsafeDirectory(directory, f"can be written to by other users; to change that: chmod go-w {directory}")


def _environment_of(pid: int) -> Mapping[str, str]:
    try:
        pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(os.fsdecode(pair).split("=", 1) for pair in pairs if b"=" in pair)


def lives(pid: int) -> bool:
    """Whether the process exists and has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        # There is no /proc, or the process has just ended: the next call tells.
        return True
    return state not in ("Z", "X")
