"""Directories and files: their owners, their permissions and the free disk space."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

from ladingd.commands.doctor.report import Line, fail, ok, warn
from ladingd.host.unix_socket import LONGEST_PATH, fits_socket

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ladingd.config import Settings

LITTLE = 2 << 30
TOO_LITTLE = 256 << 20
"""Bytes of free disk space. With less, the daemon refuses uploads."""
TIMEOUT = 5.0
# Every user can run a shell, but this Python may be in somebody's home directory.
_LOOK = """
for path; do
  if [ -r "$path" ] && [ -x "$path" ]; then r=r; else r=-; fi
  if [ -w "$path" ]; then w=w; else w=-; fi
  echo "$r$w"
done
"""


def paths(settings: Settings, socket: Path, *, user: bool) -> Iterator[Line]:
    """The daemon's own directories, the directory of its socket, and the roots."""
    account = daemon_user(settings.state_dir)
    if account != os.geteuid():
        text = f"the daemon runs as {_user(account)}; {_user(os.geteuid())} may see other files and passwords"
        yield warn("account", text, f"to see what the daemon sees: sudo -u {_user(account)} ladingd doctor")
    yield from _state_dir(settings.state_dir)
    yield _socket_directory(socket, user=user)
    yield from _roots(settings.roots, account)


def daemon_user(state_dir: Path) -> int:
    """The user who runs the daemon: the owner of its state directory, or else the present user."""
    try:
        return state_dir.stat().st_uid
    except OSError:
        return os.geteuid()


def _state_dir(path: Path) -> Iterator[Line]:
    try:
        state = path.stat()
    except FileNotFoundError:
        yield warn("state_dir", f"{path} does not exist yet", "the daemon creates it at its first start")
        return
    except OSError as error:
        yield warn("state_dir", f"{path}: {error.strerror}", "check as the daemon's user, or as root")
        return
    mode = stat.S_IMODE(state.st_mode)
    text = f"{path}, {_user(state.st_uid)}, mode {mode:04o}"
    if not stat.S_ISDIR(state.st_mode):
        yield fail("state_dir", f"{path} is not a directory", "set state_dir to another path")
    elif mode & 0o077:
        yield warn("state_dir", f"{text}: other users can read it", f"chmod 700 {path}")
    else:
        yield ok("state_dir", text)
    yield _room(path)


def _room(path: Path) -> Line:
    usage = shutil.disk_usage(path)
    inodes = os.statvfs(path)
    text = f"{_size(usage.free)} of {_size(usage.total)} free"
    if inodes.f_files and not inodes.f_favail:
        return fail("disk", "no more files can be created: all inodes are in use", "delete files on this disk")
    if usage.free < TOO_LITTLE:
        return fail("disk", text, "free disk space: the daemon refuses uploads, and the store may stop the daemon")
    if usage.free < LITTLE:
        return warn("disk", text, "free disk space soon")
    return ok("disk", text)


def _socket_directory(socket: Path, *, user: bool) -> Line:
    if not fits_socket(socket):
        if user:
            return ok("socket's dir", f"{socket} is too long for a socket: the daemon creates a private directory")
        return fail("socket's dir", f"{socket} is too long for a socket", f"at most {LONGEST_PATH} bytes")
    directory = socket.parent
    try:
        state = directory.stat()
    except FileNotFoundError:
        return warn("socket's dir", f"{directory} does not exist yet", "the daemon creates it at its start")
    except OSError as error:
        return warn("socket's dir", f"{directory}: {error.strerror}", "check as the daemon's user, or as root")
    mode = stat.S_IMODE(state.st_mode)
    text = f"{directory}, {_user(state.st_uid)}, mode {mode:04o}"
    if mode & 0o002 and not mode & stat.S_ISVTX:
        return fail("socket's dir", f"{text}: anybody can put another socket there", f"chmod 750 {directory}")
    return ok("socket's dir", text)


def _roots(roots: Mapping[str, Path], user: int) -> Iterator[Line]:
    if not roots:
        yield warn("roots", "none: jobs can only use uploaded files", "add directories beneath [roots]")
        return
    seen = access_of(user, list(roots.values()))
    for (name, path), access in zip(roots.items(), seen, strict=True):
        who = _user(user)
        label = f"root {name}"
        if access is None:
            yield warn(label, f"{path}: the permissions of {who} cannot be seen", f"check as {who}, or as root")
        elif not access[0]:
            advice = f"create it, or let {who} read it: setfacl -m u:{who}:rwx {path}"
            yield fail(label, f"{path} does not exist, or {who} may not read it", advice)
        elif not access[1]:
            yield ok(label, f"{path}: {who} may read but not write: imports, no exports")
        else:
            yield ok(label, f"{path}: {who} may read and write")


def access_of(user: int, paths: Sequence[Path]) -> Sequence[tuple[bool, bool] | None]:
    """Whether a user may read and write each directory; None if this process cannot become that user."""
    ours = os.geteuid()
    if ours not in (user, 0):
        return [None] * len(paths)
    group, groups = (None, None) if user == ours else _groups(user)
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", _LOOK, "sh", *map(str, paths)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=True,
            cwd="/",
            user=None if user == ours else user,
            group=group,
            extra_groups=groups,
        )
    except (OSError, subprocess.SubprocessError):
        return [None] * len(paths)
    return [(line[0] == "r", line[1] == "w") for line in done.stdout.splitlines()]


def _groups(user: int) -> tuple[int, list[int]]:
    try:
        account = pwd.getpwuid(user)
    except KeyError:
        return user, []
    return account.pw_gid, os.getgrouplist(account.pw_name, account.pw_gid)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _size(number: int) -> str:
    return f"{number / (1 << 30):.1f} GiB" if number >= 1 << 30 else f"{number / (1 << 20):.0f} MiB"
