"""Finds the files that a spec names by a pattern or by their directory."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from ladingd.core.files import UPLOADS
from ladingd.core.spec import File
from ladingd.data.files.roots import PathRefused, beneath, open_directory, shown, trouble

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_PATTERN = re.compile(r"[*?\[]")
_HIDDEN = (".", "_")
"""How the names of files begin that a directory is not read for: hidden files, and marks such as ``_SUCCESS``."""


class Match(NamedTuple):
    """What a path means."""

    files: list[File]
    """In the order of their names."""
    others: list[str]
    """Directories, pipes and links that lead nowhere, as messages show them."""


def matching(roots: Mapping[str, Path], file: File) -> Match:
    """The files that a path means: itself, those in a directory, or those that match a pattern with ``*``, ``?`` and
    ``[…]``. Raises PathRefused.

    A path that exists is no pattern. Beneath the root of uploads there are no patterns: nobody may list what others
    have uploaded.
    """
    if file.root == UPLOADS:
        return Match([file], [])
    base, inner = beneath(roots, File(root=file.root, path=file.path.rstrip("/") or file.path))
    try:
        if (base / inner).is_dir():
            found = [inner / name for name in _names(base, inner) if not name.startswith(_HIDDEN)]
        elif _PATTERN.search(file.path) and not os.path.lexists(base / inner):
            found = [*_matching(base, PurePosixPath(), inner.parts)]
        else:
            return Match([file], [])
    except (OSError, ValueError, RuntimeError) as error:
        raise PathRefused("path", f"{shown(base, inner)} {trouble(error)}") from error
    for path in found:
        if not _is_text(str(path)):
            raise PathRefused("path", f"the name of the file {os.fsencode(path)!r} is not UTF-8: rename it")
    files = [File(root=file.root, path=str(path)) for path in found if (base / path).is_file()]
    if not files:
        what = "has no files" if (base / inner).is_dir() else "matches no file"
        raise PathRefused("path", f"{shown(base, inner)} {what}")
    return Match(files, [shown(base, path) for path in found if not (base / path).is_file()])


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _matching(base: Path, directory: PurePosixPath, parts: Sequence[str]) -> Iterator[PurePosixPath]:
    """The paths below a directory that match a pattern."""
    part, *rest = parts
    if _PATTERN.search(part):
        names = [name for name in _names(base, directory) if fnmatchcase(name, part)]
        names = [name for name in names if part.startswith(".") or not name.startswith(".")]
    else:
        names = [part]
    for name in names:
        path = directory / name
        if not rest:
            yield path
        elif (base / path).is_dir():
            yield from _matching(base, path, rest)


def _names(base: Path, directory: PurePosixPath) -> list[str]:
    """The names in a directory beneath a root, in order. Links that lead out of the root are not followed."""
    descriptor = open_directory(base, (base / directory).resolve(strict=True).relative_to(base))
    try:
        return sorted(os.listdir(descriptor))
    finally:
        os.close(descriptor)
