"""Targets that disappear and return in the middle of an import."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from lading_client.client import Client
from lading_client.model import State
from ladingd.data.storage.work_dir import WorkDir
from tests.harness.jobs import followed, held, importing, rows, write_people
from tests.harness.postgres import PostgresProcess
from tests.harness.waiting import until_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lading_client.model import Job
    from tests.harness.daemon import DaemonProcess

RECORDS = 20_000
EVERYBODY = [(index, f"person {index}") for index in range(1, RECORDS + 1)]


async def codes(client: Client, job: Job) -> list[str]:
    return [entry.code async for entry in client.journal(job.name)]


async def misses_its_target(client: Client, job: Job) -> None:
    async def lost() -> bool:
        return "TARGET_LOST" in await codes(client, job)

    await until_async(lost, "the journal says that the target is lost")


@pytest.fixture
def home(folder: Path) -> Path:
    """The directory of a SQLite database."""
    home = folder / "home"
    home.mkdir()
    return home


def move_away(home: Path, daemon: DaemonProcess) -> Path:
    """Move the directory while no worker has the database open, because SQLite fails on a moved open file."""
    away = home.with_name("away")
    with WorkDir(directory=daemon.state_dir).locked(str(home / "t.db")):
        home.rename(away)
    return away


async def test_a_database_file_that_goes_and_comes_back(
    make_daemon: Callable[..., DaemonProcess], folder: Path, home: Path
) -> None:
    daemon = make_daemon(connections={"local": f"sqlite:///{home / 't.db'}"})
    daemon.start()
    async with Client(daemon.address) as client:
        job = await client.create_job(importing(write_people(folder / "people.csv", RECORDS), chunk_bytes=2_000))
        async with followed(client, job.name) as follower:
            await client.start_job(job.name)
            await follower.sees_records(500)
            away = move_away(home, daemon)
            await misses_its_target(client, job)
            assert (await client.get_job(job.name)).state is State.RUNNING
            away.rename(home)
            finished = await follower.sees(State.FINISHED, State.FAILED)
            assert follower.states[-2:] == [State.RUNNING, State.FINISHED], finished.failure
        said = await codes(client, job)
    assert "TARGET_BACK" in said
    assert finished.attempt == 1
    assert sorted(rows(home / "t.db")) == EVERYBODY


async def test_patience_that_is_over(make_daemon: Callable[..., DaemonProcess], folder: Path, home: Path) -> None:
    daemon = make_daemon(connections={"local": f"sqlite:///{home / 't.db'}"}, target_patience=0.3)
    daemon.start()
    async with Client(daemon.address) as client:
        job = await client.create_job(importing(write_people(folder / "people.csv", RECORDS), chunk_bytes=2_000))
        async with followed(client, job.name) as follower:
            await client.start_job(job.name)
            await follower.sees_records(500)
            away = move_away(home, daemon)
            failed = await follower.sees(State.FAILED, State.FINISHED)
            assert failed.failure is not None
            assert failed.failure.code == "TARGET_UNAVAILABLE"
            away.rename(home)
            await client.start_job(job.name)
            await follower.sees(State.FINISHED)
    assert sorted(rows(home / "t.db")) == EVERYBODY


async def test_a_pause_does_not_wait_for_ever_and_says_how_long(
    make_daemon: Callable[..., DaemonProcess], folder: Path
) -> None:
    daemon = make_daemon(pause_grace=0.5)
    daemon.start()
    async with Client(daemon.address) as client:
        job = await client.create_job(importing(write_people(folder / "people.csv", RECORDS), chunk_bytes=2_000))
        async with followed(client, job.name) as follower:
            await client.start_job(job.name)
            await follower.sees_records(500)
            with held(daemon.target):  # Nothing can be committed, and the ledger cannot be read.
                await client.pause_job(job.name)
                await follower.sees(State.PAUSED)
            (deadline,) = [entry async for entry in client.journal(job.name) if entry.code == "KILL_DEADLINE"]
            assert "their workers are killed at" in deadline.message
            await client.start_job(job.name)
            await follower.sees(State.FINISHED)
    assert sorted(rows(daemon.target)) == EVERYBODY


def people(server: PostgresProcess) -> list[tuple[object, ...]]:
    with psycopg.connect(server.url) as connection:
        return connection.execute("SELECT id, name FROM people ORDER BY id").fetchall()


@pytest.fixture
def own_postgres() -> Iterator[PostgresProcess]:
    with tempfile.TemporaryDirectory(prefix="lading-pg-") as folder:
        server = PostgresProcess(Path(folder))
        server.start()
        yield server
        server.clean_up()


async def test_a_server_that_dies_and_comes_back(
    make_daemon: Callable[..., DaemonProcess], folder: Path, own_postgres: PostgresProcess
) -> None:
    daemon = make_daemon(connections={"local": own_postgres.url})
    daemon.start()
    async with Client(daemon.address) as client:
        job = await client.create_job(importing(write_people(folder / "people.csv", RECORDS), chunk_bytes=2_000))
        async with followed(client, job.name) as follower:
            await client.start_job(job.name)
            await follower.sees_records(500)
            own_postgres.kill()
            await misses_its_target(client, job)
            assert (await client.get_job(job.name)).state is State.RUNNING
            own_postgres.start()
            finished = await follower.sees(State.FINISHED, State.FAILED)
            assert follower.states[-2:] == [State.RUNNING, State.FINISHED], finished.failure
        said = await codes(client, job)
    assert "TARGET_BACK" in said
    assert people(own_postgres) == EVERYBODY
    assert finished.bill.read == finished.bill.inserted == RECORDS


async def test_a_paused_job_survives_daemon_and_server(
    make_daemon: Callable[..., DaemonProcess], folder: Path, own_postgres: PostgresProcess
) -> None:
    daemon = make_daemon(connections={"local": own_postgres.url})
    daemon.start()
    async with Client(daemon.address) as client:
        job = await client.create_job(importing(write_people(folder / "people.csv", RECORDS), chunk_bytes=2_000))
        async with followed(client, job.name) as follower:
            await client.start_job(job.name)
            await follower.sees_records(500)
            own_postgres.kill()
            await misses_its_target(client, job)
            await client.pause_job(job.name)
            await follower.sees(State.PAUSED)
            assert daemon.stop() == 0
            daemon.start()
            assert (await client.get_job(job.name)).state is State.PAUSED
            own_postgres.start()
            await client.start_job(job.name)
            finished = await follower.sees(State.FINISHED, State.FAILED)
    assert finished.state is State.FINISHED, finished.failure
    assert people(own_postgres) == EVERYBODY
    assert finished.bill.read == finished.bill.inserted == RECORDS
