"""One export: a table into a delimited file.

Every chunk is a part file with its counts beside it; the two are the ledger of the export.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.core.bill import Counts
from ladingd.core.errors import AttemptSuperseded
from ladingd.core.plan import Chunk, CommittedChunk, ExportPlan
from ladingd.data.connection import Connection, find_connection
from ladingd.data.counts import decode_counts, encode_counts
from ladingd.data.csvwriter import CsvWriter
from ladingd.data.destination import Destination
from ladingd.data.table_source import FIRST_KEY, LAST_KEY
from ladingd.data.table_sources import source_of
from ladingd.data.workplace import Workplace, draft_of, sync_directory, sync_file, write_durably, writing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ladingd.data.table_source import TableSource

_BUFFER = 1 << 18


@dataclass(frozen=True, kw_only=True, slots=True)
class TableExport:
    """The methods of ``Transfer`` for exports, but for plan."""

    connections: Mapping[str, Connection]
    roots: Mapping[str, Path]
    workplace: Workplace

    def begin(self, job_uid: str, attempt: int, plan: ExportPlan) -> tuple[CommittedChunk, ...]:
        """Shut out earlier attempts, check the destination before anything is read, say which parts are there."""
        with self._locked(job_uid):
            committed = self._committed(job_uid, attempt)
            if not committed:
                Destination.of(self.roots, plan, job_uid).check()
            self._remove_drafts(job_uid)
            return committed

    def committed(self, job_uid: str, attempt: int, plan: ExportPlan) -> tuple[CommittedChunk, ...]:
        """Shut out earlier attempts and say which parts are there."""
        with self._locked(job_uid):
            return self._committed(job_uid, attempt)

    def cut(self, plan: ExportPlan, previous: Chunk | None, limit: int) -> tuple[Chunk, ...]:
        """Ranges of the key, not more than ten thousand. The outer ones are open: rows may have come since."""
        ordinal, start = (0, FIRST_KEY) if previous is None else (previous.ordinal + 1, previous.end)
        if start == LAST_KEY:
            return ()
        chunks: list[Chunk] = []
        for end in self._source(plan).ends(plan, previous, limit):
            chunks.append(Chunk(ordinal=ordinal, start=start, end=end))
            ordinal, start = ordinal + 1, end
        return tuple(chunks)

    def process(self, job_uid: str, attempt: int, plan: ExportPlan, chunk: Chunk) -> Counts:
        """Write the part under another name first: it gets its own while the attempt is known to be the current one."""
        part = self.workplace.part(job_uid, chunk.ordinal)
        ledger = part.with_suffix(".json")
        with self._locked(job_uid):
            self._check_attempt(job_uid, attempt)
            if ledger.exists():
                return decode_counts(ledger.read_text())
            part.parent.mkdir(parents=True, exist_ok=True)
        draft = draft_of(part)
        try:
            rows = self._write(draft, plan, chunk)
            counts = Counts(read=rows, inserted=rows)
            with self._locked(job_uid):
                self._check_attempt(job_uid, attempt)
                if ledger.exists():
                    return decode_counts(ledger.read_text())
                draft.replace(part)
                sync_directory(part.parent)
                write_durably(ledger, [encode_counts(counts).encode()])
        finally:
            draft.unlink(missing_ok=True)
        return counts

    def finish(self, job_uid: str, plan: ExportPlan, chunks: Sequence[Chunk]) -> None:
        """Put the parts together, put the file into its place, remove the parts."""
        with self._locked(job_uid):
            if not self._published(job_uid).exists():
                header = CsvWriter(dialect=plan.dialect).header([column.target for column in plan.columns])
                Destination.of(self.roots, plan, job_uid).publish(
                    header if plan.header else b"", [self.workplace.part(job_uid, chunk.ordinal) for chunk in chunks]
                )
                write_durably(self._published(job_uid), [b""])
            for chunk in chunks:
                # The counts stay: they say that the chunk is done.
                self.workplace.part(job_uid, chunk.ordinal).unlink(missing_ok=True)
            self._remove_drafts(job_uid)

    def discard(self, job_uid: str, plan: ExportPlan) -> None:
        """Remove the parts, and what was not yet put into its place."""
        with self._locked(job_uid):
            self.workplace.forget(job_uid)
            destination = Destination.find(self.roots, plan, job_uid)
            if destination is not None:
                destination.clear()

    def _source(self, plan: ExportPlan) -> TableSource:
        return source_of(find_connection(self.connections, plan.source.connection, "source.connection"))

    def _write(self, path: Path, plan: ExportPlan, chunk: Chunk) -> int:
        with writing(path.parent), path.open("wb", buffering=_BUFFER) as file:
            rows = self._source(plan).write(plan, chunk, file)
            sync_file(file)
        return rows

    def _committed(self, job_uid: str, attempt: int) -> tuple[CommittedChunk, ...]:
        current = self._attempt(job_uid)
        if current > attempt:
            raise AttemptSuperseded(f"attempt {attempt} must not write any more: attempt {current} has begun")
        write_durably(self._attempt_file(job_uid), [str(attempt).encode()])
        entries = sorted((self.workplace.job(job_uid) / "parts").glob("*.json"))
        return tuple(CommittedChunk(ordinal=int(path.stem), counts=decode_counts(path.read_text())) for path in entries)

    def _remove_drafts(self, job_uid: str) -> None:
        """What killed workers have left."""
        for draft in (self.workplace.job(job_uid) / "parts").glob(".*"):
            draft.unlink()

    @contextmanager
    def _locked(self, job_uid: str) -> Iterator[None]:
        """Hold the job's lock. Raises DestinationRefused, also where the job's directory cannot be used."""
        with self.workplace.locked(f"job {job_uid}"), writing(self.workplace.job(job_uid)):
            yield

    def _published(self, job_uid: str) -> Path:
        return self.workplace.job(job_uid) / "published"

    def _attempt_file(self, job_uid: str) -> Path:
        return self.workplace.job(job_uid) / "attempt"

    def _attempt(self, job_uid: str) -> int:
        path = self._attempt_file(job_uid)
        return int(path.read_text()) if path.exists() else 0

    def _check_attempt(self, job_uid: str, attempt: int) -> None:
        current = self._attempt(job_uid)
        if current != attempt:
            reason = f"attempt {current} has begun" if current else "the job was discarded"
            raise AttemptSuperseded(f"attempt {attempt} must not write any more: {reason}")
