"""The service under a real systemd in a container: stopped, hung and killed in the middle of jobs, and reloaded."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from lading_client.client import Client
from lading_client.model import State
from lading_client.spec import File, ImportSpec, JobSpec, Table
from tests.harness.certificates import Authority
from tests.harness.container import CannotBoot, Container
from tests.harness.jobs import followed, rows, write_people
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from lading_client.model import Job
    from tests.harness.jobs import Follower

RECORDS = 20_000
SOCKET = "/run/lading/ladingd.sock"
CONFIG = """\
[tls]
listen = "127.0.0.1:7443"
certificate = "/etc/lading/server.pem"
key = "/etc/lading/server.key"
[connections.local]
url = "sqlite:////srv/data/target.db"
[connections.warehouse]
url = "postgresql://lading@db.example.org/warehouse"
password_credential = "warehouse"
[roots]
inbox = "/srv/inbox"
"""
DROP_IN = """\
[Service]
Environment={environment}
ReadWritePaths=/srv/data
LoadCredential=warehouse:/etc/lading/secret
WatchdogSec=3s
TimeoutAbortSec=1s
"""
SHOW_CERTIFICATE = "import ssl; print(ssl.get_server_certificate(('127.0.0.1', 7443)))"


class Service:
    """The service in its container."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.authority = Authority()

    def install(self) -> None:
        """Install the service like an administrator."""
        box = self.container
        box.call(str(box.python), "-m", "ladingd", "systemd", "install")
        etc, drop_ins = box.root / "etc/lading", box.root / "etc/systemd/system/ladingd.service.d"
        etc.mkdir()
        drop_ins.mkdir()
        (etc / "ladingd.toml").write_text(CONFIG)
        (etc / "secret").write_text("known to root alone")
        (etc / "secret").chmod(0o600)
        environment = " ".join(f"{name}={value}" for name, value in box.environment.items())
        (drop_ins / "here.conf").write_text(DROP_IN.format(environment=environment))
        self.renew_certificate()
        (box.root / "srv/inbox").mkdir()
        write_people(box.root / "srv/inbox/people.csv", RECORDS)
        (box.root / "srv/data").mkdir()
        box.call("chown", "lading:", "/srv/data")
        box.call("systemctl", "daemon-reload")

    def renew_certificate(self) -> str:
        """Replace the certificate. Returns the new one as PEM."""
        pair = self.authority.issue("127.0.0.1")
        for path in pair.write(self.container.root / "etc/lading", "server"):
            shutil.chown(path, self._uid())
        return pair.chain.decode().partition("-----END")[0]

    def _uid(self) -> int:
        return int(self.container.call("id", "-u", "lading"))

    def systemctl(self, *arguments: str) -> str:
        """Run systemctl on the service."""
        try:
            return self.container.call("systemctl", *arguments, "ladingd")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from error

    def shown(self, name: str) -> str:
        """A property of the unit."""
        return self.systemctl("show", "--value", f"--property={name}").strip()

    def log(self) -> str:
        """The service's lines in the journal."""
        return self.container.call("journalctl", "--no-pager", "--unit=ladingd")

    @asynccontextmanager
    async def importing(self) -> AsyncIterator[Follower]:
        """A job in the middle of its import."""
        spec = ImportSpec(
            files=(File(root="inbox", path="people.csv"),), target=Table(table="people"), chunk_bytes=2_000
        )
        async with Client(f"unix:{self.container.path(SOCKET)}") as client:
            job = await client.create_job(JobSpec(kind=spec))
            async with followed(client, job.name) as follower:
                await client.start_job(job.name)
                await follower.sees_records(500)
                yield follower

    def count(self) -> int:
        """The rows of the target."""
        return len(rows(self.container.root / "srv/data/target.db"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    try:
        with Container(tmp_path_factory.mktemp("container")) as container:
            service = Service(container)
            service.install()
            service.systemctl("start")
            yield service
    except CannotBoot as reason:
        pytest.skip(str(reason))


async def resumed(follower: Follower) -> Job:
    """Wait until the job has finished in its second attempt with a balanced bill."""
    job = await follower.sees(State.FINISHED)
    assert job.attempt == 2
    assert job.bill.read == job.bill.inserted == RECORDS
    return job


def test_it_runs_confined(service: Service) -> None:
    assert service.shown("ActiveState") == "active"
    assert service.shown("NRestarts") == "0"
    until(lambda: service.shown("StatusText") == "0 jobs running, 0 waiting, 0 watchers", "its status is shown")
    path = service.container.path
    process = path(f"/proc/{service.shown('MainPID')}/status").read_text()
    assert f"Uid:\t{service._uid()}\t" in process
    assert "NoNewPrivs:\t1" in process
    assert "CapBnd:\t0000000000000000" in process
    assert path("/run/credentials/ladingd.service/warehouse").read_text() == "known to root alone"
    assert path(SOCKET).stat().st_mode & 0o777 == 0o660
    assert path("/run/lading").stat().st_mode & 0o777 == 0o750


async def test_stop_in_the_middle_and_start(service: Service) -> None:
    before = service.count() if (service.container.root / "srv/data/target.db").exists() else 0
    async with service.importing() as follower:
        stopping = asyncio.create_task(asyncio.to_thread(service.systemctl, "stop"))
        interrupted = await follower.sees(State.INTERRUPTED)
        assert interrupted.failure is not None
        assert interrupted.failure.code == "DAEMON_STOPPED"
        await stopping
        assert (service.shown("Result"), service.shown("ExecMainStatus")) == ("success", "0")
        await asyncio.to_thread(service.systemctl, "start")
        await resumed(follower)
    assert service.count() == before + RECORDS


async def test_one_that_is_stuck_is_restarted(service: Service) -> None:
    before = service.count()
    async with service.importing() as follower:
        restarts = int(service.shown("NRestarts"))
        service.systemctl("kill", "--kill-whom=main", "--signal=SIGSTOP")
        await resumed(follower)
    assert int(service.shown("NRestarts")) == restarts + 1
    assert "Watchdog timeout" in service.log()
    assert service.count() == before + RECORDS


async def test_one_that_is_killed_is_restarted(service: Service) -> None:
    before = service.count()
    async with service.importing() as follower:
        restarts = int(service.shown("NRestarts"))
        service.systemctl("kill", "--kill-whom=main", "--signal=SIGKILL")
        await resumed(follower)
    assert int(service.shown("NRestarts")) == restarts + 1
    assert service.count() == before + RECORDS


def test_reload_with_a_new_certificate(service: Service) -> None:
    process = service.shown("MainPID")
    renewed = service.renew_certificate()
    service.systemctl("reload")
    shown = service.container.call(str(service.container.python), "-c", SHOW_CERTIFICATE)
    assert renewed in shown
    until(lambda: service.shown("ActiveState") == "active", "the reload is over")
    assert service.shown("MainPID") == process
