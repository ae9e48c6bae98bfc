"""Every transition of the table, through the real daemon over a real socket.

``held`` keeps a job in its state: while a test holds the target's write lock, the job's writes wait.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from lading_client.client import Client
from lading_client.errors import CommandNotAllowed
from lading_client.model import State
from lading_client.spec import OnRestart
from tests.harness.jobs import followed, held, importing, rows, write_people

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from lading_client.model import Job
    from tests.harness.daemon import DaemonProcess


@pytest.fixture
async def client(daemon: DaemonProcess) -> AsyncIterator[Client]:
    async with Client(daemon.address) as client:
        yield client


@pytest.fixture
async def job(client: Client, folder: Path) -> Job:
    return await client.create_job(importing(write_people(folder / "people.csv", 100)))


async def test_editing_to_finished(client: Client, job: Job, daemon: DaemonProcess) -> None:
    async with followed(client, job.name) as follower:
        await follower.sees(State.EDITING)
        await client.start_job(job.name)
        await follower.sees(State.FINISHED)
    assert follower.states == [State.EDITING, State.QUEUED, State.RUNNING, State.FINISHED]
    assert len(rows(daemon.target)) == 100


async def test_pause_while_running_and_go_on(client: Client, job: Job, daemon: DaemonProcess) -> None:
    async with followed(client, job.name) as follower:
        with held(daemon.target):
            await client.start_job(job.name)
            await follower.sees(State.RUNNING)
            paused = await client.pause_job(job.name)
            assert paused.state is State.PAUSING
            assert (await client.pause_job(job.name)).revision == paused.revision  # A repeated command changes nothing.
        await follower.sees(State.PAUSED)
        await client.start_job(job.name)
        await follower.sees(State.FINISHED)
    assert follower.states[-6:] == [
        State.RUNNING,
        State.PAUSING,
        State.PAUSED,
        State.QUEUED,
        State.RUNNING,
        State.FINISHED,
    ]
    assert len(rows(daemon.target)) == 100


async def test_start_calls_a_pause_off(client: Client, job: Job, daemon: DaemonProcess) -> None:
    async with followed(client, job.name) as follower:
        with held(daemon.target):
            await client.start_job(job.name)
            await follower.sees(State.RUNNING)
            await client.pause_job(job.name)
            await follower.sees(State.PAUSING)
            assert (await client.start_job(job.name)).state is State.RUNNING
        await follower.sees(State.FINISHED)
    assert follower.states[-4:] == [State.RUNNING, State.PAUSING, State.RUNNING, State.FINISHED]


@pytest.mark.parametrize("pause_first", [False, True])
async def test_cancel_while_active(client: Client, job: Job, daemon: DaemonProcess, pause_first: bool) -> None:
    async with followed(client, job.name) as follower:
        with held(daemon.target):
            await client.start_job(job.name)
            await follower.sees(State.RUNNING)
            if pause_first:
                await client.pause_job(job.name)
            assert (await client.cancel_job(job.name)).state is State.CANCELING
        canceled = await follower.sees(State.CANCELED)
    assert follower.states[-2:] == [State.CANCELING, State.CANCELED]
    assert canceled.end_time is not None
    with pytest.raises(CommandNotAllowed, match="CANCELED, which is final"):
        await client.start_job(job.name)


async def test_cancel_kills_what_does_not_come_to_rest(client: Client, job: Job, daemon: DaemonProcess) -> None:
    async with followed(client, job.name) as follower:
        with held(daemon.target):
            await client.start_job(job.name)
            await follower.sees(State.RUNNING)
            await client.cancel_job(job.name)
            await follower.sees(State.CANCELED)  # The worker is killed although the lock is still held.
    codes = [entry.code async for entry in client.journal(job.name)]
    assert "WORKERS_KILLED" in codes


@pytest.mark.parametrize("command", ["pause", "cancel"])
async def test_queued(make_daemon: Callable[..., DaemonProcess], folder: Path, command: str) -> None:
    daemon = make_daemon(slots=1, shutdown_grace=1.0)
    daemon.start()
    people = write_people(folder / "people.csv", 10)
    async with Client(daemon.address) as client:
        first, second = [await client.create_job(importing(people)) for _ in range(2)]
        with held(daemon.target):
            async with followed(client, first.name) as follower:
                await client.start_job(first.name)
                await follower.sees(State.RUNNING)
            assert (await client.start_job(second.name)).state is State.QUEUED
            if command == "pause":
                assert (await client.pause_job(second.name)).state is State.PAUSED
                assert (await client.cancel_job(second.name)).state is State.CANCELED
            else:
                assert (await client.cancel_job(second.name)).state is State.CANCELED


@pytest.mark.parametrize("pause_first", [False, True])
async def test_technical_error_and_retry(client: Client, job: Job, daemon: DaemonProcess, pause_first: bool) -> None:
    async with followed(client, job.name) as follower:
        with held(daemon.target) as other:
            await client.start_job(job.name)
            await follower.sees(State.RUNNING)
            if pause_first:
                await client.pause_job(job.name)
            other.execute("CREATE TABLE lading_ledger (in_the_way INTEGER)")
            other.execute("COMMIT")
        failed = await follower.sees(State.FAILED)
        assert failed.failure is not None
        assert failed.failure.code == "TARGET_REFUSED"
        assert failed.end_time is not None
        with sqlite3.connect(daemon.target) as connection:
            connection.execute("DROP TABLE lading_ledger")
        connection.close()
        await client.start_job(job.name)
        finished = await follower.sees(State.FINISHED)
    assert finished.failure is None
    assert finished.attempt == 2
    assert len(rows(daemon.target)) == 100


@pytest.mark.parametrize("how", ["shutdown", "crash"])
@pytest.mark.parametrize(
    ("command", "then"),
    [("", State.INTERRUPTED), ("pause", State.PAUSED), ("cancel", State.CANCELED)],
)
async def test_the_daemon_ends_while_a_job_is_active(
    make_daemon: Callable[..., DaemonProcess], folder: Path, how: str, command: str, then: State
) -> None:
    daemon = make_daemon(shutdown_grace=0.5, cancel_grace=30.0)
    daemon.start()
    spec = importing(write_people(folder / "people.csv", 10), on_restart=OnRestart.STAY)
    async with Client(daemon.address) as client:
        job = await client.create_job(spec)
        with held(daemon.target):
            async with followed(client, job.name) as follower:
                await client.start_job(job.name)
                await follower.sees(State.RUNNING)
                if command == "pause":
                    await client.pause_job(job.name)
                elif command == "cancel":
                    await client.cancel_job(job.name)
                if how == "shutdown":
                    daemon.terminate()
                    await follower.sees(then)
                    assert daemon.wait() == 0
                else:
                    daemon.kill()
        daemon.start()
        assert (await client.get_job(job.name)).state is then
        if then is State.CANCELED:
            return
        async with followed(client, job.name) as follower:
            if then is State.INTERRUPTED and how == "crash":
                assert (await client.cancel_job(job.name)).state is State.CANCELED
            else:
                await client.start_job(job.name)
                await follower.sees(State.FINISHED)
                assert len(rows(daemon.target)) == 10


async def test_an_interrupted_job_resumes_by_itself(daemon: DaemonProcess, folder: Path) -> None:
    async with Client(daemon.address) as client:
        job = await client.create_job(importing(write_people(folder / "people.csv", 10)))
        with held(daemon.target):
            async with followed(client, job.name) as follower:
                await client.start_job(job.name)
                await follower.sees(State.RUNNING)
                daemon.kill()
        daemon.start()
        async with followed(client, job.name) as follower:
            await follower.sees(State.FINISHED)
        entries = [entry.code async for entry in client.journal(job.name)]
    assert "INTERRUPTED" in entries
    assert len(rows(daemon.target)) == 10
