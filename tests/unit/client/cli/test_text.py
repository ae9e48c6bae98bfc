"""Texts for people: columns, figures, rejects, the bill."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import typer

from lading_client.cli.arguments.options import Format
from lading_client.cli.display import formatting as figures
from lading_client.cli.display import states
from lading_client.cli.display.bill import bill_lines, ending
from lading_client.cli.display.columns import aligned, printable, printable_lines, shortened, width
from lading_client.cli.display.configuration import advice
from lading_client.cli.display.job_view import general
from lading_client.cli.display.output import Output
from lading_client.cli.display.reject_view import block
from lading_client.model import (
    Bill,
    Connector,
    Counters,
    Failure,
    Job,
    JournalEntry,
    JournalLevel,
    Reject,
    RejectType,
    State,
)
from lading_client.spec import ExportSpec, File, ImportSpec, JobSpec, OnRestart, Table

if TYPE_CHECKING:
    from pathlib import Path

REJECT = Reject(
    type=RejectType.ERROR,
    time=None,
    file="data/a.csv",
    line=17,
    record=16,
    raw='16,Anna,31.02.1980,"x"',
    column="born",
    value="31.02.1980",
    connector=Connector.TEXT,
    code="DATE_INVALID",
    message="is no date",
)
IMPORT = JobSpec(kind=ImportSpec(files=(File(path="data/a.csv"),), target=Table(table="recipients")))


def reject(**changes: object) -> Reject:
    fields = {name: getattr(REJECT, name) for name in REJECT.__slots__}
    return Reject(**(fields | changes))


def test_columns_are_aligned_by_what_the_terminal_shows() -> None:
    assert aligned([("a", "1"), ("日本", "22")], right=frozenset({1})) == ["a      1", "日本  22"]
    assert width("e\u0301") == 1
    assert shortened("abcdef", 4) == "abc…"
    assert width(shortened("日本日本", 5)) <= 5


def test_a_file_cannot_command_the_terminal() -> None:
    assert printable("a\x1b[2Jb\r\n") == "a\\x1b[2Jb\\r\\n"
    # Direction overrides show a name in another order. C1 controls are escape sequences of a single character.
    assert printable("gpj.\u202eexe\x9b2J\u2066") == "gpj.\\u202eexe\\x9b2J\\u2066"
    assert printable_lines("one\ntwo\r\x07", colours=False) == "one\ntwo\\r\\x07"


def test_colours_of_ours_reach_a_terminal_and_nothing_else_does() -> None:
    line = f"{typer.style('Finished', fg='green')} \x1b[2J\x1b]0;title\x07"
    assert printable_lines(line, colours=True) == "\x1b[32mFinished\x1b[0m \\x1b[2J\\x1b]0;title\\x07"
    assert printable_lines(line) == "\\x1b[32mFinished\\x1b[0m \\x1b[2J\\x1b]0;title\\x07"


HOSTILE = "a\x1b[2J\x9b\x7f\u202e\u2028\U000e0001\udcff"


def test_all_that_is_written_is_safe_for_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(Format.TEXT)
    output.text([HOSTILE])
    output.note(HOSTILE)
    output.document({"file": HOSTILE})
    written = capsys.readouterr()
    safe = "a\\x1b[2J\\x9b\\x7f\\u202e\\u2028\\U000e0001\\udcff"
    text, document = written.out.splitlines()
    assert (text, written.err) == (safe, f"{safe}\n")
    assert document.isprintable()
    assert json.loads(document) == {"file": HOSTILE}


def test_figures() -> None:
    assert figures.percent(99.99) == "99 %"
    assert figures.percent(100.0) == "100 %"
    assert figures.number(1234567.8) == "1,234,568"
    spans = {0.312: "0.31 s", 12.34: "12.3 s", 247: "4:07", 3723: "1:02:03"}
    assert {seconds: figures.span(timedelta(seconds=seconds)) for seconds in spans} == spans


def test_the_bill_shows_what_is_there_and_what_everybody_looks_for() -> None:
    assert bill_lines(Bill(read=1200, inserted=1199, empty=1)) == [
        "  read      1,200",
        "  inserted  1,199",
        "  rejected      0",
        "  empty         1",
    ]


def test_the_value_of_a_reject_is_marked_in_its_record() -> None:
    assert block(REJECT) == [
        "line 17, record 16, column born, value '31.02.1980': is no date (error, text, DATE_INVALID)",
        '      17 | 16,Anna,31.02.1980,"x"',
        "         |         ^^^^^^^^^^",
        "",
    ]


def test_every_physical_line_of_a_record_has_its_number() -> None:
    lines = block(reject(raw='16,"a\r\nb",bad', value="bad"))
    assert lines[1:] == ['      17 | 16,"a', '      18 | b",bad', "         |    ^^^", ""]


def test_a_mark_stands_under_its_value_whatever_is_before_it() -> None:
    lines = block(reject(raw="日本\t\x00,bad", value="bad"))
    assert lines[1].index("bad") + 2 == lines[2].index("^")


@pytest.mark.parametrize(("raw", "marked"), [("1,1,2", False), ("11,1,111", True), ("2,3", False)])
def test_a_value_whose_place_is_not_certain_is_not_marked(raw: str, marked: bool) -> None:
    assert any("^" in line for line in block(reject(raw=raw, value="1"))) is marked


def test_the_end_of_an_import_says_where_the_rows_are_and_what_was_refused() -> None:
    job = Job(
        name="jobs/7",
        spec=IMPORT,
        state=State.FINISHED,
        counters=Counters(rejects=8, errors=8),
        bill=Bill(read=10, inserted=2, rejected=8),
        duration=timedelta(seconds=0.5),
    )
    text = "\n".join(ending(job, journal=(), rejects=(REJECT,), own_database=None))
    assert "✔ Finished, 8 rejects: /data/a.csv → local.recipients in 0.50 s" in text
    assert "8 rejects, the first 1:" in text
    assert "    17  born    31.02.1980  is no date" in text
    assert "all of them: lading rejects jobs/7" in text
    assert "rows in the table recipients of connection local" in text


def test_a_clean_job_has_a_green_check_and_one_with_rejects_never() -> None:
    clean = Job(name="jobs/7", spec=IMPORT, state=State.FINISHED)
    assert (states.shown(clean), states.colour(clean)) == ("✔ Finished", "green")
    one = replace(clean, counters=Counters(rejects=1))
    assert (states.shown(one), states.colour(one)) == ("✔ Finished, 1 reject", "yellow")
    many = replace(clean, counters=Counters(rejects=40_000))
    assert states.shown(many) == "✔ Finished, 40,000 rejects"
    kept = replace(clean, counters=Counters(rejects=2, errors=2, warnings=1))
    assert (states.shown(kept), states.colour(kept)) == ("✔ Finished, 2 rejects, 1 warning", "yellow")
    assert "2 rejects and 1 warning, the first 1:" in ending(kept, journal=(), rejects=(REJECT,), own_database=None)
    running = replace(many, state=State.RUNNING)
    assert (states.shown(running), states.colour(running)) == ("⚙ Execution in progress", "cyan")


def test_a_label_that_could_be_misread_has_the_name_beside_it() -> None:
    failed = Job(name="jobs/7", spec=IMPORT, state=State.FAILED, counters=Counters(rejects=3))
    assert (states.shown(failed), states.colour(failed)) == ("⚠ Finished with errors (FAILED)", "red")
    assert states.shown(replace(failed, state=State.INTERRUPTED)) == "⚠ Server shutdown in progress (INTERRUPTED)"


def test_the_end_of_a_job_that_let_nothing_in_offers_no_second_start() -> None:
    failure = Failure(code="ALL_REJECTED", message="all 3 records were rejected; nothing was loaded")
    job = Job(name="jobs/7", spec=IMPORT, state=State.FAILED, failure=failure, bill=Bill(read=3, rejected=3))
    text = "\n".join(ending(job, journal=(), rejects=(REJECT,), own_database=None))
    assert "all 3 records were rejected; nothing was loaded (ALL_REJECTED)" in text
    assert "--type, --delimiter, --header" in text
    assert "lading start" not in text


def test_what_was_detected_is_one_line_of_the_end_and_of_the_job() -> None:
    job = Job(name="jobs/7", spec=IMPORT, state=State.FINISHED)
    journal = [entry("DETECTED", "delimiter ','"), entry("BILL", "2 read"), entry("DETECTED", "delimiter ';'\x1b")]
    assert "detected: delimiter ';'\\x1b" in ending(job, journal=journal, rejects=(), own_database=None)
    assert "detected  delimiter ';'\\x1b" in general(job, journal)
    assert not [line for line in general(job) if line.startswith("detected")]


def entry(code: str, message: str) -> JournalEntry:
    return JournalEntry(sequence=1, time=None, level=JournalLevel.INFO, code=code, message=message)


@pytest.mark.parametrize("state", list(State))
def test_every_state_has_an_end_to_show(state: State) -> None:
    spec = JobSpec(kind=ExportSpec(table=Table(table="t"), file=File(path="out.csv")))
    failure = Failure(code="TARGET_UNAVAILABLE", message="it is locked")
    lines = ending(
        Job(name="jobs/7", spec=spec, state=state, failure=failure), journal=(), rejects=(), own_database=None
    )
    assert "it is locked (TARGET_UNAVAILABLE)" in lines
    assert lines[-1]


def test_the_next_step_of_an_interrupted_job_is_its_own() -> None:
    resumed = Job(name="jobs/1", spec=IMPORT, state=State.INTERRUPTED)
    assert "lading watch jobs/1" in "\n".join(ending(resumed, journal=[], rejects=[], own_database=None))
    stays = replace(resumed, spec=replace(IMPORT, on_restart=OnRestart.STAY))
    assert "lading start jobs/1 --wait" in "\n".join(ending(stays, journal=[], rejects=[], own_database=None))


def test_a_name_that_the_configuration_does_not_have(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    missing = "there is no connection 'pg'; the daemon knows local"
    assert advice(missing, None) == [
        f"to add it, write in {tmp_path}/.config/lading/ladingd.toml:",
        "  [connections.pg]",
        '  url = "postgresql://USER@HOST/DATABASE"    # or "sqlite:///path/to/file.db", "duckdb:///…"',
        "check it: ladingd --user config check --connect",
        f"then reload the daemon: kill -HUP $(cat {tmp_path}/.local/state/lading/ladingd.pid)",
    ]
    assert advice("there is no root 'in'; the daemon knows local", None)[1:3] == [
        "  [roots]",
        '  in = "/path/to/directory"',
    ]
    assert advice(missing, "unix:/run/lading/ladingd.sock")[-2:] == [
        "check it: ladingd config check --connect",
        "then reload the daemon: systemctl reload ladingd",
    ]
    assert advice(missing, "db.example.org:7443") == [
        "ask the administrator of the daemon at db.example.org:7443 to add it"
    ]
    assert advice("there is no file /r.csv", None) == []
    # A text that is not the name of a connection is not proposed as one.
    assert "  [connections.NAME]" in advice("there is no connection 'A b'; the daemon knows local", None)


def test_an_import_of_nothing_says_so_once() -> None:
    lines = ending(Job(name="jobs/7", spec=IMPORT, state=State.FINISHED), journal=(), rejects=(), own_database=None)
    assert lines[-1] == "nothing was imported: the file has no records"
    assert not [line for line in lines if "rows in" in line]
