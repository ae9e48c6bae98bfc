"""The file that an export writes. It appears complete or not at all."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader, BufferedWriter, FileIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Self

from ladingd.core.errors import DestinationRefused, DiskFull, InvalidSpec
from ladingd.data.files.digest import digest_all
from ladingd.data.files.own_files import Guard
from ladingd.data.files.roots import Directory, PathRefused, Unsuitable, destination_directory
from ladingd.data.storage.work_dir import disk_full, sync_directory, sync_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from _typeshed import ReadableBuffer

    from ladingd.core.plan import ExportPlan

_BLOCK = 1 << 20
_RIGHTS = "system.posix_acl_access"
# The errors of file systems without hard links.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """A path, and the draft beside it on the same file system. The chunks are written into the draft."""

    directory: Directory
    path: Path
    draft: Path
    overwrite: bool
    guard: Guard

    @classmethod
    def of(
        cls,
        roots: Mapping[str, Path],
        own_files: Mapping[str, Path],
        plan: ExportPlan,
        job_uid: str,
        *,
        make: bool = False,
    ) -> Self:
        """The destination of a job. ``make`` creates a missing directory for downloads. Raises DestinationRefused if
        the directory is gone."""
        try:
            directory = destination_directory(roots, plan.file, make=make)
        except InvalidSpec as error:
            raise DestinationRefused(error.problem) from error
        path = directory.path / PurePosixPath(plan.file.path).name
        draft = path.with_name(f".{path.name}.{job_uid}")
        guard = Guard.of(own_files, roots, plan.file)
        return cls(directory=directory, path=path, draft=draft, overwrite=plan.overwrite, guard=guard)

    @classmethod
    def find(
        cls, roots: Mapping[str, Path], own_files: Mapping[str, Path], plan: ExportPlan, job_uid: str
    ) -> Self | None:
        """The destination of a job; None if its directory is gone."""
        try:
            return cls.of(roots, own_files, plan, job_uid)
        except DestinationRefused:
            return None

    def begin(self) -> None:
        """Create an empty draft, which shows whether the file can be written at all. Raises DestinationRefused."""
        with self._refusals():
            if not self._is_claimed():
                self._check_writable()
        try:
            self.draft.unlink(missing_ok=True)
            # Users who may not read the replaced file must not be able to read the draft.
            replacing = self.directory.look(self.path.name) is not None
            self.draft.touch(mode=0o600 if replacing else 0o666, exist_ok=False)
            sync_directory(self.path.parent)
        except OSError as error:
            if (full := self._full(error)) is not None:
                raise full from error
            raise DestinationRefused(
                f"no file can be made in the directory of {self.path.name} ({error.strerror}): export to another one"
            ) from error

    def check(self) -> None:
        """Raises DestinationRefused if the draft is gone."""
        if not self.draft.exists():
            raise DestinationRefused(
                f"the unfinished file {self.draft.name} is gone, and what was exported into it: make a new job"
            )

    def open_draft(self) -> FileIO:
        """Open the draft for writing. Raises DestinationRefused."""
        with self._refusals():
            self.directory.check_writable(self.path.name, self.guard)
            draft = FileIO(self.directory.reopen(self.draft.name, self.guard), "r+")
            if os.fstat(draft.fileno()).st_nlink > 1 and not self._has_name():
                draft.close()
                raise Unsuitable("is a file of another name too: make a new job")
            return draft

    def put(self, draft: FileIO, blocks: Iterable[ReadableBuffer], place: int) -> None:
        """Write into the draft at the offset ``place``. The bytes may be there already, from before a crash."""
        with self._refusals():
            draft.seek(place)
            for block in blocks:
                left = memoryview(block)
                while left:
                    left = left[draft.write(left) :]

    def digest(self, draft: FileIO, place: int, size: int) -> str:
        """The digest of ``size`` bytes of the draft at ``place``, or of fewer if the draft ends there."""
        with self._refusals():
            draft.seek(place)
            lengths = (min(_BLOCK, size - done) for done in range(0, size, _BLOCK))
            return digest_all(draft.read(length) for length in lengths)

    def sync(self, draft: FileIO) -> None:
        """Make the draft durable. Takes the descriptor that wrote, because another one may miss a write error."""
        with self._refusals():
            os.fdatasync(draft.fileno())

    def assembled(
        self, draft: FileIO, size: int, assemble: Callable[[BinaryIO, BinaryIO], None]
    ) -> tuple[Destination, str]:
        """The destination with another, complete draft, which ``assemble`` makes of ``size`` bytes of this one, and its
        identity."""
        whole = replace(self, draft=self._whole)
        whole.begin()
        with whole.open_draft() as file:
            with self._refusals():
                draft.truncate(size)
                draft.seek(0)
                rows, written = BufferedReader(draft, _BLOCK), BufferedWriter(file, _BLOCK)
                try:
                    assemble(rows, written)
                finally:
                    rows.detach()
                    written.detach()
            return whole, whole.complete(file, file.tell())

    @property
    def _whole(self) -> Path:
        return self.draft.with_name(f"{self.draft.name}.whole")

    def complete(self, draft: FileIO, size: int) -> str:
        """Check that the draft can become the file, and truncate it durably to ``size`` bytes.

        Returns the identity by which ``check_published`` recognises the file.
        """
        with self._refusals():
            if not self._is_claimed() and not self._has_name():
                self._check_writable()
            draft.truncate(size)
            if self._is_regular() and not self._is_claimed() and not self._has_name():
                _take_over(self.path, draft.fileno())
            os.fsync(draft.fileno())
            return _identity(self.draft)

    def check_published(self, identity: str) -> None:
        """Check that the completed file has its name, and make that durable. Raises DestinationRefused."""
        with self._refusals():
            if not self._is_regular() or _identity(self.path) != identity:
                raise DestinationRefused(
                    f"{self.path.name} was complete, but neither it nor {self.draft.name} is there: make a new job"
                )
            sync_directory(self.path.parent)

    def is_published(self, identity: str) -> bool:
        """Whether the completed file has its name already, although the draft is still there."""
        with self._refusals():
            return self._is_regular() and _identity(self.path) == identity

    def publish(self) -> None:
        """Rename the draft to the file. May be repeated after a crash until the draft is gone."""
        with self._refusals():
            if not self._has_name():
                self.directory.check_writable(self.path.name, self.guard)
                self._give_name()
            sync_directory(self.path.parent)
            self.draft.unlink(missing_ok=True)

    def remove_drafts(self) -> None:
        """Remove what is left of the drafts."""
        with self._refusals():
            self.draft.unlink(missing_ok=True)
            self._whole.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the drafts, and the file that only reserves the name."""
        with self._refusals():
            if self._is_claimed() or replace(self, draft=self._whole)._is_claimed():
                self.path.unlink()
            self.remove_drafts()

    def _check_writable(self) -> None:
        self.directory.check_writable(self.path.name, self.guard)
        if not self.overwrite and self.directory.look(self.path.name) is not None:
            raise FileExistsError

    def _is_regular(self) -> bool:
        found = self.directory.look(self.path.name)
        return found is not None and stat.S_ISREG(found.st_mode)

    def _has_name(self) -> bool:
        """Whether the draft is already linked as the file too."""
        return self._is_regular() and self.path.samefile(self.draft)

    def _give_name(self) -> None:
        if not self.overwrite and not self._is_claimed():
            # Unlike a rename, a link never replaces a file that another process has created meanwhile.
            try:
                os.link(self.draft, self.path)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                self._claim()
            else:
                return
        self.draft.replace(self.path)

    def _claim(self) -> None:
        """Without hard links: reserve the name with a file that marks it as ours, also after a crash."""
        with self.path.open("xb") as file:
            file.write(self._mark)
            sync_file(file)

    @property
    def _mark(self) -> bytes:
        return f"{self.draft.name} is being put here\n".encode()

    def _is_claimed(self) -> bool:
        found = self.directory.look(self.path.name)
        return (
            found is not None
            and stat.S_ISREG(found.st_mode)
            and found.st_size == len(self._mark)
            and self.path.read_bytes() == self._mark
        )

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except PathRefused as error:
            raise DestinationRefused(error.problem) from error
        except Unsuitable as error:
            raise DestinationRefused(f"the unfinished file {self.draft.name} {error}") from error
        except FileExistsError as error:
            raise DestinationRefused(f"{self.path.name} exists; --overwrite replaces it") from error
        except OSError as error:
            if (full := self._full(error)) is not None:
                raise full from error
            raise DestinationRefused(f"{self.path.name} cannot be written: {error.strerror}") from error

    def _full(self, error: OSError) -> DiskFull | None:
        return disk_full(error, f"{self.path.name} cannot be written", self.directory.path.resolve())


def _take_over(path: Path, draft: int) -> None:
    """Give the draft the owner, group and permissions of the file that it replaces, or fewer permissions."""
    replaced, own = path.lstat(), os.fstat(draft)
    mode = replaced.st_mode & 0o777 | stat.S_IRUSR | stat.S_IWUSR
    try:
        os.fchown(draft, replaced.st_uid if os.geteuid() == 0 else -1, replaced.st_gid)
    except OSError:
        if own.st_gid != replaced.st_gid:
            mode &= ~stat.S_IRWXG  # These are the rights of another group.
    rights = _rights(path)
    if rights is None:
        os.fchmod(draft, mode)
        return
    try:
        os.setxattr(draft, _RIGHTS, rights)
    except OSError:
        os.fchmod(draft, mode & ~stat.S_IRWXG)  # With an access control list the group bits are its mask.


def _rights(path: Path) -> bytes | None:
    """The access control list of a file; None if the file or the system has none."""
    try:
        return os.getxattr(path, _RIGHTS, follow_symlinks=False)
    except (OSError, AttributeError):
        return None


def _identity(path: Path) -> str:
    """The identity of a file under any name. Inode numbers are reused, so it includes size and time."""
    facts = path.lstat()
    return f"{facts.st_dev} {facts.st_ino} {facts.st_size} {facts.st_mtime_ns}"
