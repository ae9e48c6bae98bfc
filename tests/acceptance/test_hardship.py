"""Hard conditions for a daemon: killed processes, vanishing jobs, two jobs with the same id."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from typing import TYPE_CHECKING

import pytest

from lading_client.client import Client
from lading_client.errors import LadingError, NotFound
from lading_client.model import State, WatchKind
from tests.harness.jobs import followed, held, importing, rows, write_people
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.daemon import DaemonProcess


BAD = range(100, 6_000, 500)


def lines_of(people: Path) -> None:
    """Write records, of which some have too many fields."""
    lines = write_people(people, 6_000).read_text().splitlines()
    for number in BAD:
        lines[number] += ",too,many"
    people.write_text("\n".join(lines) + "\n")


def elements_of(people: Path) -> None:
    """Write records, of which some are not well-formed."""
    records = [
        f"<person><id>{number}</id><name>person {number}</name>{'' if number in BAD else '</person>'}"
        for number in range(1, 6_001)
    ]
    people.write_text("\n".join(["<people>", *records, "</people>"]))


@pytest.mark.parametrize(("name", "write"), [("people.csv", lines_of), ("people.xml", elements_of)])
async def test_workers_and_daemons_that_are_killed_at_random(
    make_daemon: Callable[..., DaemonProcess], folder: Path, name: str, write: Callable[[Path], None]
) -> None:
    """Every record, also each reject, appears exactly once."""
    daemon = make_daemon(shutdown_grace=1.0)
    daemon.start()
    people = folder / name
    write(people)
    chance = random.Random(5)
    async with Client(daemon.address) as client:
        job = await client.create_job(importing(people, chunk_bytes=1_000))
        async with followed(client, job.name) as follower:
            await client.start_job(job.name)
            processed = 0
            while processed < 4_500:
                # Real progress between two deaths: a call that loses three workers in a row fails its job by design.
                processed = (await follower.sees_records(processed + 400)).counters.processed
                if chance.random() < 0.4:
                    daemon.kill()
                    daemon.start()
                else:
                    victims = await asyncio.to_thread(until, lambda: daemon.workers, "there are workers")
                    os.kill(chance.choice(victims), signal.SIGKILL)
            finished = await follower.sees(State.FINISHED, State.FAILED)
        rejects = [reject.line async for reject in client.rejects(job.name)]
    assert finished.state is State.FINISHED, finished.failure
    assert finished.bill.read == 6_000
    assert finished.bill.inserted == 6_000 - len(BAD)
    expected = [(index, f"person {index}") for index in range(1, 6_001) if index not in BAD]
    assert sorted(rows(daemon.target)) == expected
    assert rejects == [number + 1 for number in BAD]


async def test_jobs_that_are_deleted_as_soon_as_they_rest(daemon: DaemonProcess, folder: Path) -> None:
    people = write_people(folder / "people.csv", 200)

    async def one(client: Client) -> None:
        job = await client.create_job(importing(people, chunk_bytes=500))
        await client.start_job(job.name)
        await client.cancel_job(job.name)
        async with asyncio.timeout(20):
            while True:
                try:
                    await client.delete_job(job.name)
                except LadingError:
                    await asyncio.sleep(0)
                else:
                    return

    async with Client(daemon.address) as client:
        for _ in range(5):
            await asyncio.gather(*(one(client) for _ in range(6)))
        assert [job async for job in client.list_jobs()] == []
    assert daemon.stop() == 0


async def test_a_shutdown_while_slots_are_handed_out(make_daemon: Callable[..., DaemonProcess], folder: Path) -> None:
    daemon = make_daemon(shutdown_grace=0.2, slots=2)
    daemon.start()
    people = write_people(folder / "people.csv", 5_000)
    async with Client(daemon.address) as client:
        for _ in range(6):
            job = await client.create_job(importing(people, chunk_bytes=1_000))
            await client.start_job(job.name)
    assert daemon.stop() == 0
    for pause in (0.0, 0.05, 0.2):
        daemon.start()
        await asyncio.sleep(pause)  # Any moment must work: everything under way must end well.
        assert daemon.stop() == 0


async def test_two_daemons_with_jobs_of_the_same_name_in_one_target(
    make_daemon: Callable[..., DaemonProcess], folder: Path
) -> None:
    people = write_people(folder / "people.csv", 50)
    one, other = make_daemon(), make_daemon()
    other.config.write_text(other.config.read_text().replace(str(other.target), str(one.target)))
    for daemon in (one, other):
        daemon.start()
        async with Client(daemon.address) as client:
            job = await client.create_job(importing(people), job_id="same")
            async with followed(client, job.name) as follower:
                await client.start_job(job.name)
                await follower.sees(State.FINISHED)
    assert len(rows(one.target)) == 100


async def test_a_target_that_was_replaced(daemon: DaemonProcess, folder: Path) -> None:
    people = write_people(folder / "people.csv", 20_000)
    async with Client(daemon.address) as client:
        job = await client.create_job(importing(people, chunk_bytes=2_000))
        async with followed(client, job.name) as follower:
            await client.start_job(job.name)
            await follower.sees_records(500)
            await client.pause_job(job.name)
            paused = await follower.sees(State.PAUSED)
            daemon.target.rename(folder / "elsewhere.db")
            await client.start_job(job.name)
            failed = await follower.sees(State.FAILED)
    assert failed.failure is not None
    assert failed.failure.code == "LEDGER_LOST"
    assert failed.bill == paused.bill
    assert not daemon.target.exists()


async def test_two_jobs_planned_before_their_table_was_made(daemon: DaemonProcess, folder: Path) -> None:
    numbers, words = folder / "numbers.csv", folder / "words.csv"
    numbers.write_text("id,name\n1,Ann\n")
    words.write_text("id,name\none,Bob\n2,Cid\n")
    async with Client(daemon.address) as client:
        jobs = [await client.create_job(importing(path)) for path in (numbers, words)]
        for job in jobs:
            async with followed(client, job.name) as follower:
                await client.start_job(job.name)
                done = await follower.sees(State.FINISHED, State.FAILED)
        rejects = [reject async for reject in client.rejects(jobs[1].name)]
    assert done.state is State.FINISHED
    assert [(reject.line, reject.column, reject.value) for reject in rejects] == [(2, "id", "one")]
    assert rows(daemon.target) == [(1, "Ann"), (2, "Cid")]


async def test_a_repeated_creation_makes_one_job_though_its_file_is_gone(daemon: DaemonProcess, folder: Path) -> None:
    people = write_people(folder / "people.csv", 5)
    request = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
    async with Client(daemon.address) as client:
        job = await client.create_job(importing(people), request_id=request)
        people.unlink()
        assert await client.create_job(importing(people), request_id=request) == job


async def test_a_watch_of_a_revision_that_never_was_lists_anew(daemon: DaemonProcess, folder: Path) -> None:
    async with Client(daemon.address) as client:
        job = await client.create_job(importing(write_people(folder / "people.csv", 5)))
        async with asyncio.timeout(20):
            async for event in client.watch(revision=1_000):
                assert event.job is not None
                assert event.job.name == job.name
                break


async def test_a_watch_of_a_deleted_job_ends(daemon: DaemonProcess, folder: Path) -> None:
    async with Client(daemon.address) as client:
        job = await client.create_job(importing(write_people(folder / "people.csv", 5)))
        async with followed(client, job.name) as follower:
            await follower.sees(State.EDITING)
            await client.delete_job(job.name)
            watch = client.watch(job.name, revision=job.revision)
            assert (await anext(watch)).kind is WatchKind.DELETED
            with pytest.raises(NotFound):
                await anext(watch)


async def test_a_spec_is_checked_while_all_workers_are_busy(daemon: DaemonProcess, folder: Path) -> None:
    people = write_people(folder / "people.csv", 5)
    async with Client(daemon.address) as client:
        with held(daemon.target):
            for _ in range(4):
                job = await client.create_job(importing(people))
                await client.start_job(job.name)
            async with asyncio.timeout(5):
                await client.create_job(importing(people))
