"""Writes a store as SQL, to test later versions with it: ``python -m tests.harness.old_store FILE``.

Before adding a migration, run this and keep the output in ``tests/data/stores`` under the number of the current schema.
To use the ``ladingd`` of an older commit, set PYTHONPATH.
"""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
import sys
import tempfile
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladingd.core.bill import Counts
from ladingd.core.job import Failure, Job, Level, Progress
from ladingd.core.plan import CommittedChunk
from ladingd.core.spec import ExportSpec, File, ImportSpec, OnRestart, Table
from ladingd.core.state import Event
from ladingd.data.databases.connection import Connection
from ladingd.data.storage.work_dir import WorkDir
from ladingd.data.transfer import BulkTransfer
from ladingd.store.jobs import SqlJobStore

if TYPE_CHECKING:
    from ladingd.core.spec import JobSpec

STORES = Path(__file__).parents[1] / "data" / "stores"
SCHEMAS = sorted(path.stem for path in STORES.glob("*.sql"))

PEOPLE = 40
STOCK = 30

WAYS: dict[str, tuple[Event, ...]] = {
    "editing": (),
    "queued": (Event.START,),
    "running": (Event.START, Event.SLOT_FREE),
    "exporting": (Event.START, Event.SLOT_FREE),
    "pausing": (Event.START, Event.SLOT_FREE, Event.PAUSE),
    "paused": (Event.START, Event.PAUSE),
    "canceling": (Event.START, Event.SLOT_FREE, Event.CANCEL),
    "canceled": (Event.START, Event.CANCEL),
    "failed": (Event.START, Event.SLOT_FREE, Event.ERROR),
    "interrupted": (Event.START, Event.SLOT_FREE, Event.SHUTDOWN),
    "staying": (Event.START, Event.SLOT_FREE, Event.SHUTDOWN),
    "finished": (Event.START, Event.SLOT_FREE),
}
"""The ids of the jobs, and the events that happened to them."""


def put_back(schema: str, path: Path) -> Path:
    """Recreate the store of an old schema, as its daemon left it when it died."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((STORES / f"{schema}.sql").read_text())
        connection.execute("PRAGMA journal_mode = WAL")
    return path


def write_world(folder: Path) -> dict[str, Connection]:
    """Create the files and tables of the jobs."""
    lines = [f"{number},person {number}" for number in range(1, PEOPLE + 1)]
    (folder / "people.csv").write_text("id,name\n" + "\n".join(lines) + "\n")
    with closing(sqlite3.connect(folder / "target.db")) as target, target:
        target.execute("CREATE TABLE stock (id INTEGER PRIMARY KEY, name TEXT)")
        target.executemany("INSERT INTO stock VALUES (?, ?)", ((n, f"thing {n}") for n in range(1, STOCK + 1)))
    return {"local": Connection(name="local", url=f"sqlite:///{folder / 'target.db'}")}


def spec_of(job_id: str) -> JobSpec:
    """The spec of a job. Each import has its own table."""
    if job_id == "exporting":
        return ExportSpec(source=Table(table="stock"), file=File(path="stock.csv"))
    stays = OnRestart.STAY if job_id == "staying" else OnRestart.RESUME
    return ImportSpec(files=(File(path="people.csv"),), target=Table(table=job_id), chunk_bytes=200, on_restart=stays)


async def fill(store: SqlJobStore, transfer: BulkTransfer) -> None:
    """Make the jobs."""
    for job_id, events in WAYS.items():
        spec, now = spec_of(job_id), datetime.now(UTC)
        job = Job(
            id=job_id,
            uid=str(uuid.uuid4()),
            label=f"the {job_id} one",
            spec=spec,
            plan=transfer.plan(spec),
            create_time=now,
            update_time=now,
        )
        await store.create(job, request_id=f"request of {job_id}", request_digest="0a")
        for event in events:
            moved = await store.move(
                job_id, event, failure=Failure(code="TARGET_REFUSED", message="it did not like it")
            )
            assert moved is not None
        if job_id in ("running", "finished"):
            await store.add_chunks(job_id, transfer.cut(job.uid, job.plan, None, 16))
    await finish(store)


async def finish(store: SqlJobStore) -> None:
    """Run the finished job to its end."""
    committed = []
    for kept in await store.chunks("finished"):
        number = kept.chunk.records or 0
        committed.append(CommittedChunk(ordinal=kept.chunk.ordinal, counts=Counts(read=number, inserted=number)))
    await store.commit_chunks("finished", committed, Progress(fraction=1.0))
    job = await store.get("finished")
    known: dict[str, Any] = {"uid": job.uid} if "uid" in inspect.signature(store.settle).parameters else {}
    await store.settle(
        "finished", committed, attempt=1, total=PEOPLE, progress=Progress(fraction=1.0), settled=False, **known
    )
    await store.write_journal("finished", Level.INFO, "BILL", f"{PEOPLE} records read: {PEOPLE} inserted")
    await store.move("finished", Event.COMPLETE, settled=True)


async def fill_access(store: SqlJobStore) -> None:
    """Make a token and an audit entry, if this version has them."""
    try:
        from ladingd.core.access import Deed, Role, issue
        from ladingd.store.audit import SqlAuditStore
        from ladingd.store.tokens import SqlTokenStore
    except ImportError:
        return
    token, _ = issue("robot", Role.SUBMITTER, datetime.now(UTC), connections=("local",), roots=("local",))
    await SqlTokenStore(store._database).add(token)
    deed = Deed(
        time=datetime.now(UTC),
        principal="robot",
        role=Role.SUBMITTER,
        peer="unix:",
        method="/lading.v1.JobService/CreateJob",
        resource="jobs/finished",
        outcome="OK",
    )
    await SqlAuditStore(store._database).add([deed])


async def _write() -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        transfer = BulkTransfer(
            connections=write_world(folder), roots={"local": folder}, work_dir=WorkDir(directory=folder)
        )
        store = await SqlJobStore.open(folder / "store.db")
        await fill(store, transfer)
        await fill_access(store)
        await store.close()
        with closing(sqlite3.connect(folder / "store.db")) as made:
            return "\n".join(made.iterdump()) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(asyncio.run(_write()))
