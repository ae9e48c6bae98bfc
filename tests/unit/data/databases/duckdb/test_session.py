"""Processes that take turns with one file of DuckDB."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import DiskFull, TargetBusy, TargetRefused, TargetUnavailable
from ladingd.data.databases.connection import Connection
from ladingd.data.databases.duckdb import session
from ladingd.data.databases.duckdb.session import connected
from ladingd.data.databases.registry import check
from tests.harness.disk import small_disk
from tests.harness.waiting import until
from tests.unit.data.databases.duckdb.conftest import Pond

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HOLDER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""
_WRITER = """
import sys
from pathlib import Path
from ladingd.data.databases.duckdb.session import connected
from ladingd.data.storage.work_dir import WorkDir
for _ in range(20):
    with connected(Path(sys.argv[1]), WorkDir(directory=Path(sys.argv[2])), linger=True) as database:
        database.begin()
        database.run("INSERT INTO t SELECT coalesce(max(n), 0) + 1 FROM t")
        database.commit()
"""


@contextmanager
def held_by_another_program(pond: Pond) -> Iterator[int]:
    """Another program opens the file. Yields its process id."""
    command = [sys.executable, "-c", _HOLDER, str(pond.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"open\n"
        yield process.pid
        process.stdin.close()
        process.wait(20)


def test_another_program_is_named(pond: Pond, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "BUSY_SECONDS", 0.1)
    pond.sql("CREATE TABLE t (a INTEGER)")
    with held_by_another_program(pond) as pid:
        with pytest.raises(TargetBusy, match=rf"pond.duckdb is open in .*python.* \(PID {pid}\)"):
            pond.load("a\n1\n")
        with pytest.raises(TargetBusy, match=str(pid)):
            check(Connection(name="pond", url=f"duckdb://{pond.path}"))
    assert pond.load("a\n1\n").inserted == 1


def test_another_program_is_waited_for(pond: Pond) -> None:
    pond.sql("CREATE TABLE t (a INTEGER)")
    with held_by_another_program(pond):
        waiting = threading.Thread(target=pond.sql, args=("INSERT INTO t VALUES (1)",))
        waiting.start()
    waiting.join(20)
    assert pond.sql("SELECT * FROM t") == [(1,)]


def test_processes_take_turns(pond: Pond) -> None:
    pond.sql("CREATE TABLE t (n INTEGER UNIQUE)")
    command = [sys.executable, "-c", _WRITER, str(pond.path), str(pond.work_dir.directory)]
    writers = [subprocess.Popen(command) for _ in range(2)]
    assert [writer.wait(50) for writer in writers] == [0, 0]
    assert pond.sql("SELECT count(*), max(n) FROM t") == [(40, 40)]


def test_an_idle_database_is_closed_for_others(pond: Pond, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LINGER", 0.05)
    pond.sql("CREATE TABLE t (a INTEGER)")
    with connected(pond.path, pond.work_dir, linger=True) as database:
        database.run("INSERT INTO t VALUES (1)")
    assert session._held
    until(lambda: not session._held, "the database is closed")
    with held_by_another_program(pond):
        pass


def test_what_was_not_committed_is_taken_back(pond: Pond) -> None:
    pond.sql("CREATE TABLE t (a INTEGER)")
    with connected(pond.path, pond.work_dir) as database:
        database.begin()
        database.run("INSERT INTO t VALUES (1)")
    assert pond.sql("SELECT count(*) FROM t") == [(0,)]


@pytest.mark.parametrize(
    "statement", ["INSTALL httpfs", "LOAD httpfs", "SELECT * FROM read_text('/etc/hostname')", "COPY t TO '/tmp/x'"]
)
def test_statements_reach_neither_extensions_nor_files(pond: Pond, statement: str) -> None:
    pond.sql("CREATE TABLE t (a INTEGER)")
    with pytest.raises(TargetRefused, match="disabled"):
        pond.sql(statement)


def test_what_is_no_database_is_told(pond: Pond) -> None:
    pond.path.write_text("a,b\n1,2\n" * 1000)
    with pytest.raises(TargetRefused, match="not a valid DuckDB database"):
        pond.sql("SELECT 1")


def test_a_file_that_is_gone_is_away(pond: Pond) -> None:
    pond.sql("CREATE TABLE t (a INTEGER)")
    pond.load("a\n1\n")
    pond.path.unlink()
    with pytest.raises(TargetUnavailable, match=r"pond.duckdb is missing"), connected(pond.path, pond.work_dir):
        pass


def test_a_check_says_the_version_and_makes_nothing(pond: Pond) -> None:
    connection = Connection(name="pond", url=f"duckdb://{pond.path}")
    assert "the first import creates it" in check(connection).server
    assert not pond.path.exists()
    pond.sql("CREATE TABLE t (a INTEGER)")
    assert check(connection).server.startswith("DuckDB v")


def test_a_full_disk_costs_nothing_but_time(tmp_path: Path) -> None:
    text = "n,v\n" + "".join(f"{number},{random.Random(number).randbytes(60).hex()}\n" for number in range(40_000))
    with small_disk(tmp_path / "small", 16 << 20) as disk:
        pond = Pond(directory=tmp_path, path=disk.path / "pond.duckdb")
        pond.sql("CREATE TABLE t (n INTEGER, v VARCHAR)")
        disk.fill(leave=1 << 20)
        with pytest.raises(DiskFull) as full:
            pond.load(text)
        assert full.value.place == str(disk.path)
        disk.empty()
        assert pond.sql("SELECT count(*) FROM t") == [(0,)]
        assert pond.load(text).inserted == 40_000
        assert pond.sql("SELECT count(*) FROM t") == [(40_000,)]
