"""Foreign texts cannot control the terminal of the user who runs `ladingd`."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ladingd.commands.doctor.report import ok, page
from ladingd.commands.terminal import write
from ladingd.core.printable import printable, printable_lines
from ladingd.telemetry.logs import TextLines
from tests.harness.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "a\x1b[2J\x9b\x7f\u202e\u2028\U000e0001\udcff"
SAFE = "a\\x1b[2J\\x9b\\x7f\\u202e\\u2028\\U000e0001\\udcff"


def test_control_characters_are_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable(f"{HOSTILE}\n") == f"{SAFE}\\n"
    assert printable_lines(f"ü\n{HOSTILE}") == f"ü\n{SAFE}"
    write([HOSTILE])
    assert capsys.readouterr().out == f"{SAFE}\n"


def test_so_they_are_in_the_log_and_on_the_page_of_the_doctor() -> None:
    record = logging.LogRecord("n", logging.INFO, "", 0, "%s", (HOSTILE,), None)
    assert TextLines().format(record).endswith(f"n: {SAFE}")
    lines = list(page([("Title", [ok(f"x{HOSTILE}", HOSTILE)])], colours=False))
    assert all(line.isprintable() for line in lines)
    assert SAFE in "".join(lines).replace(" ", "")


def ladingd(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ladingd", *arguments],
        env={"HOME": str(home), "PATH": os.environ["PATH"]} | environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_so_they_are_in_what_was_typed_and_found(tmp_path: Path) -> None:
    odd = "x\x1b[31m\u202e"
    config = tmp_path / f"{odd}.toml"
    config.write_text("slots = 0\n")
    for arguments in ((odd,), ("config", "check", str(config)), ("--config", str(config)), ("config", "check", odd)):
        done = ladingd(tmp_path, *arguments)
        assert done.returncode == 2, arguments
        said = done.stdout + done.stderr
        assert all(line.isprintable() for line in said.split("\n")), said
        assert "x\\x1b[31m\\u202e" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", "create", "me", "--role", "viewer"),
        ("token", "list"),
        ("token", "revoke", "me"),
        ("store", "check"),
        ("store", "backup", "copy.db"),
        ("store", "vacuum"),
    ],
)
@pytest.mark.parametrize("asked", ["--user", "--config", ""])
def test_no_command_makes_a_store(tmp_path: Path, arguments: tuple[str, ...], asked: str) -> None:
    state = tmp_path / (".local/state/lading" if asked == "--user" else "state")
    config = tmp_path / "ladingd.toml"
    config.write_text(f'state_dir = "{state}"\nsocket = "{state}/s"\n')
    match asked:
        case "--user":
            done = ladingd(tmp_path, *arguments, "--user")
        case "--config":
            done = ladingd(tmp_path, "--config", str(config), *arguments)
        case _:  # The system daemon, with its state in another place for the test.
            done = ladingd(tmp_path, *arguments, LADINGD_STATE_DIR=str(state))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"there is no store {state}/store.db: the daemon creates it at its first start" in done.stderr
    # A user who names no daemon may mean another one than the system daemon.
    assert ("To ask about your own daemon: ladingd --user" in done.stderr) is (asked == "")
    assert not state.exists()
