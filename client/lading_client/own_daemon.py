"""The user's own daemon: where it is, and how it is started and stopped.

The daemon computes the same paths for itself when it is started with `--user`; the two share no code.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO

from lading_client.endpoint import target_of
from lading_client.errors import DaemonNotStarted, DaemonNotStopped, StateUnusable, UnsafeDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

START_SECONDS = 20.0
END_SECONDS = 20.0
"""A daemon gives the chunks in flight 10 s, and open calls 5 s."""
STOP_SECONDS = 10.0
_OTHER_DAEMON_RUNS = 75
"""Exit status of a daemon that found its state directory taken: EX_TEMPFAIL."""
_LOG_LINES = 20
_POLL_SECONDS = 0.02
_END_POLL_SECONDS = 0.1
_CREDENTIALS = Struct("3i")


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnDaemon:
    """Where the daemon of one user lives."""

    socket_path: Path
    state_directory: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> OwnDaemon:
        """The daemon of whoever has this environment."""
        return cls(socket_path=_runtime(environment) / "ladingd.sock", state_directory=_state(environment) / "lading")

    @property
    def address(self) -> str:
        """What a `Client` takes."""
        return f"unix:{self.socket_path}"

    @property
    def log(self) -> Path:
        """What the daemon writes to its standard output and error."""
        return self.state_directory / "ladingd.log"

    @property
    def database(self) -> Path:
        """The database of the connection `local`."""
        return self.state_directory / "local.db"

    @property
    def _pid_file(self) -> Path:
        return self.state_directory / "ladingd.pid"

    def runs(self) -> bool:
        """Whether somebody listens on the socket. Raises UnsafeDirectory, and BadAddress for too long a path."""
        with self._connection() as connection:
            return connection is not None

    def pid(self) -> int | None:
        """The process that listens on the socket; None where nobody does. Raises UnsafeDirectory."""
        with self._connection() as connection:
            if connection is None:
                return None
            # The kernel knows who listens. The file could be of a daemon that died: it counts only beside an answer.
            return _peer(connection) or int(self._pid_file.read_text())

    @contextmanager
    def _connection(self) -> Iterator[socket.socket | None]:
        self._check_directory()
        target_of(self.address)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                connection.connect(str(self.socket_path))
            except (FileNotFoundError, ConnectionRefusedError):
                yield None
            else:
                yield connection

    async def ensure(self) -> str:
        """The address of the running daemon, which is started where it is not there. Raises DaemonNotStarted."""
        if not self.runs():
            await self._start()
        return self.address

    async def renew(self) -> None:
        """Have a daemon run in the place of one that ends: wait until it is gone, then start another.

        Raises DaemonNotStopped and DaemonNotStarted.
        """
        deadline = monotonic() + END_SECONDS
        while self.runs():
            if await _serves(self.address):
                # Somebody else was faster.
                return
            if monotonic() > deadline:
                raise DaemonNotStopped(f"the daemon is shutting down, and not gone after {END_SECONDS:.0f} s")
            await asyncio.sleep(_END_POLL_SECONDS)
        await self._start()

    async def _start(self) -> None:
        deadline = monotonic() + START_SECONDS
        try:
            self.state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateUnusable(self.state_directory, error.strerror or str(error)) from error
        with os.fdopen(log, "ab") as output:
            began = output.tell()
            process: subprocess.Popen[bytes] | None = _spawn(output)
            try:
                while monotonic() < deadline:
                    if process is not None and process.poll() is not None:
                        if process.returncode != _OTHER_DAEMON_RUNS:
                            raise self._not_started(f"it ended with status {process.returncode}", began)
                        process = None
                    if self.runs() and await _serves(self.address):
                        return
                    if process is None and not self._claimed():
                        # The other daemon was not starting but ending.
                        process = _spawn(output)
                    await asyncio.sleep(_POLL_SECONDS)
                raise self._not_started(f"it did not answer within {START_SECONDS:.0f} s", began)
            finally:
                if process is not None and process.returncode is None:
                    # It is meant to outlive us: Popen shall not complain of that.
                    process.returncode = 0

    def _claimed(self) -> bool:
        """Whether a daemon holds the state directory, be it that it does not answer yet or not any more."""
        try:
            return _lives(int(self._pid_file.read_text()))
        except (FileNotFoundError, ValueError):
            return False

    def _not_started(self, problem: str, began: int) -> DaemonNotStarted:
        with self.log.open("rb") as log:
            log.seek(began)
            tail = tuple(log.read().decode(errors="replace").splitlines()[-_LOG_LINES:])
        return DaemonNotStarted(f"the daemon could not be started: {problem}", log=self.log, log_tail=tail)

    async def stop(self) -> int | None:
        """End the daemon in order and return its process id; None where none ran. Raises DaemonNotStopped."""
        pid = self.pid()
        if pid is None:
            return None
        os.kill(pid, signal.SIGTERM)
        deadline = monotonic() + STOP_SECONDS
        while _lives(pid):
            if monotonic() > deadline:
                raise DaemonNotStopped(f"the daemon (pid {pid}) has not ended within {STOP_SECONDS:.0f} s")
            await asyncio.sleep(_POLL_SECONDS)
        return pid

    def _check_directory(self) -> None:
        directory = self.socket_path.parent
        try:
            status = directory.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(status.st_mode):
            raise UnsafeDirectory(directory, "is none")
        if status.st_uid != os.getuid():
            raise UnsafeDirectory(directory, "belongs to another user")
        if status.st_mode & 0o022:
            raise UnsafeDirectory(directory, "can be written to by other users (chmod 700 helps)")


def _runtime(environment: Mapping[str, str]) -> Path:
    given = environment.get("XDG_RUNTIME_DIR", "")
    if given.startswith("/"):
        return Path(given) / "lading"
    return Path(tempfile.gettempdir()) / f"lading-{os.getuid()}"


def _state(environment: Mapping[str, str]) -> Path:
    given = environment.get("XDG_STATE_HOME", "")
    # The base directory specification: a relative path is to be ignored.
    return Path(given) if given.startswith("/") else Path.home() / ".local" / "state"


def _spawn(log: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "ladingd", "--user"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        start_new_session=True,
        close_fds=True,
    )


def _peer(connection: socket.socket) -> int | None:
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    pid, _uid, _gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    # 0: it is in another process namespace.
    return pid or None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        # No such file system, or gone in between: the next look tells.
        return True
    return state not in ("Z", "X")


async def _serves(address: str) -> bool:
    # Slow to import, and needed only when a daemon has just been started or is about to end.
    import grpc
    import grpc.aio
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=1.0)
        except grpc.aio.AioRpcError as error:
            if error.code() in (
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
                grpc.StatusCode.CANCELLED,
            ):
                return False
            raise
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
