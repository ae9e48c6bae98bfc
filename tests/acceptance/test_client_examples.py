"""Runs the examples in the client's README. Each is a complete program."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.waiting import PATIENCE

if TYPE_CHECKING:
    from tests.harness.daemon import DaemonProcess

ROOT = Path(__file__).parents[2]
SOCKET = "unix:/run/lading/ladingd.sock"
FILE = "incoming/recipients.csv"
_BLOCK = re.compile(
    r"^```python\n(?P<program>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL
)
_HEADING = re.compile(r"^## (.*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Example:
    """A program, and its output if the README shows it."""

    title: str
    program: str
    output: str | None


def examples() -> list[Example]:
    text = (ROOT / "client" / "README.md").read_text(encoding="utf-8")
    found = []
    for block in _BLOCK.finditer(text):
        title = _HEADING.findall(text, 0, block.start())[-1]
        found.append(Example(title=title, program=block["program"], output=block["output"]))
    return found


EXAMPLES = examples()
HERE = [example for example in EXAMPLES if SOCKET in example.program or example.title == "Testing your program"]


def test_all_examples_are_known() -> None:
    assert len(EXAMPLES) == 8
    assert len(HERE) == 7


@pytest.mark.parametrize("example", HERE, ids=lambda example: example.title)
def test_an_example_does_what_is_said(daemon: DaemonProcess, tmp_path: Path, example: Example) -> None:
    recipients = str(ROOT / "tests" / "data" / "recipients.csv").lstrip("/")
    assert FILE in example.program or SOCKET not in example.program
    program = tmp_path / "example.py"
    program.write_text(example.program.replace(SOCKET, daemon.address).replace(FILE, recipients))
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(program)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if example.output is not None:
        assert done.stdout == example.output
    expected = {
        "A whole job": "3002 read, 2995 inserted, 6 rejected, 1 empty",
        "Rejects and journal": "6. line",
        "Errors": "EDITING allows",
    }
    assert example.output is not None or expected[example.title] in done.stdout


@pytest.mark.timeout(240)
def test_all_examples_are_typed(tmp_path: Path) -> None:
    programs = []
    for number, example in enumerate(EXAMPLES):
        programs.append(tmp_path / f"example_{number}.py")
        programs[-1].write_text(example.program)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", *map(str, programs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
