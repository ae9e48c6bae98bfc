"""Runs an import of a file into a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec, SourceUnreadable
from ladingd.core.plan import ImportPlan
from ladingd.core.ports import TransferOf
from ladingd.core.spec import ImportSpec
from ladingd.data.databases.connection import Connection, find_connection
from ladingd.data.databases.registry import target_of
from ladingd.data.files import fingerprint
from ladingd.data.files.content import ContentEnds, content_of
from ladingd.data.files.roots import open_source, reopen_source
from ladingd.data.files.spooled import damage_of, make_spool, open_spool, remove_spool
from ladingd.data.formats.registry import format_of
from ladingd.data.imports.memory import memory_given_back
from ladingd.data.imports.planner import plan_import
from ladingd.data.imports.previewer import preview
from ladingd.data.mapping.compiled import CompiledMapping
from ladingd.data.rejects.lines import json_lines, write_rejects
from ladingd.data.storage.work_dir import WorkDir
from ladingd.data.values.casting import Known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.bill import Counts
    from ladingd.core.plan import Chunk, CommittedChunk
    from ladingd.core.preview import Preview
    from ladingd.data.databases.target import Target
    from ladingd.data.files.roots import Source
    from ladingd.data.rejects.fault import Faults


@dataclass(frozen=True, kw_only=True, slots=True)
class TableImport(TransferOf[ImportSpec, ImportPlan]):
    """Imports a file into a table."""

    connections: Mapping[str, Connection]
    roots: Mapping[str, Path]
    own_files: Mapping[str, Path]
    work_dir: WorkDir

    @memory_given_back()
    def plan(self, spec: ImportSpec) -> ImportPlan:
        """Check the spec against the file and the table."""
        target = self._target(spec.target.connection)
        with open_source(self.roots, self.own_files, spec.file) as source:
            plan = plan_import(spec, source, target)
            if source.state != plan.fingerprint.state:
                raise InvalidSpec(
                    "files[0].path", f"{source.path} is being written: create the job when it is complete"
                )
            return plan

    @memory_given_back()
    def preview(self, spec: ImportSpec, records: int) -> Preview:
        """Plan the import, and read the first records of the file as the plan does."""
        target = self._target(spec.target.connection)
        with open_source(self.roots, self.own_files, spec.file) as source:
            plan = plan_import(spec, source, target)
            content, readings = content_of(source, plan.content), target.readings(plan) if plan.columns else ()
            try:
                return preview(content, _measured(plan, content), readings, records)
            except ContentEnds:  # Now its end is known.
                return preview(content, _measured(plan, content), readings, records)

    def begin(self, job_uid: str, attempt: int, plan: ImportPlan) -> tuple[CommittedChunk, ...]:
        """Check the source and the table, create what is missing, and shut out earlier attempts."""
        with reopen_source(self.roots, self.own_files, plan.file) as source:
            fingerprint.check(source, plan.fingerprint)
            if plan.content.spooled:
                make_spool(source, plan.content, self.work_dir.content(job_uid))
        return self._target(plan.target.connection).begin(job_uid, attempt, plan)

    def committed(self, job_uid: str, attempt: int, plan: ImportPlan) -> tuple[CommittedChunk, ...]:
        """Shut out earlier attempts and read the ledger if it exists."""
        return self._target(plan.target.connection).committed(job_uid, attempt)

    def extent(self, job_uid: str, plan: ImportPlan) -> int:
        """The end of the content."""
        with self._content(job_uid, plan) as source:
            return _measured(plan, source).end

    def cut(
        self, job_uid: str, plan: ImportPlan, previous: Chunk | None, limit: int, phase: int = 0
    ) -> tuple[Chunk, ...]:
        """The next record-aligned chunks."""
        with self._content(job_uid, plan) as source:
            return format_of(plan.layout).cut(source, _measured(plan, source), previous, limit)

    def check_source(self, job_uid: str, plan: ImportPlan, chunks: Sequence[Chunk]) -> None:
        """Check that the file still holds the bytes that these chunks were cut from."""
        with reopen_source(self.roots, self.own_files, plan.file) as source, self._content(job_uid, plan) as content:
            _check_chunks(source, content, plan, chunks)

    def process(self, job_uid: str, attempt: int, plan: ImportPlan, chunk: Chunk) -> Counts:
        """Convert the chunk before the transaction begins, then commit it."""
        target = self._target(plan.target.connection)
        with self._content(job_uid, plan) as source:
            piece = format_of(plan.layout).read(source, _measured(plan, source), chunk)
        readings = target.readings(plan, (job_uid, attempt))
        known = _known(job_uid, tuple(f"{reading.kind} {reading.name}" for reading in readings), plan.typed_null_words)
        batch = CompiledMapping.of(plan, readings, known).apply(piece, chunk)

        def keep_rejects(faults: Faults) -> None:
            write_rejects(self.work_dir.rejects(job_uid, chunk.ordinal), json_lines(batch.rejects(faults)))

        return target.write(job_uid, attempt, plan, chunk, batch, keep_rejects)

    def advance(self, job_uid: str, attempt: int, plan: ImportPlan, phase: int) -> None:
        """Does nothing: an import has one phase."""

    def finish(self, job_uid: str, plan: ImportPlan, chunks: Sequence[Chunk]) -> tuple[str, ...]:
        """Check that all chunks came from one file and went into one table, and that the file was read to its end."""
        if plan.content.spooled and not self.work_dir.content(job_uid).exists():
            return ()  # An earlier call has finished the job and removed the spool.
        with reopen_source(self.roots, self.own_files, plan.file) as source, self._content(job_uid, plan) as content:
            fingerprint.check(source, plan.fingerprint)
            _check_chunks(source, content, plan, chunks)
            damage = format_of(plan.layout).damage(content, _measured(plan, content), chunks[-1]) if chunks else ""
        self._target(plan.target.connection).verify(job_uid, plan)
        spool = self.work_dir.content(job_uid)
        if plan.content.spooled and (packed := damage_of(spool)):
            raise SourceUnreadable(f"{packed}; the records before are imported; those just before may be wrong as well")
        if damage:
            raise SourceUnreadable(f"{damage}; the records before are imported")
        if plan.content.spooled:
            remove_spool(spool)
        return ()

    def discard(self, job_uid: str, plan: ImportPlan) -> None:
        """Forget the job in the target's ledger. Its rejects are removed even if the target is unreachable."""
        try:
            self._target(plan.target.connection).discard(job_uid)
        finally:
            self.work_dir.forget(job_uid)

    def _content(self, job_uid: str, plan: ImportPlan) -> Source:
        """What chunks are cut from: the file itself, or its spool."""
        if plan.content.spooled:
            return open_spool(self.work_dir.content(job_uid), plan.file.path)
        return reopen_source(self.roots, self.own_files, plan.file)

    def _target(self, connection: str) -> Target:
        return target_of(find_connection(self.connections, connection, "target.connection"), self.work_dir)


def _measured(plan: ImportPlan, content: Source) -> ImportPlan:
    """The plan with the end of the content, which only an attempt knows that has begun."""
    return replace(plan, end=content.size) if plan.content.spooled else plan


def _check_chunks(source: Source, content: Source, plan: ImportPlan, chunks: Sequence[Chunk]) -> None:
    digest_of = partial(format_of(plan.layout).digest, content, _measured(plan, content))
    fingerprint.check_chunks(source, plan.fingerprint, chunks, digest_of)


@lru_cache(maxsize=4)
def _known(job_uid: str, kinds: tuple[str, ...], null_words: tuple[str, ...]) -> tuple[Known, ...]:
    """What this process knows of the columns of a job from earlier chunks. Another type or null word discards it."""
    return tuple(Known() for _ in kinds)
