"""Moves records between files and tables. Other packages reach the imports and exports only through this module."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.core.ports import Transfer
from ladingd.data.databases.connection import Connection
from ladingd.data.databases.registry import preload
from ladingd.data.files.uploads.quota import UploadRoom
from ladingd.data.storage.work_dir import Workplace

# The daemon loads this module to pickle a transfer for its workers. It must never load pyarrow, DuckDB or a driver,
# which cost half a second and 100 MB. Therefore the functions, which run only in workers, import them.
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.bill import Counts
    from ladingd.core.plan import Chunk, CommittedChunk, Plan
    from ladingd.core.spec import JobSpec
    from ladingd.data.exports.exporter import TableExport
    from ladingd.data.imports.importer import TableImport

_log = logging.getLogger(__name__)

PRELOAD = (
    "ladingd.data.imports.importer",
    "ladingd.data.exports.planner",
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
    work_dir: Path
    own_files: Mapping[str, Path] = field(default_factory=dict)
    upload_room: UploadRoom | None = None
    """The quota for exports to the root of downloads; None: no quota."""

    def plan(self, spec: JobSpec) -> Plan:
        if spec.kind == "import":
            from ladingd.data.imports.memory import memory_given_back

            with memory_given_back():
                return self._import().plan(spec)
        from ladingd.data.exports.planner import plan_export

        return plan_export(spec, self.connections, self.roots, self.own_files, self._workplace(), self.upload_room)

    def begin(self, job_uid: str, attempt: int, plan: Plan) -> tuple[CommittedChunk, ...]:
        if plan.kind == "import":
            return self._import().begin(job_uid, attempt, plan)
        return self._export().begin(job_uid, attempt, plan)

    def committed(self, job_uid: str, attempt: int, plan: Plan) -> tuple[CommittedChunk, ...]:
        if plan.kind == "import":
            return self._import().committed(job_uid, attempt, plan)
        return self._export().committed(job_uid, attempt, plan)

    def cut(self, plan: Plan, previous: Chunk | None, limit: int, phase: int = 0) -> tuple[Chunk, ...]:
        if plan.kind == "import":
            return self._import().cut(plan, previous, limit)
        return self._export().cut(plan, previous, limit)

    def check_source(self, plan: Plan, chunks: Sequence[Chunk]) -> None:
        if plan.kind == "import":
            self._import().check_source(plan, chunks)

    def process(self, job_uid: str, attempt: int, plan: Plan, chunk: Chunk) -> Counts:
        if plan.kind == "import":
            counts = self._import().process(job_uid, attempt, plan, chunk)
        else:
            counts = self._export().process(job_uid, attempt, plan, chunk)
        _log.debug("a chunk is committed: %d records read, %d rejected", counts.read, counts.rejected)
        return counts

    def advance(self, job_uid: str, attempt: int, plan: Plan, phase: int) -> None:
        """Does nothing: imports and exports have one phase."""

    def finish(self, job_uid: str, plan: Plan, chunks: Sequence[Chunk]) -> tuple[str, ...]:
        if plan.kind == "import":
            self._import().finish(job_uid, plan, chunks)
            return ()
        return self._export().finish(job_uid, plan, chunks)

    def discard(self, job_uid: str, plan: Plan) -> None:
        if plan.kind == "import":
            self._import().discard(job_uid, plan)
        else:
            self._export().discard(job_uid, plan)

    def _import(self) -> TableImport:
        from ladingd.data.imports.importer import TableImport

        return TableImport(
            connections=self.connections, roots=self.roots, own_files=self.own_files, workplace=self._workplace()
        )

    def _export(self) -> TableExport:
        from ladingd.data.exports.exporter import TableExport

        return TableExport(
            connections=self.connections,
            roots=self.roots,
            own_files=self.own_files,
            workplace=self._workplace(),
            upload_room=self.upload_room,
        )

    def _workplace(self) -> Workplace:
        return Workplace(directory=self.work_dir)
