"""A real daemon with TLS: which callers are admitted, and which are refused and logged."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from lading.v1 import audit_service_pb2, job_pb2, spec_pb2
from lading.v1 import job_service_pb2 as pb
from lading.v1.audit_service_pb2_grpc import AuditServiceStub
from lading.v1.job_service_pb2_grpc import JobServiceStub
from tests.harness.certificates import Authority, Pair, secure_channel
from tests.harness.jobs import write_people
from tests.harness.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.daemon import DaemonProcess

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
TOKEN = re.compile(r"lading_[0-9a-f]{16}_[A-Za-z0-9_-]{43}")


class Site:
    """A daemon with TLS, and the authorities of its certificate and of the clients' certificates."""

    def __init__(self, daemon: DaemonProcess, *, settings: str = "") -> None:
        self.daemon = daemon
        self.authority, self.clients = Authority(), Authority()
        self.certificate, self.key = self.authority.issue("localhost").write(daemon.folder, "server")
        client_ca = daemon.folder / "clients.pem"
        client_ca.write_bytes(self.clients.certificate)
        daemon.config.write_text(
            settings
            + daemon.config.read_text()
            + f"""
[tls]
listen = "localhost:0"
listen_mutual = "localhost:0"
certificate = "{self.certificate}"
key = "{self.key}"
client_ca = "{client_ca}"
[tls.clients.robot]
role = "operator"
[connections.crm]
url = "sqlite:///{daemon.folder}/crm.db"
"""
        )
        daemon.start()
        ready = until(lambda: re.search(r"ready on .*port (\d+) .*port (\d+) ", daemon.log.read_text()), "it is ready")
        assert ready is not None
        self.address, self.mutual = (f"localhost:{port}" for port in ready.groups())

    def ladingd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``ladingd token``."""
        command = [sys.executable, "-m", "ladingd", "--config", str(self.daemon.config), "token", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)

    def token(self, name: str, role: str, *more: str) -> str:
        """Make a token."""
        made = self.ladingd("create", name, "--role", role, *more)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def age(self, name: str) -> None:
        """Make a token expire."""
        with closing(sqlite3.connect(self.daemon.state_dir / "store.db")) as store, store:
            past = "2020-01-01T00:00:00.000000+00:00"
            assert store.execute("UPDATE tokens SET expire_time = ? WHERE name = ?", (past, name)).rowcount == 1

    async def outcome(
        self,
        token: str | None = None,
        *,
        mutual: bool = False,
        trusted: Authority | None = None,
        client: Pair | None = None,
        server_name: str = "",
        command: bool = False,
    ) -> grpc.StatusCode:
        """The outcome of a call over TLS: a read, or the pause of a job that does not exist."""
        address = self.mutual if mutual else self.address
        trusted = trusted or self.authority
        async with secure_channel(address, trusted=trusted, client=client, server_name=server_name) as channel:
            metadata = (("authorization", f"Bearer {token}"),) if token is not None else None
            stub = JobServiceStub(channel)  # type: ignore[no-untyped-call]
            call: Any = stub.PauseJob if command else stub.ListJobs
            request = pb.PauseJobRequest(name="jobs/none") if command else pb.ListJobsRequest()
            try:
                await call(request, metadata=metadata, timeout=PATIENCE)
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

    async def audit(self) -> list[audit_service_pb2.AuditEntry]:
        """All entries, the newest first, as the socket's admin sees them."""
        async with grpc.aio.insecure_channel(self.daemon.address) as channel:
            stub: Any = AuditServiceStub(channel)  # type: ignore[no-untyped-call]
            request = audit_service_pb2.ListAuditEntriesRequest(page_size=1000)
            return list((await stub.ListAuditEntries(request, timeout=PATIENCE)).audit_entries)


@pytest.fixture
def site(make_daemon: Callable[..., DaemonProcess]) -> Site:
    return Site(make_daemon(shutdown_grace=1.0))


async def test_a_token_opens_until_it_is_revoked(site: Site) -> None:
    token = site.token("nightly", "viewer")
    assert TOKEN.fullmatch(token)
    assert await site.outcome(token) is grpc.StatusCode.OK
    assert await site.outcome(token, command=True) is DENIED
    assert site.ladingd("revoke", "nightly").returncode == 0
    assert await site.outcome(token) is UNAUTHENTICATED
    outcomes = [(entry.principal, entry.role, entry.outcome) for entry in await site.audit()]
    # `ladingd token` leaves entries as well.
    me = f"user {os.getuid()}"
    assert outcomes == [
        ("nightly", "viewer", "UNAUTHENTICATED"),
        (me, "admin", "OK"),
        ("nightly", "viewer", "PERMISSION_DENIED"),
        (me, "admin", "OK"),
    ]
    assert "the token nightly was revoked" in site.daemon.log.read_text()


async def test_a_watch_ends_soon_after_its_token(site: Site) -> None:
    metadata = (("authorization", f"Bearer {site.token('nightly', 'viewer')}"),)
    async with secure_channel(site.address, trusted=site.authority) as channel:
        stub: Any = JobServiceStub(channel)  # type: ignore[no-untyped-call]
        watch = stub.WatchJobs(pb.WatchJobsRequest(), metadata=metadata, timeout=PATIENCE)
        await anext(aiter(watch))
        assert site.ladingd("revoke", "nightly").returncode == 0
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            [event async for event in watch]
        assert ended.value.code() is UNAUTHENTICATED


async def test_who_shows_no_valid_token_is_kept_out_and_logged(site: Site) -> None:
    token = site.token("old", "admin", "--expires-in", "1h")
    assert await site.outcome(token) is grpc.StatusCode.OK
    site.age("old")
    wrong = token[:-1] + ("A" if token[-1] != "A" else "B")
    for shown in (None, "", "lading", token, wrong):
        assert await site.outcome(shown) is UNAUTHENTICATED
    entries = [entry for entry in await site.audit() if entry.outcome == "UNAUTHENTICATED"]
    assert [entry.principal for entry in entries] == ["", "old", "", "", ""]
    assert all(entry.peer.startswith(("ipv4:127.0.0.1:", "ipv6:")) for entry in entries)
    log = site.daemon.log.read_text()
    assert log.count("UNAUTHENTICATED") == 5
    assert "the token old has expired" in log
    assert token not in log
    assert wrong not in log


async def test_tls_refuses_what_is_not_right(site: Site) -> None:
    token = site.token("any", "admin")
    assert await site.outcome(token, trusted=Authority()) is UNAVAILABLE
    assert await site.outcome(token, server_name="elsewhere.example") is UNAVAILABLE
    async with grpc.aio.insecure_channel(site.address) as channel:
        stub: Any = JobServiceStub(channel)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.aio.AioRpcError) as plain:
            await stub.ListJobs(pb.ListJobsRequest(), timeout=PATIENCE)
        assert plain.value.code() is UNAVAILABLE
    site.authority.issue("localhost", expired=True).write(site.daemon.folder, "server")
    assert await site.outcome(token) is UNAVAILABLE
    assert "Handshake failed" in site.daemon.log.read_text()


async def test_a_client_certificate_says_who_calls(site: Site) -> None:
    robot = site.clients.issue("robot@example.com", common_name="robot")
    assert await site.outcome(mutual=True, client=robot) is grpc.StatusCode.OK
    assert await site.outcome(mutual=True, client=robot, command=True) is grpc.StatusCode.NOT_FOUND
    (entry,) = await site.audit()
    assert (entry.principal, entry.role, entry.resource) == ("robot", "operator", "jobs/none")
    assert (entry.method, entry.outcome) == ("lading.v1.JobService/PauseJob", "NOT_FOUND")
    stranger = site.clients.issue("x@example.com", common_name="stranger")
    assert await site.outcome(mutual=True, client=stranger) is UNAUTHENTICATED
    assert await site.outcome(site.token("x", "viewer"), mutual=True, client=stranger) is grpc.StatusCode.OK


@pytest.mark.parametrize("fault", ["none", "expired", "authority"])
async def test_a_client_certificate_that_is_not_right(site: Site, fault: str) -> None:
    token = site.token("any", "admin")
    signer = Authority() if fault == "authority" else site.clients
    client = signer.issue("robot@example.com", common_name="robot", expired=fault == "expired")
    assert await site.outcome(token, mutual=True, client=None if fault == "none" else client) is UNAVAILABLE
    until(lambda: "Handshake failed" in site.daemon.log.read_text(), "it is logged")
    # If no client certificate is required, it is ignored.
    assert await site.outcome(mutual=False, client=client) is UNAUTHENTICATED


async def test_a_new_certificate_is_used_while_a_channel_serves(site: Site) -> None:
    token = site.token("any", "viewer")
    metadata = (("authorization", f"Bearer {token}"),)
    async with secure_channel(site.address, trusted=site.authority) as channel:
        stub: Any = JobServiceStub(channel)  # type: ignore[no-untyped-call]
        watch = stub.WatchJobs(pb.WatchJobsRequest(), metadata=metadata, timeout=PATIENCE)
        await watch.read()
        fresh = Authority()
        fresh.issue("localhost").write(site.daemon.folder, "server")
        assert await site.outcome(token, trusted=fresh) is grpc.StatusCode.OK
        assert await site.outcome(token) is UNAVAILABLE
        await stub.ListJobs(pb.ListJobsRequest(), metadata=metadata, timeout=PATIENCE)
        assert not watch.done()
        # The key of another certificate is not used.
        (site.key).write_bytes(Authority().issue("localhost").key)
        assert await site.outcome(token, trusted=fresh) is grpc.StatusCode.OK
        assert "the certificate stays unchanged" in site.daemon.log.read_text()
    assert site.daemon.stop() == 0


async def test_a_submitter_stays_with_what_it_was_given(site: Site) -> None:
    people = write_people(site.daemon.folder / "people.csv", 10)
    bounds = ("--connection", "crm", "--root", "local")
    metadata = (("authorization", f"Bearer {site.token('crm', 'submitter', *bounds)}"),)

    def job(connection: str, path: str) -> job_pb2.Job:
        kind = spec_pb2.ImportSpec(
            files=[spec_pb2.File(path=path)], target=spec_pb2.Table(connection=connection, table="people")
        )
        return job_pb2.Job(spec=spec_pb2.JobSpec(import_spec=kind))

    async with (
        secure_channel(site.address, trusted=site.authority) as channel,
        grpc.aio.insecure_channel(site.daemon.address) as local,
    ):
        stub: Any = JobServiceStub(channel)  # type: ignore[no-untyped-call]
        admin: Any = JobServiceStub(local)  # type: ignore[no-untyped-call]
        path = str(people).lstrip("/")
        mine = await stub.CreateJob(
            pb.CreateJobRequest(job=job("crm", path), job_id="mine"), metadata=metadata, timeout=PATIENCE
        )
        theirs = await admin.CreateJob(pb.CreateJobRequest(job=job("local", path), job_id="theirs"), timeout=PATIENCE)
        await stub.CloneJob(pb.CloneJobRequest(name=mine.name, job_id="again"), metadata=metadata, timeout=PATIENCE)
        moved = job("", path)
        moved.name = mine.name
        for call, request in (
            # The spec is not planned, so the caller does not learn that the file is missing.
            (stub.CreateJob, pb.CreateJobRequest(job=job("local", "no/such.csv"))),
            (stub.UpdateJob, pb.UpdateJobRequest(job=moved)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(request, metadata=metadata, timeout=PATIENCE)
            assert refused.value.code() is DENIED
            assert "connection 'local'" in (refused.value.details() or "")
        with pytest.raises(grpc.aio.AioRpcError) as hidden:
            await stub.CloneJob(pb.CloneJobRequest(name=theirs.name), metadata=metadata, timeout=PATIENCE)
        assert hidden.value.code() is grpc.StatusCode.NOT_FOUND, "the jobs of others do not exist for it"
    entries = [
        (entry.principal, entry.method.rpartition("/")[2], entry.resource, entry.outcome)
        for entry in await site.audit()
    ]
    assert entries[:6] == [
        ("crm", "CloneJob", "jobs/theirs", "NOT_FOUND"),
        ("crm", "UpdateJob", "jobs/mine", "PERMISSION_DENIED"),
        ("crm", "CreateJob", "", "PERMISSION_DENIED"),
        ("crm", "CloneJob", "jobs/again", "OK"),
        ("socket", "CreateJob", "jobs/theirs", "OK"),
        ("crm", "CreateJob", "jobs/mine", "OK"),
    ]


def test_tokens_on_the_command_line(site: Site) -> None:
    token = site.token("one", "submitter", "--connection", "crm", "--expires-in", "90d")
    assert site.ladingd("create", "one", "--role", "viewer").returncode == 1
    for wrong in (
        ("create", "UPPER", "--role", "viewer"),
        ("create", "two", "--role", "submitter"),
        ("create", "two", "--role", "submitter", "--connection", "nowhere"),
        ("create", "two", "--role", "viewer", "--connection", "crm"),
        ("create", "two", "--role", "viewer", "--expires-in", "soon"),
        ("revoke", "two"),
    ):
        refused = site.ladingd(*wrong)
        assert (refused.returncode, refused.stdout) == (1, ""), wrong
        assert refused.stderr.startswith("ladingd: ")
    assert site.ladingd("revoke", "one").returncode == 0
    site.token("one", "viewer")
    assert site.daemon.stop() == 0
    site.token("later", "admin")
    listed = site.ladingd("list").stdout.splitlines()
    assert [line.split()[:3] for line in listed[1:]] == [
        ["one", "submitter", "revoked"],
        ["one", "viewer", "valid"],
        ["later", "admin", "valid"],
    ]
    assert token not in "".join(listed)


@pytest.mark.parametrize(
    ("role", "reads", "commands"), [("none", UNAUTHENTICATED, UNAUTHENTICATED), ("viewer", None, DENIED)]
)
async def test_the_socket_has_the_role_that_is_configured(
    make_daemon: Callable[..., DaemonProcess], role: str, reads: Any, commands: Any
) -> None:
    daemon = make_daemon(socket_role=role)
    daemon.start()
    async with grpc.aio.insecure_channel(daemon.address) as channel:
        stub: Any = JobServiceStub(channel)  # type: ignore[no-untyped-call]
        for expected, call in (
            (reads, stub.ListJobs(pb.ListJobsRequest(), timeout=PATIENCE)),
            (commands, stub.PauseJob(pb.PauseJobRequest(name="jobs/none"), timeout=PATIENCE)),
        ):
            if expected is None:
                await call
                continue
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is expected


@pytest.mark.parametrize("fault", ["missing", "other key", "address"])
def test_a_listener_that_cannot_be_is_said_at_the_start(make_daemon: Callable[..., DaemonProcess], fault: str) -> None:
    daemon = make_daemon()
    certificate, key = Authority().issue("localhost").write(daemon.folder, "server")
    if fault == "missing":
        key.unlink()
    if fault == "other key":
        key.write_bytes(Authority().issue("localhost").key)
    address = "192.0.2.1:1" if fault == "address" else "localhost:0"
    tls = f'[tls]\nlisten = "{address}"\ncertificate = "{certificate}"\nkey = "{key}"\n'
    daemon.config.write_text(daemon.config.read_text() + tls)
    # Errors in the files are found with the rest of the configuration, before the daemon starts anything.
    assert daemon.spawn().wait(PATIENCE) == (1 if fault == "address" else 2)
    said = daemon.log.read_text().splitlines()[-1]
    assert ("cannot serve on" if fault == "address" else f"{daemon.config}:10: error: tls.key: ") in said
    assert {"missing": str(key), "other key": str(certificate), "address": address}[fault] in said
