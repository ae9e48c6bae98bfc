"""Full disks: that of the daemon's own files, of a database, and of an export's destination."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import psycopg
import pytest

from lading_client.client import Client
from lading_client.errors import ResourceExhausted
from lading_client.model import State
from lading_client.spec import ExportSpec, File, ImportSpec, JobSpec, Table
from tests.chaos.failpoint import Action, Moment
from tests.chaos.striking import strike_chunk
from tests.harness.disk import small_disk
from tests.harness.jobs import followed, held, importing, rows, write_people
from tests.harness.waiting import PATIENCE, until, until_async

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lading_client.model import Job
    from tests.chaos.trial import Trial
    from tests.harness.daemon import DaemonProcess
    from tests.harness.postgres import PostgresProcess

MEGABYTE = 1 << 20
RECORDS = 6_000
BAD = range(1, RECORDS, 3)


def write_bad_people(path: Path) -> Path:
    """Records of which every third has an extra, long field."""
    lines = [f"{number},person {number}{',' + 'x' * 300 if number in BAD else ''}" for number in range(1, RECORDS + 1)]
    path.write_text("id,name\n" + "\n".join(lines) + "\n")
    return path


def elsewhere(path: Path) -> JobSpec:
    """The spec of an import into another table."""
    file = File(path=str(path).lstrip("/"))
    return JobSpec(kind=ImportSpec(files=(file,), target=Table(table="few")))


async def codes(client: Client, job: Job) -> list[str]:
    """The codes in a job's journal."""
    return [entry.code async for entry in client.journal(job.name)]


async def check_whole(client: Client, daemon: DaemonProcess, job: Job) -> None:
    """Check that every record was imported exactly once."""
    bill = job.bill
    assert (bill.read, bill.inserted, bill.rejected) == (RECORDS, RECORDS - len(BAD), len(BAD))
    good = [(number, f"person {number}") for number in range(1, RECORDS + 1) if number not in BAD]
    assert sorted(rows(daemon.target)) == good
    assert [reject.record async for reject in client.rejects(job.name)] == list(BAD)


async def test_no_room_for_rejects(trial: Trial) -> None:
    assert await strike_chunk(trial, Moment.REJECTS, Action.FULL) == []


async def test_no_room_for_the_store_once(trial: Trial) -> None:
    before = len(trial.endings)
    assert await strike_chunk(trial, Moment.STORE_COMMIT, Action.STORE_FULL) == []
    assert trial.endings[before:] == []
    assert "the ballast beside it is released" in trial.daemon.log.read_text()


async def test_too_little_room_pauses_what_runs_and_lets_it_go_on(
    make_daemon: Callable[..., DaemonProcess], folder: Path
) -> None:
    daemon = make_daemon(disk_reserve=16 * MEGABYTE, slots=1, shutdown_grace=1.0)
    people = write_bad_people(folder / "people.csv")
    with small_disk(daemon.state_dir, 128 * MEGABYTE) as disk:
        daemon.start()
        try:
            async with Client(daemon.address) as client:
                running, paused = [await client.create_job(importing(people)) for _ in range(2)]
                queued = await client.create_job(elsewhere(write_people(folder / "few.csv", 5)))
                async with followed(client, running.name) as follower:
                    with held(daemon.target):
                        for job in (running, queued, paused):
                            await client.start_job(job.name)
                        await client.pause_job(paused.name)
                        await follower.sees(State.RUNNING)
                        disk.fill(leave=8 * MEGABYTE)
                        await follower.sees(State.PAUSING)
                    await follower.sees(State.PAUSED)
                    said = [entry async for entry in client.journal(running.name) if entry.code == "DISK_FULL"]
                    assert "that the daemon needs: free some space" in said[0].message
                    assert (await client.get_job(queued.name)).state is State.QUEUED
                    assert (await codes(client, queued))[-1] == "DISK_FULL"
                    with pytest.raises(ResourceExhausted) as refused:
                        await client.create_job(importing(people))
                    assert refused.value.reason == "DISK_FULL"
                    with pytest.raises(ResourceExhausted):
                        await client.start_job(paused.name)
                    daemon.kill()
                    daemon.start()
                    await follower.sees(State.PAUSED)
                    disk.empty()
                    finished = await follower.sees(State.FINISHED, State.FAILED)
                async with followed(client, queued.name) as follower:
                    await follower.sees(State.FINISHED)
                assert (await client.get_job(paused.name)).state is State.PAUSED
                await check_whole(client, daemon, finished)
                assert {"DISK_FULL", "ROOM_AGAIN"} <= set(await codes(client, running))
        finally:
            daemon.clean_up()


async def test_a_disk_that_is_full_to_the_last_byte_ends_neither_job_nor_daemon(
    make_daemon: Callable[..., DaemonProcess], folder: Path
) -> None:
    """Without a reserve, workers and store run into the full disk."""
    daemon = make_daemon(disk_reserve=0, shutdown_grace=1.0)
    people = write_bad_people(folder / "people.csv")
    with small_disk(daemon.state_dir, 64 * MEGABYTE) as disk:
        daemon.start()
        try:
            async with Client(daemon.address, timeout=60.0) as client:
                job = await client.create_job(importing(people, chunk_bytes=20_000))
                async with followed(client, job.name) as follower:
                    with held(daemon.target):
                        await client.start_job(job.name)
                        await follower.sees(State.RUNNING)
                        disk.fill()
                    await asyncio.to_thread(disk.fill)
                    state = await until_async(lambda: refused_creation(client, people, disk.fill), "there is no room")
                    assert state == "DISK_FULL"
                    disk.empty()
                    finished = await follower.sees(State.FINISHED, State.FAILED)
                assert finished.state is State.FINISHED, finished.failure
                await check_whole(client, daemon, finished)
        finally:
            daemon.clean_up()


async def test_a_daemon_starts_on_a_disk_that_is_full_to_the_last_byte(
    make_daemon: Callable[..., DaemonProcess],
) -> None:
    daemon = make_daemon(disk_reserve=0)
    with small_disk(daemon.state_dir, 64 * MEGABYTE) as disk:
        daemon.start()
        try:
            until((daemon.state_dir / "ballast").exists, "the daemon has a ballast")
            assert daemon.stop() == 0
            disk.fill()
            daemon.start()
            async with Client(daemon.address) as client:
                assert [job async for job in client.list_jobs()] == []
            said = daemon.log.read_text()
            assert "ladingd.pid cannot be written" in said
            assert "the ballast beside it is released" in said
        finally:
            daemon.clean_up()


async def refused_creation(client: Client, people: Path, fill: Callable[[], None]) -> str:
    """The reason why no job can be made when the ballast is used up; else empty."""
    await asyncio.to_thread(fill)
    try:
        await client.create_job(importing(people), validate_only=False)
    except ResourceExhausted as refused:
        return refused.reason
    return ""


def test_a_start_without_room_says_so(make_daemon: Callable[..., DaemonProcess]) -> None:
    daemon = make_daemon()
    with small_disk(daemon.state_dir, 2 << 20) as disk:
        disk.fill()
        assert daemon.spawn().wait(PATIENCE) == 1
    log = daemon.log.read_text()
    assert "Traceback" not in log
    assert "ladingd: the disk of the daemon's store is full" in log


async def test_a_database_file_without_room(make_daemon: Callable[..., DaemonProcess], folder: Path) -> None:
    daemon = make_daemon(shutdown_grace=1.0)
    with small_disk(folder / "small", 16 * MEGABYTE) as disk:
        target = disk.path / "target.db"
        daemon.config.write_text(daemon.config.read_text().replace(str(daemon.target), str(target)))
        daemon.target = target
        people = write_bad_people(folder / "people.csv")
        daemon.start()
        try:
            async with Client(daemon.address) as client:
                job = await client.create_job(importing(people, chunk_bytes=20_000))
                async with followed(client, job.name) as follower:
                    disk.fill(leave=MEGABYTE // 16)
                    await client.start_job(job.name)
                    await follower.sees(State.PAUSED)
                    assert "DISK_FULL" in await codes(client, job)
                    disk.empty()
                    finished = await follower.sees(State.FINISHED, State.FAILED)
                assert finished.state is State.FINISHED, finished.failure
                await check_whole(client, daemon, finished)
        finally:
            daemon.clean_up()


async def test_an_export_without_room(make_daemon: Callable[..., DaemonProcess], folder: Path) -> None:
    daemon = make_daemon(shutdown_grace=1.0)
    with closing(sqlite3.connect(daemon.target)) as target, target:
        target.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT)")
        target.executemany("INSERT INTO people VALUES (?, ?)", ((n, "x" * 100) for n in range(1, 40_001)))
    with small_disk(folder / "small", 8 * MEGABYTE) as disk:
        to = disk.path / "people.csv"
        daemon.start()
        try:
            async with Client(daemon.address) as client:
                file = File(path=str(to).lstrip("/"))
                spec = JobSpec(kind=ExportSpec(table=Table(table="people"), file=file, chunk_keys=5_000))
                job = await client.create_job(spec)
                async with followed(client, job.name) as follower:
                    disk.fill(leave=2 * MEGABYTE)
                    await client.start_job(job.name)
                    await follower.sees(State.PAUSED)
                    disk.empty()
                    finished = await follower.sees(State.FINISHED, State.FAILED)
            assert finished.state is State.FINISHED, finished.failure
            assert to.read_text() == "id,name\n" + "".join(f"{n},{'x' * 100}\n" for n in range(1, 40_001))
        finally:
            daemon.clean_up()


async def test_a_tablespace_without_room(
    make_daemon: Callable[..., DaemonProcess], folder: Path, server: PostgresProcess
) -> None:
    with small_disk(server.data.parent / "small", 24 * MEGABYTE) as disk:
        space = disk.path / "space"
        space.mkdir()
        owner = server.data.stat()
        for directory in (disk.path, space):
            shutil.chown(directory, owner.st_uid, owner.st_gid)
        with psycopg.connect(server.url, autocommit=True) as session:
            session.execute(f"CREATE TABLESPACE small LOCATION '{space}'")  # type: ignore[call-overload]
            session.execute("CREATE TABLE crowd (id int, name text) TABLESPACE small")
            daemon = make_daemon(connections={"target": server.url}, shutdown_grace=1.0)
            people = folder / "people.csv"
            people.write_text("id,name\n" + "".join(f"{n},{'x' * 200}\n" for n in range(1, 20_001)))
            daemon.start()
            try:
                async with Client(daemon.address) as client:
                    table = Table(connection="target", table="crowd")
                    file = File(path=str(people).lstrip("/"))
                    spec = JobSpec(kind=ImportSpec(files=(file,), target=table, chunk_bytes=200_000))
                    job = await client.create_job(spec)
                    async with followed(client, job.name) as follower:
                        disk.fill(leave=MEGABYTE)
                        await client.start_job(job.name)
                        await follower.sees(State.PAUSED)
                        said = [entry.message async for entry in client.journal(job.name) if entry.code == "DISK_FULL"]
                        assert "No space left on device" in said[0]
                        disk.empty()
                        finished = await follower.sees(State.FINISHED, State.FAILED)
                assert finished.state is State.FINISHED, finished.failure
                found = session.execute("SELECT count(*), count(DISTINCT id) FROM crowd").fetchone()
                assert found == (20_000, 20_000)
            finally:
                daemon.clean_up()
                session.execute("DROP TABLE crowd")
                session.execute("DROP TABLESPACE small")
