"""The file that an export ends up in. It is there whole, or not at all."""

from __future__ import annotations

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """A path, and the draft beside it, on the same file system."""

    path: Path
    draft: Path
    overwrite: bool

    @classmethod
    def of(cls, roots: Mapping[str, Path], plan: ExportPlan, job_id: str) -> Self:
        """The destination of a job. Raises DestinationRefused where its directory is gone."""
        try:
            path = destination_path(roots, plan.file)
        except InvalidSpec as error:
            raise DestinationRefused(error.problem) from error
        return cls(path=path, draft=path.with_name(f".{path.name}.{job_id}"), overwrite=plan.overwrite)

    def publish(self, header: bytes, parts: Sequence[Path]) -> None:
        """Write header and parts into the draft and give it its name. May be repeated after a crash at any point."""
        with self._refusals():
            if self._is_published():
                return
            self.draft.unlink(missing_ok=True)
            with self.draft.open("xb") as file:
                file.write(header)
                for part in parts:
                    with part.open("rb") as source:
                        shutil.copyfileobj(source, file, 1 << 20)
                sync_file(file)
            if self.overwrite:
                self.draft.replace(self.path)
            else:
                # Unlike a rename, a link never replaces a file that somebody else has put there meanwhile. The draft
                # stays until the job has noted that it is done: until then it proves that the file is ours.
                os.link(self.draft, self.path)
            sync_directory(self.path.parent)

    def clear(self) -> None:
        """Remove the draft."""
        with self._refusals():
            self.draft.unlink(missing_ok=True)

    def _is_published(self) -> bool:
        return self.draft.exists() and self.path.exists() and self.draft.samefile(self.path)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except FileExistsError as error:
            raise DestinationRefused(f"{self.path.name} exists; --overwrite replaces it") from error
        except OSError as error:
            raise DestinationRefused(f"{self.path.name} cannot be written: {error.strerror}") from error
