"""Files beneath the daemon's roots."""

from __future__ import annotations

import errno
import os
import stat
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

from ladingd.core.errors import InvalidSpec, SourceChanged, SourceUnreadable
from ladingd.core.files import UPLOADS, is_upload_id
from ladingd.data.files.own_files import Guard
from ladingd.data.storage.work_dir import disk_full

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ladingd.core.spec import File

_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """An open file to import. It is read by position and has no cursor."""

    descriptor: int
    path: str
    """The path in messages."""

    @property
    def size(self) -> int:
        """The current size in bytes."""
        return os.fstat(self.descriptor).st_size

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode: the same for all names of a file."""
        facts = os.fstat(self.descriptor)
        return facts.st_dev, facts.st_ino

    @property
    def modified(self) -> int:
        """The time of the last write, in nanoseconds since 1970."""
        return os.fstat(self.descriptor).st_mtime_ns

    @property
    def state(self) -> str:
        """The inode and the time of its last change. An equal state means that nothing was written in between."""
        facts = os.fstat(self.descriptor)
        return f"{facts.st_dev} {facts.st_ino} {facts.st_mtime_ns} {facts.st_ctime_ns}"

    def read(self, start: int, end: int) -> bytes:
        """The bytes of a range. Raises SourceChanged if the file ends earlier, and SourceUnreadable."""
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
        """The bytes of a range in pieces of bounded size."""
        for position in range(start, end, size):
            yield self.read(position, min(position + size, end))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)


class PathRefused(Exception):
    """A file that cannot be opened beneath its root. ``field`` is `root` or `path`."""

    def __init__(self, field: str, problem: str, *, missing: bool = False) -> None:
        self.field = field
        self.problem = problem
        self.missing = missing
        super().__init__(problem)


def open_beneath(roots: Mapping[str, Path], own_files: Mapping[str, Path], file: File) -> Source:
    """Open a regular file that does not belong to the daemon. Raises PathRefused.

    Only links that stay beneath the root are followed, even if somebody swaps one in at the last moment.
    """
    base, inner = beneath(roots, file)
    guard = Guard.of(own_files, roots, file)
    try:
        descriptor = _open_below(base, (base / inner).resolve(strict=True).relative_to(base), guard)
    except (OSError, ValueError, RuntimeError) as error:
        problem = f"{shown(base, inner)} {trouble(error)}"
        if isinstance(error, ValueError):
            problem += f" {file.root!r}; {_known(roots)}"
        raise PathRefused("path", problem, missing=isinstance(error, FileNotFoundError)) from error
    if file.root != UPLOADS:
        return Source(descriptor=descriptor, path=shown(base, inner))
    _touch(base / inner.parent)
    return Source(descriptor=descriptor, path=inner.name)


def open_source(roots: Mapping[str, Path], own_files: Mapping[str, Path], file: File) -> Source:
    """Open a file to import. Raises InvalidSpec."""
    try:
        return open_beneath(roots, own_files, file)
    except PathRefused as error:
        raise InvalidSpec(f"files[0].{error.field}", error.problem) from error


def reopen_source(roots: Mapping[str, Path], own_files: Mapping[str, Path], file: File) -> Source:
    """Open the file of a planned job. Raises SourceUnreadable."""
    try:
        return open_beneath(roots, own_files, file)
    except PathRefused as error:
        raise SourceUnreadable(error.problem) from error


class Directory:
    """An open directory. Names are looked up in it even if its path changes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    @property
    def path(self) -> Path:
        """A path to it that is valid in this process while this object exists."""
        return Path(f"/proc/self/fd/{self._descriptor}")

    def look(self, name: str) -> os.stat_result | None:
        """The entry with a name, without following links; None if there is none. Raises OSError."""
        try:
            return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def check_writable(self, name: str, guard: Guard) -> None:
        """Check that an export may write to a name: it is free, or a regular file that does not belong to the daemon.

        Raises PathRefused, OSError.
        """
        found = self.look(name)
        if objection := guard.objection(self._descriptor, name, found):
            raise PathRefused("path", f"{name} {objection}; a job cannot write to it: choose another file")
        if found is None:
            return
        if not stat.S_ISREG(found.st_mode):
            raise PathRefused("path", f"{name} {_WRITING.get(stat.S_IFMT(found.st_mode), _DEVICE)}")
        above = os.fstat(self._descriptor)
        if above.st_mode & stat.S_ISVTX and os.geteuid() not in (0, above.st_uid, found.st_uid):
            raise PathRefused(
                "path",
                f"{name} belongs to another user, and the sticky bit of its directory protects it: choose another file",
            )

    def reopen(self, name: str, guard: Guard) -> int:
        """Open a regular file that the daemon has created, for reading and writing. Raises Unsuitable, OSError."""
        return _open_regular(self._descriptor, name, os.O_RDWR, guard)


def destination_directory(roots: Mapping[str, Path], file: File, *, make: bool = False) -> Directory:
    """The directory for an exported file. A link that is swapped in later cannot lead out of its root.

    ``make``: create the directory of an export for download. Raises InvalidSpec, DiskFull.
    """
    path = destination_path(roots, file)
    base = roots[file.root].resolve()
    if make and file.root == UPLOADS:
        _make_room(path.parent)
    try:
        return Directory(_descend(base, path.parent.relative_to(base).parts))
    except OSError as error:
        raise InvalidSpec("file.path", f"the directory of {path.name} {trouble(error)}") from error


def destination_path(roots: Mapping[str, Path], file: File) -> Path:
    """The path of an exported file beneath its root, in an existing directory. Raises InvalidSpec.

    Beneath the root of uploads, the path of an export for download is `UUID/NAME`, and the directory may be missing.
    """
    try:
        base, inner = beneath(roots, file)
    except PathRefused as error:
        raise InvalidSpec(f"file.{error.field}", error.problem) from error
    if file.root == UPLOADS:
        _check_name(inner)
        if not os.path.lexists(base / inner.parent):
            return base / inner
    try:
        parent = (base / inner.parent).resolve(strict=True)
        parent.relative_to(base)
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidSpec("file.path", f"the directory of {shown(base, inner)} {trouble(error)}") from error
    if not parent.is_dir():
        raise InvalidSpec("file.path", f"the directory of {shown(base, inner)} is not a directory")
    return parent / inner.name


def shown(base: Path, inner: PurePosixPath) -> str:
    """A path for messages: absolute if the root is the whole machine, else as in the spec.

    Clients must not learn where a root is.
    """
    return str(base / inner if base == base.parent else inner)


def beneath(roots: Mapping[str, Path], file: File) -> tuple[Path, PurePosixPath]:
    """The root of a file, and its path beneath the root. Raises PathRefused."""
    root = roots.get(file.root)
    if root is None:
        raise PathRefused("root", f"there is no root {file.root!r}; {_known(roots)}")
    inner = PurePosixPath(file.path)
    if not file.path or "\0" in file.path or inner.name == "":
        raise PathRefused("path", "a path beneath the root is needed")
    if file.path.endswith(("/", "/.")):
        raise PathRefused("path", f"{file.path} is the path of a directory: name a file in it")
    if inner.is_absolute() or ".." in inner.parts:
        raise PathRefused("path", f"{file.path} must be relative to its root, without ..")
    return root.resolve(), inner


def _known(roots: Mapping[str, Path]) -> str:
    """The names of the roots. Clients must not learn where they are."""
    return f"the daemon knows {', '.join(sorted(roots)) or 'none at all'}"


def _check_name(inner: PurePosixPath) -> None:
    if len(inner.parts) != 2 or not is_upload_id(inner.parts[0]):
        raise InvalidSpec("file.path", f"{inner}: beneath the root {UPLOADS} write a new UUID, a slash and a name")
    if inner.name.startswith("."):
        raise InvalidSpec("file.path", f"{inner}: beneath the root {UPLOADS} no name begins with a dot")


def _make_room(directory: Path) -> None:
    problem = f"no directory can be made for {UPLOADS}/{directory.name}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        if (full := disk_full(error, problem, directory.parent)) is not None:
            raise full from error
        raise InvalidSpec("file.path", f"{problem}: {error.strerror}") from error
    _touch(directory)


def _touch(directory: Path) -> None:
    """Mark an upload as used, so that the sweeper keeps it for a while."""
    with suppress(OSError):
        os.utime(directory, follow_symlinks=False)


def _open_below(base: Path, inner: Path, guard: Guard) -> int:
    """Open step by step without following links, because somebody may swap one in after the path was resolved."""
    *directories, name = inner.parts or (".",)
    step = _descend(base, directories)
    try:
        return _open_regular(step, name, os.O_RDONLY, guard)
    finally:
        os.close(step)


def _open_regular(directory: int, name: str, flags: int, guard: Guard) -> int:
    """Hold a file by O_PATH, check it, and only then open it.

    Opening a device may have effects. Opening and closing a database of this process drops its locks
    (sqlite.org/howtocorrupt.html, 2.2).
    """
    hold = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        found = os.fstat(hold)
        if objection := guard.objection(directory, name, found):
            raise Unsuitable(f"{objection}, which no job opens: name another file")
        if stat.S_ISLNK(found.st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if not stat.S_ISREG(found.st_mode):
            raise Unsuitable("is a directory" if stat.S_ISDIR(found.st_mode) else "is not a regular file")
        return os.open(f"/proc/self/fd/{hold}", flags | os.O_CLOEXEC)
    finally:
        os.close(hold)


def open_directory(base: Path, inner: Path) -> int:
    """Open a directory to list it. Raises OSError."""
    step = _descend(base, inner.parts)
    try:
        return os.open(f"/proc/self/fd/{step}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(step)


def _descend(base: Path, directories: Sequence[str]) -> int:
    """Open directories, each inside the one before. Passing through a directory does not require the right to list
    it."""
    step = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for directory in directories:
        try:
            inside = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=step)
        finally:
            os.close(step)
        step = inside
    return step


class Unsuitable(OSError):
    """A file that cannot be opened. The text says why."""


_WRITING = {
    stat.S_IFDIR: "is a directory: name a file in it",
    stat.S_IFLNK: "is a symbolic link, and an export replaces regular files only: name the file that it leads to",
    stat.S_IFIFO: "is a named pipe, and an export replaces regular files only: choose another file",
    stat.S_IFSOCK: "is a socket, and an export replaces regular files only: choose another file",
}
_DEVICE = "is a device, and an export replaces regular files only: choose another file"


def trouble(error: OSError | ValueError | RuntimeError) -> str:
    """What is wrong with a path, after its name."""
    if isinstance(error, Unsuitable):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, PermissionError):
        return "may not be read by the daemon"
    if isinstance(error, OSError):
        return f"cannot be opened: {error.strerror}"
    if isinstance(error, RuntimeError):
        return "leads in a circle of links"
    return "leads out of its root"
