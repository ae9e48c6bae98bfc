"""Moves records between files and tables. Other packages reach the imports and exports only through this module."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladingd.core.ports import Transfer, TransferOf
from ladingd.data.databases.connection import Connection
from ladingd.data.databases.registry import preload
from ladingd.data.files.uploads.quota import UploadRoom
from ladingd.data.storage.work_dir import WorkDir

# The daemon loads this module to pickle a transfer for its workers. It must never load pyarrow, DuckDB or a driver,
# which cost half a second and 100 MB. Therefore the functions, which run only in workers, import them.
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.bill import Counts
    from ladingd.core.job import Note
    from ladingd.core.plan import Chunk, CommittedChunk, ExportPlan, Moment, Plan
    from ladingd.core.preview import Preview
    from ladingd.core.spec import ExportSpec, ImportSpec, JobSpec, Table
    from ladingd.core.tables import Suggestion, TableDescription
    from ladingd.data.imports.importer import TableImport

_log = logging.getLogger(__name__)

PRELOAD = (
    "ladingd.data.imports.importer",
    "ladingd.data.exports.exporter",
    *preload(),
)
"""The modules that a worker process loads before its first call."""


@dataclass(frozen=True, kw_only=True)
class BulkTransfer(Transfer):
    """Imports and exports with the daemon's connections and roots. ``own_files`` are the daemon's own files, by
    description."""

    connections: Mapping[str, Connection]
    roots: Mapping[str, Path]
    work_dir: WorkDir
    own_files: Mapping[str, Path] = field(default_factory=dict)
    upload_room: UploadRoom | None = None
    """The quota for exports to the root of downloads; None: no quota."""

    def plan(self, spec: JobSpec) -> Plan:
        plan: Plan = self._of(spec).plan(spec)
        return plan

    def preview(self, spec: ImportSpec, records: int) -> Preview:
        return _import(self).preview(spec, records)

    def suggest(self, spec: ImportSpec) -> Suggestion:
        return _import(self).suggest(spec)

    def tables(self, connection: str) -> tuple[Table, ...]:
        return _import(self).tables(connection)

    def describe(self, table: Table) -> TableDescription:
        return _import(self).describe(table)

    def run_hook(self, job_uid: str, attempt: int, plan: Plan, moment: Moment, number: int) -> Note:
        return self._of(plan).run_hook(job_uid, attempt, plan, moment, number)

    def add_columns(self, job_uid: str, attempt: int, plan: Plan) -> tuple[Note, ...]:
        return self._of(plan).add_columns(job_uid, attempt, plan)

    def begin(self, job_uid: str, attempt: int, plan: Plan, phase: int = 0) -> tuple[CommittedChunk, ...]:
        return self._of(plan).begin(job_uid, attempt, plan, phase)

    def committed(self, job_uid: str, attempt: int, plan: Plan) -> tuple[CommittedChunk, ...]:
        return self._of(plan).committed(job_uid, attempt, plan)

    def extent(self, job_uid: str, plan: Plan, phase: int = 0) -> int:
        return self._of(plan).extent(job_uid, plan, phase)

    def cut(self, job_uid: str, plan: Plan, previous: Chunk | None, limit: int, phase: int = 0) -> tuple[Chunk, ...]:
        return self._of(plan).cut(job_uid, plan, previous, limit, phase)

    def check_source(self, job_uid: str, plan: Plan, chunks: Sequence[Chunk]) -> None:
        self._of(plan).check_source(job_uid, plan, chunks)

    def process(self, job_uid: str, attempt: int, plan: Plan, chunk: Chunk) -> Counts:
        counts = self._of(plan).process(job_uid, attempt, plan, chunk)
        _log.debug("a chunk is committed: %d records read, %d rejected", counts.read, counts.rejected)
        return counts

    def advance(self, job_uid: str, attempt: int, plan: Plan, phase: int, chunks: Sequence[Chunk]) -> tuple[Note, ...]:
        return self._of(plan).advance(job_uid, attempt, plan, phase, chunks)

    def finish(self, job_uid: str, plan: Plan, chunks: Sequence[Chunk]) -> tuple[Note, ...]:
        return self._of(plan).finish(job_uid, plan, chunks)

    def abandon(self, job_uid: str, plan: Plan) -> None:
        self._of(plan).abandon(job_uid, plan)

    def discard(self, job_uid: str, plan: Plan) -> None:
        self._of(plan).discard(job_uid, plan)

    def _of(self, job: JobSpec | Plan) -> TransferOf[Any, Any]:
        return KINDS[job.kind](self)


def _import(bulk: BulkTransfer) -> TableImport:
    from ladingd.data.imports.importer import TableImport

    return TableImport(
        connections=bulk.connections,
        roots=bulk.roots,
        own_files=bulk.own_files,
        work_dir=bulk.work_dir,
    )


def _export(bulk: BulkTransfer) -> TransferOf[ExportSpec, ExportPlan]:
    from ladingd.data.exports.exporter import TableExport

    return TableExport(
        connections=bulk.connections,
        roots=bulk.roots,
        own_files=bulk.own_files,
        work_dir=bulk.work_dir,
        upload_room=bulk.upload_room,
    )


KINDS: Mapping[str, Callable[[BulkTransfer], TransferOf[Any, Any]]] = {"import": _import, "export": _export}
"""Makes the transfer of each kind of job. A new kind is a function above and an entry here."""
