"""Interrupted exports: the number of moments that their files show, and the sessions left in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from lading_client.client import Client
from lading_client.model import State
from lading_client.spec import ExportSpec, File, JobSpec, Table
from tests.harness.jobs import followed
from tests.harness.waiting import until_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lading_client.model import Job
    from tests.harness.daemon import DaemonProcess

ROWS = 20_000
MAKE = f"""
CREATE TABLE slow (id int PRIMARY KEY, a text);
INSERT INTO slow SELECT i, 'old' FROM generate_series(1, {ROWS}) i
"""
WRITE = "UPDATE slow SET a = 'new'"
SESSIONS = "SELECT application_name, state FROM pg_stat_activity WHERE application_name LIKE %s AND state <> 'idle'"


@pytest.fixture
def slow(postgres: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection to the database of the table ``slow``."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(MAKE)  # type: ignore[arg-type]
        yield connection
        connection.execute("DROP TABLE slow")


def exporting(path: Path, *, consistent: bool = False) -> JobSpec:
    file = File(path=str(path).lstrip("/"))
    return JobSpec(kind=ExportSpec(table=Table(table="slow"), file=file, chunk_keys=100, consistent=consistent))


async def said(client: Client, job: Job) -> dict[str, str]:
    """The last message of each code in a journal."""
    return {entry.code: entry.message async for entry in client.journal(job.name)}


@pytest.mark.parametrize("consistent", [False, True])
async def test_a_daemon_that_is_killed_in_the_middle(
    make_daemon: Callable[..., DaemonProcess],
    folder: Path,
    postgres: str,
    slow: psycopg.Connection[tuple[object, ...]],
    consistent: bool,
) -> None:
    daemon, path = make_daemon(connections={"local": postgres}), folder / "out.csv"
    daemon.start()
    async with Client(daemon.address) as client:
        job = await client.create_job(exporting(path, consistent=consistent))
        async with followed(client, job.name) as follower:
            await client.start_job(job.name)
            await follower.sees_records(500)
            daemon.kill()
            slow.execute(WRITE)
            daemon.start()
            finished = await follower.sees(State.FINISHED, State.FAILED)
        assert finished.state is State.FINISHED, finished.failure
        assert finished.bill.read == finished.bill.inserted == ROWS
        journal = await said(client, job)
    lines = path.read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["id", *map(str, range(1, ROWS + 1))]
    values = {line.partition(",")[2] for line in lines[1:]}
    if consistent:
        assert values == {"new"}
        assert "starts over" in journal["STARTS_OVER"]
        assert journal["RESULT"].startswith("all chunks see the table at one moment (")
    else:
        assert values == {"old", "new"}
        assert journal["RESULT"].startswith("the chunks see the table at 2 moments (")


async def test_a_paused_export_keeps_no_session(
    make_daemon: Callable[..., DaemonProcess],
    folder: Path,
    postgres: str,
    slow: psycopg.Connection[tuple[object, ...]],
) -> None:
    daemon, path = make_daemon(connections={"local": postgres}), folder / "out.csv"
    daemon.start()
    async with Client(daemon.address) as client:
        job = await client.create_job(exporting(path))
        name = f"ladingd {job.uid}/%"
        async with followed(client, job.name) as follower:
            await client.start_job(job.name)
            await follower.sees_records(500)

            async def holds_a_snapshot() -> bool:
                return "idle in transaction" in {state for _, state in slow.execute(SESSIONS, (name,)).fetchall()}

            await until_async(holds_a_snapshot, "a session holds the snapshot")
            await client.pause_job(job.name)
            paused = await follower.sees(State.PAUSED, State.FAILED)
            assert paused.state is State.PAUSED, paused.failure
            assert slow.execute(SESSIONS, (name,)).fetchall() == []
            await client.start_job(job.name)
            finished = await follower.sees(State.FINISHED, State.FAILED)
            assert finished.state is State.FINISHED, finished.failure
            assert slow.execute(SESSIONS, (name,)).fetchall() == []
        journal = await said(client, job)
    assert journal["RESULT"].startswith("all chunks see the table at one moment ("), "nobody has written"
