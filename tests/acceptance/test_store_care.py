"""``ladingd store`` beside a running daemon, and the leftovers of deleted jobs."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from lading_client.client import Client
from lading_client.model import State
from ladingd.store.sqlite.inspection import inspect
from tests.harness.jobs import followed, held, importing, write_people
from tests.harness.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lading_client.model import Job
    from tests.harness.daemon import DaemonProcess


def store_command(daemon: DaemonProcess, *words: str) -> subprocess.CompletedProcess[str]:
    """The output of ``ladingd store …``."""
    command = [sys.executable, "-m", "ladingd", "--config", str(daemon.config), "store", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


async def finish_one(client: Client, folder: Path, chunk_bytes: int = 0) -> Job:
    """Run a small import to its end."""
    people = write_people(folder / "people.csv", 500)
    with people.open("a") as file:
        file.write("1,too,many\n")
    job = await client.create_job(importing(people, chunk_bytes=chunk_bytes))
    async with followed(client, job.name) as follower:
        await client.start_job(job.name)
        return await follower.sees(State.FINISHED)


async def test_check_and_backup_while_the_daemon_works(daemon: DaemonProcess, folder: Path) -> None:
    people = write_people(folder / "many.csv", 5_000)
    copy = folder / "copy.db"
    async with Client(daemon.address) as client:
        job = await client.create_job(importing(people, chunk_bytes=500))
        async with followed(client, job.name) as follower:
            await client.start_job(job.name)
            await follower.sees_records(100)
            said = store_command(daemon, "check")
            assert (said.returncode, said.stderr) == (0, ""), said
            assert "NOT OK" not in said.stdout
            assert "ok      counts" in said.stdout
            backed = store_command(daemon, "backup", str(copy))
            assert (backed.returncode, backed.stderr) == (0, "")
            await follower.sees(State.FINISHED)
    seen = inspect(copy)
    assert (seen.problems, sum(seen.jobs.values())) == ((), 1)
    again = store_command(daemon, "backup", str(copy))
    assert (again.returncode, again.stderr) == (1, f"ladingd: {copy} already exists; --force replaces it\n")
    forced = store_command(daemon, "backup", str(copy), "--force", "--output", "json")
    assert json.loads(forced.stdout) == {
        "store": str(daemon.state_dir / "store.db"),
        "backup": str(copy),
        "bytes": copy.stat().st_size,
    }
    itself = store_command(daemon, "backup", str(daemon.state_dir / "store.db"), "--force")
    assert "is the daemon's own file" in itself.stderr
    refused = store_command(daemon, "vacuum")
    assert (refused.returncode, refused.stderr) == (
        1,
        f"ladingd: a daemon runs in {daemon.state_dir}: stop it first\n",
    )


async def test_a_backup_is_a_store_that_a_daemon_starts_on(daemon: DaemonProcess, folder: Path) -> None:
    async with Client(daemon.address) as client:
        job = await finish_one(client, folder)
        copy = folder / "copy.db"
        assert store_command(daemon, "backup", str(copy)).returncode == 0
        await client.delete_job(job.name)
    daemon.stop()
    for name in ("store.db", "store.db-wal", "store.db-shm"):
        (daemon.state_dir / name).unlink(missing_ok=True)
    shutil.copyfile(copy, daemon.state_dir / "store.db")
    daemon.start()
    async with Client(daemon.address) as client:
        again = await client.get_job(job.name)
    assert (again.state, again.bill) == (State.FINISHED, job.bill)


def test_vacuum_names_who_has_the_store_locked(daemon: DaemonProcess) -> None:
    daemon.stop()
    with held(daemon.state_dir / "store.db"):
        refused = store_command(daemon, "vacuum")
    assert refused.returncode == 1
    assert "is locked by process" in refused.stderr
    assert store_command(daemon, "vacuum").returncode == 0


async def test_vacuum_gives_room_back(daemon: DaemonProcess, folder: Path) -> None:
    async with Client(daemon.address) as client:
        for _ in range(5):
            await client.delete_job((await finish_one(client, folder, chunk_bytes=100)).name)
    daemon.stop()
    said = store_command(daemon, "vacuum", "--output", "json")
    facts = json.loads(said.stdout)
    assert facts["bytes_after"] < facts["bytes_before"]
    assert (daemon.state_dir / "store.db").stat().st_size == facts["bytes_after"]
    assert store_command(daemon, "check").returncode == 0


async def test_a_damaged_store_is_told(daemon: DaemonProcess, folder: Path) -> None:
    async with Client(daemon.address) as client:
        job = await finish_one(client, folder)
    daemon.stop()
    with closing(sqlite3.connect(daemon.state_dir / "store.db")) as store, store:
        store.execute("UPDATE chunks SET counts = NULL")
    said = store_command(daemon, "check")
    assert said.returncode == 3
    assert f"{job.name} has read 501, its chunks have 0" in said.stdout
    facts = json.loads(store_command(daemon, "check", "--output", "json").stdout)
    assert facts["sound"] is False
    assert {"check": "counts", "problem": f"{job.name} has read 501, its chunks have 0"} in facts["problems"]


def test_where_there_is_no_store_that_is_said(make_daemon: Callable[..., DaemonProcess]) -> None:
    daemon = make_daemon()
    said = f"ladingd: there is no store {daemon.state_dir}/store.db: the daemon creates it at its first start\n"
    assert store_command(daemon, "check").stderr == said
    daemon.state_dir.mkdir()
    assert store_command(daemon, "check").stderr == said
    assert list(daemon.state_dir.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody else")
@pytest.mark.parametrize("action", [["check"], ["backup", "copy.db"], ["vacuum"]])
def test_another_user_is_refused(make_daemon: Callable[..., DaemonProcess], action: list[str]) -> None:
    daemon = make_daemon()
    daemon.state_dir.mkdir()
    (daemon.state_dir / "store.db").touch()
    os.chown(daemon.state_dir, 65534, 65534)
    said = store_command(daemon, *action)
    assert said.returncode == 1
    whose = f"the state directory {daemon.state_dir} belongs to the user 65534"
    assert said.stderr == f"ladingd: {whose}: run this as that user\n"


async def test_what_a_job_left_goes_when_its_target_is_back(daemon: DaemonProcess, folder: Path) -> None:
    away = folder / "away"
    home = daemon.target.parent / "databases"
    home.mkdir()
    daemon.stop()
    daemon.config.write_text(daemon.config.read_text().replace(str(daemon.target), str(home / "target.db")))
    daemon.start()
    async with Client(daemon.address) as client:
        job = await finish_one(client, folder)
        home.rename(away)
        home.write_text("")  # Its directory is gone too.
        await client.delete_job(job.name)
    assert list((daemon.state_dir / "jobs").iterdir()) == [], "its rejects are gone at once"
    assert inspect(daemon.state_dir / "store.db").pending == 1
    daemon.kill()
    (daemon.state_dir / "jobs" / "of-nobody" / "rejects").mkdir(parents=True)
    home.unlink()
    away.rename(home)
    daemon.start()
    until(lambda: inspect(daemon.state_dir / "store.db").pending == 0, "nothing is left to be discarded")
    with closing(sqlite3.connect(home / "target.db")) as target:
        assert target.execute("SELECT count(*) FROM lading_ledger").fetchone() == (0,)
        assert target.execute("SELECT count(*) FROM lading_attempt").fetchone() == (0,)
        assert target.execute("SELECT count(*) FROM people").fetchone() == (500,)
    until(lambda: not list((daemon.state_dir / "jobs").iterdir()), "files of nobody's are set aside")


async def test_a_store_that_was_away_finds_its_rejects_again(daemon: DaemonProcess, folder: Path) -> None:
    async with Client(daemon.address) as client:
        job = await finish_one(client, folder)
    daemon.stop()
    store, away, jobs = daemon.state_dir / "store.db", folder / "away.db", daemon.state_dir / "jobs"
    store.rename(away)
    (jobs / "lost+found").mkdir()  # Not the directory of a job.
    daemon.start()
    until(
        lambda: [path.name for path in jobs.iterdir()] == ["lost+found"],
        "what the new store does not know is set aside",
    )
    daemon.stop()
    away.replace(store)
    (stranger,) = (daemon.state_dir / "strangers").iterdir()
    stranger.rename(jobs / stranger.name)
    daemon.start()
    async with Client(daemon.address) as client:
        assert [reject.record async for reject in client.rejects(job.name)] == [501]
