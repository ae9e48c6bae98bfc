"""Checks whether a daemon serves on the socket, its version and its health."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING
from urllib.parse import quote

from ladingd.commands.doctor.report import Line, fail, ok, warn
from ladingd.host.unix_socket import fits_socket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ladingd.config import Settings

TIMEOUT = 5.0
"""Seconds in which a daemon must answer."""
_CREDENTIALS = Struct("3i")


@dataclass(frozen=True, kw_only=True, slots=True)
class Daemon:
    """The daemon that listens. ``pid`` is None if it is in another process namespace."""

    pid: int | None


def find(path: Path) -> Daemon | OSError:
    """The daemon that listens on the socket, or the error of connecting."""
    if not fits_socket(path):
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT)
        try:
            connection.connect(str(path))
        except OSError as error:
            return error
        pid, _, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Daemon(pid=pid or None)


def serving(settings: Settings, path: Path, found: Daemon | OSError, *, user: bool) -> Iterator[Line]:
    """The lines about the daemon and about the socket at the path."""
    match found:
        case FileNotFoundError():
            if user:
                yield ok("socket", "no daemon runs; the commands start it when they need it")
            else:
                yield warn(
                    "socket", f"no daemon runs: {path} does not exist", "systemctl start ladingd, or run ladingd"
                )
        case ConnectionRefusedError():
            yield warn("socket", f"{path} is left over from a daemon that died", "start it again; its jobs continue")
        case PermissionError():
            yield warn("socket", f"this user may not open {path}", "join the group of the socket, or check as root")
        case OSError():
            yield fail("socket", f"{path}: {found.strerror or found}", "restart the daemon; its jobs continue")
        case Daemon():
            yield ok("socket", f"{path}{f', process {found.pid}' if found.pid else ''}")
            yield _version(settings, found)
            yield _health(path)


def _version(settings: Settings, daemon: Daemon) -> Line:
    """The version of the daemon, which it writes in its lock."""
    ours = metadata.version("lading")
    try:
        theirs = (settings.state_dir / "lock").read_text().strip()
        since = _started(daemon.pid)
    except OSError as error:
        return warn("version", f"unknown: {error.strerror}", "check as the daemon's user, or as root")
    running = f"{theirs or 'unknown'}{f', since {since:%Y-%m-%d %H:%M} UTC' if since else ''}"
    if theirs != ours:
        return warn("version", f"{running}; {ours} is installed", "restart the daemon; its jobs continue")
    return ok("version", running)


def _started(pid: int | None) -> datetime | None:
    if pid is None:
        return None
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    (boot,) = [line.split()[1] for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime ")]
    return datetime.fromtimestamp(int(boot) + ticks / os.sysconf("SC_CLK_TCK"), UTC)


def _health(path: Path) -> Line:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(f"unix:{quote(str(path))}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        except grpc.RpcError as error:
            code = error.code().name
            if code == "DEADLINE_EXCEEDED":
                code = f"no answer within {TIMEOUT:g} s"
            return fail("health", code, "read its log; kill -9 and a restart lose nothing")
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return ok("health", "serving")
    return warn("health", "not serving: the daemon is starting or stopping", "check again in a moment")
