"""The places that a daemon has for itself alone: its state directory and its socket."""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING

from ladingd.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


log = logging.getLogger(__name__)


class CannotStart(Exception):
    """The daemon cannot start; the text says why and what to do."""


class AlreadyRuns(CannotStart):
    """Another daemon holds the state directory or the socket."""


@contextmanager
def claimed(state_dir: Path, socket: Path) -> Iterator[None]:
    """Hold the state directory and the socket for this process alone, and say in a file which it is.

    gRPC would take over another daemon's socket without a word, hence the lock beside it. Raises CannotStart.
    """
    pid_file = state_dir / "ladingd.pid"
    _make_directory(state_dir, 0o700, "state directory")
    _make_directory(socket.parent, 0o750, "socket's directory")
    with (
        _locked(state_dir / "lock", f"the state directory {state_dir}"),
        _locked(socket.with_name(socket.name + ".lock"), f"the socket {socket}"),
    ):
        with _if_there_is_room(pid_file):
            pid_file.write_text(f"{os.getpid()}\n")
        try:
            yield
        finally:
            pid_file.unlink(missing_ok=True)
            socket.unlink(missing_ok=True)


def _make_directory(path: Path, mode: int, what: str) -> None:
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        owner = path.stat().st_uid
    except OSError as error:
        raise CannotStart(f"the {what} {path} cannot be made: {error.strerror}") from error
    if owner not in (os.getuid(), 0) or not os.access(path, os.W_OK | os.X_OK):
        raise CannotStart(f"the {what} {path} belongs to another user or cannot be written to")


@contextmanager
def _locked(path: Path, what: str) -> Iterator[None]:
    try:
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise CannotStart(f"{path} cannot be opened: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRuns(f"another daemon holds {what}{_holder(path)}") from None
        # Which program it is that runs here: another may be installed meanwhile.
        with _if_there_is_room(path):
            file.truncate(0)
            file.write(metadata.version("lading").encode())
        yield


def _holder(lock: Path) -> str:
    """Which process has a directory, where that is known."""
    try:
        return f": process {int(lock.with_name('ladingd.pid').read_text())}"
    except (OSError, ValueError):
        return ""


@contextmanager
def without_daemon(state_dir: Path) -> Iterator[None]:
    """Hold the lock of the daemon, for what it would be kept waiting for or must not see. Raises Problem."""
    with (state_dir / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Problem(f"a daemon runs in {state_dir}: stop it first") from None
        yield


@contextmanager
def _if_there_is_room(path: Path) -> Iterator[None]:
    """What is written here others like to know; the daemon starts without it where the disk is full."""
    try:
        yield
    except OSError as error:
        log.warning("%s cannot be written: %s", path, error.strerror)
