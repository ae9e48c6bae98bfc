"""SIGTERM and ``kill -9`` in the middle of an import: no record is lost or doubled."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from lading_client.client import Client
from lading_client.model import State
from tests.harness.jobs import followed, importing, rows, write_people

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.daemon import DaemonProcess

RECORDS = 20_000


@pytest.mark.parametrize("how", ["shutdown", "crash"])
async def test_continues_after_the_last_committed_chunk(daemon: DaemonProcess, folder: Path, how: str) -> None:
    people = write_people(folder / "people.csv", RECORDS)
    async with Client(daemon.address) as client:
        job = await client.create_job(importing(people, chunk_bytes=2_000))
        async with followed(client, job.name) as follower:
            await client.start_job(job.name)
            await follower.sees_records(500)
            if how == "shutdown":
                begin = time.monotonic()
                daemon.terminate()
                interrupted = await follower.sees(State.INTERRUPTED)
                assert time.monotonic() - begin < 1.0
                assert interrupted.failure is not None
                assert daemon.wait() == 0
            else:
                daemon.kill()
            before = len(rows(daemon.target))
            assert 0 < before < RECORDS, "it was stopped in the middle"
            daemon.start()
            finished = await follower.sees(State.FINISHED)
    # Chunks are committed in any order, so the rows are not in the order of the file.
    assert sorted(rows(daemon.target)) == [(index, f"person {index}") for index in range(1, RECORDS + 1)]
    assert finished.bill.read == finished.bill.inserted == RECORDS
    assert finished.counters.total == RECORDS
    assert finished.attempt == 2
    with sqlite3.connect(daemon.target) as connection:
        attempts = dict(connection.execute("SELECT attempt, count(*) FROM lading_ledger GROUP BY attempt").fetchall())
    connection.close()
    assert set(attempts) == {1, 2}, "chunks of the first attempt are not done again"


def test_a_second_daemon_is_refused(daemon: DaemonProcess) -> None:
    second = daemon.spawn()
    assert second.wait(20) == 75
    assert "another daemon holds the state directory" in daemon.log.read_text()
    assert daemon.stop() == 0


def test_a_second_signal_ends_at_once(daemon: DaemonProcess) -> None:
    daemon.terminate()
    try:
        daemon.terminate()
    except ProcessLookupError:
        return  # The job was done before.
    assert daemon.wait() in (0, 1)


def test_a_daemon_that_cannot_start_says_why(daemon: DaemonProcess) -> None:
    assert daemon.stop() == 0
    store = daemon.state_dir / "store.db"
    store.write_bytes(b"this is no database, " * 1000)
    refused = daemon.spawn()
    assert refused.wait(20) == 1
    assert str(store) in daemon.log.read_text().splitlines()[-1]
