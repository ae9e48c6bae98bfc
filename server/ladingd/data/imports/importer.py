"""Runs an import of files into a table."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.core.errors import (
    BillImbalance,
    InvalidSpec,
    SourceUnreadable,
    TargetRefused,
    TargetUnavailable,
)
from ladingd.core.job import Level, Note
from ladingd.core.plan import Chunk, ImportPlan, Moment
from ladingd.core.ports import TransferOf
from ladingd.core.preview import Preview
from ladingd.core.spec import ImportSpec, Table
from ladingd.data.databases.connection import Connection, find_connection
from ladingd.data.databases.hooks import Hook
from ladingd.data.databases.registry import target_of
from ladingd.data.databases.target import ReadingsOutdated
from ladingd.data.files import fingerprint
from ladingd.data.files.content import ContentEnds, content_of
from ladingd.data.files.roots import reopen_source
from ladingd.data.files.spooled import damage_of, make_spool, open_spool, remove_spool
from ladingd.data.formats.registry import format_of
from ladingd.data.imports.defaults import with_defaults
from ladingd.data.imports.memory import memory_given_back
from ladingd.data.imports.planner import ALLOW, check_hooks, plan_import
from ladingd.data.imports.previewer import preview
from ladingd.data.imports.provenance import filled
from ladingd.data.imports.staged_chunks import StagedChunks, measured
from ladingd.data.imports.suggestion import described, suggestion
from ladingd.data.mapping.compiled import CompiledMapping
from ladingd.data.rejects.lines import json_lines, write_rejects
from ladingd.data.storage.work_dir import WorkDir
from ladingd.data.values.casting import Known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.core.bill import Counts
    from ladingd.core.plan import CommittedChunk
    from ladingd.core.tables import Suggestion, TableDescription
    from ladingd.data.databases.target import Target
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.format import Piece
    from ladingd.data.mapping.batch import Batch
    from ladingd.data.rejects.fault import Faults


_TRIES = 10
"""How often a chunk is read anew for a table that has changed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableImport(TransferOf[ImportSpec, ImportPlan]):
    """Imports files into a table."""

    connections: Mapping[str, Connection]
    roots: Mapping[str, Path]
    own_files: Mapping[str, Path]
    work_dir: WorkDir

    @memory_given_back()
    def plan(self, spec: ImportSpec) -> ImportPlan:
        """Check the spec against the files and the table."""
        connection = find_connection(self.connections, spec.target.connection, "target.connection")
        check_hooks(spec, connection)
        return plan_import(spec, self.roots, self.own_files, target_of(connection, self.work_dir))

    @memory_given_back()
    def preview(self, spec: ImportSpec, records: int) -> Preview:
        """Plan the import, and read the first records of the first file as the plan does."""
        target = self._target(spec.target.connection)
        plan = plan_import(spec, self.roots, self.own_files, target)
        if not plan.columns:
            return Preview(plan=plan, whole=True)
        first = next((phase for phase, file in enumerate(plan.files) if file.start < file.end), 0)
        part = plan.part(first)
        with self._original(part) as source:
            is_text, readings = format_of(part.file.layout).is_text, target.readings(part)
            content = content_of(source, part.file.content, is_text=is_text)
            try:
                found = preview(content, measured(part, content), readings, records)
            except ContentEnds:  # Now its end is known.
                found = preview(content, measured(part, content), readings, records)
        unused = suggestion(plan, target.table(spec.target))
        return replace(
            found,
            plan=plan,
            whole=found.whole and len(plan.files) == 1,
            unused_fields=unused.unused_fields,
            unused_columns=unused.unused_columns,
        )

    @memory_given_back()
    def suggest(self, spec: ImportSpec) -> Suggestion:
        """Plan the import without what has no counterpart."""
        target = self._target(spec.target.connection)
        plan = plan_import(spec, self.roots, self.own_files, target, complete=False)
        return suggestion(plan, target.table(spec.target))

    def tables(self, connection: str) -> tuple[Table, ...]:
        """The tables of a connection."""
        target = target_of(find_connection(self.connections, connection, "connection"), self.work_dir)
        return tuple(Table(connection=connection, schema=schema, table=name) for schema, name in target.tables())

    def describe(self, table: Table) -> TableDescription:
        """A table with its columns."""
        target = target_of(find_connection(self.connections, table.connection, "table.connection"), self.work_dir)
        try:
            return described(table, target.table(table))
        except InvalidSpec as error:
            raise InvalidSpec(error.field.replace("target", "table", 1), error.problem) from error

    def run_hook(self, job_uid: str, attempt: int, plan: ImportPlan, moment: Moment, number: int) -> Note:
        """Run a hook in the target. The files are checked before one that runs before the first record."""
        name = plan.target.connection
        if not find_connection(self.connections, name, "target.connection").hooks:
            raise TargetRefused(f"connection {name} does not allow hooks any more: {ALLOW.format(name=name)}")
        hooks = plan.hooks(moment)
        hook = Hook(name=f"{moment} {number + 1}", sql=hooks[number])
        check = partial(self._check_sources, plan) if moment is Moment.BEFORE else _unchecked
        run = self._target(name).run_hook(job_uid, attempt, hook, check)
        rows = "" if run.rows is None else f"{run.rows:,} row{'' if run.rows == 1 else 's'}, "
        earlier = " has run already" if run.earlier else ""
        return Note(f"hook {hook.name} of {len(hooks)}{earlier}: {rows}{run.seconds:.2f} s")

    def _check_sources(self, plan: ImportPlan) -> None:
        for phase, file in enumerate(plan.files):
            with self._original(plan.part(phase)) as source:
                fingerprint.check(source, file.fingerprint)

    def add_columns(self, job_uid: str, attempt: int, plan: ImportPlan) -> tuple[Note, ...]:
        """Add the columns that only the files have. The files are checked before."""
        self._check_sources(plan)
        missing = self._target(plan.target.connection).add_columns(job_uid, attempt, plan)
        told = [f"{column.target} ({column.type})" for column in plan.added if column.target in missing]
        return (Note(f"table {plan.target.table} has new columns: {', '.join(told)}"),) if told else ()

    def begin(self, job_uid: str, attempt: int, plan: ImportPlan, phase: int = 0) -> tuple[CommittedChunk, ...]:
        """Check the files that are left and the table, create what is missing, and shut out earlier attempts."""
        for later in range(phase + 1, len(plan.files)):
            with self._original(plan.part(later)) as source:
                fingerprint.check(source, plan.files[later].fingerprint)
        if not plan.merges(phase):
            self._prepare(job_uid, plan.part(phase), phase)
        return self._target(plan.target.connection).begin(job_uid, attempt, plan)

    def committed(self, job_uid: str, attempt: int, plan: ImportPlan) -> tuple[CommittedChunk, ...]:
        """Shut out earlier attempts and read the ledger if it exists."""
        return self._target(plan.target.connection).committed(job_uid, attempt)

    def extent(self, job_uid: str, plan: ImportPlan, phase: int = 0) -> int:
        """The end of the content of a file."""
        part = plan.part(phase)
        with self._content(job_uid, part, phase) as source:
            return measured(part, source).file.end

    def cut(
        self, job_uid: str, plan: ImportPlan, previous: Chunk | None, limit: int, phase: int = 0
    ) -> tuple[Chunk, ...]:
        """The next record-aligned chunks of a file, or the next slices of the merge."""
        next_ordinal = 0 if previous is None else previous.ordinal + 1
        if plan.merges(phase):
            return _slices(plan, previous, next_ordinal, limit, phase)
        part = plan.part(phase)
        before = previous if previous is not None and previous.phase == phase else None
        earlier = _earlier_records(previous, phase)
        with self._content(job_uid, part, phase) as source:
            chunks = format_of(part.file.layout).cut(source, measured(part, source), before, limit)
        cut = (
            replace(chunk, ordinal=ordinal, phase=phase, earlier_records=earlier)
            for ordinal, chunk in enumerate(chunks, next_ordinal)
        )
        return tuple(takewhile(lambda chunk: not plan.window.is_behind(chunk), cut))

    def check_source(self, job_uid: str, plan: ImportPlan, chunks: Sequence[Chunk]) -> None:
        """Check that the file still holds the bytes that these chunks were cut from. Slices come from no file."""
        phase = chunks[0].phase
        if plan.merges(phase):
            return
        part = plan.part(phase)
        with self._original(part) as source, self._content(job_uid, part, phase) as content:
            _check_chunks(source, content, part, chunks)

    def process(self, job_uid: str, attempt: int, plan: ImportPlan, chunk: Chunk) -> Counts:
        """Convert the chunk before the transaction begins, then commit it. Or merge a slice."""
        target = self._target(plan.target.connection)
        if plan.merges(chunk.phase):
            staged_chunks = self._staged_chunks(job_uid, plan)

            def staged(ordinal: int) -> Batch:
                origin, piece = staged_chunks.read(ordinal)
                return self._batch(job_uid, attempt, plan.part(origin.phase), origin, piece)

            keep_merged = partial(staged_chunks.write_rejects, chunk.ordinal)
            for _ in range(_TRIES):
                with suppress(ReadingsOutdated):
                    return target.merge(job_uid, attempt, plan, chunk, keep_merged, staged)
            raise _restless(plan)
        part = plan.part(chunk.phase)
        with self._content(job_uid, part, chunk.phase) as source:
            piece = format_of(part.file.layout).read(source, measured(part, source), chunk)
        for _ in range(_TRIES):
            batch = self._batch(job_uid, attempt, part, chunk, piece)
            keep = partial(self._keep_rejects, job_uid, batch)
            with suppress(ReadingsOutdated):
                return target.write(job_uid, attempt, part, chunk, batch, keep)
        raise _restless(plan)

    def _batch(self, job_uid: str, attempt: int, part: ImportPlan, chunk: Chunk, piece: Piece) -> Batch:
        """The records of a chunk as the table wants them."""
        target = self._target(part.target.connection)
        readings = target.readings(part, (job_uid, attempt))
        own = readings[: len(part.mapped.columns)]
        known = _known(job_uid, tuple(f"{reading.kind} {reading.name}" for reading in own), part.typed_null_words)
        batch = filled(CompiledMapping.of(part.mapped, own, known).apply(piece, chunk), part, readings, job_uid)
        return with_defaults(batch, target, readings)

    def advance(
        self, job_uid: str, attempt: int, plan: ImportPlan, phase: int, chunks: Sequence[Chunk]
    ) -> tuple[Note, ...]:
        """Complete a file, and prepare the next one or the merge."""
        notes = self._complete(job_uid, plan.part(phase - 1), phase - 1, chunks)
        if plan.merge is not None:
            self._staged_chunks(job_uid, plan).keep(phase - 1, chunks)
        if plan.merges(phase):
            self._target(plan.target.connection).begin_merge(job_uid, attempt, plan)
        else:
            self._prepare(job_uid, plan.part(phase), phase)
        return notes

    def finish(self, job_uid: str, plan: ImportPlan, chunks: Sequence[Chunk]) -> tuple[Note, ...]:
        """Complete the last file, or end the merge, and check that all chunks went into one table."""
        target, last = self._target(plan.target.connection), len(plan.phases) - 1
        target.verify(job_uid, plan)
        if not plan.merges(last):
            return self._complete(job_uid, plan.part(last), last, chunks)
        target.end_merge(job_uid, plan)
        self._remove_spools(job_uid, plan)
        return ()

    def _staged_chunks(self, job_uid: str, plan: ImportPlan) -> StagedChunks:
        content = partial(self._content, job_uid)
        return StagedChunks(job_uid=job_uid, plan=plan, work_dir=self.work_dir, content=content)

    def _keep_rejects(self, job_uid: str, batch: Batch, faults: Faults) -> None:
        write_rejects(self.work_dir.rejects(job_uid, batch.chunk.ordinal), json_lines(batch.rejects(faults)))

    def _prepare(self, job_uid: str, part: ImportPlan, phase: int) -> None:
        """Check a file and spool it if its chunks need it."""
        with self._original(part) as source:
            fingerprint.check(source, part.file.fingerprint)
            if part.file.content.spooled:
                make_spool(source, part.file.content, self.work_dir.content(job_uid, phase))

    def _complete(self, job_uid: str, part: ImportPlan, phase: int, chunks: Sequence[Chunk]) -> tuple[Note, ...]:
        """Check that all chunks came from one file, and that it was read to its end. Its spool is no longer needed.

        Returns what of it was not imported, and the count of its lines.
        """
        spool, spooled = self.work_dir.content(job_uid, phase), part.file.content.spooled
        if spooled and not spool.exists():
            return ()  # An earlier call has completed the file and removed its spool.
        with self._original(part) as source, self._content(job_uid, part, phase) as content:
            fingerprint.check(source, part.file.fingerprint)
            _check_chunks(source, content, part, chunks)
            form, whole = format_of(part.file.layout), measured(part, content)
            unread = "" if part.window.is_open else _unread(content, whole, chunks)
            damage = form.damage(content, whole, chunks[-1]) if chunks and not unread else ""
            lines = form.lines(content, whole, chunks[-1]) if chunks and not unread else None
            left_out = "" if damage or unread or not chunks else form.left_out(content, whole, chunks[-1])
        if spooled and (packed := damage_of(spool)):
            raise SourceUnreadable(f"{packed}; the records before are imported; those just before may be wrong as well")
        if damage:
            raise SourceUnreadable(f"{damage}; the records before are imported")
        if spooled and part.merge is None:  # A merge may reject records, whose text is read again.
            remove_spool(spool)
        notes = [Note(left_out, Level.WARNING)] if left_out else []
        notes += [Note(unread)] if unread else []
        return (*notes, *([] if lines is None else [Note(_proof(part, chunks[-1], lines))]))

    def abandon(self, job_uid: str, plan: ImportPlan) -> None:
        """Drop the staging and the spools. The spools are removed even if the target is unreachable."""
        try:
            if plan.merge is not None:
                self._target(plan.target.connection).end_merge(job_uid, plan)
        finally:
            self._remove_spools(job_uid, plan)

    def _remove_spools(self, job_uid: str, plan: ImportPlan) -> None:
        for phase, file in enumerate(plan.files):
            if file.content.spooled:
                remove_spool(self.work_dir.content(job_uid, phase))

    def discard(self, job_uid: str, plan: ImportPlan) -> None:
        """Forget the job in the target's ledger. Its rejects are removed even if the target is unreachable."""
        try:
            self._target(plan.target.connection).discard(job_uid)
        finally:
            self.work_dir.forget(job_uid)

    def _content(self, job_uid: str, part: ImportPlan, phase: int) -> Source:
        """What chunks are cut from: the file itself, or its spool."""
        if part.file.content.spooled:
            return open_spool(self.work_dir.content(job_uid, phase), part.file.location.path)
        return self._original(part)

    def _original(self, part: ImportPlan) -> Source:
        return reopen_source(self.roots, self.own_files, part.file.location)

    def _target(self, connection: str) -> Target:
        return target_of(find_connection(self.connections, connection, "target.connection"), self.work_dir)


def _restless(plan: ImportPlan) -> TargetUnavailable:
    return TargetUnavailable(f"table {plan.target.table} was changed {_TRIES} times while a chunk was written")


def _unchecked() -> None:
    """All files are read."""


def _slices(plan: ImportPlan, previous: Chunk | None, ordinal: int, limit: int, phase: int) -> tuple[Chunk, ...]:
    start, end = plan.range(phase)
    first = previous.end if previous is not None and previous.phase == phase else start
    return tuple(
        Chunk(ordinal=ordinal + place, start=number, end=number + 1, phase=phase)
        for place, number in enumerate(range(first, min(first + limit, end)))
    )


def _earlier_records(previous: Chunk | None, phase: int) -> int:
    """How many records the files before that of a phase have."""
    if previous is None:
        return 0
    if previous.phase == phase:
        return previous.earlier_records
    return previous.earlier_records + previous.first_record - 1 + (previous.records or 0)


def _unread(content: Source, part: ImportPlan, chunks: Sequence[Chunk]) -> str:
    """What of a file was not read because it is behind the window; empty: nothing."""
    if not format_of(part.file.layout).cut(content, part, chunks[-1] if chunks else None, 1):
        return ""
    if not chunks:
        return f"{part.file.name} was not read: it is behind the last record to import"
    records = chunks[-1].first_record - 1 + (chunks[-1].records or 0)
    return f"{part.file.name} was read up to record {records:,}: what follows is behind the last record to import"


def _proof(part: ImportPlan, last: Chunk, lines: int) -> str:
    """The lines of a file beside its records. Raises BillImbalance if there are more records than lines."""
    before, records = part.file.first_line - 1, last.first_record - 1 + (last.records or 0)
    within = lines - before - records
    if within < 0:
        raise BillImbalance(f"{part.file.name} has {lines:,} lines, and {records:,} records were read from them")
    above = f"{before:,} before the first record, " if before else ""
    inside = f", {within:,} {'more within a record' if within == 1 else 'more within records'}" if within else ""
    return f"{part.file.name} has {lines:,} line{'' if lines == 1 else 's'}: {above}{records:,} of records{inside}"


def _check_chunks(source: Source, content: Source, part: ImportPlan, chunks: Sequence[Chunk]) -> None:
    digest_of = partial(format_of(part.file.layout).digest, content, measured(part, content))
    fingerprint.check_chunks(source, part.file.fingerprint, chunks, digest_of)


@lru_cache(maxsize=4)
def _known(job_uid: str, kinds: tuple[str, ...], null_words: tuple[str, ...]) -> tuple[Known, ...]:
    """What this process knows of the columns of a job from earlier chunks. Another type or null word discards it."""
    return tuple(Known() for _ in kinds)
