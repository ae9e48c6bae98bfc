"""Fakes behind the API that record their calls."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ladingd.core.access import AuditEntry, Deed, Principal, Role, Token
from ladingd.core.errors import JobNotFound, ShuttingDown
from ladingd.core.job import Job
from ladingd.core.plan import Fingerprint, ImportPlan, PlannedFile
from ladingd.core.ports import Page
from ladingd.core.preview import Preview
from ladingd.core.reject_group import ALL_REJECTS, RejectFilter, RejectGroup
from ladingd.core.spec import File, ImportSpec, Table
from ladingd.core.state import Event
from ladingd.core.tables import Suggestion, TableColumn, TableDescription
from ladingd.data.files.downloads import RootFiles
from ladingd.data.files.uploads.quota import UploadRoom
from ladingd.data.files.uploads.store import UploadFiles
from ladingd.data.formats.csv.dialect import Dialect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from ladingd.core.ports import Check
    from ladingd.core.selection import Order, Selection
    from ladingd.run.control import Permit

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
NOW = NOON + timedelta(hours=1)
DEADLINE = 10


def a_job(**facts: Any) -> Job:
    spec = ImportSpec(files=(File(path="data/a.csv"),), target=Table(table="recipients"))
    plan = ImportPlan(
        files=(
            PlannedFile(
                name="in.csv",
                location=spec.files[0],
                fingerprint=Fingerprint(size=0, head="", tail=""),
                layout=Dialect(delimiter=",", quote='"').layout(),
                start=0,
                end=0,
                first_line=1,
            ),
        ),
        columns=(),
        target=spec.target,
        create_table=True,
        chunk_bytes=spec.chunk_bytes,
    )
    uid = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
    known = {
        "id": "a1",
        "uid": uid,
        "spec": spec,
        "plan": plan,
        "revision": 7,
        "create_time": NOON,
        "update_time": NOON,
    }
    return Job(**{**known, **facts})


async def eventually(true: Callable[[], bool]) -> None:
    """Wait until the condition is true. Raises AssertionError at the deadline."""
    async with asyncio.timeout(DEADLINE):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


class FakeStore:
    """Jobs, journals and chunks in memory. Raises ``error`` if it is set."""

    def __init__(self) -> None:
        self.all: dict[str, Job] = {}
        self.entries: list[Any] = []
        self.kept: list[Any] = []
        self.sizes: list[int] = []
        self.error: BaseException | None = None
        self.listed: tuple[Selection, Order] | None = None

    def put(self, job: Job) -> Job:
        self.all[job.id] = job
        return job

    async def get(self, job_id: str) -> Job:
        if self.error is not None:
            raise self.error
        if job_id not in self.all:
            raise JobNotFound(job_id)
        return self.all[job_id]

    async def list(self, *, size: int, token: str = "", selection: Selection, order: Order) -> Page[Job]:
        self.sizes.append(size)
        self.listed = (selection, order)
        first = int(token or "0")
        jobs = tuple(self.all.values())[first : first + size]
        more = first + size < len(self.all)
        return Page(items=jobs, next_token=str(first + size) if more else "")

    async def journal(self, job_id: str, *, after: int = 0, limit: int, check: Check) -> tuple[Any, ...]:
        check(await self.get(job_id))
        return tuple(e for e in self.entries if e.job_id == job_id and e.sequence > after)[:limit]

    async def chunks(self, job_id: str) -> tuple[Any, ...]:
        await self.get(job_id)
        return tuple(self.kept)


class FakeRejects:
    """Returns its rejects, and records the requested chunks."""

    def __init__(self) -> None:
        self.items: tuple[Any, ...] = ()
        self.found: tuple[RejectGroup, ...] = ()
        self.wanted = ALL_REJECTS
        self.asked: list[tuple[str, list[int]]] = []

    async def groups(self, job_id: str, chunks: list[int]) -> tuple[RejectGroup, ...]:
        self.asked.append((job_id, list(chunks)))
        return self.found

    async def read(
        self, job_id: str, chunks: list[int], *, size: int, token: str = "", wanted: RejectFilter = ALL_REJECTS
    ) -> Page[Any]:
        self.wanted = wanted
        self.asked.append((job_id, list(chunks)))
        first = int(token or "0")
        more = first + size < len(self.items)
        return Page(items=self.items[first : first + size], next_token=str(first + size) if more else "")


class FakeTokens:
    """Tokens in memory."""

    def __init__(self) -> None:
        self.all: list[Token] = []

    async def add(self, token: Token) -> bool:
        self.all.append(token)
        return True

    async def get(self, token_id: str) -> Token | None:
        return next((token for token in self.all if token.id == token_id), None)

    async def list(self) -> tuple[Token, ...]:
        return tuple(self.all)

    async def revoke(self, name: str) -> bool:
        revoked = [replace(token, revoke_time=NOW) if token.name == name else token for token in self.all]
        self.all, before = revoked, self.all
        return before != revoked


class FakeAudit:
    """Audit entries in memory. Raises ``error`` if it is set."""

    def __init__(self) -> None:
        self.deeds: list[Deed] = []
        self.error: BaseException | None = None

    async def add(self, deeds: Sequence[Deed]) -> None:
        if self.error is not None:
            raise self.error
        self.deeds += deeds

    async def list(self, *, size: int, token: str = "") -> Page[AuditEntry]:
        newest = [AuditEntry(sequence=number, deed=deed) for number, deed in enumerate(self.deeds, 1)][::-1]
        first = int(token or "0")
        more = first + size < len(newest)
        return Page(items=tuple(newest[first : first + size]), next_token=str(first + size) if more else "")


ANYONE = Principal(name="socket", role=Role.ADMIN)
"""The principal of the tests' socket."""


class FakeControl:
    """Records its calls. Raises ``error`` if it is set."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.error: BaseException | None = None
        self.job = a_job()
        self.hold: asyncio.Event | None = None
        self.held = asyncio.Event()
        self.released = False

    async def _answer(self, name: str, **facts: Any) -> Job:
        self.calls.append((name, facts))
        if self.hold is not None:
            self.held.set()
            try:
                await self.hold.wait()
            finally:
                self.released = True
        if self.error is not None:
            raise self.error
        return self.job

    async def create(self, spec: Any, **facts: Any) -> Job:
        known = {name: facts[name] for name in ("label", "description", "owner", "shared")}
        self.job = replace(self.job, spec=spec, **known)
        return await self._answer("create", spec=spec, **facts)

    async def preview(self, spec: Any, records: int) -> Preview:
        job = await self._answer("preview", spec=spec, records=records)
        return Preview(plan=job.plan)

    async def suggest(self, spec: Any) -> Suggestion:
        job = await self._answer("suggest", spec=spec)
        return Suggestion(plan=job.plan, unused_fields=["x"], unused_columns=["y"])

    async def tables(self, connection: str) -> tuple[Table, ...]:
        await self._answer("tables", connection=connection)
        return tuple(Table(connection=connection, schema="s", table=f"t{number}") for number in range(3))

    async def describe(self, table: Table) -> TableDescription:
        await self._answer("describe", table=table)
        column = TableColumn(
            name="a", declared="INTEGER", type="integer", nullable=False, required=True, generated=False
        )
        return TableDescription(table=table, columns=[column], notes=["a note"])

    async def clone(self, job_id: str, *, permit: Permit, check: Check, **facts: Any) -> Job:
        check(self.job)
        await permit(self.job.spec)
        return await self._answer("clone", job_id=job_id, **facts)

    async def edit(self, job_id: str, *, permit: Permit, check: Check, **facts: Any) -> Job:
        check(self.job)
        if facts["spec"] is not None:
            await permit(self.job.spec)
        return await self._answer("edit", job_id=job_id, **facts)

    async def delete(self, job_id: str, *, check: Check, etag: str = "") -> None:
        check(self.job)
        await self._answer("delete", job_id=job_id, etag=etag)

    async def command(self, job_id: str, command: Event, *, check: Check, permit: Permit, etag: str = "") -> Job:
        check(self.job)
        if command is Event.START:
            await permit(self.job.spec)
        return await self._answer("command", job_id=job_id, command=command, etag=etag)


class FakeWatch:
    """Sends its events, then waits until it is closed. ``endless`` repeats the last event."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.entries: list[Any] = []
        self.rejected: list[Any] = []
        self.asked: list[dict[str, Any]] = []
        self.sent = 0
        self.endless = False
        self.closed = asyncio.Event()
        self.cleaned_up = asyncio.Event()
        self.error: BaseException | None = None

    async def jobs(
        self, *, revision: int = 0, job_id: str = "", selection: Selection, check: Check
    ) -> AsyncIterator[Any]:
        self.asked.append({"revision": revision, "job_id": job_id, "selection": selection})
        async for event in self._follow(self.events):
            yield event

    async def journal(self, job_id: str, *, after: int = 0, check: Check) -> AsyncIterator[Any]:
        self.asked.append({"job_id": job_id, "after": after})
        for entry in self.entries:
            yield entry

    async def rejects(self, job_id: str, *, after: int = 0, check: Check) -> AsyncIterator[tuple[int, Any]]:
        self.asked.append({"job_id": job_id, "after": after})
        for number, reject in enumerate(self.rejected, 1):
            yield number, reject

    async def _follow(self, items: list[Any]) -> AsyncIterator[Any]:
        try:
            for item in items:
                self.sent += 1
                yield item
            while self.endless:
                self.sent += 1
                yield items[-1]
            if self.error is not None:
                raise self.error
            await self.closed.wait()
            raise ShuttingDown
        finally:
            self.cleaned_up.set()


def no_files(folder: Path) -> dict[str, Any]:
    """The file services of a server without files."""

    async def in_use(_: File) -> bool:
        return False

    return {"uploads": UploadFiles(UploadRoom(directory=folder)), "sender": RootFiles({}, {}), "in_use": in_use}
