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


LOOSE = {
    "loose.py": "ladingd.loose",
    "newpackage/__init__.py": "ladingd.newpackage",
    "run/loose.py": "ladingd.run.loose",
    "store/loose.py": "ladingd.store.loose",
    "core/loose.py": "ladingd.core.loose",
}
"""Modules that no contract lists, and the complaint about each."""
IMPORTS = {
    "core/spec.py": ("ladingd.core.ports", "ladingd.core.spec is not allowed to import"),
    "api/messages/upward.py": ("ladingd.api.server", "ladingd.api.messages is not allowed to import"),
    "core/upward.py": ("ladingd.store.tables", "ladingd.core is not allowed to import ladingd.store"),
    "core/sideways.py": ("ladingd.host.open_files", "ladingd.core is not allowed to import ladingd.host"),
    "host/upward.py": ("ladingd.data.transfer", "ladingd.host is not allowed to import ladingd.data"),
    "commands/api.py": ("ladingd.api.server", "ladingd.commands is not allowed to import ladingd.api"),
    "run/upkeep/circle.py": ("ladingd.run.control", "No cycles are allowed in ladingd.run"),
}
"""Modules that import another one, which is in the wrong direction, and the complaint about each."""


def test_modules_in_no_place_fail_the_check(server: Path) -> None:
    for module in LOOSE:
        add(server, module)
    linted = lint(server)
    assert linted.returncode == 1
    assert [complaint for complaint in LOOSE.values() if f"{complaint}\n" not in linted.stdout] == []


def test_imports_in_the_wrong_direction_fail_the_check(server: Path) -> None:
    for module, (imported, _) in IMPORTS.items():
        add(server, module, f"import {imported}\n")
    linted = lint(server)
    assert linted.returncode == 1
    assert [complaint for _, complaint in IMPORTS.values() if complaint not in linted.stdout] == []


def add(server: Path, module: str, text: str = "") -> None:
    path = server / "ladingd" / module
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_the_daemon_as_it_is_passes_the_check(server: Path) -> None:
    linted = lint(server)
    assert linted.returncode == 0, linted.stdout
