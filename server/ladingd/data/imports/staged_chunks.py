"""The chunks whose records are staged. They are read again for the text of records that the merge rejects, and if the
staging has lost them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ladingd.core.errors import SourceChanged, SourceUnreadable
from ladingd.core.plan import UNKNOWN_END, ImportPlan
from ladingd.data.databases.staging import by_chunk
from ladingd.data.files import fingerprint
from ladingd.data.files.digest import is_digest
from ladingd.data.files.roots import Source
from ladingd.data.formats.registry import format_of
from ladingd.data.mapping.batch import rejects_of
from ladingd.data.rejects.chunks import KeptChunk, KeptChunks, LostOrigins
from ladingd.data.rejects.lines import json_lines, write_rejects
from ladingd.data.storage.work_dir import WorkDir

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from ladingd.core.plan import Chunk
    from ladingd.data.formats.format import Piece
    from ladingd.data.rejects.fault import Faults


@dataclass(frozen=True, kw_only=True)
class StagedChunks:
    """The staged chunks of one job."""

    job_uid: str
    plan: ImportPlan
    work_dir: WorkDir
    content: Callable[[ImportPlan, int], Source]
    """Opens what the chunks of a file are cut from."""

    def keep(self, phase: int, chunks: Sequence[Chunk]) -> None:
        """Keep the chunks of a file durably: the merge may reject records of them."""
        lines, part = None, self.plan.part(phase)
        if chunks:
            with self.content(part, phase) as source:
                lines = format_of(part.file.layout).lines(source, measured(part, source), chunks[-1])
        self._kept(phase).keep(chunks, lines)

    def write_rejects(self, ordinal: int, faults: Faults) -> None:
        """Write the rejects of a slice durably.

        A file that has changed since it was loaded costs only the text of its rejects.
        """
        write_rejects(self.work_dir.rejects(self.job_uid, ordinal), json_lines(self._rejects(faults)))

    def _rejects(self, faults: Faults) -> Iterator[pa.RecordBatch]:
        for ordinal, rows, indexes in by_chunk(faults.indexes):
            kept = self._chunk(ordinal)
            part, told = self.plan.part(kept.chunk.phase), faults.taken(rows, indexes)
            try:
                origins = self._piece(part, kept.chunk).origins
            except (SourceChanged, SourceUnreadable) as error:
                origins = LostOrigins(kept)
                told = told.extended(f"; the text of the record is lost: {error.message}")
            yield from rejects_of(part, kept.chunk, origins, told)

    def read(self, ordinal: int) -> tuple[Chunk, Piece]:
        """A chunk whose staged records are lost, with its records. Raises SourceChanged, SourceUnreadable."""
        chunk = self._chunk(ordinal).chunk
        try:
            return chunk, self._piece(self.plan.part(chunk.phase), chunk)
        except (SourceChanged, SourceUnreadable) as error:
            raise type(error)(
                f"a crash of the database has removed staged records, and they cannot be read again: {error.message}; "
                "put the file back and start the job, or load all records again: lading clone"
            ) from error

    def _piece(self, part: ImportPlan, chunk: Chunk) -> Piece:
        with self.content(part, chunk.phase) as source:
            if not part.file.content.spooled and not is_digest(chunk.digest):
                fingerprint.check(source, part.file.fingerprint)
            return format_of(part.file.layout).read(source, measured(part, source), chunk)

    def _chunk(self, ordinal: int) -> KeptChunk:
        for chunks in self._files:
            if (found := chunks.chunk(ordinal)) is not None:
                return found
        raise SourceUnreadable(
            f"the daemon's list of the chunks of this job lacks chunk {ordinal}, which has staged records"
        )

    @cached_property
    def _files(self) -> Sequence[KeptChunks]:
        return [self._kept(phase) for phase in range(len(self.plan.files))]

    def _kept(self, phase: int) -> KeptChunks:
        return KeptChunks(path=self.work_dir.chunks(self.job_uid, phase))


def measured(part: ImportPlan, content: Source) -> ImportPlan:
    """The import of a file, with the end of its content, which is unknown before the file is spooled."""
    return part.ending(content.size) if part.file.end == UNKNOWN_END else part
