"""The notifications to the service manager."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.core.errors import StoreUnusable
from ladingd.core.state import State
from ladingd.host.sd_notify import SdNotify
from ladingd.host.supervision import Supervision, awaited_start
from ladingd.run.watch.notifier import Notifier
from tests.harness.service_manager import ServiceManager
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, folder: Path) -> Iterator[ServiceManager]:
    with ServiceManager(folder / "notify", abstract=request.param == "abstract") as listening:
        yield listening


def test_every_message_is_one_datagram(manager: ServiceManager) -> None:
    sd_notify = SdNotify(manager.address)
    sd_notify.ready("serves\nby two lines")
    sd_notify.status("1 job running")
    sd_notify.reloading()
    sd_notify.alive()
    sd_notify.stopping("shutting down")
    sd_notify.extend(2.5)
    manager.settle()
    ready, status, reloading, alive, stopping, extend = manager.heard
    assert ready == {"READY": "1", "STATUS": "serves by two lines"}
    assert status == {"STATUS": "1 job running"}
    assert reloading.keys() == {"RELOADING", "MONOTONIC_USEC"}
    assert reloading["MONOTONIC_USEC"].isdecimal()
    assert stopping == {"STOPPING": "1", "STATUS": "shutting down"}
    assert extend == {"EXTEND_TIMEOUT_USEC": "2500000"}
    assert alive == {"WATCHDOG": "1"}


def test_nothing_takes_the_end_back(manager: ServiceManager) -> None:
    sd_notify = SdNotify(manager.address)
    sd_notify.stopping("shutting down")
    sd_notify.reloading()
    sd_notify.ready("ready")
    sd_notify.status("1 job running")
    sd_notify.alive()
    sd_notify.stopping("shutting down")
    sd_notify.extend(1)
    assert manager.said == ["STOPPING"]
    assert [*map(list, manager.heard)] == [["STOPPING", "STATUS"], ["EXTEND_TIMEOUT_USEC"]]


def test_the_environment_is_read_once_and_not_left_to_others(
    manager: ServiceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    sd_notify = SdNotify.from_environment()
    assert (sd_notify.listened_to, sd_notify.watchdog_seconds) == (True, 3.0)
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()
    assert not SdNotify.from_environment().listened_to


def test_the_watchdog_of_another_process_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "@nobody")
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert SdNotify.from_environment().watchdog_seconds is None


def test_nobody_to_tell(caplog: pytest.LogCaptureFixture) -> None:
    SdNotify().ready("ready")
    assert not caplog.records


def test_a_manager_that_is_gone_is_told_of_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    sd_notify = SdNotify(str(folder / "nobody"))
    with caplog.at_level(logging.WARNING):
        sd_notify.ready("ready")
        sd_notify.alive()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "the service manager cannot be notified (READY=1)"
    ]


class FakeStore:
    """A store that answers, hangs or fails."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.answers.set()
        self.unusable = False
        self.states = {State.RUNNING: 1, State.PAUSING: 1, State.FINISHED: 4}

    async def written(self) -> None:
        await self.answers.wait()
        if self.unusable:
            raise StoreUnusable("store.db", "disk I/O error")

    async def numbers(self) -> dict[State, int]:
        return self.states


def supervision(manager: ServiceManager, store: Any) -> tuple[Supervision, Notifier]:
    notifier = Notifier()
    sd_notify = SdNotify(manager.address, watchdog_seconds=0.15)
    return Supervision(sd_notify, jobs=store, listen=notifier.listen, watchers=lambda: 1), notifier


async def test_signs_of_life_depend_on_the_store(manager: ServiceManager) -> None:
    store = FakeStore()
    task = asyncio.create_task(supervision(manager, store)[0].live())
    await asyncio.to_thread(manager.hears, "WATCHDOG")
    store.answers.clear()
    with pytest.raises(AssertionError):
        await asyncio.to_thread(lambda: [manager.hears("WATCHDOG", patience=0.3) for _ in range(3)])
    store.answers.set()
    await asyncio.to_thread(manager.hears, "WATCHDOG")
    store.unusable = True
    with pytest.raises(AssertionError):
        await asyncio.to_thread(lambda: [manager.hears("WATCHDOG", patience=0.3) for _ in range(3)])
    task.cancel()
    await asyncio.wait([task])


async def test_the_status_is_told_when_it_is_another_one(
    manager: ServiceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ladingd.host.supervision.STATUS_SECONDS", 0.05)
    store = FakeStore()
    telling, notifier = supervision(manager, store)
    task = asyncio.create_task(telling.tell())
    await asyncio.to_thread(manager.hears, "STATUS", "2 jobs running, 0 waiting, 1 watcher")
    for _ in range(20):
        notifier.notify("a")
        await asyncio.sleep(0.01)
    store.states = {State.RUNNING: 1, State.QUEUED: 2}
    notifier.notify("a")
    await asyncio.to_thread(manager.hears, "STATUS", "1 job running, 2 waiting, 1 watcher")
    assert len(manager.heard) == 2
    task.cancel()
    await asyncio.wait([task])


async def test_the_status_says_what_the_store_waits_for_without_asking_it(manager: ServiceManager) -> None:
    sd_notify = SdNotify(manager.address)
    telling = Supervision(
        sd_notify,
        jobs=None,
        listen=Notifier().listen,
        watchers=lambda: 1,
        waits=lambda: "the store is locked by process 7",
    )  # type: ignore[arg-type]
    assert await telling.status() == "waiting: the store is locked by process 7"
    async with awaited_start(sd_notify, lambda: "the store is locked by process 7"):
        await asyncio.to_thread(manager.hears, "STATUS", "starting, waiting: the store is locked by process 7")
        await asyncio.to_thread(manager.hears, "EXTEND_TIMEOUT_USEC")


def test_what_is_sent_leaves_no_descriptor_open(manager: ServiceManager) -> None:
    sd_notify = SdNotify(manager.address)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        sd_notify.alive()
    until(lambda: len(os.listdir("/proc/self/fd")) == before, "descriptors as before")
