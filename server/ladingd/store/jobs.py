"""Jobs and everything that belongs to them, in the store's database."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ladingd.core.clock import utc_now
from ladingd.core.origin import current
from ladingd.core.ports import ChangeStore, ChunkStore, JobStore, JournalStore, Page
from ladingd.core.selection import EVERY, NEWEST_FIRST, Order, Selection
from ladingd.store import changes, journal, pages, rows, transitions
from ladingd.store import chunks as slices
from ladingd.store.sqlite.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Set
    from datetime import datetime
    from pathlib import Path

    from ladingd.core.job import Change, Failure, Job, JournalEntry, Level, Progress
    from ladingd.core.plan import Chunk, CommittedChunk, Plan
    from ladingd.core.ports import Check, KeptChunk
    from ladingd.core.spec import JobSpec
    from ladingd.core.state import Event, State


class SqlJobStore(JobStore, ChangeStore, JournalStore, ChunkStore):
    """Jobs with their changes, journals and chunks. Each method is one function of this package in one transaction.

    Any method may raise StoreUnusable. A ``patient`` store waits while the disk is full or another process locks the
    store. Other stores raise DiskFull at once, and StoreBusy when their caller would give up.
    """

    def __init__(self, database: Database, now: Callable[[], datetime] = utc_now, *, patient: bool = False) -> None:
        self._database = database
        self._write = database.write_patiently if patient else database.write
        self._now = now

    @classmethod
    async def open(cls, path: Path, *, now: Callable[[], datetime] = utc_now) -> SqlJobStore:
        """Open the store in this file, which is created if missing. Raises StoreUnusable, StoreBusy."""
        database = Database(path)
        await database.open()
        return cls(database, now)

    async def create(self, job: Job, *, request_id: str = "", request_digest: str = "") -> Job:
        return await self._write(transitions.create, job, request_id, request_digest, current().call, self._now())

    async def made_by(self, owner: str, request_id: str, request_digest: str) -> Job | None:
        return await self._database.read(transitions.made_by, owner, request_id, request_digest)

    async def get(self, job_id: str) -> Job:
        return await self._database.read(rows.load, job_id)

    async def list(
        self, *, size: int, token: str = "", selection: Selection = EVERY, order: Order = NEWEST_FIRST
    ) -> Page[Job]:
        return await self._database.read(pages.read, selection, order, size, token)

    async def in_states(self, states: Set[State]) -> tuple[Job, ...]:
        return await self._database.read(rows.in_states, states)

    async def numbers(self) -> dict[State, int]:
        return await self._database.read(rows.numbers)

    async def unsettled(self) -> tuple[Job, ...]:
        return await self._database.read(rows.unsettled)

    async def edit(
        self,
        job_id: str,
        *,
        label: str | None = None,
        description: str | None = None,
        shared: bool | None = None,
        spec: JobSpec | None = None,
        plan: Plan | None = None,
        etag: str = "",
        validate_only: bool = False,
        check: Check | None = None,
    ) -> Job:
        edit = partial(transitions.edit, validate_only=validate_only, check=check)
        call, now = current().call, self._now()
        return await self._write(edit, job_id, label, description, shared, spec, plan, etag, call, now)

    async def delete(self, job_id: str, *, etag: str = "", check: Check | None = None) -> Job:
        delete = partial(transitions.delete, check=check)
        return await self._write(delete, job_id, etag, current().call, self._now())

    async def command(self, job_id: str, command: Event, *, etag: str = "", check: Check | None = None) -> Job:
        apply = partial(transitions.command, check=check)
        return await self._write(apply, job_id, command, etag, current().call, self._now())

    async def move(
        self, job_id: str, event: Event, *, failure: Failure | None = None, settled: bool = False
    ) -> Job | None:
        return await self._write(transitions.move, job_id, event, failure, settled, self._now())

    async def move_all(self, states: Set[State], event: Event, *, failure: Failure | None = None) -> tuple[Job, ...]:
        return await self._write(transitions.move_all, states, event, failure, self._now())

    async def revision(self) -> int:
        return await self._database.read(changes.current_revision)

    async def written(self) -> None:
        await self._database.beat()

    async def changes(self, after: int, *, limit: int) -> tuple[Change, ...]:
        return await self._database.read(changes.read, after, limit)

    async def withdrawn(self) -> dict[str, int]:
        return await self._database.read(changes.withdrawn)

    async def compact(self, *, keep: int) -> int:
        return await self._write(changes.compact, keep)

    async def write_journal(self, job_id: str, level: Level, code: str, message: str) -> None:
        await self._write(journal.write, job_id, self._now(), level, code, message)

    async def journal(
        self, job_id: str, *, after: int = 0, limit: int, check: Check | None = None
    ) -> tuple[JournalEntry, ...]:
        return await self._database.read(journal.read, job_id, after, limit, check)

    async def replan(self, job_id: str, plan: Plan) -> Job:
        return await self._write(slices.replan, job_id, plan, self._now())

    async def add_chunks(self, job_id: str, chunks: Sequence[Chunk]) -> None:
        await self._write(slices.add, job_id, chunks)

    async def chunks(self, job_id: str, *, first: int = 0) -> tuple[KeptChunk, ...]:
        return await self._database.read(slices.read, job_id, first)

    async def commit_chunks(self, job_id: str, committed: Sequence[CommittedChunk], progress: Progress) -> Job:
        return await self._write(slices.commit, job_id, committed, progress)

    async def settle(
        self,
        job_id: str,
        committed: Sequence[CommittedChunk],
        *,
        uid: str,
        attempt: int,
        total: int | None,
        progress: Progress,
        settled: bool,
    ) -> Job:
        return await self._write(slices.settle, job_id, committed, uid, attempt, total, progress, settled)

    async def close(self) -> None:
        """Close the database. Methods that wait finish first."""
        await self._database.close()
