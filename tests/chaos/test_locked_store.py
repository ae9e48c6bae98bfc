"""Another process locks the daemon's own store: the daemon waits, reports it, and continues by itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from lading_client.client import Client
from lading_client.errors import StoreBusy
from lading_client.model import State
from tests.harness.disk import small_disk
from tests.harness.jobs import followed, held, importing, rows, write_people
from tests.harness.service_manager import ServiceManager
from tests.harness.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.daemon import DaemonProcess

pytestmark = pytest.mark.timeout(120)

RECORDS = 3_000
LOCKED = 7.0
"""Seconds, longer than any busy timeout of SQLite and than the watchdog."""


@pytest.fixture
def manager(folder: Path) -> Iterator[ServiceManager]:
    with ServiceManager(folder / "notify") as listening:
        yield listening


def supervised(make_daemon: Callable[..., DaemonProcess], manager: ServiceManager) -> DaemonProcess:
    """A daemon that shows a sign of life every second."""
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000000"}
    return make_daemon(environment=environment, shutdown_grace=1.0)


def says(daemon: DaemonProcess, text: str) -> None:
    until(lambda: text in daemon.log.read_text(), f"the log says {text!r}")


async def test_a_lock_of_any_length_ends_neither_job_nor_daemon(
    make_daemon: Callable[..., DaemonProcess], manager: ServiceManager, folder: Path
) -> None:
    daemon = supervised(make_daemon, manager)
    people = write_people(folder / "people.csv", RECORDS)
    daemon.start()
    async with Client(daemon.address, timeout=60.0) as client, Client(daemon.address, timeout=2.0) as hasty:
        job = await client.create_job(importing(people, chunk_bytes=2_000))
        other = await client.create_job(importing(people))
        async with followed(client, job.name) as follower:
            with held(daemon.target) as target:
                await client.start_job(job.name)
                await follower.sees(State.RUNNING)
                with held(daemon.state_dir / "store.db"):
                    begin = time.monotonic()
                    target.execute("COMMIT")
                    label = asyncio.create_task(client.update_job(other.name, label="waited"))
                    with pytest.raises(StoreBusy) as refused:
                        await hasty.cancel_job(other.name)
                    assert refused.value.retry_delay is not None
                    assert time.monotonic() - begin < 2.0
                    await asyncio.to_thread(manager.hears, "STATUS")
                    until(lambda: any("is locked by" in said.get("STATUS", "") for said in manager.heard), "the status")
                    before = sum("WATCHDOG" in said for said in manager.heard)
                    while time.monotonic() - begin < LOCKED:
                        assert (await client.get_job(other.name)).label == "", "reading goes on"
                        await asyncio.sleep(0.2)
                    assert sum("WATCHDOG" in said for said in manager.heard) > before, "it is alive"
                    assert not label.done()
                finished = await follower.sees(State.FINISHED, State.FAILED)
        assert (await label).label == "waited"
        assert finished.state is State.FINISHED, finished.failure
        assert (finished.bill.read, finished.bill.inserted) == (RECORDS, RECORDS)
        assert len(rows(daemon.target)) == RECORDS
        outcomes = {(entry.method.rpartition("/")[2], entry.outcome) async for entry in client.audit()}
        assert {("UpdateJob", "OK"), ("CancelJob", "UNAVAILABLE")} <= outcomes, "no deed is lost"
    assert daemon.stop() == 0
    log = daemon.log.read_text()
    assert "Traceback" not in log
    assert "let that process finish, or end it" in log
    assert "the store is free again" in log


async def test_a_shutdown_that_cannot_be_written_says_so_and_the_next_start_goes_on(
    make_daemon: Callable[..., DaemonProcess], folder: Path
) -> None:
    daemon = make_daemon(shutdown_grace=1.0)
    people = write_people(folder / "people.csv", RECORDS)
    daemon.start()
    async with Client(daemon.address, timeout=60.0) as client:
        job = await client.create_job(importing(people, chunk_bytes=2_000))
        async with followed(client, job.name) as follower:
            with held(daemon.target):
                await client.start_job(job.name)
                await follower.sees(State.RUNNING)
                with held(daemon.state_dir / "store.db"):
                    begin = time.monotonic()
                    assert await asyncio.to_thread(daemon.stop) == 1
                    assert time.monotonic() - begin < 12.0
    log = daemon.log.read_text()
    assert "Traceback" not in log
    assert "cannot mark the running jobs as interrupted, the next start will do it" in log
    daemon.start()
    async with Client(daemon.address, timeout=60.0) as client, followed(client, job.name) as follower:
        finished = await follower.sees(State.FINISHED, State.FAILED)
    assert (finished.state, finished.bill.inserted) == (State.FINISHED, RECORDS)
    assert len(rows(daemon.target)) == RECORDS


def test_a_start_waits_for_the_lock_and_says_so(
    make_daemon: Callable[..., DaemonProcess], manager: ServiceManager
) -> None:
    daemon = supervised(make_daemon, manager)
    daemon.start()
    assert daemon.stop() == 0
    with held(daemon.state_dir / "store.db"):
        daemon.process = daemon.spawn()
        until(lambda: any("starting, waiting" in said.get("STATUS", "") for said in manager.heard), "it says so")
        until(lambda: any("EXTEND_TIMEOUT_USEC" in said for said in manager.heard), "it asks for patience")
        assert not daemon.accepts()
    until(daemon.accepts, "it serves")
    assert daemon.stop() == 0


def test_a_start_does_not_wait_for_ever(make_daemon: Callable[..., DaemonProcess]) -> None:
    daemon = make_daemon()
    daemon.start()
    assert daemon.stop() == 0
    script = "import ladingd.daemon; ladingd.daemon.START_TIMEOUT = 1.0; from ladingd.__main__ import main; main()"
    with held(daemon.state_dir / "store.db"):
        done = subprocess.run(
            [sys.executable, "-c", script, "--config", str(daemon.config)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "ladingd: the daemon's own store is locked by process" in done.stderr


async def test_a_store_that_is_removed_stops_the_daemon_in_order(
    make_daemon: Callable[..., DaemonProcess], folder: Path
) -> None:
    daemon = make_daemon(shutdown_grace=1.0)
    people = write_people(folder / "people.csv", 5)
    daemon.start()
    async with Client(daemon.address, timeout=60.0) as client:
        await client.create_job(importing(people))
        (daemon.state_dir / "store.db").unlink()
        assert daemon.process is not None
        assert await asyncio.to_thread(daemon.wait) == 1
    log = daemon.log.read_text()
    assert "Traceback" not in log
    assert "store.db was removed or replaced while the daemon was running" in log


async def test_without_a_reserve_a_full_disk_is_waited_for_across_a_restart(
    make_daemon: Callable[..., DaemonProcess], folder: Path
) -> None:
    daemon = make_daemon(disk_reserve=0, shutdown_grace=1.0)
    people = write_people(folder / "people.csv", RECORDS)
    with small_disk(daemon.state_dir, 64 << 20) as disk:
        daemon.start()
        try:
            async with Client(daemon.address, timeout=60.0) as client:
                job = await client.create_job(importing(people, chunk_bytes=2_000))
                async with followed(client, job.name) as follower:
                    with held(daemon.target):
                        await client.start_job(job.name)
                        await follower.sees(State.RUNNING)
                        daemon.kill()
                        (daemon.state_dir / "ballast").unlink(missing_ok=True)
                        await asyncio.to_thread(disk.fill)
                        daemon.start()
                        shown = await client.get_job(job.name)
                        assert shown.state is State.RUNNING, "what can be read is shown"
                    says(daemon, "the jobs that were running are taken over when there is space")
                    assert await asyncio.to_thread(daemon.stop) == 1
                    daemon.start()
                    disk.empty()
                    finished = await follower.sees(State.FINISHED, State.FAILED)
            assert (finished.state, finished.bill.inserted) == (State.FINISHED, RECORDS)
            assert len(rows(daemon.target)) == RECORDS
            assert daemon.stop() == 0
            assert "Traceback" not in daemon.log.read_text()
        finally:
            daemon.clean_up()


async def test_a_full_disk_of_the_log_alone_changes_nothing(
    make_daemon: Callable[..., DaemonProcess], folder: Path
) -> None:
    daemon = make_daemon(shutdown_grace=1.0)
    people = write_people(folder / "people.csv", RECORDS)
    with small_disk(folder / "small", 1 << 20) as disk:
        daemon.log = disk.path / "daemon.log"
        daemon.start()
        try:
            async with Client(daemon.address, timeout=60.0) as client:
                disk.fill()
                job = await client.create_job(importing(people, chunk_bytes=2_000))
                async with followed(client, job.name) as follower:
                    await client.start_job(job.name)
                    finished = await follower.sees(State.FINISHED, State.FAILED)
            assert (finished.state, finished.bill.inserted) == (State.FINISHED, RECORDS)
            assert daemon.stop() == 0
        finally:
            daemon.clean_up()
