"""``ladingd systemd``: shows and installs the systemd unit of this installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.commands.error import CommandError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

UNIT = "ladingd.service"
SYSTEM_UNITS = Path("/etc/systemd/system")
USER = "lading"
# A permanent user and not a dynamic one: files that jobs write keep their owner, directories can be given to it by
# name, PostgreSQL can know it as a peer, and members of its group may connect.
_USER_LINE = f'u {USER} - "Lading import/export job server" /var/lib/lading'
_HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))
"""Directories that ProtectHome and PrivateTmp hide from the service."""
_TIMEOUT = 60.0
_NEXT = f"""\
next:
  the configuration is /etc/lading/ladingd.toml; without this file the defaults apply
  add directories that jobs write to, and passwords: systemctl edit ladingd (the head of the unit explains it)
  start it: systemctl enable --now ladingd
  members of the group {USER} may use it: lading --server unix:/run/lading/ladingd.sock ls
"""


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit status. Raises CommandError."""
    if arguments.action == "show":
        sys.stdout.write(unit())
    else:
        _install(arguments.directory)
    return 0


def unit() -> str:
    """The unit of this installation."""
    text = resources.files("ladingd").joinpath(UNIT).read_text()
    # -P: Python imports nothing from the working directory.
    return text.replace("{program}", f"{_quoted(sys.executable)} -P -m ladingd")


def _quoted(path: str) -> str:
    text = path.replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if " " in text else text


def _install(directory: Path) -> None:
    """Write the unit. In the system's own directory, also create its user and reload systemd."""
    if os.geteuid() != 0 and directory == SYSTEM_UNITS:
        raise CommandError("only root can install a service: run this as root, or name another --directory")
    for path, problem in _out_of_sight(_installation()):
        raise CommandError(
            f"{path} {problem}, but the user {USER} runs the service from there: install Lading elsewhere,"
            " for example: python3 -m venv /opt/lading && /opt/lading/bin/pip install lading"
        )
    here = directory == SYSTEM_UNITS
    if here:
        _call("systemd-sysusers", "--inline", _USER_LINE)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        fresh = directory / f".{UNIT}.new"
        fresh.write_text(unit())
        fresh.chmod(0o644)
        fresh.rename(directory / UNIT)
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be written: {error.strerror}") from error
    sys.stdout.write(f"{directory / UNIT} is written\n")
    if here:
        if Path("/run/systemd/system").is_dir():
            _call("systemctl", "daemon-reload")
        sys.stdout.write(_NEXT)
    else:
        sys.stdout.write(f"the unit needs this user; create it with systemd-sysusers:\n  {_USER_LINE}\n")


def _installation() -> list[Path]:
    """Where this program is: interpreter, modules, packages."""
    return [*map(Path, (sys.executable, os.path.realpath(sys.executable), __file__, sysconfig.get_path("purelib")))]


def _out_of_sight(places: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """The places that the service cannot read, and why."""
    for place in places:
        for hidden in _HIDDEN:
            if hidden in place.parents:
                yield place, f"is beneath {hidden}, which the service does not see"
        for parent in place.parents:
            if not parent.stat().st_mode & 0o001:
                yield place, f"is beneath {parent}, which only its owner may enter"


def _call(*command: str) -> None:
    program = shutil.which(command[0])
    if program is None:
        raise CommandError(f"{command[0]} is not installed: does this machine run systemd?")
    done = subprocess.run(
        [program, *command[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise CommandError(f"{command[0]} says: {(done.stderr or done.stdout).strip()}")
