"""The user's own daemon: found, started and stopped. A small stand-in takes the place of `ladingd`."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pwd
import signal
import socket
import sys
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from socket import gethostname
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from lading_client import user_places
from lading_client.errors import BadAddress, DaemonUnreachable, StateUnusable, UnsafeDirectory
from lading_client.local_daemon import START_SECONDS, OwnDaemon
from ladingd.host import user_places as server_places
from tests.harness.waiting import until
from tests.unit.client.conftest import DEADLINE, Lading, Result, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
STATE = ".local/state/lading"

STAND_IN = """
import asyncio, fcntl, json, os, signal, sys
from pathlib import Path
from socket import gethostname
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from tests.unit.client.fake_service import FakeService, serve

async def main():
    mode = os.environ.get("STAND_IN", "")
    if mode == "dies":
        print("\\n".join(f"reason {n}" for n in range(30)), flush=True)
        sys.exit(7)
    assert sys.argv[1:] == ["--user"] and os.getcwd() == "/" and os.getsid(0) == os.getpid()
    state = Path(os.environ["HOME"]) / ".local/state/lading"
    lock = open(state / "lock", "ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("taken", flush=True)
        sys.exit(75)
    old = mode == "old"
    socket = Path(os.environ["XDG_RUNTIME_DIR"]) / "lading/ladingd.sock" if old else state / "ladingd.sock"
    socket.parent.mkdir(mode=0o700, exist_ok=True)

    def say(status):
        facts = {"address": f"unix:{socket}", "pid": os.getpid(), "host": gethostname(), "status": status}
        if not old:
            (state / "daemon.json").write_text(json.dumps(facts))

    say("starting")
    service = FakeService()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    import grpc
    server = grpc.aio.server()
    from lading.v1 import job_service_pb2_grpc
    job_service_pb2_grpc.add_JobServiceServicer_to_server(service, server)
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), server)
    server.add_insecure_port(f"unix:{socket}")
    (state / "ladingd.pid").write_text(str(os.getpid()))
    await server.start()
    say("ready")
    print("ready", flush=True)
    await stop.wait()
    say("stopping")
    await server.stop(None)
    socket.unlink(missing_ok=True)
    while mode == "lingers" and not (state / "end").exists():
        await asyncio.sleep(0.01)
    (state / "ladingd.pid").unlink()
    (state / "daemon.json").unlink(missing_ok=True)

asyncio.run(main())
"""


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    package = folder / "stand_in" / "ladingd"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(STAND_IN)
    (folder / "run").mkdir(mode=0o700)
    places = {"XDG_RUNTIME_DIR": str(folder / "run")}
    ways = [str(package.parent), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return clean_environment(folder) | places | {"PYTHONPATH": os.pathsep.join(filter(None, ways))}


async def stopped(lading: Lading, environment: dict[str, str]) -> Result:
    return await lading("daemon", "stop", "--output", "json", environment=environment)


async def test_it_is_started_once_and_stopped(lading: Lading, environment: dict[str, str], folder: Path) -> None:
    status = await lading("daemon", "status", "--output", "json", environment=environment)
    assert status.json["running"] is False
    try:
        # Three at once: one starts the daemon, the others find the state directory taken and wait for the socket.
        results = await asyncio.gather(*(lading("ls", environment=environment) for _ in range(3)))
        assert [result.status for result in results] == [0, 0, 0], results
        imported = await lading("import", "r.csv", "--into", "t", environment=environment)
        assert imported.status == 0
        # The stand-in reads nothing, so the message does not mention rows.
        assert "nothing was imported" in imported.out
        status = await lading("daemon", "status", "--output", "json", environment=environment)
        pid = int((folder / STATE / "ladingd.pid").read_text())
        assert status.json == {
            "running": True,
            "pid": pid,
            "socket": f"{folder}/{STATE}/ladingd.sock",
            "stateDirectory": f"{folder}/{STATE}",
            "database": f"{folder}/{STATE}/local.db",
            "log": f"{folder}/{STATE}/ladingd.log",
        }
        assert f"running, pid {pid}" in (await lading("daemon", "status", environment=environment)).out
    finally:
        result = await stopped(lading, environment)
    assert result.json == {"stopped": True, "pid": pid}
    assert "ready\n" in (await lading("daemon", "logs", environment=environment)).out
    again = await lading("daemon", "stop", environment=environment)
    assert (again.status, again.out) == (0, "not running\n")


async def test_one_that_is_ending_is_waited_for(lading: Lading, environment: dict[str, str], folder: Path) -> None:
    state = folder / STATE
    assert (await lading("ls", environment=environment | {"STAND_IN": "lingers"})).status == 0
    first = int((state / "ladingd.pid").read_text())
    try:
        os.kill(first, signal.SIGTERM)
        until(lambda: not (folder / STATE / "ladingd.sock").exists(), "nobody listens any more")
        listing = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "lading_client", "ls"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        assert listing.stderr is not None
        async with asyncio.timeout(DEADLINE):
            said = await listing.stderr.readline()
            assert said.decode() == f"your daemon (pid {first}) is stopping: waiting for it\n"
            (state / "end").touch()
            out, err = await listing.communicate()
        assert (listing.returncode, out) == (0, b""), err
        assert int((state / "ladingd.pid").read_text()) != first
    finally:
        (state / "end").touch()
        await stopped(lading, environment)


async def test_one_that_cannot_start_says_why(lading: Lading, environment: dict[str, str], folder: Path) -> None:
    result = await lading("ls", environment=environment | {"STAND_IN": "dies"})
    assert result.status == 1
    assert "status 7" in result.err
    assert f"{folder}/{STATE}/ladingd.log" in result.err
    assert "reason 10" in result.err
    assert "reason 29" in result.err
    assert "reason 9\n" not in result.err
    assert "Traceback" not in result.err


async def test_a_state_directory_that_cannot_be_made(lading: Lading, environment: dict[str, str], folder: Path) -> None:
    (folder / ".local").write_text("in the way")
    result = await lading("ls", environment=environment)
    assert result.status == 1
    assert f"its state directory {folder}/{STATE} cannot be created or written" in result.err
    assert "Traceback" not in result.err


async def test_a_stale_pid_is_never_signalled(lading: Lading, environment: dict[str, str], folder: Path) -> None:
    state = folder / STATE
    state.mkdir(parents=True)
    (state / "ladingd.pid").write_text(str(os.getpid()))
    result = await lading("daemon", "stop", environment=environment)
    assert (result.status, result.out) == (0, "not running\n")


async def test_logs_before_the_first_start(lading: Lading, environment: dict[str, str]) -> None:
    result = await lading("daemon", "logs", environment=environment)
    assert result.status == 1
    assert "has not been started" in result.err


def of(folder: Path, **environment: str) -> OwnDaemon:
    return OwnDaemon.of({"HOME": str(folder)} | environment)


def record(state: Path, **facts: object) -> None:
    """Write the record of a daemon."""
    known = {"address": f"unix:{state}/ladingd.sock", "pid": os.getpid(), "host": gethostname(), "status": "ready"}
    (state / "daemon.json").write_text(json.dumps(known | facts))


@pytest.fixture
def state(folder: Path) -> Path:
    directory = folder / STATE
    directory.mkdir(mode=0o700, parents=True)
    return directory


@contextmanager
def held(state: Path) -> Iterator[None]:
    """Hold the lock of a daemon."""
    with (state / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_neither_cron_nor_another_session_comes_to_another_place(folder: Path) -> None:
    bare = of(folder)
    assert bare.state_directory == folder / STATE
    (folder / STATE).mkdir(mode=0o700, parents=True)
    other = folder / "other"
    other.mkdir(mode=0o700)
    for environment in ({"XDG_RUNTIME_DIR": str(other)}, {"XDG_STATE_HOME": str(other)}, {"TMPDIR": str(other)}):
        assert of(folder, **environment) == bare
        assert of(folder, **environment).address == bare.address


def test_the_first_run_decides_for_all_later_ones(folder: Path) -> None:
    other = folder / "other"
    other.mkdir(mode=0o700)
    environment = {"HOME": str(folder), "XDG_STATE_HOME": str(other)}
    assert OwnDaemon.of(environment).state_directory == other / "lading"
    for places in (user_places, server_places):
        assert places.create_state_directory(environment, os.geteuid()) == folder / STATE
        assert (folder / STATE).resolve() == (other / "lading").resolve()
        (folder / STATE).unlink()
    user_places.create_state_directory(environment, os.geteuid())
    assert of(folder).state_directory.samefile(other / "lading")


def test_a_store_that_is_not_in_use_is_told_of(folder: Path, state: Path) -> None:
    other = folder / "other/lading"
    other.mkdir(mode=0o700, parents=True)
    environment = {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "other")}
    assert user_places.left_aside(environment, os.geteuid()) is None
    (other / "store.db").touch()
    assert user_places.left_aside(environment, os.geteuid()) == other


OURS = os.geteuid()
THEIRS = 0 if OURS else 65534
"""Another user with an account."""


@pytest.mark.parametrize("places", [user_places, server_places])
def test_the_user_is_who_runs_it_and_not_who_home_belongs_to(folder: Path, places: Any) -> None:
    mine = {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "s"), "XDG_CONFIG_HOME": str(folder / "c")}
    account = Path(pwd.getpwuid(THEIRS).pw_dir)
    assert places.home(mine, OURS) == folder
    assert places.home({"HOME": str(folder / "not/made/yet")}, OURS) == folder / "not/made/yet"
    assert places.state_directory(mine, OURS) == folder / "s/lading"
    # `sudo` without -H: the other user's files stay untouched.
    assert places.home(mine, THEIRS) == account
    assert places.state_directory(mine, THEIRS) == account / ".local/state/lading"
    for lost in ({}, {"HOME": ""}, {"HOME": "relative"}):
        assert places.home(lost, OURS) == Path(pwd.getpwuid(OURS).pw_dir)
    without_account = 4_000_000_000
    assert places.home({"HOME": str(folder)}, without_account) == folder
    assert places.home({}, without_account) == Path("/")


def test_server_and_client_agree(folder: Path) -> None:
    environments: list[dict[str, str]] = [
        {"HOME": home} | {"XDG_STATE_HOME": state}
        for home in (str(folder), "", "relative", "/proc/1/root")
        for state in (str(folder / "s"), "", "relative", "/proc/1")
    ]
    for environment, uid in product(environments, (OURS, THEIRS)):
        assert user_places.state_directory(environment, uid) == server_places.state_directory(environment, uid)
    assert server_places.config_directory({"HOME": str(folder)}, OURS) == folder / ".config/lading"
    assert server_places.config_directory({"HOME": str(folder), "XDG_CONFIG_HOME": "/proc/1"}, THEIRS) != Path(
        "/proc/1/lading"
    )


def test_a_directory_that_others_can_write_to_is_refused(folder: Path, state: Path) -> None:
    state.chmod(0o770)
    with pytest.raises(UnsafeDirectory, match="can be written to by other users"):
        of(folder).look()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_refused(folder: Path, state: Path) -> None:
    os.chown(state, 12345, 12345)
    with pytest.raises(UnsafeDirectory, match="belongs to the user 12345"):
        of(folder).look()


def test_a_link_that_leads_nowhere_is_told(folder: Path) -> None:
    (folder / STATE).parent.mkdir(parents=True)
    (folder / STATE).symlink_to(folder / "away")
    with pytest.raises(StateUnusable, match=r"a link to .*away, which is missing"):
        of(folder).look()


def test_what_a_killed_daemon_has_left_is_nobody(folder: Path, state: Path) -> None:
    (state / "lock").touch()
    (state / "ladingd.pid").write_text("1")
    record(state, pid=1)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(state / "ladingd.sock"))
    assert of(folder).look() is None


async def test_one_whose_socket_is_gone_is_told_of_at_once(folder: Path, state: Path) -> None:
    record(state)
    with held(state):
        began = monotonic()
        with pytest.raises(DaemonUnreachable, match=rf"pid {os.getpid()}\) runs, but its socket .*lading daemon stop"):
            await of(folder).ensure()
        assert monotonic() - began < START_SECONDS / 4


async def test_one_on_another_machine_with_the_same_home(folder: Path, state: Path) -> None:
    record(state, host="elsewhere")
    with held(state):
        with pytest.raises(DaemonUnreachable, match="runs on elsewhere, which shares the state directory"):
            await of(folder).ensure()
        with pytest.raises(DaemonUnreachable):
            await of(folder).stop()


async def test_one_that_says_nothing_is_not_waited_for_for_long(folder: Path, state: Path) -> None:
    (state / "ladingd.pid").write_text(str(os.getpid()))
    with held(state):
        began = monotonic()
        with pytest.raises(DaemonUnreachable, match=f"a daemon .pid {os.getpid()}. holds .*stopping, or is an older"):
            await of(folder, XDG_RUNTIME_DIR=str(folder / "run")).ensure()
        assert monotonic() - began < START_SECONDS / 4


async def test_one_of_an_older_version_is_found_from_another_session(
    lading: Lading, environment: dict[str, str], folder: Path
) -> None:
    assert (await lading("ls", environment=environment | {"STAND_IN": "old"})).status == 0
    pid = int((folder / STATE / "ladingd.pid").read_text())
    bare = {name: value for name, value in environment.items() if name != "XDG_RUNTIME_DIR"}
    try:
        result = await lading("ls", environment=bare)
        assert result.status == 0, result.err
        status = await lading("daemon", "status", "--output", "json", environment=bare)
        assert status.json["pid"] == pid
    finally:
        assert (await stopped(lading, bare)).json == {"stopped": True, "pid": pid}


def test_a_path_that_is_too_long_is_told(folder: Path, state: Path) -> None:
    record(state, address="unix:/" + "x" * 120)
    with pytest.raises(BadAddress, match="107 bytes"):
        of(folder).look()
