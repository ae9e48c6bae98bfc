"""SIGHUP: a real daemon reads its configuration again and goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from lading.v1 import job_service_pb2 as pb
from lading.v1.job_service_pb2_grpc import JobServiceStub
from lading_client.client import Client
from lading_client.errors import LadingError
from lading_client.model import State
from lading_client.spec import File, ImportSpec, JobSpec, Table
from tests.harness.certificates import Authority, secure_channel
from tests.harness.jobs import followed, held, importing, rows, write_people
from tests.harness.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.daemon import DaemonProcess


def reload(daemon: DaemonProcess) -> str:
    """Send SIGHUP, and wait for the daemon's message."""
    assert daemon.process is not None
    before = len(told(daemon))
    daemon.process.send_signal(signal.SIGHUP)
    return until(lambda: told(daemon)[before:], "the daemon says what it has reloaded")[0]


def told(daemon: DaemonProcess) -> list[str]:
    """The level and text of each message about a reload."""
    daemon.check_alive()
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines() if "reloaded" in line]
    return [f"{line['level']} {line['message']}" for line in lines]


def set_first(daemon: DaemonProcess, *lines: str) -> None:
    """Put keys above the first table."""
    daemon.config.write_text("\n".join([*lines, daemon.config.read_text()]))


def into(connection: str, path: Path, root: str = "") -> JobSpec:
    file = File(root=root, path=path.name if root else str(path).lstrip("/"))
    return JobSpec(kind=ImportSpec(files=(file,), target=Table(connection=connection, table="people")))


async def test_a_connection_and_a_root_count_from_the_next_call_on(daemon: DaemonProcess, folder: Path) -> None:
    people = write_people(folder / "people.csv", 10)
    async with Client(daemon.address) as client:
        with pytest.raises(LadingError, match="there is no connection 'crm'"):
            await client.create_job(into("crm", people))
        inbox = folder / "inbox"
        inbox.mkdir()
        write_people(inbox / "people.csv", 5)
        text = daemon.config.read_text().replace("[roots]", f'[roots]\ninbox = "{inbox}"')
        daemon.config.write_text(f'{text}\n[connections.crm]\nurl = "sqlite:///{folder}/crm.db"\n')
        assert reload(daemon).endswith("changed: connections.crm, roots.inbox")
        job = await client.create_job(into("crm", people, "inbox"))
        async with followed(client, job.name) as follower:
            await client.start_job(job.name)
            assert (await follower.sees(State.FINISHED, State.FAILED)).state is State.FINISHED
        assert len(rows(folder / "crm.db")) == 5
        text = daemon.config.read_text()
        daemon.config.write_text(text[: text.index("[connections.crm]")])
        assert "connections.crm" in reload(daemon)
        with pytest.raises(LadingError, match="there is no connection 'crm'"):
            await client.create_job(into("crm", people))


async def test_more_slots_and_a_queued_job_starts_while_the_running_one_goes_on(
    make_daemon: Callable[..., DaemonProcess], folder: Path
) -> None:
    daemon = make_daemon(slots=1, shutdown_grace=1.0)
    daemon.start()
    people = write_people(folder / "people.csv", 2_000)
    other = folder / "other.db"
    async with Client(daemon.address) as client:
        first = await client.create_job(importing(people, chunk_bytes=2_000))
        second = await client.create_job(importing(people, chunk_bytes=2_000))
        async with followed(client, first.name) as one, followed(client, second.name) as two:
            with held(daemon.target):
                await client.start_job(first.name)
                await one.sees(State.RUNNING)
                await client.start_job(second.name)
                await two.sees(State.QUEUED)
                text = daemon.config.read_text().replace("slots = 1", "slots = 2")
                daemon.config.write_text(f'{text}\n[connections.other]\nurl = "sqlite:///{other}"\n')
                assert reload(daemon).endswith("changed: slots, connections.other")
                await two.sees(State.RUNNING)
                assert (await client.get_job(first.name)).state is State.RUNNING
            finished = [await follower.sees(State.FINISHED, State.FAILED) for follower in (one, two)]
    assert [(job.state, job.bill.inserted, job.attempt) for job in finished] == [(State.FINISHED, 2_000, 1)] * 2
    assert len(rows(daemon.target)) == 4_000


@pytest.mark.parametrize("how", ["taken away", "another database"])
async def test_a_connection_that_is_pulled_from_under_a_job(daemon: DaemonProcess, folder: Path, how: str) -> None:
    """The job becomes FAILED. When the connection is back, start continues the job."""
    people = write_people(folder / "people.csv", 20_000)
    good = daemon.config.read_text()
    other = good.replace(str(daemon.target), f"{folder}/other.db")
    with closing(sqlite3.connect(folder / "other.db")) as connection:
        connection.execute("CREATE TABLE people (id INTEGER, name TEXT)")
    async with Client(daemon.address) as client:
        job = await client.create_job(importing(people, chunk_bytes=2_000))
        async with followed(client, job.name) as follower:
            await client.start_job(job.name)
            await follower.sees_records(500)
            daemon.config.write_text(other if how == "another database" else good[: good.index("[connections.local]")])
            assert "connections.local" in reload(daemon)
            failed = await follower.sees(State.FAILED, State.FINISHED)
            assert failed.state is State.FAILED
            assert failed.failure is not None
            assert failed.failure.code == ("SPEC_OUTDATED" if how == "taken away" else "TARGET_REFUSED")
            daemon.config.write_text(good)
            reload(daemon)
            await client.start_job(job.name)
            finished = await follower.sees(State.FINISHED)
    assert finished.bill.inserted == 20_000
    assert sorted(rows(daemon.target)) == [(index, f"person {index}") for index in range(1, 20_001)]


async def test_a_configuration_that_is_not_right_changes_nothing(daemon: DaemonProcess, folder: Path) -> None:
    people = write_people(folder / "people.csv", 10)
    good = daemon.config.read_text()
    daemon.config.write_text(f'slotz = 3\nworkers = 0\n{good}\n[connections.crm]\nurl = "sqlite:///{folder}/crm.db"\n')
    line = reload(daemon)
    assert "ERROR" in line
    assert "not reloaded" in line
    log = until(lambda: text if "workers: must be" in (text := daemon.log.read_text()) else "", "all errors are said")
    assert f"{daemon.config}:1: error: slotz: unknown key; did you mean slots?" in log
    assert f"{daemon.config}:2: error: workers: must be at least 1" in log
    async with Client(daemon.address) as client:
        with pytest.raises(LadingError, match="there is no connection 'crm'"):
            await client.create_job(into("crm", people))
        daemon.config.write_text("slots = \n")
        assert "not reloaded" in reload(daemon)
        assert await client.create_job(importing(people))
    daemon.config.write_text(good)
    assert reload(daemon).endswith("reloaded; nothing has changed")
    assert daemon.stop() == 0


def test_a_file_that_never_answers(make_daemon: Callable[..., DaemonProcess], folder: Path) -> None:
    """The shutdown does not wait for the file."""
    daemon = make_daemon()
    daemon.start()
    os.mkfifo(folder / "password")
    crm = f'[connections.crm]\nurl = "postgresql://h/d"\npassword_file = "{folder}/password"\n'
    daemon.config.write_text(f"{daemon.config.read_text()}\n{crm}")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: "reading the configuration again" in daemon.log.read_text(), "the reload has begun")
    assert daemon.stop() == 0


def test_a_file_that_is_gone(tmp_path: Path, make_daemon: Callable[..., DaemonProcess]) -> None:
    """Also without --config: the defaults have no connections, so running jobs would fail."""
    daemon = make_daemon()
    home = tmp_path / "lading"
    home.mkdir()
    daemon.config.rename(home / "ladingd.toml")
    daemon.config = home / "ladingd.toml"
    with daemon.log.open("ab") as log:
        daemon.process = subprocess.Popen(
            [sys.executable, "-m", "ladingd", "--user"],
            stdin=subprocess.DEVNULL,
            stderr=log,
            # With another HOME, the test would take the place of the user's own daemon, or find it there.
            env={**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "LADINGD_LOG_FORMAT": "json"},
        )
    until(daemon.answers, "it serves")
    daemon.config.unlink()
    assert "not reloaded" in reload(daemon)
    assert "the file does not exist" in daemon.log.read_text()
    assert daemon.stop() == 0


async def test_it_says_what_needs_a_restart_and_who_may_call_is_live(daemon: DaemonProcess) -> None:
    set_first(daemon, "workers = 7", f'state_dir = "{daemon.folder}/elsewhere"', 'socket_role = "none"')
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace(f'state_dir = "{daemon.state_dir}"\n', ""))
    line = reload(daemon)
    assert "WARNING" in line
    assert line.endswith("changed: socket_role; a restart is needed for: state_dir, workers")
    async with Client(daemon.address) as client:
        with pytest.raises(LadingError, match="token is needed"):
            assert [job async for job in client.list_jobs()] == []
        set_first(daemon, 'log_level = "DEBUG"')
        daemon.config.write_text(daemon.config.read_text().replace('"none"', '"viewer"'))
        assert "changed: socket_role, log_level; a restart" in reload(daemon)
        assert [job async for job in client.list_jobs()] == []


async def test_a_shorter_grace_reaches_a_job_that_runs(make_daemon: Callable[..., DaemonProcess], folder: Path) -> None:
    daemon = make_daemon(cancel_grace=600.0, shutdown_grace=1.0)
    daemon.start()
    people = write_people(folder / "people.csv", 100)
    async with Client(daemon.address) as client:
        job = await client.create_job(importing(people))
        async with followed(client, job.name) as follower:
            with held(daemon.target):
                await client.start_job(job.name)
                await follower.sees(State.RUNNING)
                daemon.config.write_text(daemon.config.read_text().replace("600.0", "0.1"))
                assert reload(daemon).endswith("changed: cancel_grace")
                await client.cancel_job(job.name)
                await follower.sees(State.CANCELED)


async def test_limits_of_uploads(daemon: DaemonProcess, folder: Path) -> None:
    people = write_people(folder / "people.csv", 100)
    set_first(daemon, "upload_limit = 10")
    assert reload(daemon).endswith("changed: upload_limit")
    async with Client(daemon.address) as client:
        with pytest.raises(LadingError, match="the limit is 10"):
            await client.upload(people)


async def test_clients_by_their_certificates(daemon: DaemonProcess) -> None:
    assert daemon.stop() == 0
    authority, clients = Authority(), Authority()
    certificate, key = authority.issue("localhost").write(daemon.folder, "server")
    client_ca = daemon.folder / "clients.pem"
    client_ca.write_bytes(clients.certificate)
    tls = f'\n[tls]\nlisten_mutual = "localhost:0"\ncertificate = "{certificate}"\nkey = "{key}"\n'
    daemon.config.write_text(f'{daemon.config.read_text()}{tls}client_ca = "{client_ca}"\n')
    daemon.start()
    ready = until(lambda: re.search(r"ready on .*port (\d+) ", daemon.log.read_text()), "it is ready")
    assert ready is not None
    robot = clients.issue("robot@example.com", common_name="robot")
    async with secure_channel(f"localhost:{ready[1]}", trusted=authority, client=robot) as channel:
        stub: Any = JobServiceStub(channel)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.aio.AioRpcError, match="not among the clients"):
            await stub.ListJobs(pb.ListJobsRequest(), timeout=PATIENCE)
        daemon.config.write_text(f'{daemon.config.read_text()}[tls.clients.robot]\nrole = "viewer"\n')
        assert reload(daemon).endswith("changed: tls.clients.robot")
        await stub.ListJobs(pb.ListJobsRequest(), timeout=PATIENCE)


async def test_a_certificate_that_is_exchanged(daemon: DaemonProcess) -> None:
    """A certificate that does not match its key is refused. The daemon keeps the old one."""
    assert daemon.stop() == 0
    authority = Authority()
    certificate, key = authority.issue("localhost").write(daemon.folder, "server")
    tls = f'\n[tls]\nlisten = "localhost:0"\ncertificate = "{certificate}"\nkey = "{key}"\n'
    daemon.config.write_text(daemon.config.read_text() + tls)
    daemon.start()
    authority.issue("localhost").write(daemon.folder, "other")
    (daemon.folder / "other.key").rename(key)
    assert "not reloaded" in reload(daemon)
    until(lambda: f"{key} is not the key of {certificate}" in daemon.log.read_text(), "it says why")
    authority.issue("localhost").write(daemon.folder, "server")
    assert reload(daemon).endswith("nothing has changed")


async def test_sighup_at_any_moment_ends_nobody(daemon: DaemonProcess, folder: Path) -> None:
    people = write_people(folder / "people.csv", 5_000)
    async with Client(daemon.address) as client:
        job = await client.create_job(importing(people, chunk_bytes=1_000))
        async with followed(client, job.name) as follower:
            await client.start_job(job.name)
            assert daemon.process is not None
            workers = until(lambda: daemon.workers, "workers are there")
            for pid in [daemon.process.pid, *workers] * 20:
                os.kill(pid, signal.SIGHUP)
            finished = await follower.sees(State.FINISHED, State.FAILED)
        assert (finished.state, finished.attempt) == (State.FINISHED, 1)
    assert "has ended in the middle of its work" not in daemon.log.read_text()
    daemon.process.send_signal(signal.SIGHUP)
    assert daemon.stop() == 0
