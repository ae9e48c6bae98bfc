"""Tables that another session locks: jobs wait and name the session, and a cancelled job leaves no waiting session."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from lading_client.client import Client
from lading_client.model import State
from tests.harness.jobs import followed, held, importing, write_people
from tests.harness.postgres import PostgresProcess
from tests.harness.waiting import until_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lading_client.model import Job
    from tests.harness.daemon import DaemonProcess

RECORDS = 20_000
AT_WORK = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'ladingd %' AND state <> 'idle'"


async def lines(client: Client, job: Job, code: str) -> list[str]:
    return [entry.message async for entry in client.journal(job.name) if entry.code == code]


async def waits(client: Client, job: Job) -> str:
    """Wait until the journal names the lock."""

    async def busy() -> bool:
        return bool(await lines(client, job, "TARGET_BUSY"))

    await until_async(busy, "the journal says that the target is locked")
    return (await lines(client, job, "TARGET_BUSY"))[0]


@pytest.fixture
def own_postgres() -> Iterator[PostgresProcess]:
    with tempfile.TemporaryDirectory(prefix="lading-pg-") as folder:
        server = PostgresProcess(Path(folder))
        server.start()
        yield server
        server.clean_up()


@pytest.mark.timeout(180)
async def test_a_locked_table_is_waited_for_and_a_cancel_leaves_nothing(
    make_daemon: Callable[..., DaemonProcess], folder: Path, own_postgres: PostgresProcess
) -> None:
    daemon = make_daemon(connections={"local": own_postgres.url}, cancel_grace=0.5)
    daemon.start()
    spec = importing(write_people(folder / "people.csv", RECORDS), chunk_bytes=2_000)
    async with Client(daemon.address) as client:
        with psycopg.connect(own_postgres.url, application_name="the warehouse") as other:
            other.execute("CREATE TABLE people (id bigint, name text)")
            other.commit()
            other.execute("LOCK TABLE people IN ACCESS EXCLUSIVE MODE")
            going_on, cancelled = await client.create_job(spec), await client.create_job(spec)
            for job in (going_on, cancelled):
                await client.start_job(job.name)
                said = await waits(client, job)
                assert (
                    f"is locked by session {other.info.backend_pid} (user postgres, application the warehouse" in said
                )
            async with followed(client, cancelled.name) as follower:
                await client.cancel_job(cancelled.name)
                await follower.sees(State.CANCELED)
            uid = (await client.get_job(cancelled.name)).uid
            with psycopg.connect(own_postgres.url) as third:
                mine = AT_WORK.replace("ladingd %", f"ladingd {uid}/%")
                assert third.execute(mine.encode()).fetchone() == (0,), "nothing of it runs any more"
            assert (await client.get_job(going_on.name)).state is State.RUNNING
        async with followed(client, going_on.name) as follower:
            finished = await follower.sees(State.FINISHED, State.FAILED)
        assert (finished.state, finished.bill.inserted) == (State.FINISHED, RECORDS), finished.failure
        assert len(await lines(client, going_on, "TARGET_BUSY")) == 1
        assert len(await lines(client, going_on, "TARGET_FREE")) == 1
    with psycopg.connect(own_postgres.url) as connection:
        assert connection.execute("SELECT count(*) FROM people").fetchone() == (RECORDS,)


@pytest.mark.timeout(120)
async def test_a_locked_database_file_is_waited_for_and_a_cancel_does_not_wait(
    make_daemon: Callable[..., DaemonProcess], folder: Path
) -> None:
    daemon = make_daemon(cancel_grace=0.5)
    daemon.start()
    spec = importing(write_people(folder / "people.csv", RECORDS), chunk_bytes=2_000)
    async with Client(daemon.address) as client:
        job = await client.create_job(spec)
        async with followed(client, job.name) as follower:
            await client.start_job(job.name)
            await follower.sees_records(500)
            with held(daemon.target):
                assert "is locked by another program" in await waits(client, job)
                assert (await client.get_job(job.name)).state is State.RUNNING
                await client.cancel_job(job.name)
                await follower.sees(State.CANCELED)
