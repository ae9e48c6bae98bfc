"""Secrets never leave the daemon. The tests plant secrets, and search everything that the daemon outputs for them."""

from __future__ import annotations

import base64
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import grpc
import psycopg
import pytest

from lading.v1 import audit_service_pb2, job_pb2, spec_pb2
from lading.v1 import job_service_pb2 as pb
from lading.v1.audit_service_pb2_grpc import AuditServiceStub
from lading.v1.job_service_pb2_grpc import JobServiceStub
from ladingd.config import ConfigError, load
from tests.harness.certificates import Authority, secure_channel
from tests.harness.daemon import descendants
from tests.harness.journal import Journal
from tests.harness.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.daemon import DaemonProcess

PASSWORDS = {place: f"c4n4ry-{place}-{uuid4().hex}" for place in ("file", "env", "credential")}
OVER = {job_pb2.STATE_FINISHED, job_pb2.STATE_FAILED}


class Outlet:
    """Everything that the daemon has output."""

    def __init__(self) -> None:
        self.seen: dict[str, bytes] = {}

    def add(self, where: str, what: object) -> None:
        """Record an output and its place."""
        content = what if isinstance(what, bytes) else str(what).encode()
        self.seen[where] = self.seen.get(where, b"") + content

    def search(self, secrets: dict[str, bytes]) -> list[tuple[str, str]]:
        """The secrets that were found, with their places."""
        return [
            (secret, where)
            for secret, value in secrets.items()
            for where, content in self.seen.items()
            if value in content
        ]


class JournalReader:
    """Records the raw entries of a journal."""

    def __init__(self, path: Path, outlet: Outlet) -> None:
        self._journal = Journal(path, None)
        self._outlet = outlet
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while (line := self._journal.read_raw()) != b"END":
            self._outlet.add("journal", line)

    def close(self) -> None:
        """Read to the end."""
        self._journal.end(b"END")
        self._thread.join(PATIENCE)
        self._journal.close()


def scraped(path: Path) -> bytes:
    """The daemon's metrics."""
    with socket.socket(socket.AF_UNIX) as scraper:
        scraper.settimeout(PATIENCE)
        scraper.connect(str(path))
        scraper.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        return b"".join(iter(lambda: scraper.recv(1 << 16), b""))


def variants(name: str, secret: str) -> Iterator[tuple[str, bytes]]:
    """The forms in which a secret may occur."""
    raw = secret.encode()
    yield name, raw
    yield f"{name} in Base64", base64.b64encode(raw).rstrip(b"=")[:-1]
    yield f"{name} in hex", raw.hex().encode()


async def answered(outlet: Outlet, where: str, call: Any) -> Any:
    """Record the answer or error of a call."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        outlet.add(where, f"{error.code()} {error.details()} {error.trailing_metadata()} {error.debug_error_string()}")
        return None
    outlet.add(where, answer.SerializeToString())
    outlet.add(where, answer)
    return answer


def an_import(connection: str, path: Path) -> job_pb2.Job:
    files, target = [spec_pb2.File(path=str(path).lstrip("/"))], spec_pb2.Table(connection=connection, table="people")
    kind = spec_pb2.ImportSpec(files=files, target=target, types={"id": "integer"})
    return job_pb2.Job(spec=spec_pb2.JobSpec(import_spec=kind))


async def run(outlet: Outlet, stub: Any, metadata: Any, name: str) -> int:
    """Start a job and watch it to its end. Returns its last state."""
    await answered(outlet, "start", stub.StartJob(pb.StartJobRequest(name=name), metadata=metadata, timeout=PATIENCE))
    watch = stub.WatchJobs(pb.WatchJobsRequest(name=name), metadata=metadata, timeout=PATIENCE)
    async for event in watch:
        outlet.add("events", event.SerializeToString())
        if event.job.state in OVER:
            watch.cancel()
            return int(event.job.state)
    raise AssertionError("the watch ended before the job did")


@pytest.mark.parametrize("log_format", ["json", "journal"])
async def test_no_secret_leaves_the_daemon(
    make_daemon: Callable[..., DaemonProcess], folder: Path, postgres: str, log_format: str
) -> None:
    database = f"canary_{uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as owner:
        owner.execute(f"CREATE DATABASE {database}")
    url = psycopg.conninfo.make_conninfo(postgres, dbname=database)
    host = psycopg.conninfo.conninfo_to_dict(url)["host"]
    reachable = f"postgresql://postgres@/{database}?host={host}"
    daemon = make_daemon(
        log_level="DEBUG",
        log_format=log_format,
        module="tests.harness.journal",
        environment={"CANARY": PASSWORDS["env"], "JOURNAL": str(folder / "journal")},
        connections={"file": reachable, "env": reachable, "credential": "postgresql://postgres@127.0.0.1:1/x"},
    )
    # Outside of the daemon's own folder, which is searched.
    planted = daemon.folder.parent / "planted"
    planted.mkdir()
    (planted / "password").write_text(PASSWORDS["file"])
    (planted / "secret").write_text(PASSWORDS["credential"])
    daemon.environment["CREDENTIALS_DIRECTORY"] = str(planted)
    authority = Authority()
    pair = authority.issue("localhost")
    certificate, key = pair.write(planted, "server")
    places = {
        "file": f'password_file = "{planted / "password"}"',
        "env": 'password_env = "CANARY"',
        "credential": 'password_credential = "secret"',
    }
    config = daemon.config.read_text()
    for name, place in places.items():
        config = config.replace(f"[connections.{name}]", f"[connections.{name}]\n{place}")
    config += f'[tls]\nlisten = "localhost:0"\ncertificate = "{certificate}"\nkey = "{key}"\n'
    config += f'[metrics]\nsocket = "{daemon.folder / "m"}"\n'
    daemon.config.write_text(config)
    outlet = Outlet()
    journal = JournalReader(folder / "journal", outlet)

    def ladingd(*arguments: str) -> str:
        command = [sys.executable, "-m", "ladingd", "--config", str(daemon.config), "token", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
        outlet.add("ladingd token", done.stderr)
        return done.stdout

    daemon.start()
    token = ladingd("create", "robot", "--role", "admin").strip()

    def said() -> str:
        return outlet.seen.get("journal", b"").decode() + daemon.log.read_text()

    ready = until(lambda: re.search(r"ready on .* port (\d+) ", said()), "it is ready")
    address = f"localhost:{ready[1]}"
    people = daemon.folder / "people.csv"
    people.write_text("id,name\n1,one\n2,two\nthree,three\n")
    metadata = (("authorization", f"Bearer {token}"),)
    states = []
    async with secure_channel(address, trusted=authority) as channel:
        stub: Any = JobServiceStub(channel)  # type: ignore[no-untyped-call]
        for connection in ("file", "env", "credential"):
            request = pb.CreateJobRequest(job=an_import(connection, people))
            job = await answered(
                outlet, f"create {connection}", stub.CreateJob(request, metadata=metadata, timeout=PATIENCE)
            )
            if job is None:
                states.append(0)
                continue
            if connection == "env":
                with psycopg.connect(url, autocommit=True) as owner:
                    owner.execute("DROP TABLE people")
                    owner.execute("CREATE VIEW people AS SELECT 1 AS id")
            states.append(await run(outlet, stub, metadata, job.name))
            for method, asked in (
                ("ListJournalEntries", pb.ListJournalEntriesRequest(parent=job.name)),
                ("ListRejects", pb.ListRejectsRequest(parent=job.name)),
                ("ListJobs", pb.ListJobsRequest()),
            ):
                await answered(outlet, method, getattr(stub, method)(asked, metadata=metadata, timeout=PATIENCE))
        wrong = (("authorization", f"Bearer {token[:-2]}xx"),)
        await answered(outlet, "wrong token", stub.ListJobs(pb.ListJobsRequest(), metadata=wrong, timeout=PATIENCE))
        ladingd("revoke", "robot")
        await answered(outlet, "revoked", stub.ListJobs(pb.ListJobsRequest(), metadata=metadata, timeout=PATIENCE))
    assert states == [job_pb2.STATE_FINISHED, job_pb2.STATE_FAILED, 0], "all three ways were gone"
    assert b"UNAUTHENTICATED" in outlet.seen["wrong token"]
    assert b"UNAUTHENTICATED" in outlet.seen["revoked"]
    async with grpc.aio.insecure_channel(daemon.address) as local:
        audit: Any = AuditServiceStub(local)  # type: ignore[no-untyped-call]
        listed = audit.ListAuditEntries(audit_service_pb2.ListAuditEntriesRequest(), timeout=PATIENCE)
        await answered(outlet, "audit", listed)
    outlet.add("ladingd token list", ladingd("list"))
    assert b"robot" in outlet.seen["audit"]
    assert b"robot" in outlet.seen["ladingd token list"]
    outlet.add("metrics", scraped(daemon.folder / "m"))
    assert b"lading_records_total" in outlet.seen["metrics"]
    assert daemon.process is not None
    for pid in (daemon.process.pid, *descendants(daemon.process.pid)):
        outlet.add("arguments of processes", arguments_of(pid))
    search_files(outlet, daemon.folder)
    assert daemon.stop() == 0
    journal.close()
    assert "JOB_FINISHED" in said()
    assert "a chunk is committed" in said(), "workers write there too"
    assert ("journal" in outlet.seen) is (log_format == "journal")
    search_files(outlet, daemon.folder)
    assert b"SQLite format 3" in outlet.seen["store.db"]
    assert b"robot" in outlet.seen["store.db"]
    settings = load(daemon.config, user=False)
    outlet.add("settings", repr(settings))
    outlet.add("settings", settings.model_dump_json())

    lines = [line for line in pair.key.decode().splitlines() if not line.startswith("-----")]
    secrets = {**{f"password in {place}": value for place, value in PASSWORDS.items()}, "key": lines[1]}
    wanted = dict(pair for name, secret in secrets.items() for pair in variants(name, secret))
    secret = token[-43:]
    wanted |= {"token": secret.encode(), "token, raw": base64.urlsafe_b64decode(secret + "=")}
    assert outlet.search(wanted) == []
    # The search finds a secret where it must be.
    outlet.add("planted", b"x" + (planted / "password").read_bytes() + pair.key + token.encode())
    assert {where for _, where in outlet.search(wanted)} == {"planted"}
    with psycopg.connect(postgres, autocommit=True) as owner:
        owner.execute(f"DROP DATABASE {database} WITH (FORCE)")


def arguments_of(pid: int) -> bytes:
    """The command line of a process, which everybody on the machine can see."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def search_files(outlet: Outlet, folder: Path) -> None:
    """Record the content of every file in a folder, including the log and the store."""
    for directory, _, names in os.walk(folder):
        for path in (Path(directory) / name for name in names):
            if path.is_file():
                outlet.add(path.name, path.read_bytes())


@pytest.mark.parametrize("place", ["postgresql://clerk:{}@db/x", "postgresql://db/x?user=clerk&password={}"])
def test_a_password_in_a_url_is_refused_and_not_repeated(folder: Path, place: str) -> None:
    config = folder / "ladingd.toml"
    secret = PASSWORDS["file"]
    config.write_text(f'[connections.crm]\nurl = "{place.format(secret)}"\n')
    with pytest.raises(ConfigError) as refused:
        load(config, user=False)
    assert "connections.crm" in str(refused.value)
    assert secret not in str(refused.value)
