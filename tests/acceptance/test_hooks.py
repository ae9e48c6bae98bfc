"""Hooks of jobs whose daemon dies, or that are paused or cancelled meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from lading_client.client import Client
from lading_client.errors import InvalidArgument
from lading_client.model import State
from lading_client.spec import File, ImportSpec, JobSpec, Table
from tests.harness.jobs import write_people
from tests.harness.waiting import until, until_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lading_client.model import Job
    from tests.harness.daemon import DaemonProcess

_SLEEPS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
SLOW = "INSERT INTO marks VALUES (1); SELECT pg_sleep(600)"


class Depot:
    """A daemon with a database of this test, in which the table ``marks`` says which hooks have run."""

    def __init__(self, url: str, daemon: DaemonProcess, file: Path) -> None:
        self.url = url
        self.daemon = daemon
        self.file = file

    def sql(self, query: str) -> list[tuple[int, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql.SQL(query))
            return cursor.fetchall() if cursor.description else []

    def sleeps(self) -> bool:
        """Whether a hook sleeps in the database."""
        return self.sql(_SLEEPS) != [(0,)]

    def spec(self, **hooks: tuple[str, ...]) -> JobSpec:
        target = Table(connection="depot", table="people")
        return JobSpec(kind=ImportSpec(files=(File(path=str(self.file).lstrip("/")),), target=target, **hooks))

    async def begin(self, **hooks: tuple[str, ...]) -> Job:
        async with Client(self.daemon.address) as client:
            job = await client.create_job(self.spec(**hooks))
            return await client.start_job(job.name)

    async def rests(self, job: Job, state: State) -> Job:
        """Wait until a job has a state."""

        async def reached() -> Job | None:
            async with Client(self.daemon.address) as client:
                found = await client.get_job(job.name)
            return found if found.state is state else None

        return await until_async(reached, f"the job is {state}")


@pytest.fixture
def depot(postgres: str, folder: Path, make_daemon: Callable[..., DaemonProcess]) -> Iterator[Depot]:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE depot")
    url = postgres.replace("/postgres?", "/depot?")
    daemon = make_daemon(connections={"depot": url}, hooks=True, cancel_grace=0.5, pause_grace=0.5)
    made = Depot(url, daemon, write_people(folder / "people.csv", 100))
    made.sql("CREATE TABLE marks (n int)")
    daemon.start()
    yield made
    daemon.clean_up()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE depot WITH (FORCE)")


async def test_a_hook_is_undone_with_its_daemon_and_runs_again(depot: Depot) -> None:
    job = await depot.begin(before=("INSERT INTO marks VALUES (0)", SLOW))
    until(depot.sleeps, "the second hook runs")
    depot.daemon.kill()
    until(lambda: not depot.sleeps(), "the server has noticed it")
    assert depot.sql("SELECT n FROM marks") == [(0,)]
    depot.daemon.start()
    until(depot.sleeps, "it runs again")
    async with Client(depot.daemon.address) as client:
        await client.cancel_job(job.name)
    await depot.rests(job, State.CANCELED)
    assert not depot.sleeps()
    assert depot.sql("SELECT n FROM marks") == [(0,)], "the first hook has not run again"
    assert depot.sql("SELECT to_regclass('people')::int") == [(None,)], "nothing was loaded"


async def test_a_job_that_is_paused_in_a_hook_goes_on_with_it(depot: Depot) -> None:
    job = await depot.begin(after=("INSERT INTO marks SELECT count(*) FROM people", SLOW))
    until(depot.sleeps, "the second hook runs")
    async with Client(depot.daemon.address) as client:
        await client.pause_job(job.name)
        await depot.rests(job, State.PAUSED)
        assert not depot.sleeps()
        assert depot.sql("SELECT n FROM marks") == [(100,)]
        depot.sql("CREATE FUNCTION public.pg_sleep(int) RETURNS void LANGUAGE sql AS ''; "
                  "ALTER DATABASE depot SET search_path = public, pg_catalog")  # fmt: skip
        await client.start_job(job.name)
        await depot.rests(job, State.FINISHED)
        told = [entry.message async for entry in client.journal(job.name) if entry.code == "HOOK"]
    assert depot.sql("SELECT n FROM marks ORDER BY n") == [(1,), (100,)]
    assert depot.sql("SELECT count(*) FROM people") == [(100,)]
    first = "hook after 1 of 2: 1 row, "
    assert [text[: len(first)] for text in told[:1]] == [first]
    assert any(text.startswith("hook after 1 of 2 has run already: 1 row, ") for text in told[1:])


async def test_without_leave_no_job_with_hooks_is_made(depot: Depot) -> None:
    depot.daemon.stop()
    config = depot.daemon.config
    config.write_text(config.read_text().replace("hooks = true\n", ""))
    depot.daemon.start()
    with pytest.raises(InvalidArgument, match=r"set hooks = true in \[connections.depot\]"):
        await depot.begin(before=("SELECT 1",))


async def test_leave_that_is_withdrawn_stops_hooks(depot: Depot) -> None:
    async with Client(depot.daemon.address) as client:
        job = await client.create_job(depot.spec(before=("INSERT INTO marks VALUES (1)",)))
        depot.daemon.stop()
        config = depot.daemon.config
        config.write_text(config.read_text().replace("hooks = true\n", ""))
        depot.daemon.start()
        await client.start_job(job.name)
        failed = await depot.rests(job, State.FAILED)
    assert failed.failure is not None
    assert "does not allow hooks any more" in failed.failure.message
    assert depot.sql("SELECT n FROM marks") == []
