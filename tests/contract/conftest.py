"""Fixtures of the contract suites, with a list of the implementations of each port."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ladingd.core.job import Failure, Job
from ladingd.core.plan import Column, ExportPlan, Fingerprint, ImportPlan, PlannedFile
from ladingd.core.ports import JobStore
from ladingd.core.spec import CsvFormat, ExportSpec, File, Header, ImportSpec, OnRestart, Table
from ladingd.core.state import Event, State
from ladingd.data.databases.registry import providers
from ladingd.data.formats.csv.dialect import Dialect
from ladingd.data.storage.work_dir import WorkDir
from ladingd.store.jobs import SqlJobStore
from tests.contract.databases import TestDatabase, database_of
from tests.contract.imports import Pier


class Clock:
    """Each reading is a second later."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 29, 0, 59, 58, 123456, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time


@dataclass
class SqliteStores:
    """Stores in one SQLite file."""

    directory: Path
    clock: Clock
    opened: list[JobStore] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.directory / "store.db"

    async def open(self) -> JobStore:
        """Open the store, like a starting daemon."""
        store = await SqlJobStore.open(self.path, now=self.clock)
        self.opened.append(store)
        return store

    async def close(self, store: JobStore) -> None:
        self.opened.remove(store)
        await store.close()

    def compact(self, revision: int) -> None:
        """Delete the changes up to a revision, without the store's knowledge."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("DELETE FROM changes WHERE revision <= ?", (revision,))
            connection.execute("UPDATE history SET compacted = ?", (revision,))


STORES = [SqliteStores]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=STORES)
async def stores(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Any]:
    """A place where stores of one kind can be opened repeatedly."""
    stores = request.param(tmp_path, clock)
    yield stores
    for store in stores.opened:
        await store.close()


@pytest.fixture
async def store(stores: Any) -> JobStore:
    """An empty store."""
    opened: JobStore = await stores.open()
    return opened


@pytest.fixture(scope="session")
def harbour(postgres: str) -> str:
    """The URL of an empty database on the server of this run."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE harbour")
    url = postgres.replace("/postgres?", "/harbour?")
    assert url != postgres
    return url


@pytest.fixture(params=providers(), ids=lambda provider: provider.name)
def database(request: pytest.FixtureRequest) -> Iterator[TestDatabase]:
    """An empty database of each kind that the registry lists."""
    with database_of(request.param, request) as made:
        yield made


@pytest.fixture
def work_dir(tmp_path: Path) -> WorkDir:
    return WorkDir(directory=tmp_path / "work")


TABLE = Table(connection="crm", schema="Öffentlich", table="re\"cip'ients")
FILE = File(root="in", path="2026/ré cipients.csv")
COLUMNS = (
    Column(source="e-mail", target="email", type="text", nullable=False),
    Column(source="age", target="age", type="decimal(10,2)"),
)

IMPORT = ImportSpec(
    files=(FILE,),
    csv=CsvFormat(delimiter="\t", quote="'", header=Header.ABSENT),
    target=TABLE,
    types={"age": "decimal(10,2)"},
    chunk_bytes=1 << 40,
    on_restart=OnRestart.STAY,
)
IMPORT_PLAN = ImportPlan(
    files=(
        PlannedFile(
            name="in.csv",
            location=FILE,
            fingerprint=Fingerprint(size=1 << 50, head="ab", tail="cd"),
            layout=Dialect(delimiter="\t", quote="'").layout(),
            start=3,
            end=1 << 50,
            first_line=2,
        ),
    ),
    columns=COLUMNS,
    target=TABLE,
    create_table=True,
    chunk_bytes=1 << 40,
)
EXPORT = ExportSpec(source=TABLE, file=FILE, overwrite=True)
EXPORT_PLAN = ExportPlan(
    source=TABLE,
    columns=COLUMNS,
    key=None,
    file=FILE,
    layout=Dialect(delimiter=",", quote='"').layout(),
    overwrite=True,
    start=-(1 << 63),
    end=(1 << 63) - 1,
    chunk_keys=100_000,
    notes=("the table has no key",),
)

NewJob = Callable[..., Job]


@pytest.fixture
def new_job(clock: Clock) -> NewJob:
    """Makes jobs that are not in a store."""

    def make(job_id: str, **fields: Any) -> Job:
        now = clock()
        known = {"spec": IMPORT, "plan": IMPORT_PLAN, "create_time": now, "update_time": now}
        return Job(id=job_id, uid=f"uid of {job_id}", **(known | fields))

    return make


@pytest.fixture
def export_job(new_job: NewJob) -> NewJob:
    """Makes export jobs that are not in a store."""
    return lambda job_id: new_job(job_id, spec=EXPORT, plan=EXPORT_PLAN)


WAYS: dict[State, tuple[Event, ...]] = {
    State.EDITING: (),
    State.QUEUED: (Event.START,),
    State.RUNNING: (Event.START, Event.SLOT_FREE),
    State.PAUSING: (Event.START, Event.SLOT_FREE, Event.PAUSE),
    State.PAUSED: (Event.START, Event.PAUSE),
    State.CANCELING: (Event.START, Event.SLOT_FREE, Event.CANCEL),
    State.CANCELED: (Event.START, Event.CANCEL),
    State.FINISHED: (Event.START, Event.SLOT_FREE, Event.COMPLETE),
    State.FAILED: (Event.START, Event.SLOT_FREE, Event.ERROR),
    State.INTERRUPTED: (Event.START, Event.SLOT_FREE, Event.ORPHAN),
}

FAILURE = Failure(code="TARGET_UNAVAILABLE", message="the database is gone")

Bring = Callable[[JobStore, str, State], Any]


@pytest.fixture
def bring(new_job: NewJob) -> Bring:
    """Makes a job and moves it to a state by events."""

    async def bring(store: JobStore, job_id: str, state: State) -> Job:
        job = await store.create(new_job(job_id))
        for event in WAYS[state]:
            moved = await store.move(job_id, event, failure=FAILURE)
            assert moved is not None
            job = moved
        assert job.state is state
        return job

    return bring


@pytest.fixture
def pier(database: TestDatabase, tmp_path: Path, work_dir: WorkDir) -> Pier:
    """Runs imports into the table ``t`` of a database of each kind."""
    return Pier.of(database, tmp_path / "files", work_dir)
