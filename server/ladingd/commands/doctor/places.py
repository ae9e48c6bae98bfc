"""Directories and files: whose they are, who may use them, and what room there is."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

from ladingd.commands.doctor.report import Line, fail, ok, warn
from ladingd.host.instance_lock import LONGEST_SOCKET_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ladingd.config import Settings

LITTLE = 2 << 30
TOO_LITTLE = 256 << 20
"""Bytes: below this no uploads are taken any more."""
TIMEOUT = 5.0
# A shell is there for every user; this Python may lie in somebody's home.
_LOOK = """
for path; do
  if [ -r "$path" ] && [ -x "$path" ]; then r=r; else r=-; fi
  if [ -w "$path" ]; then w=w; else w=-; fi
  echo "$r$w"
done
"""


def paths(settings: Settings, socket: Path, *, user: bool) -> Iterator[Line]:
    """The daemon's own directories, that of its socket, and the roots."""
    account = daemon_user(settings.state_dir)
    if account != os.geteuid():
        text = f"the daemon runs as {_user(account)}; {_user(os.geteuid())} may see other files and passwords"
        yield warn("account", text, f"sudo -u {_user(account)} ladingd doctor sees what the daemon sees")
    yield from _state_dir(settings.state_dir)
    yield _socket_directory(socket, user=user)
    yield from _roots(settings.roots, account)


def daemon_user(state_dir: Path) -> int:
    """Who runs the daemon: whom its state belongs to; whoever asks where it is not there yet."""
    try:
        return state_dir.stat().st_uid
    except OSError:
        return os.geteuid()


def _state_dir(path: Path) -> Iterator[Line]:
    try:
        state = path.stat()
    except FileNotFoundError:
        yield warn("state_dir", f"{path} is not there yet", "the first start of the daemon makes it")
        return
    except OSError as error:
        yield warn("state_dir", f"{path}: {error.strerror}", "ask as the daemon's user, or as root")
        return
    mode = stat.S_IMODE(state.st_mode)
    text = f"{path}, {_user(state.st_uid)}, mode {mode:04o}"
    if not stat.S_ISDIR(state.st_mode):
        yield fail("state_dir", f"{path} is not a directory", "name another one as state_dir")
    elif mode & 0o077:
        yield warn("state_dir", f"{text}: others can look into it", f"chmod 700 {path}")
    else:
        yield ok("state_dir", text)
    yield _room(path)


def _room(path: Path) -> Line:
    usage = shutil.disk_usage(path)
    inodes = os.statvfs(path)
    text = f"{_size(usage.free)} of {_size(usage.total)} free"
    if inodes.f_files and not inodes.f_favail:
        return fail("disk", "no more files can be made: all inodes are in use", "delete files on this disk")
    if usage.free < TOO_LITTLE:
        return fail("disk", text, "make room: no uploads are taken, and the store may stop the daemon")
    if usage.free < LITTLE:
        return warn("disk", text, "make room soon")
    return ok("disk", text)


def _socket_directory(socket: Path, *, user: bool) -> Line:
    if len(os.fsencode(socket)) > LONGEST_SOCKET_PATH:
        if user:
            return ok("socket's dir", f"{socket} is too long for a socket: the daemon makes a private directory")
        return fail("socket's dir", f"{socket} is too long for a socket", f"at most {LONGEST_SOCKET_PATH} bytes")
    directory = socket.parent
    try:
        state = directory.stat()
    except FileNotFoundError:
        return warn("socket's dir", f"{directory} is not there yet", "the start of the daemon makes it")
    except OSError as error:
        return warn("socket's dir", f"{directory}: {error.strerror}", "ask as the daemon's user, or as root")
    mode = stat.S_IMODE(state.st_mode)
    text = f"{directory}, {_user(state.st_uid)}, mode {mode:04o}"
    if mode & 0o002 and not mode & stat.S_ISVTX:
        return fail("socket's dir", f"{text}: anybody can put another socket there", f"chmod 750 {directory}")
    return ok("socket's dir", text)


def _roots(roots: Mapping[str, Path], user: int) -> Iterator[Line]:
    if not roots:
        yield warn("roots", "none: jobs can name no files but uploads", "name directories beneath [roots]")
        return
    seen = access_of(user, list(roots.values()))
    for (name, path), access in zip(roots.items(), seen, strict=True):
        who = _user(user)
        label = f"root {name}"
        if access is None:
            yield warn(label, f"{path}: what {who} may do there cannot be seen from here", f"ask as {who}, or as root")
        elif not access[0]:
            advice = f"make it, or let {who} read it: setfacl -m u:{who}:rwx {path}"
            yield fail(label, f"{path} is not there, or {who} may not read it", advice)
        elif not access[1]:
            yield ok(label, f"{path}: {who} may read it and not write: imports, no exports")
        else:
            yield ok(label, f"{path}: {who} may read and write")


def access_of(user: int, paths: Sequence[Path]) -> Sequence[tuple[bool, bool] | None]:
    """Whether a user may read directories, and write into them; None where we cannot become that user."""
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
