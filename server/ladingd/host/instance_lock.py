"""A daemon's exclusive use of its state directory and its socket, and how others find the daemon.

The process that holds the lock in the state directory is the daemon. It writes its pid and its socket beside the lock
(`Record`), so that every session that knows the directory finds the socket.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket as sockets
import stat
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.host.unix_socket import fits_socket

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


log = logging.getLogger(__name__)

RECORD = "daemon.json"
PID_FILE = "ladingd.pid"
"""Bytes, on Linux."""
_PRIVATE = "lading-"
_LONGEST_PLACE = 60
_TRIES = 5
_WAIT = 0.02


class CannotStart(Exception):
    """The daemon cannot start; the text says why and what to do."""


class AlreadyRuns(CannotStart):
    """Another daemon holds the state directory or the socket."""


class Status(StrEnum):
    """Whether a daemon can be called. Only a READY daemon is expected to answer."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """Who holds a state directory. The pid is valid only on its host: several hosts may share the directory."""

    address: str
    pid: int
    host: str
    version: str
    status: Status

    @property
    def socket(self) -> Path:
        """The socket that the daemon serves on."""
        return Path(self.address.removeprefix("unix:"))


class InstanceLock:
    """The locks of a daemon. The daemon serves on ``socket``."""

    def __init__(self, directories: Sequence[Path], socket: Path) -> None:
        self.socket = socket
        self._directories = directories
        self._record = Record(
            address=f"unix:{socket}",
            pid=os.getpid(),
            host=sockets.gethostname(),
            version=metadata.version("lading"),
            status=Status.STARTING,
        )

    def say(self, status: Status) -> None:
        """Write the daemon's status to its record."""
        self._record = replace(self._record, status=status)
        for directory in self._directories:
            fresh = directory / f".{RECORD}.new"
            with _if_there_is_room(fresh):
                fresh.write_text(json.dumps(asdict(self._record)) + "\n")
                fresh.rename(directory / RECORD)


def record_in(directory: Path) -> Record | None:
    """The daemon that holds a state directory, or that died holding it; None if there is no record."""
    try:
        facts = json.loads((directory / RECORD).read_text())
        return Record(**{**facts, "status": Status(facts["status"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


@contextmanager
def locked_instance(state_dir: Path, socket: Path, *, own: Path | None = None) -> Iterator[InstanceLock]:
    """Lock the state directory and the socket for this process, and record the holder in files.

    ``own`` is the directory in which the commands look for the user's own daemon, usually the state directory itself.
    The socket has its own lock because gRPC would silently take over another daemon's socket. Raises CannotStart.
    """
    directories = [state_dir] if own in (None, state_dir) else [own, state_dir]
    with ExitStack() as stack:
        for directory in directories:
            _make_directory(directory, 0o700, "state directory", private=own is not None)
            stack.enter_context(_locked(directory / "lock", f"the state directory {directory}"))
        _clear_away(record_in(directories[0]))
        if own is not None and not fits_socket(socket):
            socket = stack.enter_context(_in_private_directory(socket.name))
        _make_directory(socket.parent, 0o750, "socket's directory")
        stack.enter_context(_locked(_lock_of(socket), f"the socket {socket}"))
        instance = InstanceLock(directories, socket)
        instance.say(Status.STARTING)
        for directory in directories:
            with _if_there_is_room(directory / PID_FILE):
                (directory / PID_FILE).write_text(f"{os.getpid()}\n")
        try:
            yield instance
        finally:
            left = [directory / name for directory in directories for name in (PID_FILE, RECORD)]
            for path in (*left, socket):
                _clear_away_last(path)


def _clear_away(left: Record | None) -> None:
    """Remove the private directory of a daemon that was killed. We hold its lock, so it no longer runs."""
    if left is None:
        return
    if left.socket.parent.name.startswith(_PRIVATE):
        with suppress(OSError):
            _remove(left.socket)


def _clear_away_last(path: Path) -> None:
    """Remove a file that nobody needs any more. A failure does not change how the daemon ends."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be removed: %s", path, error.strerror)


def _remove(socket: Path) -> None:
    """Remove the private directory of a socket. It contains only the socket and its lock."""
    for path in (socket, _lock_of(socket)):
        path.unlink(missing_ok=True)
    socket.parent.rmdir()


@contextmanager
def _in_private_directory(name: str) -> Iterator[Path]:
    """A short path for a socket, in a directory with an unpredictable name that only this user may enter."""
    place = tempfile.gettempdir()
    place = place if len(os.fsencode(place)) <= _LONGEST_PLACE else "/tmp"
    try:
        socket = Path(tempfile.mkdtemp(prefix=_PRIVATE, dir=place)) / name
    except OSError as error:
        raise CannotStart(f"no directory for the socket can be created in {place}: {error.strerror}") from error
    try:
        yield socket
    finally:
        with suppress(OSError):
            _remove(socket)


def _lock_of(socket: Path) -> Path:
    return socket.with_name(socket.name + ".lock")


def _make_directory(path: Path, mode: int, what: str, *, private: bool = False) -> None:
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        state = path.stat()
    except FileExistsError as error:
        problem = f"is a link to {path.readlink()}, which is missing" if path.is_symlink() else "is not a directory"
        raise CannotStart(f"the {what} {path} {problem}") from error
    except OSError as error:
        raise CannotStart(f"the {what} {path} cannot be created: {error.strerror}") from error
    if private and state.st_uid != os.geteuid():
        raise CannotStart(f"the {what} {path} belongs to the user {state.st_uid}, not to the user {os.geteuid()}")
    if private and state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CannotStart(f"other users can write to the {what} {path}; to keep them out: chmod 700 {path}")
    if state.st_uid not in (os.geteuid(), 0) or not os.access(path, os.W_OK | os.X_OK):
        raise CannotStart(f"the {what} {path} belongs to another user or cannot be written to")


@contextmanager
def _locked(path: Path, what: str) -> Iterator[None]:
    try:
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise CannotStart(f"{path} cannot be opened: {error.strerror}") from error
    with file:
        if not _lock(file.fileno()):
            raise AlreadyRuns(f"another daemon holds {what}{_holder(path)}")
        # The version of the running program. Another version may be installed while it runs.
        with _if_there_is_room(path):
            file.truncate(0)
            file.write(metadata.version("lading").encode())
        yield


def _lock(file: int) -> bool:
    """Whether we now hold the lock. A command may hold it for a moment to test it, so this tries several times."""
    for attempt in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt < _TRIES - 1:
                time.sleep(_WAIT)
        else:
            return True
    return False


def _holder(lock: Path) -> str:
    """The process that holds a lock, if it is known."""
    try:
        return f": process {int(lock.with_name(PID_FILE).read_text())}"
    except (OSError, ValueError):
        return ""


@contextmanager
def without_daemon(state_dir: Path) -> Iterator[None]:
    """Hold the daemon's lock while a command makes changes that a running daemon must not see. Raises AlreadyRuns."""
    with (state_dir / "lock").open("a") as file:
        if not _lock(file.fileno()):
            raise AlreadyRuns(f"a daemon runs in {state_dir}: stop it first")
        yield


@contextmanager
def _if_there_is_room(path: Path) -> Iterator[None]:
    """These files are only information for others. If the disk is full, the daemon starts without them."""
    try:
        yield
    except OSError as error:
        log.warning("%s cannot be written: %s", path, error.strerror)
