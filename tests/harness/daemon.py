"""A real ``ladingd`` process with its own folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Mapping


class DaemonProcess:
    """A daemon that a test can start, stop, kill and restart. Its connection ``local`` is ``target``; its root
    ``local`` is the whole machine. More connections are given as URLs, more settings as TOML values. ``module`` is
    started instead of ``ladingd``. ``hooks``: all connections allow them. ``environment`` adds environment
    variables."""

    def __init__(
        self,
        folder: Path,
        *,
        connections: Mapping[str, str] | None = None,
        module: str = "ladingd",
        hooks: bool = False,
        environment: Mapping[str, str] | None = None,
        **settings: object,
    ) -> None:
        self.folder = folder
        self.module = module
        self.environment = {**(environment or {})}
        self.socket = folder / "s"
        self.target = folder / "target.db"
        self.state_dir = folder / "state"
        self.log = folder / "daemon.log"
        self.config = folder / "ladingd.toml"
        self.process: subprocess.Popen[bytes] | None = None
        lines = [f'state_dir = "{self.state_dir}"', f'socket = "{self.socket}"']
        lines += [f"{name} = {value!r}" for name, value in settings.items()]
        lines += ["[roots]", 'local = "/"']
        for name, url in {"local": f"sqlite:///{self.target}", **(connections or {})}.items():
            lines += [f"[connections.{name}]", f'url = "{url}"', *(["hooks = true"] if hooks else [])]
        self.config.write_text("\n".join(lines) + "\n")

    @property
    def address(self) -> str:
        """The address for clients."""
        return f"unix:{self.socket}"

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start a process without waiting."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", self.module, "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONWARNINGS": "default", **self.environment},
            )

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        assert self.process is None
        self.process = self.spawn()
        until(self.answers, "the daemon answers")

    def answers(self) -> bool:
        """Whether a client can connect now. Raises AssertionError if the daemon has ended."""
        self.check_alive()
        return self.accepts()

    def check_alive(self) -> None:
        """Raise AssertionError, with the log, if the daemon has ended."""
        assert self.process is not None
        assert self.process.poll() is None, f"the daemon ended:\n{self.log.read_text()}"

    def accepts(self) -> bool:
        """Whether a client can connect now."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def terminate(self) -> None:
        """Send SIGTERM without waiting."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait until the process is gone. Returns its exit status."""
        assert self.process is not None
        status = self.process.wait(PATIENCE)
        self.process = None
        return status

    def stop(self) -> int:
        """Shut down in order. Returns the exit status."""
        self.terminate()
        return self.wait()

    def kill(self) -> None:
        """Kill the process by SIGKILL, and wait until its workers are gone too."""
        assert self.process is not None
        below = descendants(self.process.pid)
        self.process.kill()
        self.wait()
        until(lambda: not any(lives(pid) for pid in below), "the workers die with the daemon")

    @property
    def workers(self) -> list[int]:
        """The worker processes: the children of the daemon's forkserver."""
        assert self.process is not None
        return [worker for child in children(self.process.pid) for worker in children(child)]

    def clean_up(self) -> None:
        """End whatever is left."""
        if self.process is not None:
            self.process.kill()
            self.wait()


def children(pid: int) -> list[int]:
    """The running child processes of all threads of a process."""
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):
        return []  # The process has just ended.
    return [int(child) for line in lists for child in line.split()]


def lives(pid: int) -> bool:
    """Whether a process still runs. A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def heeds(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    caught = Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0]
    return bool(int(caught, 16) >> number - 1 & 1)


def descendants(pid: int) -> list[int]:
    """All descendants of a process, parents before their children."""
    return [each for child in children(pid) for each in (child, *descendants(child))]
