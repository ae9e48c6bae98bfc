"""Files that a command writes replace only regular files, and none of the user's own daemon."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from lading_client.cli.arguments.paths import BadPath, check_free, file_to_write
from lading_client.files.destination import check_replaceable, destination
from tests.harness.users import NOBODY, common_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".local/state/lading").mkdir(parents=True)
    (tmp_path / ".config/lading").mkdir(parents=True)
    (tmp_path / ".config/lading/ladingd.toml").write_text(f"[connections.crm]\nurl = 'sqlite:///{tmp_path}/crm.db'\n")
    return tmp_path


def fifo(path: Path) -> None:
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def listener(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{descriptor}/{path.name}")
    finally:
        os.close(descriptor)


KINDS = {
    fifo: "is a named pipe",
    directory: "is a directory: name a file in it",
    device: "is a device",
    listener: "is a socket",
}


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("linked", [False, True])
def test_only_regular_files_are_replaced(home: Path, make: Callable[[Path], None], linked: bool) -> None:
    path = home / "out.csv"
    make(home / "there" if linked else path)
    if linked:
        path.symlink_to("there")
    for check in (lambda: check_free(str(path), overwrite=True), lambda: file_to_write(str(path))):
        with pytest.raises(BadPath, match=rf"out\.csv {KINDS[make]}"):
            check()
    with pytest.raises(OSError, match=KINDS[make]):
        destination(path)


def test_what_is_put_there_while_the_file_comes_is_not_replaced(home: Path) -> None:
    check_replaceable(home / "out.csv")
    (home / "out.csv").write_text("x")
    check_replaceable(home / "out.csv")
    (home / "link.csv").symlink_to("out.csv")
    with pytest.raises(OSError, match="has become a link"):
        check_replaceable(home / "link.csv")


def test_links_are_followed_to_the_file(home: Path) -> None:
    (home / "data").mkdir()
    (home / "data/out.csv").write_text("x")
    (home / "link.csv").symlink_to("data/out.csv")
    assert destination(home / "link.csv") == home / "data/out.csv"
    (home / "dangling.csv").symlink_to("data/none.csv")
    with pytest.raises(BadPath, match="is a link to a file that does not exist"):
        file_to_write(str(home / "dangling.csv"))


@pytest.mark.parametrize("path", ["out/", "out.csv/", ".", "..", "out/.", "out/.."])
def test_paths_of_directories(home: Path, path: str) -> None:
    for check in (lambda: check_free(f"{home}/{path}", overwrite=True), lambda: file_to_write(f"{home}/{path}")):
        with pytest.raises(BadPath, match="is the path of a directory: name a file in it"):
            check()


@pytest.mark.parametrize(
    ("path", "what"),
    [
        (".local/state/lading/store.db", "its state"),
        (".local/state/lading/jobs/new.csv", "its state"),
        (".local/state/lading/local.db", "the database of connection 'local'"),
        (".config/lading/ladingd.toml", "its configuration"),
        ("crm.db", "the database of connection 'crm'"),
        ("crm.db-wal", "the database of connection 'crm'"),
        ("by a link/local.db-wal", "the database of connection 'local'"),
        ("link.csv", "its state"),
    ],
)
def test_files_of_the_own_daemon_are_left_alone(home: Path, path: str, what: str) -> None:
    state = home / ".local/state/lading"
    (state / "jobs").mkdir()
    (state / "store.db").write_text("store")
    (home / "by a link").symlink_to(state)
    (home / "link.csv").symlink_to(state / "store.db")
    for check in (lambda: check_free(f"{home}/{path}", overwrite=True), lambda: file_to_write(f"{home}/{path}")):
        with pytest.raises(BadPath, match=rf"belongs to your own daemon \({what}\): choose another file"):
            check()
    assert file_to_write(f"{home}/crm.csv").path == f"{home}/crm.csv"[1:]


def test_a_database_of_a_connection_that_cannot_be_looked_at_keeps_no_file_from_being_written(folder: Path) -> None:
    closed, config = folder / "closed", folder / "config/lading/ladingd.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'[connections.other]\nurl = "sqlite:///{closed}/x.db"\n')
    closed.mkdir(mode=0o000)
    folder.chmod(0o711)
    if os.geteuid() == 0:
        os.chown(folder / "config", NOBODY, NOBODY)  # The directory of another user is not used.
    try:
        with common_user():
            assert destination(folder / "out.csv", {"XDG_CONFIG_HOME": str(folder / "config")}) == folder / "out.csv"
    finally:
        closed.chmod(0o700)
