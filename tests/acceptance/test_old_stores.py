"""Stores of all earlier schemas: today's program opens them, and a daemon continues their jobs."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic.script import ScriptDirectory

from lading_client.client import Client
from lading_client.model import State
from ladingd.core.bill import Counts
from ladingd.core.errors import RequestIdReused
from ladingd.core.state import State as Stored
from ladingd.store import migration, migrations
from ladingd.store.jobs import SqlJobStore
from ladingd.store.sqlite.backup import copies, version_of
from ladingd.store.sqlite.inspection import inspect
from tests.harness.jobs import followed, rows
from tests.harness.listing import everything
from tests.harness.old_store import PEOPLE, SCHEMAS, STOCK, WAYS, put_back, write_world
from tests.harness.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.daemon import DaemonProcess


def test_there_is_a_store_of_every_schema_but_the_newest() -> None:
    steps = ScriptDirectory(str(Path(migrations.__file__).parent)).walk_revisions()
    older = sorted({step.revision for step in steps} - {migration.HEAD})
    assert older == SCHEMAS, "write one with tests/harness/old_store.py before you add a migration"


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_its_jobs_are_what_they_were(schema: str, folder: Path) -> None:
    path = put_back(schema, folder / "store.db")
    store = await SqlJobStore.open(path)
    _, jobs = await everything(store)
    named = {"exporting": Stored.RUNNING, "staying": Stored.INTERRUPTED}
    assert {job.id: job.state for job in jobs} == {
        job_id: named.get(job_id) or Stored(job_id.upper()) for job_id in WAYS
    }
    finished = await store.get("finished")
    assert finished.counts == Counts(read=PEOPLE, inserted=PEOPLE)
    assert finished.total == PEOPLE
    assert all(kept.counts for kept in await store.chunks("finished"))
    assert [entry.code for entry in await store.journal("finished", limit=100)][-2:] == ["BILL", "FINISHED"]
    failed = await store.get("failed")
    assert (failed.owner, failed.shared) == ("", False)
    assert await store.made_by("robot", "request of failed", "0a") == failed, "requests of before are everybody's"
    with pytest.raises(RequestIdReused):
        await store.made_by("robot", "request of failed", "0b")
    assert len(await store.changes(0, limit=1_000)) == await store.revision()
    await store.close()
    seen = inspect(path)
    assert (seen.schema, seen.problems) == (migration.HEAD, ())
    (copy,) = copies(path)
    assert version_of(copy) == schema


def test_tokens_are_not_made_in_the_store_of_a_daemon_that_is_older(
    make_daemon: Callable[..., DaemonProcess],
) -> None:
    daemon = make_daemon()
    daemon.state_dir.mkdir(parents=True, exist_ok=True)
    put_back(SCHEMAS[-1], daemon.state_dir / "store.db")

    def listed() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ladingd", "--config", str(daemon.config), "token", "list"]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)

    with (daemon.state_dir / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = listed()
    assert (refused.returncode, "a daemon runs in" in refused.stderr) == (1, True)
    assert version_of(daemon.state_dir / "store.db") == SCHEMAS[-1]
    assert "robot" in listed().stdout


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_a_daemon_goes_on_with_what_was_active(
    schema: str, make_daemon: Callable[..., DaemonProcess], folder: Path
) -> None:
    daemon = make_daemon()
    world = daemon.folder / "world"
    world.mkdir()
    daemon.config.write_text(daemon.config.read_text().replace('local = "/"', f'local = "{world}"'))
    write_world(world)
    (world / "target.db").rename(daemon.target)
    put_back(schema, daemon.state_dir / "store.db")
    daemon.start()
    async with Client(daemon.address) as client:
        for job_id in ("running", "exporting", "queued", "interrupted"):
            async with followed(client, f"jobs/{job_id}") as follower:
                done = await follower.sees(State.FINISHED, State.FAILED)
            assert done.state is State.FINISHED, f"{job_id}: {done.failure}"
        for job_id in ("failed", "paused", "pausing", "staying"):
            await client.start_job(f"jobs/{job_id}")  # Before the watch: a job that is still FAILED would end it.
            async with followed(client, f"jobs/{job_id}") as follower:
                done = await follower.sees(State.FINISHED, State.FAILED)
            assert done.state is State.FINISHED, f"{job_id}: {done.failure}"
        states = {job.name: job.state async for job in client.list_jobs()}
        assert states["jobs/editing"] is State.EDITING
        assert states["jobs/canceling"] is State.CANCELED
    people = [(number, f"person {number}") for number in range(1, PEOPLE + 1)]
    for table in ("running", "queued", "interrupted", "failed", "paused", "pausing", "staying"):
        assert sorted(rows(daemon.target, table)) == people
    lines = [f"{number},thing {number}" for number in range(1, STOCK + 1)]
    assert (world / "stock.csv").read_text() == "id,name\n" + "\n".join(lines) + "\n"
    assert daemon.stop() == 0
