"""One export: a table of SQLite into a delimited file.

Every chunk is a part file with its counts beside it; the two are the ledger of the export.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from ladingd.core.bill import Counts
from ladingd.core.errors import AttemptSuperseded, SourceUnreadable, TargetRefused, TargetUnavailable
from ladingd.core.plan import Chunk, CommittedChunk, ExportPlan
from ladingd.data.connection import Connection, database_path, find_connection
from ladingd.data.counts import decode_counts, encode_counts
from ladingd.data.csvwriter import CsvWriter
from ladingd.data.destination import Destination
from ladingd.data.sqlite.database import connected
from ladingd.data.sqlite.table_rows import FIRST_KEY, LAST_KEY, Rows, read_text
from ladingd.data.sqlite.text_columns import text_columns
from ladingd.data.workplace import Workplace, draft_of, sync_directory, sync_file, write_durably, writing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


MOST_CHUNKS = 10_000


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
        """Equal ranges of the key, not more than ten thousand. The outer ones are open: rows may have come since."""
        width = max(plan.chunk_keys, -(-(plan.end - plan.start) // MOST_CHUNKS))
        ordinal, start = (0, FIRST_KEY) if previous is None else (previous.ordinal + 1, previous.end)
        chunks: list[Chunk] = []
        while len(chunks) < limit and start != LAST_KEY:
            end = max(start, plan.start) + width
            chunks.append(Chunk(ordinal=ordinal, start=start, end=end if end < plan.end else LAST_KEY))
            ordinal, start = ordinal + 1, chunks[-1].end
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

    def _write(self, path: Path, plan: ExportPlan, chunk: Chunk) -> int:
        database_file = database_path(
            find_connection(self.connections, plan.source.connection, "source.connection"), "source.connection"
        )
        writer = CsvWriter(dialect=plan.dialect)
        count = 0
        with _reading(plan), connected(database_file, read_only=True) as database:
            shape = database.shape(plan.source.table)
            if shape is None:
                raise SourceUnreadable(f"there is no table {plan.source.table} any more")
            found = text_columns(shape)
            gone = [column.source for column in plan.columns if column.source not in found]
            if gone:
                raise SourceUnreadable(f"table {plan.source.table} has no column {gone[0]} any more")
            last = chunk.end if chunk.end == LAST_KEY else chunk.end - 1
            rows = Rows(table=shape.name, key=plan.key, first=chunk.start, last=last)
            columns = [found[column.source] for column in plan.columns]
            batches = read_text(database, rows, columns)
            with closing(batches), writing(path.parent), path.open("wb") as file:
                for texts in batches:
                    file.writelines(writer.records(texts))
                    count += len(texts[0])
                sync_file(file)
        return count

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


@contextmanager
def _reading(plan: ExportPlan) -> Iterator[None]:
    """In an export the database is the source, whatever the driver's room calls it."""
    try:
        yield
    except (TargetRefused, TargetUnavailable) as error:
        raise SourceUnreadable(f"table {plan.source.table} cannot be read: {error.message}") from error
    except pa.ArrowException as error:
        raise SourceUnreadable(f"table {plan.source.table} cannot be written as text: {error}") from error
