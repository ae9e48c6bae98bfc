"""Imports from pipes and from files that can be read only once."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.test_command_line import Home
from tests.harness.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LADING = shlex.join([sys.executable, "-m", "lading_client"])


@pytest.fixture
def home(folder: Path) -> Iterator[Home]:
    home = Home(folder)
    yield home
    home.lading("daemon", "stop")


def shell(home: Home, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in the home."""
    return subprocess.run(
        ["bash", "-c", line],
        cwd=home.folder,
        env=home.environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("cat a.csv | {} import - --into t", "standard input"),
        ("{} import - --into t < a.csv", "standard input"),
        ("gzip -c a.csv | {} import - --into t", "standard input"),
        ("iconv -t utf-16 a.csv | {} import - --into t", "standard input"),
        ("{} import <(cat a.csv) --into t", ""),
        ("mkfifo pipe.csv; cat a.csv > pipe.csv & {} import pipe.csv --into t", "pipe.csv"),
        ("cat a.csv | {} import /dev/stdin --into t", ""),
    ],
)
def test_a_stream_is_spooled_and_imported(home: Home, line: str, name: str) -> None:
    home.write("a.csv", "id,name\n" + "".join(f"{number},näme\n" for number in range(20_000)) + "x,1,2\n")
    done = shell(home, line.format(LADING) + " --output json")
    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)
    assert job["label"].startswith(name)
    assert home.rows("SELECT count(*), count(DISTINCT id), min(name) FROM t") == [(20_000, 20_000, "näme")]
    assert job["bill"]["rejected"] == 1


def test_a_job_from_a_stream_can_be_started_again(home: Home) -> None:
    home.write("a.csv", "id\n1\nx\n2\n")
    done = shell(home, f"cat a.csv | {LADING} import - --into t --type id=integer --detach --output json")
    assert done.returncode == 0, done.stderr
    name = json.loads(done.stdout)["name"]
    home.lading("watch", name)
    (reject,) = home.lading("rejects", name, "--output", "json").stdout.splitlines()
    assert json.loads(reject)["file"].endswith("standard input")
    assert home.rows("SELECT count(*) FROM t") == [(2,)]


def test_a_file_of_the_kernel_is_read(home: Home) -> None:
    done = shell(home, f"{LADING} import /proc/self/limits --into limits --no-header --delimiter '|' --output json")
    assert done.returncode == 0, done.stderr
    assert home.rows("SELECT count(*) FROM limits")[0][0] > 10


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{} import /dev/zero --into t", "/dev/zero is a device: name a file or a pipe"),
        ("mkdir empty; {} import empty --into t", "has no files"),
        ("{} export t --to -", "standard input and output can be used by import only"),
        ("{} import - --into t < /dev/null", ""),
    ],
)
def test_what_is_no_stream_is_refused(home: Home, line: str, words: str) -> None:
    home.write("a.csv", "id\n1\n")
    done = shell(home, line.format(LADING))
    assert words in done.stderr
    assert done.returncode == (2 if words else 0)


def test_a_stream_is_previewed(home: Home) -> None:
    home.write("a.csv", "id,name\n1,Jo\n")
    shown = shell(home, f"{LADING} preview - < a.csv")
    assert "columns: id integer, name text" in shown.stdout
    assert "The only record was looked at" in shown.stdout
    assert not [path for path in (home.state_dir / "uploads").rglob("*") if path.is_file()], "the upload is deleted"
