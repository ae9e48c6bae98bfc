"""The files that a command names to import: paths, directories, patterns and streams."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from glob import glob
from typing import TYPE_CHECKING

from lading_client.cli.arguments.paths import BadPath, check_named, file_at, sendable_name
from lading_client.files.stream import NAME as STREAM_NAME
from lading_client.files.stream import STANDARD_INPUT, is_stream
from lading_client.spec import File

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PATTERN = re.compile(r"[*?\[]")
_HIDDEN = (".", "_")
"""How the names of files begin that are not read from a directory. The daemon has the same rule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """A file to import. ``path`` is as the user wrote it."""

    path: str
    file: File
    """Where the daemon finds it; or only its name, if it is sent first."""
    sent: bool = False
    is_stream: bool = False


def given_files(paths: Sequence[str], *, remote: bool) -> list[Given]:
    """The files to import, in order. ``remote``: the daemon cannot open them. Raises BadPath."""
    given: list[Given] = []
    for path in paths:
        if (name := _stream_name(path)) is not None:
            given.append(Given(path=path, file=File(path=name), sent=True, is_stream=True))
        elif remote:
            given += [Given(path=each, file=File(path=_name(each)), sent=True) for each in _matching(path)]
        else:
            given.append(Given(path=path, file=file_at(path)))  # The daemon resolves directories and patterns.
    return given


def _matching(path: str) -> Iterator[str]:
    """The files that a path means, in the order of their names."""
    if os.path.isdir(path):
        found = [os.path.join(path, name) for name in sorted(os.listdir(path)) if not name.startswith(_HIDDEN)]
    elif _PATTERN.search(path) and not os.path.lexists(path):
        found = sorted(glob(path))
    else:
        yield path
        return
    files = [each for each in found if os.path.isfile(each)]
    if not files:
        raise BadPath(f"{path} {'has no files' if os.path.isdir(path) else 'matches no file'}")
    yield from files


def _name(path: str) -> str:
    """Check that a file can be sent and return its name without the directory."""
    check_named(path)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        problem = "does not exist" if error.errno == errno.ENOENT else f"cannot be read: {error.strerror}"
        raise BadPath(f"{path} {problem}") from error
    if not stat.S_ISREG(mode):
        raise BadPath(f"{path} is not a regular file")
    return sendable_name(path)


def _stream_name(path: str) -> str | None:
    """The name for the content of standard input or another stream; None if the path is not that of a stream."""
    if not path:
        return None
    try:
        if path != STANDARD_INPUT and _is_device(path):
            raise BadPath(f"{path} is a device: name a file or a pipe, or - for standard input")
        if not is_stream(path):
            return None
    except OSError:
        return None  # The usual checks say what is wrong.
    return STREAM_NAME if path == STANDARD_INPUT else sendable_name(path)


def _is_device(path: str) -> bool:
    mode = os.stat(path).st_mode
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
