"""The user's own daemon: found, started and stopped. A small stand-in takes the place of `ladingd`."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from lading_client.errors import BadAddress, UnsafeDirectory
from lading_client.own_daemon import OwnDaemon
from tests.harness.waiting import until, until_async
from tests.unit.client.conftest import Lading, Result, clean_environment

ROOT = Path(__file__).parents[3]

STAND_IN = """
import asyncio, os, signal, sys
from pathlib import Path
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from tests.unit.client.fake_service import FakeService, serve

async def main():
    mode = os.environ.get("STAND_IN", "")
    if mode == "dies":
        print("\\n".join(f"reason {n}" for n in range(30)), flush=True)
        sys.exit(7)
    assert sys.argv[1:] == ["--user"] and os.getcwd() == "/" and os.getsid(0) == os.getpid()
    state = Path(os.environ["XDG_STATE_HOME"]) / "lading"
    directory = Path(os.environ["XDG_RUNTIME_DIR"]) / "lading"
    directory.mkdir(mode=0o700, exist_ok=True)
    try:
        (state / "claim").mkdir()
    except FileExistsError:
        print("taken", flush=True)
        sys.exit(75)
    service = FakeService()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    import grpc
    server = grpc.aio.server()
    from lading.v1 import job_service_pb2_grpc
    job_service_pb2_grpc.add_JobServiceServicer_to_server(service, server)
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), server)
    server.add_insecure_port(f"unix:{directory / 'ladingd.sock'}")
    (state / "ladingd.pid").write_text(str(os.getpid()))
    await server.start()
    print("ready", flush=True)
    await stop.wait()
    await server.stop(None)
    (directory / "ladingd.sock").unlink(missing_ok=True)
    while mode == "lingers" and not (state / "end").exists():
        await asyncio.sleep(0.01)
    (state / "ladingd.pid").unlink()
    (state / "claim").rmdir()

asyncio.run(main())
"""


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    package = folder / "stand_in" / "ladingd"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(STAND_IN)
    (folder / "run").mkdir(mode=0o700)
    places = {"XDG_RUNTIME_DIR": str(folder / "run"), "XDG_STATE_HOME": str(folder / "state")}
    ways = [str(package.parent), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return clean_environment(folder) | places | {"PYTHONPATH": os.pathsep.join(filter(None, ways))}


async def stopped(lading: Lading, environment: dict[str, str]) -> Result:
    return await lading("daemon", "stop", "--output", "json", environment=environment)


async def test_it_is_started_once_and_stopped(lading: Lading, environment: dict[str, str], folder: Path) -> None:
    status = await lading("daemon", "status", "--output", "json", environment=environment)
    assert status.json["running"] is False
    try:
        # Three at once: one starts it, the others find the state directory taken and wait for its socket.
        results = await asyncio.gather(*(lading("ls", environment=environment) for _ in range(3)))
        assert [result.status for result in results] == [0, 0, 0], results
        imported = await lading("import", "r.csv", "--into", "t", environment=environment)
        assert imported.status == 0
        assert f"sqlite3 {folder}/state/lading/local.db" in imported.out
        status = await lading("daemon", "status", "--output", "json", environment=environment)
        pid = int((folder / "state/lading/ladingd.pid").read_text())
        assert status.json == {
            "running": True,
            "pid": pid,
            "socket": f"{folder}/run/lading/ladingd.sock",
            "stateDirectory": f"{folder}/state/lading",
            "database": f"{folder}/state/lading/local.db",
            "log": f"{folder}/state/lading/ladingd.log",
        }
        assert f"running, pid {pid}" in (await lading("daemon", "status", environment=environment)).out
    finally:
        result = await stopped(lading, environment)
    assert result.json == {"stopped": True, "pid": pid}
    assert "ready\n" in (await lading("daemon", "logs", environment=environment)).out
    again = await lading("daemon", "stop", environment=environment)
    assert (again.status, again.out) == (0, "not running\n")


async def test_one_that_is_ending_is_waited_for(lading: Lading, environment: dict[str, str], folder: Path) -> None:
    state = folder / "state/lading"
    assert (await lading("ls", environment=environment | {"STAND_IN": "lingers"})).status == 0
    first = int((state / "ladingd.pid").read_text())
    try:
        os.kill(first, signal.SIGTERM)
        until(lambda: not (folder / "run/lading/ladingd.sock").exists(), "nobody listens any more")
        listing = asyncio.create_task(lading("ls", environment=environment))
        log = state / "ladingd.log"

        async def refused() -> bool:
            return "taken" in log.read_text()

        await until_async(refused, "a daemon that found the state directory taken")
        (state / "end").touch()
        result = await listing
        assert (result.status, result.out) == (0, ""), result.err
        assert int((state / "ladingd.pid").read_text()) != first
    finally:
        (state / "end").touch()
        await stopped(lading, environment)


async def test_one_that_cannot_start_says_why(lading: Lading, environment: dict[str, str], folder: Path) -> None:
    result = await lading("ls", environment=environment | {"STAND_IN": "dies"})
    assert result.status == 1
    assert "status 7" in result.err
    assert f"{folder}/state/lading/ladingd.log" in result.err
    assert "reason 10" in result.err
    assert "reason 29" in result.err
    assert "reason 9\n" not in result.err
    assert "Traceback" not in result.err


async def test_a_state_directory_that_cannot_be_made(lading: Lading, environment: dict[str, str], folder: Path) -> None:
    (folder / "state").write_text("in the way")
    result = await lading("ls", environment=environment)
    assert result.status == 1
    assert f"its state directory {folder}/state/lading cannot be made or written to" in result.err
    assert "Traceback" not in result.err


async def test_a_stale_pid_is_never_signalled(lading: Lading, environment: dict[str, str], folder: Path) -> None:
    state = folder / "state/lading"
    state.mkdir(parents=True)
    (state / "ladingd.pid").write_text(str(os.getpid()))
    result = await lading("daemon", "stop", environment=environment)
    assert (result.status, result.out) == (0, "not running\n")


async def test_logs_before_the_first_start(lading: Lading, environment: dict[str, str]) -> None:
    result = await lading("daemon", "logs", environment=environment)
    assert result.status == 1
    assert "has not been started" in result.err


def test_paths(folder: Path) -> None:
    given = OwnDaemon.of({"XDG_RUNTIME_DIR": "/run/user/7", "XDG_STATE_HOME": "/s"})
    assert str(given.socket_path) == "/run/user/7/lading/ladingd.sock"
    assert (str(given.log), str(given.database)) == ("/s/lading/ladingd.log", "/s/lading/local.db")
    bare = OwnDaemon.of({"XDG_STATE_HOME": "relative"})
    assert bare.socket_path.parent.name == f"lading-{os.getuid()}"
    assert bare.state_directory == Path.home() / ".local/state/lading"


def test_a_directory_that_others_can_write_to_is_refused(folder: Path) -> None:
    directory = folder / "lading"
    directory.mkdir()
    directory.chmod(0o777)
    with pytest.raises(UnsafeDirectory, match="can be written to"):
        OwnDaemon.of({"XDG_RUNTIME_DIR": str(folder)}).runs()


def test_too_long_a_path_for_a_socket_is_refused() -> None:
    with pytest.raises(BadAddress, match="107 bytes"):
        OwnDaemon.of({"XDG_RUNTIME_DIR": "/" + "x" * 100}).runs()


def test_a_link_in_its_place_is_refused(folder: Path) -> None:
    (folder / "lading").symlink_to(folder)
    with pytest.raises(UnsafeDirectory, match="is none"):
        OwnDaemon.of({"XDG_RUNTIME_DIR": str(folder)}).runs()
