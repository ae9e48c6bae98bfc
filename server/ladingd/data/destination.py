"""The file that an export ends up in. It is there whole, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ladingd.core.errors import DestinationRefused, InvalidSpec
from ladingd.data.files import destination_path
from ladingd.data.workplace import sync_directory, sync_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ladingd.core.plan import ExportPlan

_BLOCK = 1 << 20

# What file systems without hard links answer.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """A path, and the draft beside it, on the same file system."""

    path: Path
    draft: Path
    overwrite: bool

    @classmethod
    def of(cls, roots: Mapping[str, Path], plan: ExportPlan, job_uid: str) -> Self:
        """The destination of a job. Raises DestinationRefused where its directory is gone."""
        try:
            path = destination_path(roots, plan.file)
        except InvalidSpec as error:
            raise DestinationRefused(error.problem) from error
        return cls(path=path, draft=path.with_name(f".{path.name}.{job_uid}"), overwrite=plan.overwrite)

    @classmethod
    def find(cls, roots: Mapping[str, Path], plan: ExportPlan, job_uid: str) -> Self | None:
        """The same; None where its directory is gone."""
        try:
            return cls.of(roots, plan, job_uid)
        except DestinationRefused:
            return None

    def check(self) -> None:
        """Whether the file can be written, as far as can be seen before its time. Raises DestinationRefused."""
        with self._refusals():
            self._check_free()
        try:
            self.draft.unlink(missing_ok=True)
            self.draft.touch(exist_ok=False)
            self.draft.unlink()
        except OSError as error:
            raise DestinationRefused(
                f"no file can be made in the directory of {self.path.name} ({error.strerror}): export to another one"
            ) from error

    def publish(self, header: bytes, parts: Sequence[Path]) -> None:
        """Write header and parts into the draft and give it its name. May be repeated after a crash at any point."""
        with self._refusals():
            if not self.overwrite and os.path.lexists(self.path):
                if self._holds(header, parts):
                    return
                if not self._is_claimed():
                    self._check_free()
            try:
                self._assemble(header, parts)
                self._give_name()
                sync_directory(self.path.parent)
            finally:
                self.draft.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what was not put into its place."""
        with self._refusals():
            self.draft.unlink(missing_ok=True)
            if self._is_claimed():
                self.path.unlink()

    def _check_free(self) -> None:
        if not self.overwrite and os.path.lexists(self.path):
            raise FileExistsError

    def _assemble(self, header: bytes, parts: Sequence[Path]) -> None:
        self.draft.unlink(missing_ok=True)
        with self.draft.open("xb") as file:
            file.write(header)
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file, _BLOCK)
            sync_file(file)

    def _give_name(self) -> None:
        if not self.overwrite and not self._is_claimed():
            # Unlike a rename, a link never replaces a file that somebody else has put there meanwhile.
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
        """Where there are no links: take the name with a file that says whose it is, ours after a crash, too."""
        with self.path.open("xb") as file:
            file.write(self._mark)
            sync_file(file)

    @property
    def _mark(self) -> bytes:
        return f"{self.draft.name} is being put here\n".encode()

    def _is_claimed(self) -> bool:
        return (
            self.path.is_file() and self.path.stat().st_size == len(self._mark) and self.path.read_bytes() == self._mark
        )

    def _holds(self, header: bytes, parts: Sequence[Path]) -> bool:
        """Whether the file is there already, whole: it got its name just before a crash."""
        if not self.path.is_file() or any(not part.exists() for part in parts):
            return False
        if self.path.stat().st_size != len(header) + sum(part.stat().st_size for part in parts):
            return False
        with self.path.open("rb") as file:
            if file.read(len(header)) != header:
                return False
            for part in parts:
                with part.open("rb") as source:
                    while block := source.read(_BLOCK):
                        if file.read(len(block)) != block:
                            return False
        return True

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except FileExistsError as error:
            raise DestinationRefused(f"{self.path.name} exists; --overwrite replaces it") from error
        except OSError as error:
            raise DestinationRefused(f"{self.path.name} cannot be written: {error.strerror}") from error
