"""``ladingd doctor`` with a running daemon, with a stopped one, and with a wrong configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tests.harness.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.daemon import DaemonProcess

CHAPTERS = [
    "Versions",
    "Configuration",
    "Paths",
    "Daemon",
    "Store",
    "Connections",
    "Limits",
    "Clock",
    "systemd",
]


def doctor(daemon: DaemonProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ladingd", "--config", str(daemon.config), "doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )


def lines(done: subprocess.CompletedProcess[str]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (chapter["title"], line["name"]): line
        for chapter in json.loads(done.stdout)["chapters"]
        for line in chapter["lines"]
    }


def test_beside_a_daemon_that_runs(make_daemon: Callable[..., DaemonProcess], postgres: str) -> None:
    daemon = make_daemon(connections={"warehouse": postgres})
    daemon.start()
    assert daemon.process is not None
    done = doctor(daemon)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert [line for line in done.stdout.splitlines()[:-1] if line and not line.startswith(" ")] == CHAPTERS
    done = doctor(daemon, "--output", "json")
    found = lines(done)
    assert f"process {daemon.process.pid}" in found["Daemon", "socket"]["text"]
    assert found["Daemon", "health"]["text"] == "serving"
    assert found["Daemon", "version"]["verdict"] == "OK"
    assert found["Connections", "warehouse"]["text"].startswith("PostgreSQL ")
    assert found["Store", "integrity"]["verdict"] == "OK"
    assert json.loads(done.stdout)["healthy"] is True
    assert daemon.stop() == 0


def test_where_none_runs_and_a_database_is_away(make_daemon: Callable[..., DaemonProcess]) -> None:
    daemon = make_daemon(connections={"away": "postgresql://127.0.0.1:1/x"})
    done = doctor(daemon, "--output", "json")
    assert done.returncode == 1
    found = lines(done)
    assert found["Daemon", "socket"]["verdict"] == "WARN"
    assert found["Connections", "away"]["verdict"] == "FAIL"
    assert found["Connections", "local"]["verdict"] == "OK"
    assert not daemon.state_dir.exists(), "nothing was made"


def test_a_configuration_that_is_not_right(make_daemon: Callable[..., DaemonProcess]) -> None:
    daemon = make_daemon(slotz=3)
    done = doctor(daemon)
    assert done.returncode == 1
    assert "FAIL  line 3         slotz: unknown key; did you mean slots?" in done.stdout
    assert "Connections" not in done.stdout
