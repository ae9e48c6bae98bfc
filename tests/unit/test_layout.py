"""The import-linter contracts detect violations."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(server: Path) -> subprocess.CompletedProcess[str]:
    """Run the linter as `.ci/check` does, on a copy of the daemon."""
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-logo", "--no-cache", str(ROOT / "pyproject.toml")],
        cwd=server,
        env={**os.environ, "PYTHONPATH": str(server)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def server(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "server/ladingd", tmp_path / "ladingd", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize(
    ("module", "text", "complaint"),
    [
        ("loose.py", "", "ladingd.loose"),
        ("newpackage/__init__.py", "", "ladingd.newpackage"),
        ("run/loose.py", "", "ladingd.run.loose"),
        ("store/loose.py", "", "ladingd.store.loose"),
        ("core/loose.py", "", "ladingd.core.loose"),
        ("core/spec.py", "import ladingd.core.ports\n", "ladingd.core.spec is not allowed to import"),
        ("api/messages/upward.py", "import ladingd.api.server\n", "ladingd.api.messages is not allowed to import"),
        ("core/upward.py", "import ladingd.store.tables\n", "ladingd.core is not allowed to import ladingd.store"),
        ("core/sideways.py", "import ladingd.host.open_files\n", "ladingd.core is not allowed to import ladingd.host"),
        ("host/upward.py", "import ladingd.data.transfer\n", "ladingd.host is not allowed to import ladingd.data"),
        ("commands/api.py", "import ladingd.api.server\n", "ladingd.commands is not allowed to import ladingd.api"),
        ("run/upkeep/circle.py", "import ladingd.run.control\n", "No cycles are allowed in ladingd.run"),
    ],
)
def test_a_module_in_the_wrong_place_fails_the_check(server: Path, module: str, text: str, complaint: str) -> None:
    path = server / "ladingd" / module
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    linted = lint(server)
    assert linted.returncode == 1
    assert complaint in linted.stdout


def test_the_daemon_as_it_is_passes_the_check(server: Path) -> None:
    linted = lint(server)
    assert linted.returncode == 0, linted.stdout
