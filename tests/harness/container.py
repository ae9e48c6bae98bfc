"""A container booted with systemd, with its own root folder. It sees only /usr of the machine, read-only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.harness.daemon import children, lives
from tests.harness.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROJECT = Path(__file__).parents[2]
_HIERARCHIES = [Path("/sys/fs/cgroup", name) for name in ("systemd", "unified", "")]
_ENTER = ("nsenter", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--target")


class CannotBoot(Exception):
    """No container can be booted here. The message says why."""


class Container:
    """Runs during a ``with`` block. Python and this project are below /opt in it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.leader = 0
        self._log = folder / "container.log"
        self._group = f"lading-test-{os.getpid()}"
        interpreter = Path(sys.executable).resolve()
        below = interpreter.is_relative_to("/usr")
        self.python = interpreter if below else Path("/opt/python") / interpreter.relative_to(sys.base_prefix)
        self._bound = {} if below else {Path(sys.base_prefix): "/opt/python"}
        self._bound |= {Path(sysconfig.get_path("purelib")): "/opt/packages", _PROJECT: "/opt/project"}
        parts = [*(f"/opt/project/{name}" for name in ("server", "client", "protos")), "/opt/packages"]
        self.environment = {"PYTHONPATH": ":".join(parts)}
        """The environment variables by which programs find this project."""
        if not below:
            # The path of libpython may be compiled into Python.
            self.environment["LD_LIBRARY_PATH"] = "/opt/python/lib"

    def __enter__(self) -> Self:
        """Raises CannotBoot."""
        if os.getuid() != 0:
            raise CannotBoot("a container needs root")
        nspawn = shutil.which("systemd-nspawn")
        if nspawn is None:
            raise CannotBoot("systemd-nspawn is not installed (Debian: systemd-container)")
        self._make_root()
        command = [nspawn, "--quiet", f"--directory={self.root}", "--boot", "--bind-ro=/usr", "--private-network"]
        command += [f"--bind-ro={outside}:{inside}" for outside, inside in self._bound.items()]
        command += ["--register=no", "--console=pipe", "--link-journal=no", "--resolv-conf=off", "--timezone=off"]
        if not Path("/run/systemd/system").is_dir():
            command = [*self._in_group(), *command, "--keep-unit"]  # Nobody can be asked for another one.
        with self._log.open("wb") as log:
            # In a container with cgroup v1, systemd does not learn when the last process of a service has ended.
            environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
            self._nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            self.leader = until(self._first_process, "the container has its first process")
            until(lambda: self._state() in ("running", "degraded"), "the container is up")
        except (AssertionError, CannotBoot) as error:
            self._kill()
            raise CannotBoot(f"{error}: {self._log.read_text()}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self.call("systemctl", "poweroff", check=False)
        try:
            self._nspawn.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._kill()
        self._remove_groups()

    def call(self, *command: str, check: bool = True) -> str:
        """Run a command in the container. Returns its output. Raises AssertionError if it fails."""
        environment = {"PATH": "/usr/sbin:/usr/bin", "LANG": "C.UTF-8", **self.environment}
        done = subprocess.run(
            [*_ENTER, str(self.leader), "--", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE * 2,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def path(self, inside: str) -> Path:
        """The path outside of the container for a path inside, also below its own mounts."""
        return Path(f"/proc/{self.leader}/root{inside}")

    def _make_root(self) -> None:
        self.root.mkdir()
        for name in ("usr", "etc", "opt", "proc", "root", "run", "srv", "sys", "tmp", "var"):
            (self.root / name).mkdir()
        for name in ("bin", "lib", "lib64", "sbin"):
            (self.root / name).symlink_to(f"usr/{name}")
        (self.root / "etc/machine-id").touch()
        shutil.copy("/usr/lib/os-release", self.root / "etc/os-release")

    def _in_group(self) -> list[str]:
        """A command that runs another command in the container's own control groups."""
        joins = "".join(f"echo $$ > {group}/cgroup.procs; " for group in self._groups(make=True))
        return ["sh", "-ec", f'{joins}exec "$@"', "sh"]

    def _groups(self, *, make: bool = False) -> Iterator[Path]:
        for hierarchy in _HIERARCHIES:
            group = hierarchy / self._group
            if make and (hierarchy / "cgroup.procs").exists():
                try:
                    group.mkdir()
                except OSError as error:
                    raise CannotBoot(f"no control group can be made: {error}") from error
            if group.exists():
                yield group

    def _remove_groups(self) -> None:
        for group in self._groups():
            until(lambda: not any(path.read_text() for path in group.glob("**/cgroup.procs")), f"{group} is empty")  # noqa: B023
            for below in sorted(group.glob("**/"), reverse=True):
                below.rmdir()

    def _first_process(self) -> int:
        if self._nspawn.poll() is not None:
            raise CannotBoot("systemd-nspawn has ended")
        for pid in children(self._nspawn.pid):
            # The process that started the container's init ends then.
            with suppress(FileNotFoundError, ProcessLookupError):
                numbers = Path(f"/proc/{pid}/status").read_text().partition("NSpid:")[2].splitlines()[0].split()
                if numbers[1:] == ["1"]:
                    return pid
        return 0

    def _state(self) -> str:
        if self._nspawn.poll() is not None:
            raise CannotBoot("the container has ended")
        return self.call("systemctl", "is-system-running", check=False).strip()

    def _kill(self) -> None:
        if leader := self.leader:
            with suppress(ProcessLookupError):
                os.kill(leader, signal.SIGKILL)  # All other processes in its namespace die with it.
            until(lambda: not lives(leader), "the container's first process is gone")
        self._nspawn.kill()
        self._nspawn.wait(PATIENCE)
        self._remove_groups()
