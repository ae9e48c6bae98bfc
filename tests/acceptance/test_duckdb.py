"""Imports into and exports from a DuckDB connection, with a real daemon and the commands."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import duckdb

from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.daemon import DaemonProcess


def lading(daemon: DaemonProcess, *arguments: str | Path, status: int = 0) -> str:
    """The output of a command."""
    done = subprocess.run(
        [sys.executable, "-m", "lading_client", *arguments, "--server", daemon.address],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def ask(path: Path, query: str) -> list[tuple[object, ...]]:
    """The rows of a query, after all workers have closed the database."""

    def opened() -> duckdb.DuckDBPyConnection | None:
        try:
            return duckdb.connect(path)
        except duckdb.IOException:
            return None

    with until(opened, "the daemon has closed the database") as connection:
        return connection.execute(query).fetchall()


def test_into_it_and_out_of_it(make_daemon: Callable[..., DaemonProcess], folder: Path) -> None:
    path = folder / "lake.duckdb"
    daemon = make_daemon(connections={"lake": f"duckdb://{path}"})
    daemon.start()
    (folder / "in.csv").write_text(
        "id,name,born\n" + "".join(f"{n},name {n},2001-02-03\n" for n in range(1, 5001)) + "x,y,2001-02-30\n"
    )
    said = lading(daemon, "import", folder / "in.csv", "--into", "lake.people", "--type", "born=date", "--type",
                  "id=integer", "--output", "json", status=0)  # fmt: skip
    job = json.loads(said[: said.rindex("}") + 1])
    assert (job["bill"]["inserted"], job["bill"]["rejected"]) == (5000, 1)
    assert ask(path, "SELECT count(*), min(born)::VARCHAR FROM people") == [(5000, "2001-02-03")]
    assert ask(path, "SELECT data_type FROM duckdb_columns() WHERE table_name = 'people' ORDER BY column_index") == [
        ("BIGINT",),
        ("VARCHAR",),
        ("DATE",),
    ]
    lading(daemon, "export", "lake.people", "--to", folder / "out.csv")
    assert (folder / "out.csv").read_text() == (folder / "in.csv").read_text().replace("x,y,2001-02-30\n", "")
    lading(daemon, "export", "lake.people", "--to", folder / "out.jsonl")
    first = json.loads((folder / "out.jsonl").read_text().splitlines()[0])
    assert first == {"id": 1, "name": "name 1", "born": "2001-02-03"}


def test_a_program_that_has_it_open_is_named(make_daemon: Callable[..., DaemonProcess], folder: Path) -> None:
    path = folder / "lake.duckdb"
    daemon = make_daemon(connections={"lake": f"duckdb://{path}"})
    daemon.start()
    (folder / "in.csv").write_text("a\n1\n")
    with duckdb.connect(path):
        command = [sys.executable, "-m", "lading_client", "import", str(folder / "in.csv"), "--into", "lake.t"]
        done = subprocess.run(
            [*command, "--server", daemon.address], check=False, capture_output=True, text=True, timeout=50
        )
    assert done.returncode != 0
    assert "lake.duckdb is open in" in done.stdout + done.stderr
    assert "PID" in done.stdout + done.stderr


def test_no_export_replaces_it_or_what_is_beside_it(make_daemon: Callable[..., DaemonProcess], folder: Path) -> None:
    path = folder / "lake.duckdb"
    daemon = make_daemon(connections={"lake": f"duckdb://{path}"})
    daemon.start()
    (folder / "in.csv").write_text("a\n1\n")
    lading(daemon, "import", folder / "in.csv", "--into", "lake.t")
    for name in ("lake.duckdb", "lake.duckdb.wal", "lake.duckdb.tmp/x.csv"):
        said = subprocess.run(
            [sys.executable, "-m", "lading_client", "export", "lake.t", "--to", str(folder / name), "--overwrite",
             "--server", daemon.address],
            check=False, capture_output=True, text=True, timeout=50,
        )  # fmt: skip
        assert said.returncode != 0, name
        assert "lake" in said.stdout + said.stderr
    assert ask(path, "SELECT * FROM t") == [(1,)]
