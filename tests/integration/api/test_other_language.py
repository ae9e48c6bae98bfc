"""A client in another language learns the API by reflection, and imports a file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.jobs import rows, write_people

if TYPE_CHECKING:
    from tests.harness.daemon import DaemonProcess

SOURCE = Path(__file__).parent / "node"
INSTALLING = 60
RUNNING = 60
FAILED_PRECONDITION = 9

pytestmark = pytest.mark.skipif(
    "CI" not in os.environ and (shutil.which("node") is None or shutil.which("npm") is None),
    reason="node and npm are not installed",
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's program with its packages."""
    home = tmp_path_factory.mktemp("node")
    for file in SOURCE.iterdir():
        shutil.copy(file, home)
    command = ["npm", "install", "--no-fund", "--no-audit", "--loglevel=error", "--fetch-retries=1"]
    try:
        said = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=INSTALLING, check=False)
        problem = said.stdout + said.stderr if said.returncode else ""
    except subprocess.TimeoutExpired:
        problem = f"no end within {INSTALLING} s"
    if problem and "CI" not in os.environ:
        pytest.skip(f"npm cannot install the client's packages here: {problem}")
    assert not problem
    return home / "client.js"


@pytest.mark.timeout(INSTALLING + RUNNING + 30)
def test_it_finds_the_services_makes_a_job_and_watches_it_to_its_end(client: Path, daemon: DaemonProcess, folder: Path):
    file = write_people(folder / "people.csv", 1000)
    said = subprocess.run(
        ["node", str(client), daemon.address, str(file).lstrip("/")],
        capture_output=True,
        text=True,
        timeout=RUNNING,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    seen = json.loads(said.stdout)
    assert {"lading.v1.JobService", "grpc.health.v1.Health"} <= set(seen["services"])
    assert seen["states"] == ["STATE_EDITING", "STATE_QUEUED", "STATE_RUNNING", "STATE_FINISHED"]
    assert (seen["job"]["label"], seen["job"]["bill"]["inserted"]) == ("from Node", "1000")
    assert seen["journal"]
    assert seen["refusal"] == FAILED_PRECONDITION
    assert len(rows(daemon.target)) == 1000
