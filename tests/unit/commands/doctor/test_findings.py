"""The doctor's findings about a unit, a control group, directories, a socket and a store."""

from __future__ import annotations

import os
import socket
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.commands.doctor import command, machine, places, serving
from ladingd.commands.doctor import store as stores
from ladingd.commands.doctor.report import Verdict
from ladingd.config.settings import Settings
from ladingd.store.sqlite.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ladingd.commands.doctor.report import Line

WELL = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "Result": "success",
    "UnitFileState": "enabled",
    "NRestarts": "0",
    "NeedDaemonReload": "no",
}


def said(lines: Iterable[Line]) -> list[tuple[str, str]]:
    return [(line.verdict.value, line.text) for line in lines]


@pytest.mark.parametrize(
    ("state", "verdicts"),
    [
        ({}, ["OK"]),
        ({"LoadState": "not-found"}, ["WARN"]),
        ({"ActiveState": "failed", "SubState": "failed", "Result": "exit-code"}, ["FAIL"]),
        ({"ActiveState": "inactive", "SubState": "dead"}, ["WARN"]),
        ({"NRestarts": "3", "UnitFileState": "disabled", "NeedDaemonReload": "yes"}, ["OK", "WARN", "WARN", "WARN"]),
    ],
)
def test_the_state_of_a_unit(state: dict[str, str], verdicts: list[str]) -> None:
    assert [line.verdict.value for line in machine.unit_state({**WELL, **state})] == verdicts


def test_the_least_limit_of_memory_holds(tmp_path: Path) -> None:
    group = tmp_path / "mounted/system.slice/ladingd.service"
    group.mkdir(parents=True)
    cgroup = tmp_path / "cgroup"
    cgroup.write_text("0::/system.slice/ladingd.service\n")
    assert machine.memory_limit(cgroup, tmp_path / "mounted") is None
    (group / "memory.max").write_text("max\n")
    (group.parent / "memory.max").write_text(f"{1 << 30}\n")
    assert machine.memory_limit(cgroup, tmp_path / "mounted") == 1 << 30
    (group / "memory.max").write_text(f"{1 << 29}\n")
    assert machine.memory_limit(cgroup, tmp_path / "mounted") == 1 << 29
    old = tmp_path / "mounted/memory/docker"
    old.mkdir(parents=True)
    (old / "memory.limit_in_bytes").write_text(f"{1 << 28}\n")
    cgroup.write_text("4:memory:/docker\n1:cpu:/\n")
    assert machine.memory_limit(cgroup, tmp_path / "mounted") == 1 << 28


def settings(folder: Path, **values: Any) -> Settings:
    return Settings(state_dir=folder / "state", socket=folder / "s", **values)


def test_limits_of_this_very_process(tmp_path: Path) -> None:
    few = list(machine.limits(settings(tmp_path, workers=1), None))
    assert [line.name for line in few] == ["open files", "memory", "cores"]
    many = list(machine.limits(settings(tmp_path, workers=100_000), os.getpid()))
    assert [line.verdict for line in many] == [Verdict.WARN] * 3


def test_limits_of_a_process_that_has_ended(tmp_path: Path) -> None:
    lines = list(machine.limits(Settings(state_dir=tmp_path, socket=tmp_path / "s", workers=1), 1 << 30))
    assert [line.verdict.value for line in lines][:1] == ["WARN"]
    assert "cannot be read" in lines[0].text


def test_a_store_that_does_not_say_its_schema(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("CREATE TABLE jobs (state TEXT)")
    lines = list(stores.store(Settings(state_dir=tmp_path, socket=tmp_path / "s"), running=False))
    assert [line.verdict.value for line in lines] == ["FAIL", "OK", "OK"]


def test_a_password_that_only_the_unit_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither root nor the daemon's user has the password outside of the unit, which is not a failure."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    crm = {"url": "postgresql://127.0.0.1:1/x", "password_credential": "crm"}
    settings = Settings(state_dir=tmp_path, socket=tmp_path / "s", connections={"crm": crm})
    (line,) = command._connections(settings, stranger=False)
    assert (line.verdict, "credential" in line.text) == (Verdict.WARN, True)


def test_what_a_user_may_do_in_directories(folder: Path) -> None:
    folder.chmod(0o755)
    paths = []
    for name, mode in (("closed", 0o000), ("readable", 0o555), ("open", 0o777)):
        (folder / name).mkdir()
        (folder / name).chmod(mode)
        paths.append(folder / name)
    # Root may do everything, so the test runs as another user.
    user = 65534 if os.geteuid() == 0 else os.geteuid()
    access = places.access_of(user, [*paths, folder / "none"])
    assert access == [(False, False), (True, False), (True, True), (False, False)]


def test_a_user_that_we_cannot_become(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert places.access_of(54321, [tmp_path]) == [None]
    lines = list(places.paths(settings(tmp_path, roots={"in": tmp_path}), tmp_path / "s", user=False))
    assert Verdict.FAIL not in {line.verdict for line in lines}


def test_a_state_directory_that_others_can_look_into(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    line = next(
        line
        for line in places.paths(settings(tmp_path), settings(tmp_path).socket, user=False)
        if line.name == "state_dir"
    )
    assert (line.verdict, line.advice) == (Verdict.WARN, f"chmod 700 {tmp_path}/state")


def test_a_socket_directory_that_anybody_can_write_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    line = next(
        line
        for line in places.paths(settings(tmp_path), settings(tmp_path).socket, user=False)
        if line.name == "socket's dir"
    )
    assert (line.verdict, line.advice) == (Verdict.FAIL, f"chmod 750 {tmp_path}")


def test_sockets_that_nobody_serves(folder: Path) -> None:
    path = folder / "s"
    asked = settings(folder)
    assert said(serving.serving(asked, path, serving.find(path), user=True))[0][0] == "OK"
    assert said(serving.serving(asked, path, serving.find(path), user=False))[0][0] == "WARN"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    ((verdict, text),) = said(serving.serving(asked, path, serving.find(path), user=False))
    assert (verdict, "left over" in text) == ("WARN", True)


def test_a_daemon_that_accepts_and_does_not_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "TIMEOUT", 0.2)
    (folder / "state").mkdir()
    (folder / "state/lock").write_text("0.0.1")
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(folder / "s"))
        hung.listen()
        found = serving.find(folder / "s")
        lines = list(serving.serving(settings(folder), folder / "s", found, user=False))
    assert [line.verdict.value for line in lines] == ["OK", "WARN", "FAIL"]
    assert lines[1].text.startswith("0.0.1, since ")
    assert "no answer within" in lines[2].text


async def made(folder: Path) -> Path:
    path = folder / "state/store.db"
    path.parent.mkdir()
    database = Database(path)
    await database.open()
    await database.close()
    return path


async def test_a_store_that_is_well_is_not_touched(folder: Path) -> None:
    path = await made(folder)
    before = (path.stat().st_mtime_ns, sorted(each.name for each in path.parent.iterdir()))
    lines = list(stores.store(settings(folder), running=False))
    assert [(line.verdict.value, line.name) for line in lines] == [
        ("OK", "schema"),
        ("OK", "jobs"),
        ("OK", "integrity"),
    ]
    assert (path.stat().st_mtime_ns, sorted(each.name for each in path.parent.iterdir())) == before


async def test_a_store_of_a_newer_program(folder: Path) -> None:
    path = await made(folder)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert next(iter(stores.store(settings(folder), running=True))).verdict is Verdict.FAIL


async def test_a_store_that_is_damaged(folder: Path) -> None:
    path = await made(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\x07" * (len(whole) - 4096))
    assert Verdict.FAIL in {line.verdict for line in stores.store(settings(folder), running=False)}
    path.write_bytes(b"no database at all" * 100)
    assert [line.verdict for line in stores.store(settings(folder), running=False)] == [Verdict.FAIL]


async def test_the_check_of_a_large_store_has_an_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await made(folder)
    monkeypatch.setattr(stores, "TIMEOUT", 0.0)
    monkeypatch.setattr(stores, "_STEPS", 1)
    lines = list(stores.store(settings(folder), running=False))
    assert (lines[-1].name, lines[-1].verdict) == ("integrity", Verdict.WARN)
