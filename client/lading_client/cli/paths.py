"""Paths on the command line, and in specs."""

from __future__ import annotations

import os

from lading_client.spec import File


class BadPath(ValueError):
    """A path that cannot be sent."""


def file_at(path: str) -> File:
    """The file, seen from the working directory, as one beneath the root `local`. Raises BadPath."""
    if not path:
        raise BadPath("the name of the file is empty")
    absolute = os.path.abspath(path)
    # The daemon follows no links: those on the way are followed here, by whoever named them.
    directory, name = os.path.split(absolute)
    resolved = os.path.join(os.path.realpath(directory), name)
    if os.path.isfile(resolved):
        resolved = os.path.realpath(resolved)
    try:
        resolved.encode()
    except UnicodeEncodeError as error:
        raise BadPath(
            f"{os.fsencode(path)!r} cannot be sent to the daemon: the path is not text (locale not UTF-8?)"
        ) from error
    return File(root="local", path=resolved.removeprefix("/"))


def shown(file: File) -> str:
    """The file as people know it."""
    return f"/{file.path}" if file.root == "local" else f"{file.root}:{file.path}"
