"""The user's own daemon: how it is found, started and stopped.

The daemon is the process that holds the lock in the state directory. It writes the path of its socket beside the lock.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO

from lading_client import user_places
from lading_client.errors import DaemonNotStarted, DaemonNotStopped, DaemonUnreachable, StateUnusable
from lading_client.local_state import Found, OwnState, Status, lives

if TYPE_CHECKING:
    from collections.abc import Callable

START_SECONDS = 20.0
END_SECONDS = 20.0
"""A daemon gives the chunks in flight 10 s, and open calls 5 s."""
STOP_SECONDS = 10.0
DOUBT_SECONDS = 1.0
"""How long a daemon may hold the state directory without a record: it may have just started or been killed."""
SILENT = "NONE"
"""The value of GRPC_VERBOSITY in the command itself. The daemon logs failed handshakes."""
_OTHER_DAEMON_RUNS = 75
"""Exit status of a daemon that found its state directory taken: EX_TEMPFAIL."""
_LOG_LINES = 20
_POLL_SECONDS = 0.02
_END_POLL_SECONDS = 0.1


def _nothing(_note: str) -> None:
    pass


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnDaemon:
    """The daemon of one user."""

    state_directory: Path
    environment: Mapping[str, str] = field(repr=False, compare=False)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> OwnDaemon:
        """The daemon of the user who runs this process. `user_places` explains what the environment changes."""
        return cls(
            state_directory=user_places.state_directory(environment, os.geteuid()), environment=dict(environment)
        )

    @property
    def address(self) -> str:
        """The address for a `Client`: of the running daemon, or else of the daemon that would be started."""
        return self._state.address

    @property
    def log(self) -> Path:
        """The file that receives the daemon's standard output and error."""
        return self.state_directory / "ladingd.log"

    @property
    def database(self) -> Path:
        """The database of the connection `local`."""
        return self.state_directory / "local.db"

    @property
    def _state(self) -> OwnState:
        return OwnState(directory=self.state_directory, environment=self.environment)

    def look(self) -> Found | None:
        """The daemon that holds the state directory; None if no daemon does.

        Raises UnsafeDirectory, StateUnusable and DaemonUnreachable.
        """
        return self._state.look()

    async def ensure(self, note: Callable[[str], None] = _nothing) -> str:
        """The address of the running daemon. If none runs, it is started. ``note`` receives delays and warnings.

        Raises DaemonNotStarted, DaemonUnreachable, StateUnusable, UnsafeDirectory.
        """
        found = self._state.look()
        if found is not None and found.address and found.status is Status.READY:
            return found.address
        return await self._settled()._start(note)

    async def renew(self, note: Callable[[str], None] = _nothing) -> str:
        """Wait until the stopping daemon is gone, start another one, and return its address.

        Raises DaemonNotStopped and the errors of ``ensure``.
        """
        deadline, told = monotonic() + END_SECONDS, False
        while (found := self._state.look()) is not None:
            if found.address and await _serves(found.address):
                # Another command started a daemon, or the daemon was only slow.
                return found.address
            if monotonic() > deadline:
                raise DaemonNotStopped(f"the daemon is shutting down and still runs after {END_SECONDS:.0f} s")
            if not told:
                told = True
                note("the daemon is stopping: another one starts when it has stopped")
            await asyncio.sleep(_END_POLL_SECONDS)
        return await self._settled()._start(note)

    def _settled(self) -> OwnDaemon:
        """The same daemon with an existing state directory. Another session may have just decided its place."""
        try:
            directory = user_places.create_state_directory(self.environment, os.geteuid())
        except OSError as error:
            raise StateUnusable(self.state_directory, error.strerror or str(error)) from error
        return OwnDaemon(state_directory=directory, environment=self.environment)

    async def _start(self, note: Callable[[str], None]) -> str:
        """Start a daemon, unless one is starting or stopping, and wait until one serves."""
        deadline = monotonic() + START_SECONDS
        doubt: float | None = None
        waiting = False
        with self._opened_log() as output:
            began = output.tell()
            process: subprocess.Popen[bytes] | None = None
            try:
                while monotonic() < deadline:
                    try:
                        found = self._state.look()
                        doubt = None
                    except DaemonUnreachable as error:
                        doubt = doubt or monotonic()
                        if error.certain or monotonic() > doubt + DOUBT_SECONDS:
                            raise
                        await asyncio.sleep(_POLL_SECONDS)
                        continue
                    if found is not None and found.address and await _serves(found.address):
                        return found.address
                    if found is None and process is None:
                        self._tell_of_other_store(note)
                        process = _spawn(output, self.environment)
                    if found is not None and process is None and not waiting:
                        waiting = True
                        note(f"your daemon (pid {found.pid}) is {found.status}: waiting for it")
                    if process is not None and process.poll() is not None:
                        if process.returncode != _OTHER_DAEMON_RUNS:
                            raise self._not_started(f"it ended with status {process.returncode}", began)
                        process = None
                    await asyncio.sleep(_POLL_SECONDS)
                raise self._not_started(f"it did not answer within {START_SECONDS:.0f} s", began)
            finally:
                if process is not None and process.returncode is None:
                    # The daemon outlives this process. A return code keeps Popen from warning about that.
                    process.returncode = 0

    def _opened_log(self) -> BinaryIO:
        try:
            log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateUnusable(self.state_directory, error.strerror or str(error)) from error
        return os.fdopen(log, "ab")

    def _tell_of_other_store(self, note: Callable[[str], None]) -> None:
        if other := user_places.left_aside(self.environment, os.geteuid()):
            note(
                f"warning: XDG_STATE_HOME names {other}, but your daemon uses the jobs in {self.state_directory}."
                f" To use the jobs in {other}: lading daemon stop; mv {self.state_directory}"
                f" {self.state_directory}.old; ln -s {other} {self.state_directory}"
            )

    def _not_started(self, problem: str, began: int) -> DaemonNotStarted:
        with self.log.open("rb") as log:
            log.seek(began)
            tail = tuple(log.read().decode(errors="replace").splitlines()[-_LOG_LINES:])
        return DaemonNotStarted(f"the daemon could not be started: {problem}", log=self.log, log_tail=tail)

    async def stop(self) -> int | None:
        """Shut the daemon down in order and return its process id; None if none ran.

        This also stops a daemon that does not answer. Raises DaemonNotStopped, UnsafeDirectory, and DaemonUnreachable
        for a daemon on another machine.
        """
        try:
            found = self._state.look()
            if found is None:
                return None
            pid = found.pid
        except DaemonUnreachable as error:
            if error.pid is None:
                raise
            pid = error.pid
        if pid is None:
            raise DaemonNotStopped("your daemon runs in another container, or outside this one: stop it there")
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = monotonic() + STOP_SECONDS
        while lives(pid):
            if monotonic() > deadline:
                raise DaemonNotStopped(
                    f"the daemon (pid {pid}) has not stopped within {STOP_SECONDS:.0f} s; to kill it:"
                    f" kill -9 {pid} (its jobs continue at the next start)"
                )
            await asyncio.sleep(_POLL_SECONDS)
        return pid


def _spawn(log: BinaryIO, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "ladingd", "--user"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        env={name: value for name, value in environment.items() if (name, value) != ("GRPC_VERBOSITY", SILENT)},
        start_new_session=True,
        close_fds=True,
    )


async def _serves(address: str) -> bool:
    # Slow to import, and needed only when a daemon is starting or stopping.
    from lading_client.transport.health import serves

    return await serves(address)
