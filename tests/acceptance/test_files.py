"""The commands upload and download files if the daemon is on another machine."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from lading.v1 import file_service_pb2 as pb
from lading.v1.file_service_pb2_grpc import FileServiceStub
from lading_client.client import Client
from lading_client.errors import FileInUse, InvalidArgument, ShuttingDown
from lading_client.model import State
from lading_client.spec import ExportSpec, File, ImportSpec, Table
from lading_client.transport.channel import status_of
from lading_client.transport.error_mapping import error_from
from tests.harness.certificates import Authority
from tests.harness.jobs import followed, rows, write_people
from tests.harness.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.daemon import DaemonProcess


class Far:
    """A daemon behind TLS, and a user whose directory the daemon cannot see."""

    def __init__(self, daemon: DaemonProcess, home: Path) -> None:
        authority = Authority()
        certificate, key = authority.issue("localhost").write(daemon.folder, "server")
        tls = f'[tls]\nlisten = "localhost:0"\ncertificate = "{certificate}"\nkey = "{key}"\n'
        # Without roots, except that of uploads.
        config = daemon.config.read_text().replace('local = "/"\n', "")
        daemon.config.write_text(config + tls)
        daemon.start()
        ready = until(lambda: re.search(r"ready on .*port (\d+) ", daemon.log.read_text()), "it is ready")
        assert ready is not None
        made = subprocess.run(
            [*(sys.executable, "-m", "ladingd", "--config", daemon.config), "token", "create", "me", "--role", "admin"],
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        (home / "ca.pem").write_bytes(authority.certificate)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "LADING"))}
        self.daemon = daemon
        self.home = home
        self.environment = kept | {
            "HOME": str(home),
            "LADING_SERVER": f"localhost:{ready[1]}",
            "LADING_CA": str(home / "ca.pem"),
            "LADING_TOKEN": made.stdout.strip(),
        }

    def command(self, *arguments: str) -> list[str]:
        """The command to start."""
        return [sys.executable, "-m", "lading_client", *arguments]

    def lading(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command and check its exit status."""
        done = subprocess.run(
            self.command(*arguments),
            check=False,
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    @property
    def uploads(self) -> list[str]:
        """The files that the daemon keeps for its users."""
        root = self.daemon.state_dir / "uploads"
        return sorted(path.name for path in root.rglob("*") if path.is_file())


@pytest.fixture
def far(make_daemon: Callable[..., DaemonProcess], tmp_path: Path) -> Far:
    return Far(make_daemon(shutdown_grace=1.0), tmp_path)


def test_import_and_export_carry_their_files(far: Far) -> None:
    people = write_people(far.home / "people.csv", 1_000)
    done = far.lading("import", "people.csv", "--into", "people")
    assert "uploading people.csv" in done.stderr
    assert "people.csv → local.people" in done.stdout
    assert len(rows(far.daemon.target)) == 1_000
    assert far.uploads == ["people.csv"]

    done = far.lading("export", "people", "--to", "again.csv", "--output", "json")
    job: dict[str, Any] = json.loads(done.stdout)
    assert job["state"] == "FINISHED"
    assert job["spec"]["exportSpec"]["file"]["root"] == "uploads"
    assert (far.home / "again.csv").read_bytes() == people.read_bytes()
    assert far.uploads == ["people.csv"], "what was fetched is removed"

    assert "exists" in far.lading("export", "people", "--to", "again.csv", status=2).stderr
    far.lading("export", "people", "--to", "again.csv", "--overwrite")
    assert sorted(os.listdir(far.home)) == ["again.csv", "ca.pem", "people.csv"]


def test_an_export_that_nobody_has_waited_for_is_fetched_later(far: Far) -> None:
    people = write_people(far.home / "people.csv", 1_000)
    imported = json.loads(far.lading("import", "people.csv", "--into", "people", "--output", "json").stdout)
    done = far.lading("export", "people", "--to", "again.csv", "--detach")
    name = done.stdout.strip()
    assert f"lading download {name} --to again.csv" in done.stderr

    def finished() -> bool:
        return bool(json.loads(far.lading("show", name, "--output", "json").stdout)["state"] == "FINISHED")

    until(finished, "the export is finished")
    assert "again.csv  " in far.lading("download", name, "--to", "again.csv").stdout
    assert (far.home / "again.csv").read_bytes() == people.read_bytes()
    assert far.uploads == ["people.csv"], "what was fetched is removed"
    for arguments, words in [
        ((name, "--to", "again.csv"), "exists"),
        ((name, "--to", "more.csv"), "there is no file"),
        ((imported["name"], "--to", "more.csv"), "is an import"),
    ]:
        assert words in far.lading("download", *arguments, status=2).stderr


def test_files_that_cannot_travel(far: Far) -> None:
    empty = far.home / "empty"
    empty.mkdir()
    for arguments, words in [
        (("import", "missing.csv", "--into", "t"), "does not exist"),
        (("import", str(empty), "--into", "t"), "has no files"),
        (("import", "*.csv", "--into", "t"), "matches no file"),
        (("export", "t", "--to", "nowhere/x.csv"), "does not exist"),
    ]:
        done = far.lading(*arguments, status=2)
        assert words in done.stderr
        assert done.stdout == ""
    assert far.uploads == []
    assert far.lading("ls", "--output", "json").stdout == ""


async def test_an_upload_outlives_its_client_and_its_daemon(far: Far) -> None:
    """The daemon is killed in the middle of a file and restarted. The client continues the upload."""
    content = b"".join(b"%08d,someone\n" % number for number in range(300_000))
    path = far.home / "big.csv"
    path.write_bytes(b"id,name\n" + content)
    killed = False

    def kill(gone: int, size: int) -> None:
        nonlocal killed
        if not killed and gone > size / 2:
            killed = True
            far.daemon.kill()
            far.daemon.start()

    async with Client(far.daemon.address) as client:
        stored = await client.upload(path, progress=kill)
        assert killed
        assert (far.daemon.state_dir / "uploads" / stored.file.path).read_bytes() == path.read_bytes()
        spec = ImportSpec(files=(stored.file,), target=Table(table="big"))
        job = await client.create_job(spec)
        with pytest.raises(FileInUse, match="used by a job"):
            await client.delete_upload(stored.name)
        async with followed(client, job.name) as follower:
            await client.start_job(job.name)
            assert (await follower.sees(State.FINISHED, State.FAILED)).bill.inserted == 300_000
        await client.delete_upload(stored.name)
        assert far.uploads == []


async def test_a_shutdown_does_not_wait_for_files(far: Far) -> None:
    async with grpc.aio.insecure_channel(far.daemon.address) as channel:
        call = FileServiceStub(channel).UploadFile()  # type: ignore[no-untyped-call]
        begin = pb.UploadFileRequest.Begin(
            upload_id=str(uuid.uuid4()), file_name="a.csv", size=10, sha256=hashlib.sha256(b"").digest()
        )
        await call.write(pb.UploadFileRequest(begin=begin))
        await asyncio.wait_for(call.initial_metadata(), PATIENCE)
        assert await asyncio.to_thread(far.daemon.stop) == 0
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(call, PATIENCE)
        assert isinstance(error_from(status_of(caught.value)), ShuttingDown)


async def test_paths_outside_of_the_roots_are_refused_to_exports(far: Far) -> None:
    async with Client(far.daemon.address) as client:
        for path in ("x.csv", "../x.csv", "a/x.csv"):
            spec = ExportSpec(table=Table(table="t"), file=File(root="uploads", path=path))
            with pytest.raises(InvalidArgument, match=r"UUID|without"):
                await client.create_job(spec)
