"""The unit: systemd's own check, and its installation."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ladingd.commands import systemd
from ladingd.commands.error import CommandError
from tests.harness.waiting import PATIENCE

ANALYZE = shutil.which("systemd-analyze")
needs_analyze = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed (Debian: systemd)")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    path = tmp_path / systemd.UNIT
    path.write_text(systemd.unit())
    return path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [ANALYZE or "", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def ladingd(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ladingd", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


@needs_analyze
def test_the_unit_is_right(unit: Path) -> None:
    done = analyze("verify", "--man=no", str(unit))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_analyze
def test_the_unit_is_hardened(unit: Path) -> None:
    done = analyze("security", "--offline=true", "--threshold=13", "--no-pager", str(unit))
    assert done.returncode == 0, done.stdout


def test_a_worker_without_memory_does_not_end_the_daemon() -> None:
    assert "\nOOMPolicy=continue\n" in systemd.unit()


def test_show_prints_the_unit_of_this_installation() -> None:
    shown = ladingd("systemd", "show")
    assert shown.returncode == 0
    assert f"\nExecStart={sys.executable} -P -m ladingd\n" in shown.stdout
    assert "{" not in shown.stdout


def test_install_writes_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(systemd, "_installation", list)
    systemd._install(tmp_path)
    assert (tmp_path / systemd.UNIT).read_text() == systemd.unit()
    assert [path.name for path in tmp_path.iterdir()] == [systemd.UNIT]
    assert 'u lading - "Lading' in capsys.readouterr().out


def test_install_refuses_what_the_service_could_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o700)
    for hidden, problem in ((tmp_path, "which the service does not see"), (Path("/root"), "only its owner may enter")):
        monkeypatch.setattr(systemd, "_HIDDEN", (hidden,))
        monkeypatch.setattr(systemd, "_installation", lambda: [shut / "python"])
        with pytest.raises(CommandError, match=problem):
            systemd._install(tmp_path)
    shut.rmdir()
    assert not list(tmp_path.iterdir())


def test_install_refuses_without_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(CommandError, match="run this as root, or name another --directory"):
        systemd._install(systemd.SYSTEM_UNITS)
    monkeypatch.setattr(systemd, "_installation", list)
    with pytest.raises(CommandError, match="/proc/nowhere cannot be written"):
        systemd._install(Path("/proc/nowhere"))
