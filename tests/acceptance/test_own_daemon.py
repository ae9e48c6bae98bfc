"""The user's own daemon, reached from every kind of session."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.harness.daemon import lives
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

STATE = ".local/state/lading"


class User:
    """A user's home and sessions."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, *arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command with only this environment."""
        return subprocess.run(
            [sys.executable, "-m", "lading_client", *arguments],
            check=False,
            cwd="/",
            env={"HOME": str(self.home)} | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def pid(self, **environment: str) -> int:
        """The pid of the daemon that a session reaches. The command must succeed without a message."""
        done = self.run("ls", "--output", "json", environment=environment)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done
        status: dict[str, int] = json.loads(
            self.run("daemon", "status", "--output", "json", environment=environment).stdout
        )
        return status["pid"]


@pytest.fixture
def user(folder: Path) -> Iterator[User]:
    home = folder / "home"
    home.mkdir(mode=0o700)
    user = User(home)
    yield user
    done = user.run("daemon", "stop", environment={})
    assert done.returncode == 0, done.stderr


@pytest.fixture
def sessions(folder: Path) -> list[dict[str, str]]:
    """The environments of an interactive shell, of cron, of a timer, and of a user with other XDG directories."""
    for name in ("run", "state", "tmp"):
        (folder / name).mkdir(mode=0o700)
    return [
        {"XDG_RUNTIME_DIR": str(folder / "run"), "PATH": os.environ["PATH"], "TERM": "dumb"},
        {},
        {"XDG_STATE_HOME": str(folder / "state")},
        {"TMPDIR": str(folder / "tmp"), "XDG_RUNTIME_DIR": "/nonexistent", "LANG": "C"},
    ]


@pytest.mark.parametrize("first", range(4))
def test_every_session_reaches_the_same_daemon(user: User, sessions: list[dict[str, str]], first: int) -> None:
    began = user.pid(**sessions[first])
    assert {user.pid(**session) for session in sessions} == {began}


def test_sessions_that_start_it_at_the_same_time(user: User, sessions: list[dict[str, str]]) -> None:
    starting = [
        subprocess.Popen(
            [sys.executable, "-m", "lading_client", "ls"],
            cwd="/",
            env={"HOME": str(user.home)} | session,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for session in sessions
    ]
    for process in starting:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert len({user.pid(**session) for session in sessions}) == 1


def test_a_home_whose_path_is_too_long_for_a_socket(folder: Path) -> None:
    home = folder / ("long" * 30)
    home.mkdir(mode=0o700)
    user = User(home)
    try:
        assert user.pid() == user.pid(XDG_RUNTIME_DIR=str(folder))
        socket = Path(json.loads((home / STATE / "daemon.json").read_text())["address"].removeprefix("unix:"))
        assert socket.parent.stat().st_mode & 0o777 == 0o700
        os.kill(user.pid(), signal.SIGKILL)
        until(lambda: "not running" in user.run("daemon", "status", environment={}).stdout, "it is gone")
        user.pid()
        assert not socket.parent.exists()
        socket = Path(json.loads((home / STATE / "daemon.json").read_text())["address"].removeprefix("unix:"))
    finally:
        assert user.run("daemon", "stop", environment={}).returncode == 0
    assert not socket.parent.exists()


def test_one_that_was_killed_is_replaced_and_one_without_a_socket_is_told_of(user: User) -> None:
    first = user.pid()
    os.kill(first, signal.SIGKILL)
    until(lambda: not lives(first), "it is gone")
    second = user.pid()
    assert second != first
    (user.home / STATE / "ladingd.sock").unlink()
    began = monotonic()
    lost = user.run("ls", environment={})
    assert monotonic() - began < 10
    assert lost.returncode == 1
    assert lost.stderr == (
        f"lading: your daemon (pid {second}) runs, but its socket {user.home / STATE}/ladingd.sock is gone or does not"
        " answer. To stop the daemon: lading daemon stop; the next command starts another one, which continues the"
        " jobs\n"
    )
    assert f"running, pid {second}, but cannot be reached" in user.run("daemon", "status", environment={}).stdout
    assert user.run("daemon", "stop", environment={}).stdout == f"stopped, pid was {second}\n"
    assert user.pid() != second


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_with_the_home_of_another_leaves_nothing_in_it(folder: Path) -> None:
    home = folder / "theirs"
    (home / ".config").mkdir(parents=True)
    for path in (home, home / ".config"):
        os.chown(path, 12345, 12345)
    command = [sys.executable, "-m", "lading_client", "daemon", "status", "--output", "json"]
    done = subprocess.run(command, env={"HOME": str(home)}, check=True, capture_output=True, text=True, timeout=60)
    assert not json.loads(done.stdout)["stateDirectory"].startswith(str(folder))
    assert sorted(path.name for path in home.rglob("*")) == [".config"]


def test_a_state_directory_that_others_write_to_is_refused(folder: Path) -> None:
    home = folder / "home"
    (home / STATE).mkdir(parents=True)
    (home / STATE).chmod(0o777)
    done = User(home).run("ls", environment={})
    assert (done.returncode, done.stdout) == (1, "")
    assert f"chmod go-w {home / STATE}" in done.stderr
    server = subprocess.run(
        [sys.executable, "-m", "ladingd", "--user"],
        env={"HOME": str(home)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert server.returncode == 1
    assert f"other users can write to the state directory {home / STATE}" in server.stderr
