"""Overlaps of roots, databases and the daemon's own files are found before a job runs."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ladingd.config import own_files as module
from ladingd.config import side_by_side as looking
from ladingd.config.finding import Finding, Severity
from ladingd.config.loader import load
from ladingd.config.own_files import databases, own_files
from ladingd.config.side_by_side import side_by_side
from ladingd.config.surroundings import examine
from ladingd.data.databases.connection import Connection
from ladingd.data.databases.registry import target_of
from ladingd.data.databases.sqlite.target import SqliteTarget
from ladingd.data.storage.work_dir import WorkDir


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    for name in ("state/jobs", "srv", "data"):
        (tmp_path / name).mkdir(parents=True)


def findings(file: Path, text: str = "", **urls: str) -> tuple[Finding, ...]:
    connections = "".join(f"[connections.{name}]\nurl = 'sqlite:///{url}'\n" for name, url in urls.items())
    file.write_text(f"state_dir = '{file.parent}/state'\nsocket = '{file.parent}/s'\n{text}\n{connections}")
    return examine(file, user=False)[1]


def told(found: tuple[Finding, ...]) -> list[tuple[Severity, str]]:
    return [(finding.severity, finding.key) for finding in found]


@pytest.mark.parametrize("way", ["", "link", "missing"])
def test_a_root_that_holds_the_database_of_a_connection(file: Path, way: str) -> None:
    database = file.parent / "srv/crm.db"
    if way != "missing":
        database.touch()
    (file.parent / "data/link.db").symlink_to(database)
    root = f"[roots]\nsrv = '{file.parent}/srv'"
    (finding,) = findings(file, root, crm=str(file.parent / "data/link.db" if way == "link" else database))
    assert told((finding,)) == [(Severity.WARNING, "roots.srv")]
    assert f"the database of connection 'crm' ({database}) lies beneath it" in finding.message
    assert findings(file, root, crm=f"{file.parent}/data/crm.db") == ()


def test_a_root_that_holds_files_of_the_daemon(file: Path) -> None:
    (file.parent / "srv/etc").mkdir()
    inner = file.parent / "srv/etc/ladingd.toml"
    secret = file.parent / "srv/secret"
    secret.write_text("x")
    secret.chmod(0o600)
    text = f"""[roots]
srv = '{file.parent}/srv'
[connections.pg]
url = 'postgresql://h/d'
password_file = '{secret}'
"""
    inner.write_text(f"state_dir = '{file.parent}/state'\nsocket = '{file.parent}/s'\n{text}")
    found = examine(inner, user=False)[1]
    assert told(found) == [(Severity.WARNING, "roots.srv")] * 2
    assert "the daemon's configuration" in found[0].message
    assert "the password of connection 'pg'" in found[1].message


def test_the_whole_machine_is_told_once(file: Path) -> None:
    (finding,) = findings(file, "[roots]\nall = '/'", crm=f"{file.parent}/srv/crm.db")
    assert "except the daemon's own files and its databases" in finding.message


@pytest.mark.parametrize(
    "path", ["store.db", "store.db-wal", "ballast", "lock", "jobs/a.db", "daemon.json", "../ladingd.toml", "../s"]
)
def test_a_connection_that_leads_to_the_daemons_own_file(file: Path, path: str) -> None:
    assert told(findings(file, crm=f"{file.parent}/state/{path}")) == [(Severity.ERROR, "connections.crm.url")]
    assert told(findings(file, crm=f"{file.parent}/data/../state/./{path}")) == [
        (Severity.ERROR, "connections.crm.url")
    ]


@pytest.mark.parametrize("make", [os.symlink, os.link])
def test_a_connection_that_leads_to_the_store_by_a_link(file: Path, make: object) -> None:
    (file.parent / "state/store.db").touch()
    assert callable(make)
    make(file.parent / "state/store.db", file.parent / "data/crm.db")
    (finding,) = findings(file, crm=f"{file.parent}/data/crm.db")
    assert told((finding,)) == [(Severity.ERROR, "connections.crm.url")]
    assert "store.db" in finding.message


def test_the_database_of_ones_own_daemon_lies_in_its_state(file: Path) -> None:
    assert findings(file, local=f"{file.parent}/state/local.db") == ()


def test_what_a_daemon_keeps_in_its_state_is_known(file: Path) -> None:
    from ladingd.config.overlap import _is_state_file
    from ladingd.host.instance_lock import PID_FILE, RECORD
    from ladingd.store.sqlite.database import STORE

    for name in (PID_FILE, RECORD, STORE, f"{STORE}-wal", f"{STORE}-shm", "store-0003-20260101T000000.0Z.db.bak"):
        assert _is_state_file(name)
    assert not _is_state_file("local.db")


def test_two_connections_that_lead_to_one_file(file: Path) -> None:
    database = file.parent / "data/crm.db"
    (file.parent / "data/link.db").symlink_to(database)
    (finding,) = findings(file, a=str(database), b=f"{file.parent}/data/link.db")
    assert told((finding,)) == [(Severity.WARNING, "connections.b.url")]
    assert "the same database as the connection a" in finding.message
    (file.parent / "data/link.db").unlink()
    database.touch()
    os.link(database, file.parent / "data/link.db")
    (finding,) = findings(file, a=str(database), b=f"{file.parent}/data/link.db")
    assert told((finding,)) == [(Severity.ERROR, "connections.b.url")]
    assert "the same database by another name" in finding.message


@pytest.mark.parametrize("url", ["crm.db", "file:crm.db?mode=rw", "/srv/crm.db?mode=memory", "/srv/crm.db#x"])
def test_urls_that_are_no_absolute_path(file: Path, url: str) -> None:
    text = f"[connections.crm]\nurl = 'sqlite://{url}'"
    assert told(findings(file, text)) == [(Severity.ERROR, "connections.crm.url")]


@pytest.mark.parametrize("url", ["sqlite:////srv/a.db", "sqlite:///srv/a.db", "sqlite:////srv/a%3Fmode=ro%23.db"])
def test_the_path_of_a_database_is_the_one_that_jobs_open(file: Path, url: str) -> None:
    file.write_text(f"[connections.crm]\nurl = '{url}'")
    path = databases(load(file, user=False))["crm"]
    target = target_of(Connection(name="crm", url=url), WorkDir(directory=file.parent))
    assert isinstance(target, SqliteTarget)
    assert path == target.path


def test_what_belongs_to_a_daemon(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    monkeypatch.setenv("PGPASSFILE", "/etc/pgpass")
    file.write_text(
        """state_dir = '/s'
socket = '/run/s.sock'
[metrics]
socket = '/run/m.sock'
[tls]
listen = ':1'
certificate = '/tls/c'
key = '/tls/k'
listen_mutual = ':2'
client_ca = '/tls/ca'
[connections.a]
url = 'sqlite:////d/a.db'
[connections.b]
url = 'postgresql://h/d?sslkey=/tls/pg&sslmode=require'
password_file = '/etc/b'
""".replace("':", "'localhost:")
    )
    own = {str(path) for path in own_files(load(file, user=False), file).values()}
    named = "/s /run/s.sock /run/s.sock.lock /run/m.sock /tls/c /tls/k /tls/ca /tls/pg /etc/b /etc/pgpass /d/a.db"
    beside = "/d/a.db-wal /d/a.db-shm /d/a.db-journal /run/credentials/x /etc/systemd/system/ladingd.service"
    assert own >= {*named.split(), *beside.split(), str(file), str(Path(module.__file__).parents[1])}


def test_a_database_whose_place_does_not_answer_is_protected_by_its_path(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload lists the daemon's files on the event loop, which a dead network file system must not block."""
    monkeypatch.setattr(looking, "TIMEOUT", 0.05)
    answer, real = threading.Event(), os.path.realpath

    def realpath(path: Path) -> str:
        if path.name == "away.db":
            assert threading.current_thread() is not threading.main_thread(), "whoever asks would wait for ever"
            answer.wait(30)
        return real(path)

    monkeypatch.setattr(module.os.path, "realpath", realpath)
    link = file.parent / "data/link.db"
    link.symlink_to(file.parent / "srv/crm.db")
    file.write_text(f"[connections.a]\nurl = 'sqlite:////net/away.db'\n[connections.b]\nurl = 'sqlite:///{link}'\n")
    settings = load(file, user=False)
    try:
        own = {str(path) for path in own_files(settings, file).values()}
    finally:
        answer.set()
    assert own >= {"/net/away.db", "/net/away.db-wal", str(link), f"{file.parent}/srv/crm.db-wal"}


def test_the_daemon_of_a_user_without_an_account_or_home_has_files_as_well(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This is common in containers."""

    def unknown(_: int) -> None:
        raise KeyError

    for name in ("HOME", "PGPASSFILE", "PGSERVICEFILE", "PGSSLKEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    file.write_text("[connections.b]\nurl = 'postgresql://h/d'\n")
    own = {str(path) for path in own_files(load(file, user=False), file).values()}
    assert own >= {"/.pgpass", "/.pg_service.conf"}


def test_a_place_that_does_not_answer_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "TIMEOUT", 0.05)
    answer = threading.Event()
    try:
        assert side_by_side(lambda wait: not wait or answer.wait(30), {"away": True, "there": False}) == {"there": True}
    finally:
        answer.set()
