"""One export: a table into a file.

A chunk is written into its place in the draft of the file as soon as it is known where that is: when all chunks before
it are done. Until then it is a part file. An entry for each chunk that is done is the ledger: its counts and its size.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.core.bill import Counts
from ladingd.core.errors import AttemptSuperseded, BillImbalance, DestinationRefused, LedgerLost
from ladingd.core.files import UPLOADS
from ladingd.core.plan import Chunk, CommittedChunk, ExportPlan
from ladingd.data.databases.connection import Connection, find_connection
from ladingd.data.databases.registry import source_of
from ladingd.data.databases.row_source import FIRST_KEY, LAST_KEY
from ladingd.data.exports.destination import Destination
from ladingd.data.exports.rows import write_rows, writer_of
from ladingd.data.files.digest import digest_all, is_digest
from ladingd.data.files.uploads.quota import UploadRoom
from ladingd.data.storage.spool import Spool
from ladingd.data.storage.work_dir import Workplace, draft_of, sync_directory, write_durably, writing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import FileIO

    from ladingd.data.databases.row_source import RowSource

_BLOCK = 1 << 20
_MOMENT = 0.1
_FRONTS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class TableExport:
    """The methods of ``Transfer`` for exports, but for plan."""

    connections: Mapping[str, Connection]
    roots: Mapping[str, Path]
    own_files: Mapping[str, Path]
    workplace: Workplace
    upload_room: UploadRoom | None = None

    def begin(self, job_uid: str, attempt: int, plan: ExportPlan) -> tuple[CommittedChunk, ...]:
        """Shut out earlier attempts, check the destination before anything is read, say which chunks are done."""
        self._source(plan).end_sessions(job_uid, attempt)
        with self._locked(job_uid):
            committed = self._committed(job_uid, attempt)
            self._source(plan).verify(plan, partial(self._exported, job_uid))
            destination = Destination.of(self.roots, self.own_files, plan, job_uid, make=not committed)
            if not committed:
                destination.begin()
            elif destination.draft.exists() or not self._complete(job_uid).exists():
                destination.check()
                self._check_bytes(job_uid, destination, len(_header(plan)), committed)
            self._remove_drafts(job_uid)
            return committed

    def committed(self, job_uid: str, attempt: int, plan: ExportPlan) -> tuple[CommittedChunk, ...]:
        """Shut out earlier attempts and say which chunks are done."""
        if plan.source.connection in self.connections:
            self._source(plan).end_sessions(job_uid, attempt)
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
        """Read the rows first. They get their place, or become a part, while the attempt is known to be the current
        one, and are durable before the entry is written."""
        part = self.workplace.part(job_uid, chunk.ordinal)
        with self._entering(job_uid, attempt, part) as known:
            if known is not None:
                return known.counts
            part.parent.mkdir(parents=True, exist_ok=True)
        destination, header = Destination.of(self.roots, self.own_files, plan, job_uid), _header(plan)
        source = self._source(plan)
        source.verify(plan, partial(self._exported, job_uid))
        with Spool(draft_of(part)) as spool, destination.open_draft() as draft:
            rows = write_rows(source, plan, chunk, spool.file)
            if self.upload_room is not None and plan.file.root == UPLOADS:
                self.upload_room.check(spool.size())
            self._wait_a_moment(job_uid, chunk)
            with self._entering(job_uid, attempt, part) as known:
                if known is not None:
                    return known.counts
                front, moved = self._advance(job_uid, destination, draft, header)
                placed = front.ordinal == chunk.ordinal
                if placed:
                    destination.put(draft, spool.blocks(), len(header) + front.size)
            if placed or moved:
                destination.sync(draft)
            _keep_front(self.workplace, job_uid, front)
            _remove(moved)
            counts = Counts(read=rows, inserted=rows)
            entry = _Entry(counts=counts, size=spool.size(), placed=placed, digest=digest_all(spool.blocks()))
            if not placed:
                spool.keep()
            with self._entering(job_uid, attempt, part) as known:
                if known is not None:
                    return known.counts
                if not placed:
                    spool.path.replace(part)
                    sync_directory(part.parent)
                entry.write(part)
        return entry.counts

    def finish(self, job_uid: str, plan: ExportPlan, chunks: Sequence[Chunk]) -> None:
        """Put what is left into its place, and the file into its own."""
        with self._locked(job_uid):
            destination, complete = Destination.of(self.roots, self.own_files, plan, job_uid), self._complete(job_uid)
            if complete.exists() and not destination.draft.exists():
                destination.check_published(complete.read_text())
                return
            destination.check()
            self._source(plan).verify(plan, partial(self._exported, job_uid))
            header = _header(plan)
            with destination.open_draft() as draft:
                destination.put(draft, [header], 0)
                front, _ = self._advance(job_uid, destination, draft, header)
                if front.ordinal != len(chunks):
                    raise BillImbalance(f"{len(chunks)} chunks were exported, and the ledger has {front.ordinal}")
                identity = destination.complete(draft, len(header) + front.size)
            write_durably(complete, [identity.encode()])
            destination.publish()
            _remove([self.workplace.part(job_uid, chunk.ordinal) for chunk in chunks])
            self._remove_drafts(job_uid)

    def discard(self, job_uid: str, plan: ExportPlan) -> None:
        """Remove the parts, and what was not yet put into its place."""
        with self._locked(job_uid):
            self.workplace.forget(job_uid)
            destination = Destination.find(self.roots, self.own_files, plan, job_uid)
            if destination is not None:
                destination.clear()

    def _source(self, plan: ExportPlan) -> RowSource:
        connection = find_connection(self.connections, plan.source.connection, "source.connection")
        return source_of(connection, self.workplace)

    def _wait_a_moment(self, job_uid: str, chunk: Chunk) -> None:
        """The chunk before is nearly done, as a rule: to wait for it costs less than to copy a part afterwards."""
        deadline = time.monotonic() + _MOMENT
        while chunk.ordinal and time.monotonic() < deadline:
            if _Entry.of(self.workplace.part(job_uid, chunk.ordinal - 1)) is not None:
                return
            time.sleep(_MOMENT / 50)

    @contextmanager
    def _entering(self, job_uid: str, attempt: int, part: Path) -> Iterator[_Entry | None]:
        """Hold the job's lock, in the current attempt; the chunk's entry, where there is one already."""
        with self._locked(job_uid):
            current = self._attempt(job_uid)
            if current != attempt:
                reason = f"attempt {current} has begun" if current else "the job was discarded"
                raise AttemptSuperseded(f"attempt {attempt} must not write any more: {reason}")
            yield _Entry.of(part)

    def _advance(
        self, job_uid: str, destination: Destination, draft: FileIO, header: bytes
    ) -> tuple[_Front, list[Path]]:
        """Go on over the chunks that are done, and copy the parts among them into their places.

        Returns how far they go, and these parts. Both are of no use before the draft is durable.
        """
        front = _front(self.workplace, job_uid)
        moved = []
        while (entry := _Entry.of(part := self.workplace.part(job_uid, front.ordinal))) is not None:
            if not entry.placed:
                try:
                    with part.open("rb") as source:
                        blocks = iter(partial(source.read, _BLOCK), b"")
                        destination.put(draft, blocks, len(header) + front.size)
                    moved.append(part)
                except FileNotFoundError:
                    pass  # Another worker has copied it, durably.
            front = _Front(ordinal=front.ordinal + 1, size=front.size + entry.size)
        return front, moved

    def _committed(self, job_uid: str, attempt: int) -> tuple[CommittedChunk, ...]:
        current = self._attempt(job_uid)
        if current > attempt:
            raise AttemptSuperseded(f"attempt {attempt} must not write any more: attempt {current} has begun")
        write_durably(self._attempt_file(job_uid), [str(attempt).encode()])
        return self._entries(job_uid)

    def _exported(self, job_uid: str) -> int:
        """How many rows are exported."""
        return sum(chunk.counts.read for chunk in self._entries(job_uid))

    def _entries(self, job_uid: str) -> tuple[CommittedChunk, ...]:
        entries = sorted((self.workplace.job(job_uid) / "parts").glob("*.json"))
        return tuple(CommittedChunk(ordinal=int(path.stem), counts=_Entry.read(path).counts) for path in entries)

    def _check_bytes(
        self, job_uid: str, destination: Destination, place: int, committed: Sequence[CommittedChunk]
    ) -> None:
        """See that the bytes of all chunks that are done are still what was written. Raises DestinationRefused."""
        with destination.open_draft() as draft:
            for number, chunk in enumerate(committed):
                part = self.workplace.part(job_uid, chunk.ordinal)
                entry = _Entry.read(part.with_suffix(".json"))
                if not is_digest(entry.digest):
                    raise DestinationRefused(
                        f"{destination.draft.name} was begun by an earlier version of Lading, which kept no digests "
                        "that prove what was written: make a new job"
                    )
                if part.exists():
                    with part.open("rb") as file:
                        found = digest_all(iter(partial(file.read, _BLOCK), b""))
                else:
                    # Behind a chunk that is not done nothing has its place yet.
                    found = destination.digest(draft, place, entry.size) if number == chunk.ordinal else ""
                if found != entry.digest:
                    raise DestinationRefused(
                        f"the unfinished file {destination.draft.name} was changed by somebody else: make a new job"
                    )
                place += entry.size

    def _remove_drafts(self, job_uid: str) -> None:
        """What killed workers have left."""
        for draft in (self.workplace.job(job_uid) / "parts").glob(".*"):
            draft.unlink()

    @contextmanager
    def _locked(self, job_uid: str) -> Iterator[None]:
        """Hold the job's lock. Raises DestinationRefused, also where the job's directory cannot be used."""
        with self.workplace.locked(f"job {job_uid}"), writing(self.workplace.job(job_uid)):
            yield

    def _complete(self, job_uid: str) -> Path:
        """A mark: the draft is all that it is to be, and gets its name."""
        return self.workplace.job(job_uid) / "complete"

    def _attempt_file(self, job_uid: str) -> Path:
        return self.workplace.job(job_uid) / "attempt"

    def _attempt(self, job_uid: str) -> int:
        path = self._attempt_file(job_uid)
        try:
            return int(path.read_text()) if path.exists() else 0
        except ValueError as error:
            raise LedgerLost(f"{path.name} of this job is damaged: make a new job") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """What the ledger says of a chunk that is done. It never changes. ``placed``: its bytes were never in a part.

    ``digest`` is that of its bytes; empty in entries of earlier versions."""

    counts: Counts
    size: int
    placed: bool
    digest: str

    @classmethod
    def of(cls, part: Path) -> _Entry | None:
        try:
            return cls.read(part.with_suffix(".json"))
        except FileNotFoundError:
            return None

    @classmethod
    def read(cls, path: Path) -> _Entry:
        facts = json.loads(path.read_text())
        return cls(
            counts=Counts(**facts["counts"]),
            size=facts["size"],
            placed=facts["placed"],
            digest=facts.get("digest", ""),
        )

    def write(self, part: Path) -> None:
        write_durably(part.with_suffix(".json"), [json.dumps(asdict(self)).encode()])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Front:
    """The first chunk that is not done, and how many bytes those before it have."""

    ordinal: int = 0
    size: int = 0


_fronts: OrderedDict[tuple[Workplace, str], _Front] = OrderedDict()


def _front(workplace: Workplace, job_uid: str) -> _Front:
    """How far this process has seen a job's entries, so that it need not read them again and again."""
    return _fronts.get((workplace, job_uid), _Front())


def _keep_front(workplace: Workplace, job_uid: str, front: _Front) -> None:
    _fronts[workplace, job_uid] = front
    _fronts.move_to_end((workplace, job_uid))
    while len(_fronts) > _FRONTS:
        _fronts.popitem(last=False)


def _header(plan: ExportPlan) -> bytes:
    return writer_of(plan).header()


def _remove(parts: Sequence[Path]) -> None:
    for part in parts:
        part.unlink(missing_ok=True)
