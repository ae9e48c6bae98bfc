"""The commands of a new user: with an own home, without a server name, and with the user's own daemon started on
demand."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import pytest

from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECIPIENTS = Path(__file__).parents[1] / "data" / "recipients.csv"


class Home:
    """A user's home and runtime directory, in which commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_dir = folder / "home/.local/state/lading"
        for name in ("home", "run"):
            (folder / name).mkdir(mode=0o700)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "LADING"))}
        self.environment = {**kept, "HOME": str(folder / "home"), "XDG_RUNTIME_DIR": str(folder / "run")}

    def lading(self, *arguments: str | Path, status: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command and check its exit status."""
        done = subprocess.run(
            [sys.executable, "-m", "lading_client", *arguments],
            check=False,
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str | Path, status: int = 0) -> dict[str, object]:
        """The one JSON document that a command prints."""
        document: dict[str, object] = json.loads(self.lading(*arguments, "--output", "json", status=status).stdout)
        return document

    def write(self, name: str, content: str | bytes) -> Path:
        """Make a file."""
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Query the user's own database."""
        with sqlite3.connect(self.state_dir / "local.db") as connection:
            found = connection.execute(query).fetchall()
        connection.close()
        return found


@pytest.fixture
def home(folder: Path) -> Iterator[Home]:
    home = Home(folder)
    yield home
    home.lading("daemon", "stop")


def test_the_main_line(home: Home) -> None:
    """Import the sample file, look at the rejects, export the table, and import that file: the records are the same."""
    done = home.lading("import", RECIPIENTS, "--into", "recipients")
    assert "not a date" in done.stdout
    assert "lading rejects jobs/" in done.stdout
    (job,) = [json.loads(line) for line in home.lading("ls", "--output", "json").stdout.splitlines()]
    assert job["state"] == "FINISHED"
    bill = job["bill"]
    assert bill["read"] == bill["inserted"] + bill["rejected"] + bill["empty"]
    assert bill["empty"] == 1
    rejects = [json.loads(line) for line in home.lading("rejects", job["name"], "--output", "json").stdout.splitlines()]
    assert len(rejects) == bill["rejected"] == job["counters"]["rejects"]
    lines = RECIPIENTS.read_text(encoding="utf-8").split("\n")
    for reject in rejects:
        assert reject["raw"].split("\n")[0] == lines[reject["line"] - 1]
    assert home.rows("SELECT count(*) FROM recipients") == [(bill["inserted"],)]

    home.lading("export", "recipients", "--to", "out.csv")
    refused = {reject["raw"] for reject in rejects}
    with RECIPIENTS.open(encoding="utf-8", newline="") as file:
        expected = [record for record in csv.reader(file) if record]
    with (home.folder / "out.csv").open(encoding="utf-8", newline="") as file:
        written = list(csv.reader(file))
    bad = [next(csv.reader([raw])) for raw in refused]
    assert written == [record for record in expected if record not in bad]

    home.lading("import", "out.csv", "--into", "again")
    assert home.rows("SELECT * FROM again EXCEPT SELECT * FROM recipients") == []
    assert home.rows("SELECT count(*) FROM again") == [(bill["inserted"],)]


def test_json_lines_by_content_by_name_and_by_option(home: Home) -> None:
    home.write("people", '{"id": 1, "name": "Ann"}\n{"id": 2, "name": null}\n{"id": 3\n{"name": "", "id": 4}\n')
    done = home.lading("import", "people", "--into", "people")
    assert "detected: format: JSON Lines; encoding: UTF-8; table: people (created)" in done.stdout
    assert "NOT_JSON" in home.lading("rejects", done.stdout.split("all of them: lading rejects ")[1].split()[0]).stdout
    for name, options in (("out.jsonl", ()), ("out.txt", ("--format", "json-lines"))):
        home.lading("export", "people", "--to", name, *options)
        assert (home.folder / name).read_text() == ('{"id":1,"name":"Ann"}\n{"id":2,"name":null}\n{"id":4,"name":""}\n')
    home.lading("import", "out.txt", "--into", "again")
    assert home.rows("SELECT * FROM people EXCEPT SELECT * FROM again") == []
    for command in (("import", "people", "--into", "x"), ("export", "people", "--to", "x")):
        refused = home.lading(*command, "--format", "avro", status=2).stderr
        known = "it knows arrow, csv, excel, fixed_width, json, json_lines, parquet and xml"
        assert f"--format names no format that Lading knows: 'avro' ({known})" in refused
        assert "--header has no meaning for JSON Lines" in (
            home.lading(*command, "--format", "json_lines", "--header", status=2).stderr
        )


def test_fixed_width_by_its_widths(home: Home) -> None:
    home.write("people.txt", "0001Ann      12.50\n0002Zoë\n0003Bob         x1\n")
    done = home.lading(
        "import", "people.txt", "--into", "people", "--widths", "id=4,name=8,amount=6", "--type", "id=text"
    )
    assert "detected: format: fixed width; widths: 4,8,6; header: no" in done.stdout
    home.lading("export", "people", "--to", "out.txt", "--widths", "id=6,name=8,amount=6", "--no-header")
    assert (home.folder / "out.txt").read_text() == "0001  Ann     12.50 \n0002  Zoë           \n0003  Bob     x1    \n"
    refused = home.lading("export", "people", "--to", "x.txt", "--format", "fixed-width", status=2).stderr
    assert "--widths lacks a width for id, name and amount" in refused
    refused = home.lading("import", "people.txt", "--into", "x", "--widths", "4,x", status=2).stderr
    assert "--widths 'x' is not a width" in refused
    refused = home.lading("import", "people.txt", "--into", "x", "--widths", "4", "--quote", "'", status=2).stderr
    assert "--widths is for fixed width" in refused
    home.write(
        "job.toml",
        """
        [importSpec]
        files = [{path = "out.txt"}]
        target = {table = "again"}
        fixedWidth = {widths = "id=6,name=8,amount=*", header = "ABSENT", ragged = "FILL"}
        """,
    )
    home.lading("run", "job.toml")
    assert home.rows("SELECT * FROM again") == [("0001", "Ann", "12.50"), ("0002", "Zoë", None), ("0003", "Bob", "x1")]


def test_a_preview_shows_what_an_import_would_do(home: Home) -> None:
    home.write("a.csv", "List of 2026\nid;price\n1;2,50\nx;0,75\n" + "5;1,00\n" * 300)
    shown = home.lading("preview", "a.csv", "--records", "2", "--type", "id=integer").stdout
    for part in (
        "delimiter: semicolon",
        "header: yes",
        "note: line 1 stands before the table",
        "'x' is not an integer",
    ):
        assert part in shown
    assert "All 302 records were looked at; 1 would be rejected." in shown
    document = home.json("preview", "a.csv")
    assert document["whole"] is True
    assert home.lading("ls").stdout.strip() == ""
    refused = home.lading("preview", "a.csv", "--delimiter", '"', status=2).stderr
    assert "--delimiter must not be the quote" in refused


def test_one_daemon_for_commands_at_the_same_time(home: Home) -> None:
    home.write("a.csv", "id\n1\n")
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "lading_client", "import", "a.csv", "--into", f"t{index}"],
            cwd=home.folder,
            env=home.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for index in range(3)
    ]
    assert [process.wait(60) for process in started] == [0, 0, 0], [process.communicate() for process in started]
    for process in started:
        process.communicate()
    assert len(home.lading("ls", "--output", "json").stdout.splitlines()) == 3


def test_commands_on_one_job(home: Home) -> None:
    home.write("people.csv", "id,name\n1,Ann\n2,Bob\n")
    made = home.json("import", "people.csv", "--into", "people", "--label", "my people")
    name = str(made["name"])
    general = home.lading("show", name).stdout
    for word in ("my people", "Finished", "import", "total", "processed", "success", "empty", "errors", "warnings",
                 "rejects", "doubles", "duplicates"):  # fmt: skip
        assert word in general.lower() or word in general
    assert home.json("show", name)["state"] == "FINISHED"
    journal = [json.loads(line) for line in home.lading("journal", name, "--output", "json").stdout.splitlines()]
    assert [entry["code"] for entry in journal][-1] == "FINISHED"
    followed = home.lading("journal", name, "-f", "--output", "json").stdout.splitlines()
    assert [json.loads(line)["sequence"] for line in followed] == [entry["sequence"] for entry in journal]
    for command in ("start", "pause", "cancel"):
        refused = home.lading(command, name, status=2)
        assert "FINISHED, which is final" in refused.stderr
    watched = home.lading("watch", name, "--output", "json").stdout.splitlines()
    assert json.loads(watched[-1])["job"]["state"] == "FINISHED"
    home.lading("delete", name)
    assert home.lading("ls", "--output", "json").stdout == ""
    assert "no job" in home.lading("show", name, status=2).stderr


@pytest.mark.parametrize(
    ("make", "into", "message"),
    [
        pytest.param(lambda home: home.folder / "none.csv", "t", "none.csv", id="no such file"),
        pytest.param(lambda home: Path(mkdtemp(dir=home.folder)), "t", "has no files", id="an empty directory"),
        pytest.param(lambda home: home.write("a.csv", "a,b\n1,2\n"), "nowhere.t", "nowhere", id="unknown connection"),
        pytest.param(lambda home: home.write("a.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 99), "t", "is a PNG image",
                     id="a binary file"),
        pytest.param(lambda home: home.write("a.csv", "a,b\n1,2\n"), "lading_ledger", "lading_", id="a reserved name"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_whole(home: Home, make: Callable[[Home], Path], into: str, message: str) -> None:
    refused = home.lading("import", make(home), "--into", into, status=2)
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert home.lading("ls", "--output", "json").stdout == ""
    assert not (home.state_dir / "local.db").exists()


def test_a_file_without_records(home: Home) -> None:
    job = home.json("import", home.write("a.csv", "id,name\n"), "--into", "nobody")
    assert job["state"] == "FINISHED"
    assert set(job["bill"].values()) == {0}  # type: ignore[attr-defined]
    assert home.rows("SELECT * FROM nobody") == []


def test_a_name_that_needs_quoting(home: Home) -> None:
    home.lading("import", home.write("a.csv", "id,the \"name\"\n1,x\n".replace('the "name"', '"the ""name"""')),
                "--into", 'my "odd" täble')  # fmt: skip
    assert home.rows('SELECT id, "the ""name""" FROM "my ""odd"" täble"') == [(1, "x")]


def test_a_nul_byte_is_a_reject(home: Home) -> None:
    text = "id,name\n" + "".join(f"{index},x\n" for index in range(200_000)) + "7,a\0b\n8,y\n"
    job = home.json("import", home.write("a.csv", text), "--into", "t")
    assert job["bill"]["rejected"] == 1  # type: ignore[index]
    reject = json.loads(home.lading("rejects", str(job["name"]), "--output", "json").stdout)
    assert (reject["code"], reject["line"], reject["column"]) == ("NUL_BYTE", 200_002, "name")


def test_a_record_longer_than_the_chunk(home: Home) -> None:
    text = f"id,name\n1,short\n2,{'long ' * 5000}\n3,short\n"
    job = home.json("import", home.write("a.csv", text), "--into", "t", "--chunk-bytes", "1000")
    assert job["state"] == "FINISHED"
    assert home.rows("SELECT id, length(name) FROM t ORDER BY id") == [(1, 5), (2, 25_000), (3, 5)]


def test_a_daemon_that_cannot_be_started(home: Home) -> None:
    home.state_dir.parent.mkdir(parents=True)
    home.state_dir.write_text("in the way")
    refused = home.lading("ls", status=1)
    assert str(home.state_dir) in refused.stderr
    assert "Traceback" not in refused.stderr
    home.state_dir.unlink()


def test_the_daemon_exits_when_idle(home: Home) -> None:
    home.environment["LADINGD_IDLE_EXIT"] = "1"
    home.lading("ls")
    pid_file = home.state_dir / "ladingd.pid"
    pid = int(pid_file.read_text())
    until(lambda: not Path(f"/proc/{pid}").exists() or not pid_file.exists(), "the idle daemon exits")
    home.lading("ls")


def test_several_files_are_one_job(home: Home) -> None:
    home.write("day-1.csv", "id,name\n1,Jo\n2,Al\n")
    home.write("day-2.csv", "name,id\nEd,3\nx,none\n")
    done = home.lading("import", home.folder / "day-*.csv", "--into", "days", "--type", "id=integer")
    assert "files: 2 in" in done.stdout
    assert "day-2.csv (other order of columns)" in done.stdout
    (job,) = [json.loads(line) for line in home.lading("ls", "--output", "json").stdout.splitlines()]
    assert (job["bill"]["read"], job["bill"]["inserted"], job["bill"]["rejected"]) == (4, 3, 1)
    assert job["progress"]["file"]["number"] == job["progress"]["file"]["count"] == 2
    journal = home.lading("journal", job["name"]).stdout
    assert "day-1.csv: 2 records read: 2 inserted" in journal
    assert "day-2.csv: 2 records read: 1 inserted, 1 rejected" in journal
    (reject,) = home.lading("rejects", job["name"], "--output", "json").stdout.splitlines()
    assert json.loads(reject)["file"].endswith("day-2.csv")
    piped = home.lading("import", "-", home.folder / "day-2.csv", "--into", "days", stdin="id,name\n7,Cy\n")
    assert "files: 2, in this order: standard input" in piped.stdout


def test_paths_in_a_job_file_are_relative_to_it(home: Home) -> None:
    (home.folder / "jobs").mkdir()
    home.write("jobs/people.csv", "id\n1\n2\n")
    home.write("jobs/in.toml", '[importSpec]\nfiles = [{path = "peo*.csv"}]\ntarget = {table = "people"}\n')
    home.write("jobs/out.json", json.dumps({"exportSpec": {"table": {"table": "people"}, "file": {"path": "out.csv"}}}))
    home.lading("run", "jobs/in.toml")
    home.lading("run", home.folder / "jobs/out.json")
    assert (home.folder / "jobs/out.csv").read_text().split() == ["id", "1", "2"]
    home.write("rooted.json", json.dumps({"importSpec": {
        "files": [{"root": "local", "path": str(home.folder / "jobs/people.csv").lstrip("/")}],
        "target": {"table": "people"},
    }}))  # fmt: skip
    home.lading("run", "rooted.json")
    newest = json.loads(home.lading("ls", "--output", "json").stdout.splitlines()[0])
    assert newest["bill"]["inserted"] == 2
