"""Where a file may be written on this machine: it may replace a regular file, but no file of the user's own daemon."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from lading_client import user_places

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BESIDE = ("", "-wal", "-shm", "-journal")
"""The endings of the files that SQLite keeps beside a database."""
_KINDS = {
    stat.S_IFDIR: "is a directory: name a file in it",
    stat.S_IFIFO: "is a named pipe, and only regular files are replaced: choose another file",
    stat.S_IFSOCK: "is a socket, and only regular files are replaced: choose another file",
}
_DEVICE = "is a device, and only regular files are replaced: choose another file"


def destination(path: str | os.PathLike[str], environment: Mapping[str, str] = os.environ) -> Path:
    """The file that a path leads to, through links. Raises OSError; its strerror is worded to follow the path."""
    text = os.fspath(path)
    if text.endswith("/") or os.path.basename(text) in (".", ".."):
        raise OSError(errno.EISDIR, "is the path of a directory: name a file in it", text)
    check_replaceable(path, follow_symlinks=True)
    place = Path(os.path.realpath(path))
    if os.path.islink(path) and not os.path.lexists(place):
        raise OSError(errno.ENOENT, "is a link to a file that does not exist: name that file", text)
    for what, own in _own_files(environment):
        if place == own or (os.path.isdir(own) and any(_same(each, own) for each in place.parents)):
            raise OSError(errno.EPERM, f"belongs to your own daemon ({what}): choose another file", text)
    return place


def check_replaceable(path: str | os.PathLike[str], *, follow_symlinks: bool = False) -> None:
    """Check that a file can be put at a path. Raises OSError if the path exists and is not a regular file."""
    try:
        mode = os.stat(path, follow_symlinks=follow_symlinks).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "has become a link: try again", os.fspath(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, _KINDS.get(stat.S_IFMT(mode), _DEVICE), os.fspath(path))


def _own_files(environment: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """The files of the user's own daemon, with their descriptions. A directory stands for everything beneath it."""
    uid = os.geteuid()
    config = user_places.config_file(environment, uid)
    state = user_places.state_directory(environment, uid)
    for name, path in (("local", str(state / "local.db")), *_databases(config)):
        for end in _BESIDE:
            yield f"the database of connection {name!r}", Path(os.path.realpath(path) + end)
    yield "its state", Path(os.path.realpath(state))
    yield "its configuration", Path(os.path.realpath(config))


def _databases(config: Path) -> Iterator[tuple[str, str]]:
    import tomllib  # Only commands that write a file need it, and it adds 5 ms to a command's start.

    try:
        connections = tomllib.loads(config.read_text()).get("connections", {})
    except (OSError, ValueError):
        return  # No daemon runs with such a configuration.
    for name, connection in connections.items() if isinstance(connections, dict) else ():
        url = urlsplit(str(connection.get("url", ""))) if isinstance(connection, dict) else urlsplit("")
        if url.scheme == "sqlite":
            yield name, "/" + unquote(url.path).lstrip("/")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
