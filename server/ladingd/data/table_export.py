"""One export: a table of SQLite into a delimited file.

Every chunk is a part file with its counts beside it; the two are the ledger of the export.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import adbc_driver_manager
import pyarrow as pa

from ladingd.core.bill import Counts
from ladingd.core.errors import AttemptSuperseded, SourceUnreadable, TargetRefused, TargetUnavailable
from ladingd.core.plan import Chunk, CommittedChunk, ExportPlan
from ladingd.data.connection import Connection, database_path
from ladingd.data.csvwriter import CsvWriter
from ladingd.data.destination import Destination
from ladingd.data.ledger import decode_counts, encode_counts
from ladingd.data.sqlite import connected
from ladingd.data.text_columns import TextColumn, read_text
from ladingd.data.workplace import Workplace, draft_of, sync_directory, sync_file, write_durably

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


MOST_CHUNKS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class TableExport:
    """The methods of ``Transfer`` for exports, but for plan."""

    connections: Mapping[str, Connection]
    roots: Mapping[str, Path]
    workplace: Workplace

    def begin(self, job_id: str, attempt: int, plan: ExportPlan) -> tuple[CommittedChunk, ...]:
        """Shut out earlier attempts and say which parts are there."""
        return self.committed(job_id, attempt, plan)

    def committed(self, job_id: str, attempt: int, plan: ExportPlan) -> tuple[CommittedChunk, ...]:
        """The same: an export needs nothing made ready."""
        with self._locked(job_id):
            current = self._attempt(job_id)
            if current > attempt:
                raise AttemptSuperseded(f"attempt {attempt} must not write any more: attempt {current} has begun")
            write_durably(self._attempt_file(job_id), [str(attempt).encode()])
            parts = (self.workplace.job(job_id) / "parts").glob("*.json")
            return tuple(
                CommittedChunk(ordinal=int(path.stem), counts=decode_counts(path.read_text())) for path in sorted(parts)
            )

    def cut(self, plan: ExportPlan, previous: Chunk | None, limit: int) -> tuple[Chunk, ...]:
        """Equal ranges of the key, not more than ten thousand."""
        width = max(plan.chunk_keys, -(-(plan.end - plan.start) // MOST_CHUNKS))
        first = 0 if previous is None else previous.ordinal + 1
        starts = range(plan.start if previous is None else previous.end, plan.end, width)[:limit]
        return tuple(
            Chunk(ordinal=ordinal, start=start, end=min(start + width, plan.end))
            for ordinal, start in enumerate(starts, first)
        )

    def process(self, job_id: str, attempt: int, plan: ExportPlan, chunk: Chunk) -> Counts:
        """Write the part under another name first: it gets its own while the attempt is known to be the current one."""
        part = self.workplace.part(job_id, chunk.ordinal)
        ledger = part.with_suffix(".json")
        with self._locked(job_id):
            self._check_attempt(job_id, attempt)
            if ledger.exists():
                return decode_counts(ledger.read_text())
            part.parent.mkdir(parents=True, exist_ok=True)
        draft = draft_of(part)
        rows = self._write(draft, plan, chunk)
        counts = Counts(read=rows, inserted=rows)
        with self._locked(job_id):
            self._check_attempt(job_id, attempt)
            if ledger.exists():
                draft.unlink()
                return decode_counts(ledger.read_text())
            draft.replace(part)
            sync_directory(part.parent)
            write_durably(ledger, [encode_counts(counts).encode()])
        return counts

    def finish(self, job_id: str, plan: ExportPlan, chunks: Sequence[Chunk]) -> None:
        """Put the parts together, put the file into its place, remove the parts."""
        with self._locked(job_id):
            done = self.workplace.job(job_id) / "published"
            if not done.exists():
                header = CsvWriter(dialect=plan.dialect).header([column.target for column in plan.columns])
                destination = Destination.of(self.roots, plan, job_id)
                destination.publish(
                    header if plan.header else b"", [self.workplace.part(job_id, chunk.ordinal) for chunk in chunks]
                )
                write_durably(done, [b""])
                destination.clear()
            for chunk in chunks:
                # The counts go last: they say whether the chunk is done.
                self.workplace.part(job_id, chunk.ordinal).unlink(missing_ok=True)
            for draft in (self.workplace.job(job_id) / "parts").glob(".*"):
                draft.unlink()

    def discard(self, job_id: str, plan: ExportPlan) -> None:
        """Remove the parts, and what was not yet put into its place."""
        with self._locked(job_id):
            Destination.of(self.roots, plan, job_id).clear()
            self.workplace.forget(job_id)

    def _write(self, path: Path, plan: ExportPlan, chunk: Chunk) -> int:
        database_file = database_path(self.connections, plan.source.connection, "source.connection")
        writer = CsvWriter(dialect=plan.dialect)
        rows = 0
        with _reading(plan), connected(database_file, read_only=True) as database, path.open("wb") as file:
            shape = database.shape(plan.source.table)
            if shape is None:
                raise SourceUnreadable(f"there is no table {plan.source.table} any more")
            found = {column.name: column for column in shape.columns}
            gone = [column.source for column in plan.columns if column.source not in found]
            if gone:
                raise SourceUnreadable(f"table {plan.source.table} has no column {gone[0]} any more")
            columns = [TextColumn.of(found[column.source]) for column in plan.columns]
            for texts in read_text(database, shape.name, columns, plan.key, chunk.start, chunk.end - 1):
                file.writelines(writer.records(texts))
                rows += len(texts[0])
            sync_file(file)
        return rows

    def _locked(self, job_id: str) -> AbstractContextManager[None]:
        return self.workplace.locked(f"job {job_id}")

    def _attempt_file(self, job_id: str) -> Path:
        return self.workplace.job(job_id) / "attempt"

    def _attempt(self, job_id: str) -> int:
        path = self._attempt_file(job_id)
        return int(path.read_text()) if path.exists() else 0

    def _check_attempt(self, job_id: str, attempt: int) -> None:
        current = self._attempt(job_id)
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
    except (adbc_driver_manager.Error, pa.ArrowException) as error:
        raise SourceUnreadable(f"table {plan.source.table} cannot be read: {error}") from error
