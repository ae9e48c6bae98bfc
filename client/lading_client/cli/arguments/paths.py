"""Paths on the command line, and in specs."""

from __future__ import annotations

import os
import uuid
from pathlib import PurePosixPath

from lading_client.files.destination import destination
from lading_client.spec import File
from lading_client.transport.address import is_socket

UPLOADS = "uploads"


class BadPath(ValueError):
    """A path that cannot be used."""


def file_at(path: str) -> File:
    """A file beneath the root `local`, from a path relative to the working directory. Raises BadPath."""
    check_named(path)
    absolute = os.path.abspath(path)
    # The daemon follows no links. The links in the path are followed here, with the rights of the user who named it.
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


def file_to_write(path: str) -> File:
    """The file to write, beneath the root `local`. Raises BadPath."""
    _check_destination(path)
    return file_at(path)


def is_remote(server: str | None) -> bool:
    """Whether files must be transferred because the daemon does not listen on a socket of this machine."""
    return server is not None and not is_socket(server)


def file_to_fetch(path: str, *, overwrite: bool) -> File:
    """The file that the daemon must write so that it can be downloaded to a path. Raises BadPath."""
    name = check_free(path, overwrite=overwrite)
    # The daemon allows no name that begins with a dot.
    return File(root=UPLOADS, path=f"{uuid.uuid4()}/{name.lstrip('.') or 'export'}")


def check_free(path: str, *, overwrite: bool) -> str:
    """Check that a file can be created here and return its name without the directory. Raises BadPath."""
    _check_destination(path)
    name = sendable_name(path)
    if os.path.lexists(path) and not overwrite:
        raise BadPath(f"{path} exists; --overwrite replaces it")
    directory = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(directory):
        raise BadPath(f"the directory of {path} does not exist")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise BadPath(f"{directory} is not writable")
    return name


def check_named(path: str) -> None:
    """Raise BadPath if a path is none of a file."""
    if not path:
        raise BadPath("the name of the file is empty")
    if path == "-":
        raise BadPath("standard input and output can be used by import only: name a file (./- if its name is -)")


def _check_destination(path: str) -> None:
    check_named(path)
    try:
        destination(path)
    except OSError as error:
        raise BadPath(f"{path} {_problem(error)}") from error


def _problem(error: OSError) -> str:
    """The text that follows the path in a message: that of `destination`, or that of the system."""
    said = error.strerror or str(error)
    return f"cannot be checked: {said}" if said == os.strerror(error.errno or 0) else said


def sendable_name(path: str) -> str:
    """The name of a file without the directory. Raises BadPath."""
    name = os.path.basename(path)
    if not name:
        raise BadPath(f"{path or 'an empty path'} is not the name of a file")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise BadPath(
            f"{os.fsencode(path)!r} cannot be sent to the daemon: its name is not text (locale not UTF-8?)"
        ) from error
    return name


def shown(file: File) -> str:
    """The file as people know it. An uploaded file is shown by its name."""
    if file.root == UPLOADS:
        return PurePosixPath(file.path).name
    return f"/{file.path}" if file.root == "local" else f"{file.root}:{file.path}"
