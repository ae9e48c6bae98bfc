"""The notifications of a real daemon to the service manager: starts, reloads and ends of every kind."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from lading.v1.job_service_pb2 import WatchJobsRequest
from lading.v1.job_service_pb2_grpc import JobServiceStub
from lading_client.client import Client
from lading_client.model import State
from tests.harness.daemon import descendants, heeds
from tests.harness.jobs import followed, held, importing, write_people
from tests.harness.service_manager import ServiceManager
from tests.harness.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.daemon import DaemonProcess

READY = "READY"
STOPPING = "STOPPING"
RELOADING = "RELOADING+MONOTONIC_USEC"


@pytest.fixture
def manager(folder: Path) -> Iterator[ServiceManager]:
    with ServiceManager(folder / "notify") as listening:
        yield listening


@pytest.fixture
def supervised(make_daemon: Callable[..., DaemonProcess], manager: ServiceManager) -> DaemonProcess:
    """A daemon with a service manager, not yet started."""
    return make_daemon(environment=_environment(manager), shutdown_grace=1.0)


def _environment(manager: ServiceManager) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "300000"}


def test_start_and_stop(supervised: DaemonProcess, manager: ServiceManager) -> None:
    supervised.process = supervised.spawn()
    manager.hears("READY", "1")
    assert manager.said == [READY], "nothing before it serves"
    assert supervised.accepts()
    manager.hears("STATUS", "0 jobs running, 0 waiting, 0 watchers")
    manager.hears("WATCHDOG", "1")
    assert supervised.stop() == 0
    assert manager.said == [READY, STOPPING]


def test_reload(supervised: DaemonProcess, manager: ServiceManager) -> None:
    supervised.start()
    assert supervised.process is not None
    supervised.process.send_signal(signal.SIGHUP)
    reloading = manager.hears("RELOADING")
    assert 0 < time.monotonic() - int(reloading["MONOTONIC_USEC"]) / 1e6 < PATIENCE
    manager.hears("READY")
    supervised.process.send_signal(signal.SIGHUP)
    manager.hears("READY")
    assert supervised.stop() == 0
    assert manager.said == [READY, RELOADING, READY, RELOADING, READY, STOPPING]


def test_no_word_of_it_to_workers(supervised: DaemonProcess) -> None:
    supervised.start()
    until(lambda: supervised.workers, "there are workers")
    assert supervised.process is not None
    for pid in descendants(supervised.process.pid):
        assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()


async def test_stop_with_a_running_job(supervised: DaemonProcess, manager: ServiceManager, folder: Path) -> None:
    supervised.start()
    people = write_people(folder / "people.csv", 3)
    async with Client(supervised.address) as client:
        job = await client.create_job(importing(people))
        with held(supervised.target) as target:
            # The chunk waits for the target, and its worker is killed when the grace is over.
            target.execute("CREATE TABLE people (id INTEGER, name TEXT)")
            target.execute("COMMIT")
            target.execute("BEGIN IMMEDIATE")
            async with followed(client, job.name) as follower:
                await client.start_job(job.name)
                await follower.sees(State.RUNNING)
                await asyncio.to_thread(manager.hears, "STATUS", "1 job running, 0 waiting, 1 watcher")
                supervised.terminate()
                await follower.sees(State.INTERRUPTED)
            assert await asyncio.to_thread(supervised.wait) == 0
    assert manager.said == [READY, STOPPING]
    after = [name for datagram in manager.heard[manager.heard.index(_only(manager, STOPPING)) :] for name in datagram]
    assert after[:3] == ["STOPPING", "STATUS", "EXTEND_TIMEOUT_USEC"]
    assert set(after[3:]) <= {"EXTEND_TIMEOUT_USEC"}, "no sign of life and no other status once it stops"


async def test_stop_with_hung_workers_and_clients_that_do_not_read(
    supervised: DaemonProcess, manager: ServiceManager, folder: Path
) -> None:
    supervised.start()
    people = write_people(folder / "people.csv", 3)
    options = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1 << 16))
    async with (
        Client(supervised.address) as client,
        grpc.aio.insecure_channel(supervised.address, options=options) as channel,
    ):
        # The watcher's events fill the window, so the daemon waits for the watcher.
        large = await client.create_job(importing(people), label="0", description="x" * 8_000)
        job = await client.create_job(importing(people))
        stalled = [JobServiceStub(channel).WatchJobs(WatchJobsRequest()) for _ in range(20)]  # type: ignore[no-untyped-call]
        await asyncio.gather(*(each.read() for each in stalled))
        for number in range(1, 40):
            await client.update_job(large.name, label=str(number))
        with held(supervised.target):
            async with followed(client, job.name) as follower:
                await client.start_job(job.name)
                await follower.sees(State.RUNNING)
                for pid in supervised.workers:
                    os.kill(pid, signal.SIGSTOP)
                begin = time.monotonic()
                supervised.terminate()
                await follower.sees(State.INTERRUPTED)
                assert time.monotonic() - begin < PATIENCE / 4
            assert await asyncio.to_thread(supervised.wait) == 0
        assert time.monotonic() - begin < PATIENCE
        for each in stalled:
            each.cancel()
    assert manager.said == [READY, STOPPING]


async def test_second_signal(make_daemon: Callable[..., DaemonProcess], manager: ServiceManager, folder: Path) -> None:
    supervised = make_daemon(environment=_environment(manager), shutdown_grace=3600.0)
    supervised.start()
    people = write_people(folder / "people.csv", 3)
    async with Client(supervised.address) as client:
        job = await client.create_job(importing(people))
        with held(supervised.target):
            async with followed(client, job.name) as follower:
                await client.start_job(job.name)
                await follower.sees(State.RUNNING)
                supervised.terminate()
                await follower.sees(State.INTERRUPTED)
                supervised.terminate()
                assert await asyncio.to_thread(supervised.wait) == 1
    assert manager.said == [READY, STOPPING]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", ["handler", "_pydantic_core", "cygrpc", "lock", "store.db"])
def test_signal_during_the_start(
    supervised: DaemonProcess, manager: ServiceManager, step: str, number: signal.Signals
) -> None:
    """A signal at any moment of the start: the daemon exits with 0, and the manager gets no false notification."""
    process = supervised.spawn()
    until(lambda: _got_to(step, process.pid, supervised), f"the start is at {step}")
    process.send_signal(number)
    assert process.wait(PATIENCE) == 0, supervised.log.read_text()
    assert manager.said in ([], [STOPPING], [READY, STOPPING])
    assert not supervised.socket.exists()


def _got_to(step: str, pid: int, daemon: DaemonProcess) -> bool:
    """Whether a starting daemon handles signals, has loaded a library, or has created a file."""
    if step in ("lock", "store.db"):
        return (daemon.state_dir / step).exists()
    if step == "handler":
        return heeds(pid, signal.SIGTERM)
    return step in Path(f"/proc/{pid}/maps").read_text()


async def test_signal_during_the_recovery(supervised: DaemonProcess, manager: ServiceManager, folder: Path) -> None:
    supervised.start()
    people = write_people(folder / "people.csv", 3)
    async with Client(supervised.address) as client:
        job = await client.create_job(importing(people))
        with held(supervised.target):
            async with followed(client, job.name) as follower:
                await client.start_job(job.name)
                await follower.sees(State.RUNNING)
            await asyncio.to_thread(supervised.kill)
    said = len(manager.said)
    with held(supervised.state_dir / "store.db"):
        # The start waits for the store, to recover the left job.
        process = supervised.spawn()
        await asyncio.to_thread(until, lambda: _holds(process.pid, "store.db-wal"), "the recovery has begun")
        process.terminate()
        await asyncio.to_thread(manager.hears, STOPPING)
    assert process.wait(PATIENCE) == 0, supervised.log.read_text()
    assert manager.said[said:] == [STOPPING], "it was never ready"
    supervised.start()
    async with Client(supervised.address) as client, followed(client, job.name) as follower:
        finished = await follower.sees(State.FINISHED)
    assert finished.bill.read == finished.bill.inserted == 3


def _holds(pid: int, name: str) -> bool:
    """Whether a process has a file of this name open."""
    names = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # Closed since it was listed.
            names.append(os.readlink(path))
    return any(each.endswith(name) for each in names)


def test_signal_during_a_reload(supervised: DaemonProcess, manager: ServiceManager) -> None:
    supervised.start()
    assert supervised.process is not None
    # The signals follow each other directly, so the reload may or may not be done.
    supervised.process.send_signal(signal.SIGHUP)
    supervised.process.send_signal(signal.SIGTERM)
    assert supervised.wait() == 0
    assert manager.said in ([READY, STOPPING], [READY, RELOADING, STOPPING], [READY, RELOADING, READY, STOPPING])


def test_a_hangup_before_it_is_ready_is_a_reload(supervised: DaemonProcess, manager: ServiceManager) -> None:
    supervised.process = supervised.spawn()
    pid = supervised.process.pid
    until(lambda: _got_to("handler", pid, supervised), "it heeds signals")
    supervised.process.send_signal(signal.SIGHUP)
    manager.hears("READY")
    assert supervised.stop() == 0
    assert manager.said in ([READY, STOPPING], [READY, RELOADING, READY, STOPPING])


def _only(manager: ServiceManager, names: str) -> dict[str, str]:
    (found,) = [datagram for datagram in manager.heard if names in datagram]
    return found
