"""Files beneath the daemon's roots."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

from ladingd.core.errors import InvalidSpec, SourceChanged, SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ladingd.core.spec import File

_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """An open file to import. Reads by position: it has no cursor."""

    descriptor: int
    path: str
    """As people know it."""

    @property
    def size(self) -> int:
        """In bytes, now."""
        return os.fstat(self.descriptor).st_size

    @property
    def modified(self) -> int:
        """When it was written last, in nanoseconds since 1970."""
        return os.fstat(self.descriptor).st_mtime_ns

    def read(self, start: int, end: int) -> bytes:
        """The bytes of a range. Raises SourceChanged where the file ends before it, SourceUnreadable."""
        pieces: list[bytes] = []
        position = start
        while position < end:
            try:
                piece = os.pread(self.descriptor, end - position, position)
            except OSError as error:
                raise SourceUnreadable(f"{self.path} cannot be read: {error.strerror}") from error
            if not piece:
                raise SourceChanged(f"{self.path} has become shorter: byte {position} is gone")
            pieces.append(piece)
            position += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def blocks(self, start: int, end: int, size: int = _BLOCK) -> Iterator[bytes]:
        """The bytes of a range, a bounded piece at a time."""
        for position in range(start, end, size):
            yield self.read(position, min(position + size, end))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)


def open_source(roots: Mapping[str, Path], file: File) -> Source:
    """Open a file to import. Raises InvalidSpec."""
    field = "files[0].path"
    base, inner = _beneath(roots, file, "files[0]")
    try:
        real = (base / inner).resolve(strict=True).relative_to(base)
        descriptor = _open_below(base, real, os.O_RDONLY)
    except (OSError, ValueError) as error:
        raise InvalidSpec(field, f"{shown(base, inner)} {_trouble(error)}") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise InvalidSpec(field, f"{shown(base, inner)} is {kind}")
    return Source(descriptor=descriptor, path=shown(base, inner))


def reopen_source(roots: Mapping[str, Path], file: File) -> Source:
    """Open a file that was there when the job was planned. Raises SourceUnreadable."""
    try:
        return open_source(roots, file)
    except InvalidSpec as error:
        raise SourceUnreadable(error.problem) from error


def destination_path(roots: Mapping[str, Path], file: File) -> Path:
    """Where an exported file goes: beneath its root, in a directory that is there. Raises InvalidSpec."""
    base, inner = _beneath(roots, file, "file")
    try:
        parent = (base / inner.parent).resolve(strict=True)
        parent.relative_to(base)
    except (OSError, ValueError) as error:
        raise InvalidSpec("file.path", f"the directory of {shown(base, inner)} {_trouble(error)}") from error
    if not parent.is_dir():
        raise InvalidSpec("file.path", f"the directory of {shown(base, inner)} is not a directory")
    return parent / inner.name


def shown(base: Path, inner: PurePosixPath) -> str:
    """A path as people know it: whole where the root is the whole machine, else as the spec has it. Where a root
    lies is the daemon's own affair."""
    return str(base / inner if base == base.parent else inner)


def _beneath(roots: Mapping[str, Path], file: File, field: str) -> tuple[Path, PurePosixPath]:
    root = roots.get(file.root)
    if root is None:
        known = ", ".join(sorted(roots)) or "none at all"
        raise InvalidSpec(f"{field}.root", f"there is no root {file.root!r}; the daemon knows {known}")
    inner = PurePosixPath(file.path)
    if not file.path or "\0" in file.path or inner.name == "":
        raise InvalidSpec(f"{field}.path", "a path beneath the root is needed")
    if inner.is_absolute() or ".." in inner.parts:
        raise InvalidSpec(f"{field}.path", f"{file.path} must be relative to its root, without ..")
    return root.resolve(), inner


def _open_below(base: Path, inner: Path, flags: int) -> int:
    """Open step by step without following links, so that nobody can swap one in after the path was resolved."""
    *directories, name = inner.parts or (".",)
    step = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for directory in directories:
        try:
            inside = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=step)
        finally:
            os.close(step)
        step = inside
    try:
        # A named pipe without a writer would block; O_NONBLOCK means nothing to a regular file.
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=step)
    finally:
        os.close(step)


def _trouble(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, PermissionError):
        return "may not be read by the daemon"
    if isinstance(error, OSError):
        return f"cannot be opened: {error.strerror}"
    return "leads out of its root"
