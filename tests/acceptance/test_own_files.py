"""Attacks on the daemon's own files by specs and uploads: the files stay unchanged and unreadable."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from lading_client.client import Client
from lading_client.errors import InvalidArgument
from lading_client.model import Job, State
from lading_client.spec import ExportSpec, File, ImportSpec, JobSpec, Table
from tests.harness.jobs import followed, importing, write_people
from tests.harness.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.daemon import DaemonProcess


async def test_no_job_touches_the_files_of_a_daemon(make_daemon: Callable[..., DaemonProcess], folder: Path) -> None:
    daemon = make_daemon(shutdown_grace=1.0)
    daemon.start()
    later = folder / "later.db"
    with closing(sqlite3.connect(later)) as connection:
        connection.execute("CREATE TABLE people (id INTEGER, name TEXT)")
    with closing(sqlite3.connect(daemon.target)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    async with Client(daemon.address) as client:
        await done(client, await client.create_job(importing(write_people(folder / "people.csv", 10))))
        state = [path for path in daemon.state_dir.rglob("*") if path.is_file()]
        named = [daemon.config, daemon.target, daemon.log, daemon.socket, daemon.folder / "s.lock", *state]
        missing = [daemon.target.with_name(f"{daemon.target.name}{end}") for end in ("-wal", "-shm", "-journal")]
        assert daemon.state_dir / "store.db" in state
        for path in (*named, *missing):
            await refused(client, path, reading=path not in missing)
        harm = await client.create_job(over(later))
        text = daemon.config.read_text()
        daemon.config.write_text(f'{text}\n[connections.later]\nurl = "sqlite:///{later}"\n')
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: "changed: connections.later" in daemon.log.read_text(), "it is reloaded")
        await refused(client, later, reading=True)
        failed = await done(client, harm, State.FAILED)
        assert failed.failure is not None
        assert "is the database of connection 'later'; a job cannot write to it" in failed.failure.message
        await done(client, await client.create_job(over(folder / "target.csv")))
        assert len((folder / "target.csv").read_text().splitlines()) == 11
        assert len([job async for job in client.list_jobs()]) == 3, "the store is as it was"
    assert daemon.stop() == 0


def over(path: Path) -> JobSpec:
    return JobSpec(kind=ExportSpec(table=Table(table="people"), file=File(path=str(path)[1:]), overwrite=True))


async def done(client: Client, job: Job, state: State = State.FINISHED) -> Job:
    async with followed(client, job.name) as follower:
        await client.start_job(job.name)
        seen = await follower.sees(State.FINISHED, State.FAILED)
    assert seen.state is state
    return seen


async def refused(client: Client, path: Path, *, reading: bool) -> None:
    """Check that no job can read or write a file, and that it cannot be downloaded."""
    with pytest.raises(InvalidArgument, match=r"is (in )?the .*; a job cannot write to it|would be JSON"):
        await client.create_job(over(path))
    if not reading:
        return
    file = File(path=str(path)[1:])
    with pytest.raises(InvalidArgument, match="which no job opens"):
        await client.create_job(JobSpec(kind=ImportSpec(files=(file,), target=Table(table="people"))))
    with pytest.raises(InvalidArgument, match="which no job opens"):
        await client.download(file, path.with_name("stolen"))


@pytest.mark.parametrize("path", ["state/store.db", "target.db", "ladingd.toml", "state"])
def test_commands_of_the_daemon_leave_its_files_alone(daemon: DaemonProcess, path: str) -> None:
    to = daemon.folder / path
    daemon.target.touch()
    before = to.lstat()
    for command in (("store", "backup", "--force", str(to)), ("config", "init", "--force", "--output", str(to))):
        if command[0] == "config" and path == "ladingd.toml":
            continue  # Allowed: this is the purpose of the connection.
        done = subprocess.run(
            [*(sys.executable, "-m", "ladingd", "--config", str(daemon.config)), *command],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 1
        assert done.stderr.startswith(f"ladingd: {to} is ")
    assert (to.lstat().st_ino, to.lstat().st_mode) == (before.st_ino, before.st_mode)
