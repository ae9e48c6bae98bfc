"""Runs an export of a table into a file.

The place of a chunk in the draft is known when all chunks before it are done. A chunk that is done early waits in a
part file. The ledger has an entry for each chunk that is done, with its counts and its size.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.core.bill import Counts
from ladingd.core.errors import BillImbalance, DestinationRefused, StartsOver
from ladingd.core.files import UPLOADS
from ladingd.core.job import Note
from ladingd.core.plan import Chunk, CommittedChunk, ExportPlan, Moment
from ladingd.core.ports import TransferOf
from ladingd.core.spec import ExportSpec
from ladingd.data.databases.connection import Connection, find_connection
from ladingd.data.databases.registry import source_of
from ladingd.data.databases.row_source import FIRST_KEY, LAST_KEY
from ladingd.data.exports.destination import Destination
from ladingd.data.exports.ledger import Entry, Ledger
from ladingd.data.exports.moments import moments_seen, write_at_one_moment
from ladingd.data.exports.planner import plan_export
from ladingd.data.exports.rows import writer_of
from ladingd.data.files.digest import digest_all, is_digest
from ladingd.data.files.uploads.quota import UploadRoom
from ladingd.data.storage.spool import Spool
from ladingd.data.storage.work_dir import WorkDir, draft_of, sync_directory, write_durably

if TYPE_CHECKING:
    from collections.abc import Sequence
    from io import FileIO

    from ladingd.data.databases.row_source import RowSource

_BLOCK = 1 << 20
_WAIT = 0.1
_FRONTS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class TableExport(TransferOf[ExportSpec, ExportPlan]):
    """Exports a table into a file."""

    connections: Mapping[str, Connection]
    roots: Mapping[str, Path]
    own_files: Mapping[str, Path]
    work_dir: WorkDir
    upload_room: UploadRoom | None = None

    def plan(self, spec: ExportSpec) -> ExportPlan:
        """Check the spec against the table and the destination."""
        return plan_export(spec, self.connections, self.roots, self.own_files, self.work_dir, self.upload_room)

    def run_hook(self, job_uid: str, attempt: int, plan: ExportPlan, moment: Moment, number: int) -> Note:
        """Exports have no hooks."""
        raise NotImplementedError

    def add_columns(self, job_uid: str, attempt: int, plan: ExportPlan) -> tuple[Note, ...]:
        """Exports change no table."""
        return ()

    def begin(self, job_uid: str, attempt: int, plan: ExportPlan, phase: int = 0) -> tuple[CommittedChunk, ...]:
        """Shut out earlier attempts, check the destination before anything is read, and return the chunks that are
        done."""
        source, ledger = self._source(plan), self._ledger(job_uid)
        source.end_sessions(job_uid, attempt)
        with ledger.locked():
            committed = ledger.begin(attempt)
            source.verify(plan, ledger.exported)
            if committed and plan.consistent and source.keeps_moments and not ledger.complete.exists():
                raise StartsOver("the export was interrupted, and its file is to show one moment of the table")
            destination = Destination.of(self.roots, self.own_files, plan, job_uid, make=not committed)
            if not committed:
                destination.begin()
            elif destination.draft.exists() or not ledger.complete.exists():
                destination.check()
                _check_bytes(ledger, destination, len(_header(plan)))
            ledger.remove_drafts()
            return committed

    def committed(self, job_uid: str, attempt: int, plan: ExportPlan) -> tuple[CommittedChunk, ...]:
        """Shut out earlier attempts and return the chunks that are done."""
        if plan.source.connection in self.connections:
            self._source(plan).end_sessions(job_uid, attempt)
        ledger = self._ledger(job_uid)
        with ledger.locked():
            return ledger.begin(attempt)

    def extent(self, job_uid: str, plan: ExportPlan, phase: int = 0) -> int:
        return plan.end

    def cut(
        self, job_uid: str, plan: ExportPlan, previous: Chunk | None, limit: int, phase: int = 0
    ) -> tuple[Chunk, ...]:
        """Ranges of the key, at most ten thousand. The first and the last are open, because rows may have been added
        since."""
        ordinal, start = (0, FIRST_KEY) if previous is None else (previous.ordinal + 1, previous.end)
        if start == LAST_KEY:
            return ()
        chunks: list[Chunk] = []
        source = self._source(plan)
        # If the database keeps no past moments, only a single read surely sees one moment.
        alone = plan.consistent and not source.keeps_moments
        for end in (LAST_KEY,) if alone else source.ends(plan, previous, limit):
            chunks.append(Chunk(ordinal=ordinal, start=start, end=end))
            ordinal, start = ordinal + 1, end
        return tuple(chunks)

    def check_source(self, job_uid: str, plan: ExportPlan, chunks: Sequence[Chunk]) -> None:
        """Does nothing: rows may change between chunks. `begin`, `process` and `finish` check the table itself."""

    def process(self, job_uid: str, attempt: int, plan: ExportPlan, chunk: Chunk) -> Counts:
        """Read the rows into a spool first. While the attempt is known to be the current one, they are copied into the
        draft or become a part. They are durable before the entry is written."""
        ledger = self._ledger(job_uid)
        part = ledger.part(chunk.ordinal)
        with ledger.entering(attempt, chunk.ordinal) as known:
            if known is not None:
                return known.counts
            part.parent.mkdir(parents=True, exist_ok=True)
        destination, header = Destination.of(self.roots, self.own_files, plan, job_uid), _header(plan)
        source = self._source(plan)
        source.verify(plan, ledger.exported)
        with Spool(draft_of(part)) as spool, destination.open_draft() as draft:
            rows, moment = write_at_one_moment(source, ledger, attempt, plan, chunk, spool.file)
            if self.upload_room is not None and plan.file.root == UPLOADS:
                self.upload_room.check(spool.size())
            _wait_for_previous(ledger, chunk)
            with ledger.entering(attempt, chunk.ordinal) as known:
                if known is not None:
                    return known.counts
                front, moved = _advance(ledger, destination, draft, header)
                placed = front.ordinal == chunk.ordinal
                if placed:
                    destination.put(draft, spool.blocks(), len(header) + front.size)
            if placed or moved:
                destination.sync(draft)
            _keep_front(ledger, front)
            for ordinal in moved:
                ledger.part(ordinal).unlink(missing_ok=True)
            counts = Counts(read=rows, inserted=rows)
            digest = digest_all(spool.blocks())
            entry = Entry(counts=counts, size=spool.size(), placed=placed, digest=digest, moment=moment)
            if not placed:
                spool.keep()
            with ledger.entering(attempt, chunk.ordinal) as known:
                if known is not None:
                    return known.counts
                if not placed:
                    spool.path.replace(part)
                    sync_directory(part.parent)
                ledger.write(chunk.ordinal, entry)
        return entry.counts

    def advance(
        self, job_uid: str, attempt: int, plan: ExportPlan, phase: int, chunks: Sequence[Chunk]
    ) -> tuple[Note, ...]:
        """Does nothing: an export has one phase."""
        return ()

    def finish(self, job_uid: str, plan: ExportPlan, chunks: Sequence[Chunk]) -> tuple[Note, ...]:
        """Copy the remaining parts into the draft and publish the file. Returns what users should know about the
        file."""
        ledger = self._ledger(job_uid)
        with ledger.locked():
            destination, complete = Destination.of(self.roots, self.own_files, plan, job_uid), ledger.complete
            if complete.exists() and (not destination.draft.exists() or destination.is_published(complete.read_text())):
                destination.check_published(complete.read_text())
                destination.remove_drafts()
                return (Note(moments_seen(ledger)),)
            destination.check()
            source = self._source(plan)
            source.verify(plan, ledger.exported)
            writer = writer_of(plan)
            header = writer.header()
            with destination.open_draft() as draft:
                destination.put(draft, [header], 0)
                front, _ = _advance(ledger, destination, draft, header)
                if front.ordinal != len(chunks):
                    raise BillImbalance(f"{len(chunks)} chunks were exported, and the ledger has {front.ordinal}")
                size = len(header) + front.size
                if writer.appendable:
                    footer = writer.footer()
                    destination.put(draft, [footer], size)
                    final, identity = destination, destination.complete(draft, size + len(footer))
                else:
                    final, identity = destination.assembled(draft, size, writer.assemble)
            write_durably(complete, [identity.encode()])
            final.publish()
            destination.remove_drafts()
            for chunk in chunks:
                ledger.part(chunk.ordinal).unlink(missing_ok=True)
            ledger.remove_drafts()
            source.end_sessions(job_uid, ledger.attempt())
            return (Note(moments_seen(ledger)),)

    def abandon(self, job_uid: str, plan: ExportPlan) -> None:
        """Remove the parts and the draft. The entries of the chunks stay."""
        ledger = self._ledger(job_uid)
        with ledger.locked():
            ledger.remove_parts()
            self._clear_destination(job_uid, plan)

    def discard(self, job_uid: str, plan: ExportPlan) -> None:
        """Remove the parts and the draft."""
        with self._ledger(job_uid).locked():
            self.work_dir.forget(job_uid)
            self._clear_destination(job_uid, plan)

    def _clear_destination(self, job_uid: str, plan: ExportPlan) -> None:
        destination = Destination.find(self.roots, self.own_files, plan, job_uid)
        if destination is not None:
            destination.clear()

    def _source(self, plan: ExportPlan) -> RowSource:
        connection = find_connection(self.connections, plan.source.connection, "source.connection")
        return source_of(connection, self.work_dir)

    def _ledger(self, job_uid: str) -> Ledger:
        return Ledger(work_dir=self.work_dir, job_uid=job_uid)


def _wait_for_previous(ledger: Ledger, chunk: Chunk) -> None:
    """The previous chunk is usually nearly done. Waiting for it costs less than copying a part afterwards."""
    deadline = time.monotonic() + _WAIT
    while chunk.ordinal and time.monotonic() < deadline:
        if ledger.entry(chunk.ordinal - 1) is not None:
            return
        time.sleep(_WAIT / 50)


def _advance(ledger: Ledger, destination: Destination, draft: FileIO, header: bytes) -> tuple[_Front, list[int]]:
    """Advance the front over the chunks that are done, and copy their parts into the draft.

    Returns the new front and the ordinals of the copied parts. The caller must make the draft durable before using
    them.
    """
    front = _front(ledger)
    moved = []
    while (entry := ledger.entry(front.ordinal)) is not None:
        if not entry.placed:
            try:
                with ledger.part(front.ordinal).open("rb") as source:
                    blocks = iter(partial(source.read, _BLOCK), b"")
                    destination.put(draft, blocks, len(header) + front.size)
                moved.append(front.ordinal)
            except FileNotFoundError:
                pass  # Another worker has copied it, durably.
        front = _Front(ordinal=front.ordinal + 1, size=front.size + entry.size)
    return front, moved


def _check_bytes(ledger: Ledger, destination: Destination, place: int) -> None:
    """Check that the bytes of all done chunks are unchanged. Raises DestinationRefused."""
    with destination.open_draft() as draft:
        for number, (ordinal, entry) in enumerate(ledger.entries().items()):
            if not is_digest(entry.digest):
                raise DestinationRefused(
                    f"{destination.draft.name} was begun by an earlier version of Lading, which kept no digests "
                    "that prove what was written: make a new job"
                )
            found = ledger.digest_of_part(ordinal)
            if found is None:
                # After a chunk that is not done, nothing was copied into the draft.
                found = destination.digest(draft, place, entry.size) if number == ordinal else ""
            if found != entry.digest:
                raise DestinationRefused(
                    f"the unfinished file {destination.draft.name} was changed by somebody else: make a new job"
                )
            place += entry.size


@dataclass(frozen=True, kw_only=True, slots=True)
class _Front:
    """The first chunk that is not done, and the number of bytes of the chunks before it."""

    ordinal: int = 0
    size: int = 0


_fronts: OrderedDict[Ledger, _Front] = OrderedDict()


def _front(ledger: Ledger) -> _Front:
    """The front that this process has already reached, so that it need not read earlier entries again."""
    return _fronts.get(ledger, _Front())


def _keep_front(ledger: Ledger, front: _Front) -> None:
    _fronts[ledger] = front
    _fronts.move_to_end(ledger)
    while len(_fronts) > _FRONTS:
        _fronts.popitem(last=False)


def _header(plan: ExportPlan) -> bytes:
    return writer_of(plan).header()
