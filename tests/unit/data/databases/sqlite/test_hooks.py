"""Hooks of SQLite reach nothing but their database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import TargetBusy, TargetRefused
from ladingd.data.databases.hooks import Hook, HookRun
from ladingd.data.databases.sqlite import session
from ladingd.data.databases.sqlite.hooks import statements
from ladingd.data.databases.sqlite.target import SqliteTarget
from ladingd.data.storage.work_dir import WorkDir

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def target(tmp_path: Path) -> SqliteTarget:
    return SqliteTarget(path=tmp_path / "t.db", work_dir=WorkDir(directory=tmp_path / "work"))


def run(target: SqliteTarget, sql: str, name: str = "before 1") -> HookRun:
    return target.run_hook("job", 1, Hook(name=name, sql=sql), lambda: None)


@pytest.mark.parametrize(
    "sql",
    [
        "ATTACH '{folder}/other.db' AS other",
        "VACUUM INTO '{folder}/other.db'",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA writable_schema = ON",
        "SELECT load_extension('{folder}/x')",
        "CREATE TABLE t (n); DETACH main",
        "CREATE TABLE t (n); SAVEPOINT a",
        "CREATE TABLE t (n); END",
    ],
)
def test_a_hook_opens_no_other_file_and_ends_no_transaction(target: SqliteTarget, tmp_path: Path, sql: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(TargetRefused, match="hook before 1 failed: "):
        run(target, sql.format(folder=folder))
    assert [*folder.iterdir()] == []
    assert not run(target, "CREATE TABLE t (n)").earlier


def test_a_trigger_is_one_statement(target: SqliteTarget) -> None:
    text = (
        "CREATE TABLE t (n, v); CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET v = ';' ; "
        "DELETE FROM t WHERE n = 2; END; INSERT INTO t VALUES (1, 1), (2, 2)"
    )
    assert run(target, text).rows == 2
    with closing(sqlite3.connect(target.path)) as connection:
        assert connection.execute("SELECT * FROM t").fetchall() == [(1, ";")]


@pytest.mark.parametrize(
    ("sql", "number"),
    [
        ("SELECT 1", 1),
        ("SELECT 1;", 1),
        (";;SELECT 1;;", 1),
        ("SELECT ';'; SELECT 2", 2),
        ("SELECT 1 -- a; b\n; SELECT 2", 2),
        ("/* a; b */ SELECT 1", 1),
        ('SELECT 1 AS "a;b"; SELECT 2 AS [c;d]', 2),
    ],
)
def test_statements_are_told_apart(sql: str, number: int) -> None:
    found = [*statements(sql)]
    assert len(found) == number
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in found:
            connection.execute(statement)


def test_a_locked_database_is_waited_for(target: SqliteTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "BUSY_MILLISECONDS", 50)
    with closing(sqlite3.connect(target.path, isolation_level=None)) as other:
        other.execute("CREATE TABLE t (n)")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TargetBusy):
            run(target, "DELETE FROM t")
        other.execute("ROLLBACK")
    assert not run(target, "DELETE FROM t").earlier
