"""Protects the daemon's own files. No job reads or writes them, under any name, link, mount or root."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.core.files import UPLOADS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ladingd.core.spec import File

Identity = tuple[int, int]
"""Device and inode, which identify a file under all its names."""

_MOUNTS = Path("/proc/self/mountinfo")
_WHOLE = Path("/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Guard:
    """Recognises the daemon's own files, for jobs that name files beneath one root.

    ``own`` maps what a file is ("the database of connection 'local'") to its path. A directory stands for all files
    beneath it. A path that does not exist yet is protected by name. Every check looks at the file system anew.
    """

    own: Mapping[str, Path]
    uploads: Path | None
    """The one directory among the own files that jobs may use: uploads, through its own root."""
    frank: bool
    """Whether messages say what a file is. Callers who are confined to one directory only learn that a file is
    protected."""

    @classmethod
    def of(cls, own: Mapping[str, Path], roots: Mapping[str, Path], file: File) -> Guard:
        """The guard for the root of a file."""
        root = roots[file.root].resolve()
        return cls(own=own, uploads=root if file.root == UPLOADS else None, frank=root == root.parent)

    def objection(self, directory: int, name: str, found: os.stat_result | None) -> str:
        """Why jobs may not use a name in an open directory, as the rest of a sentence after the name; empty if they
        may.

        ``found`` is the entry there, without following links; None if there is none. Raises OSError.
        """
        reason = self._reason(directory, name, found)
        return reason if self.frank or not reason else "belongs to the daemon"

    def _reason(self, directory: int, name: str, found: os.stat_result | None) -> str:
        seen = _Seen(self.own)
        reserved, what = seen.names.get((_identity(os.fstat(directory)), _folded(name)), ("", ""))
        if name == reserved:
            return f"is {what}"
        if reserved and found is None:
            # On a file system that ignores the difference, it would be the same file.
            return f"differs only by case or Unicode form from {what}"
        if found is not None and _identity(found) in seen.files:
            return f"is {seen.files[_identity(found)]}"
        uploads = _stat(self.uploads) if self.uploads else None
        for each in _upwards(directory):
            if uploads and each == _identity(uploads):
                break
            if each in seen.trees:
                return f"is in {seen.trees[each]}"
        if found is not None and found.st_nlink > 1 and stat.S_ISREG(found.st_mode):
            for what, tree in seen.directories:
                if _is_in(tree, _identity(found), found.st_ctime_ns, self.uploads):
                    return f"is a hard link to a file in {what}"
        return ""


class _Seen:
    """The own files at one moment."""

    def __init__(self, own: Mapping[str, Path]) -> None:
        self.files: dict[Identity, str] = {}
        self.trees: dict[Identity, str] = {}
        self.directories: list[tuple[str, Path]] = []
        self.names: dict[tuple[Identity, str], tuple[str, str]] = {}
        """The name, and what it is, by directory and folded name."""
        self._parents: dict[str, os.stat_result | None] = {}
        for what, path in own.items():
            self._add(what, str(path))
        mounts = _mounts(_MOUNTS.read_bytes())
        for what, directory in self.directories if mounts else ():
            for point in _shows(mounts, directory.resolve()):
                self._add(what if os.path.isdir(point) else f"a file in {what}", str(point))

    def _add(self, what: str, path: str) -> None:
        directory, name = os.path.split(path)
        if directory not in self._parents:
            self._parents[directory] = _stat(directory)
        if (parent := self._parents[directory]) is not None:
            self.names[_identity(parent), _folded(name)] = name, what
        found = _stat(path, follow_symlinks=False)
        if found is None:
            return
        if stat.S_ISLNK(found.st_mode):
            if (real := os.path.realpath(path)) != path:
                self._add(what, real)
            found = _stat(path)
        if found is not None and stat.S_ISDIR(found.st_mode):
            if _identity(found) not in self.trees:
                self.directories.append((what, Path(path)))
            self.trees[_identity(found)] = what
        elif found is not None and stat.S_ISREG(found.st_mode):
            self.files[_identity(found)] = what


def _stat(path: Path | str, *, follow_symlinks: bool = True) -> os.stat_result | None:
    with suppress(OSError):
        return os.stat(path, follow_symlinks=follow_symlinks)
    return None


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino


@lru_cache(maxsize=256)
def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _upwards(directory: int) -> Iterator[Identity]:
    """An open directory and all its parents, up to the root of the machine."""
    step = os.dup(directory)
    try:
        before = None
        while (here := _identity(os.fstat(step))) != before:
            yield here
            above = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=step)
            os.close(step)
            step, before = above, here
    finally:
        os.close(step)


@lru_cache(maxsize=64)
def _is_in(tree: Path, one: Identity, changed: int, but: Path | None) -> bool:
    """Whether a file has a name in a directory or below.

    The search is repeated only if the file ``changed``: a new or removed name changes the inode.
    """
    return any(_identity(entry.stat(follow_symlinks=False)) == one for entry in _entries(tree, one[1], but))


def _entries(tree: Path, inode: int, but: Path | None) -> Iterator[os.DirEntry[str]]:
    """The files with an inode number in a directory and below."""
    with suppress(FileNotFoundError), os.scandir(tree) as entries:  # It may have been removed.
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                if entry.inode() == inode:
                    yield entry
            elif Path(entry) != but:
                yield from _entries(Path(entry), inode, but)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mount:
    """A mount: directory ``root`` of a device appears at ``point``."""

    device: str
    root: Path
    point: Path


@lru_cache(maxsize=1)
def _mounts(lines: bytes) -> tuple[_Mount, ...]:
    """All mounts of the kernel's list, later ones over earlier ones; none if each shows a whole device.

    In a whole device, the parents of a file lead to every protected directory above it.
    """
    mounts = []
    for line in lines.splitlines():
        _, _, device, root, point, *_ = line.split(b" ")
        mounts.append(_Mount(device=device.decode(), root=_unescaped(root), point=_unescaped(point)))
    return tuple(mounts) if any(mount.root != _WHOLE for mount in mounts) else ()


def _unescaped(field: bytes) -> Path:
    for mark in (b" ", b"\t", b"\n", b"\\"):
        field = field.replace(b"\\%03o" % mark[0], mark)
    return Path(os.fsdecode(field))


@lru_cache(maxsize=64)
def _shows(mounts: tuple[_Mount, ...], directory: Path) -> tuple[Path, ...]:
    """Other mounts of something in a directory, from where the parents do not lead to that directory."""
    under = [mount for mount in mounts if directory.is_relative_to(mount.point)]
    if not under:
        return ()
    mine = max(reversed(under), key=lambda mount: len(mount.point.parts))
    place = mine.root / directory.relative_to(mine.point)
    return tuple(mount.point for mount in mounts if mount.device == mine.device and mount.root.is_relative_to(place))
