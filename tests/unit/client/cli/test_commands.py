"""The command line in separate processes, with a fake daemon."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import error_details_pb2 as details

from lading.v1 import audit_service_pb2, job_pb2, job_service_pb2, spec_pb2
from tests.harness.waiting import until_async
from tests.unit.client.conftest import DEADLINE, Lading, clean_environment
from tests.unit.client.fake_service import NOW, FakeService

if TYPE_CHECKING:
    from pathlib import Path

    from lading_client.client import Client


def created(service: FakeService) -> job_pb2.Job:
    """The requested job."""
    [request] = [r for r in service.requests if isinstance(r, job_service_pb2.CreateJobRequest)]
    return request.job


def with_rejects(service: FakeService, count: int) -> None:
    """The next job rejects ``count`` records."""
    service.rejects = [
        job_pb2.Reject(
            type=job_pb2.REJECT_TYPE_ERROR,
            connector=job_pb2.CONNECTOR_TEXT,
            line=n + 2,
            record=n + 1,
            raw=f"{n},bad{n}",
            column="born",
            value=f"bad{n}",
            code="DATE_INVALID",
            message="is no date",
        )
        for n in range(count)
    ]

    def final(job: job_pb2.Job) -> None:
        job.bill.read, job.bill.inserted, job.bill.rejected = 100, 100 - count, count
        job.counters.processed, job.counters.rejects, job.counters.errors = 100, count, count

    service.final = final


async def test_import_ends_with_the_bill_and_the_first_rejects(service: FakeService, lading: Lading) -> None:
    with_rejects(service, 7)
    note = job_pb2.JournalEntry(sequence=1, level=job_pb2.JOURNAL_LEVEL_WARNING, code="NOTE", message="born is odd")
    service.journal = [note, job_pb2.JournalEntry(sequence=2, level=job_pb2.JOURNAL_LEVEL_INFO, message="quiet")]
    result = await lading("import", "data/r.csv", "--into", "recipients", "--type", "born=date", "--delimiter", "tab")
    assert result.status == 0, result.err
    assert [line.split("  ")[1] for line in result.err.splitlines()] == [
        "◷ Waiting to start",
        "⚙ Execution in progress",
        "✔ Finished, 7 rejects",
    ]
    assert "  inserted   93" in result.out
    assert "warning: born is odd" in result.out
    assert "quiet" not in result.out
    assert "7 rejects, the first 5:" in result.out
    assert "bad4" in result.out
    assert "bad5" not in result.out
    assert "all of them: lading rejects jobs/1" in result.out
    # The daemon named by --server need not be the user's own.
    assert "sqlite3" not in result.out


async def test_import_sends_what_was_written(service: FakeService, lading: Lading, tmp_path: Path) -> None:
    arguments = ("--into", 'crm."a.b"', "--no-header", "--quote", "'", "--type", "x=y=date", "--chunk-bytes", "99")
    result = await lading("import", "r.csv", *arguments, "--label", "mine", "--detach")
    assert (result.status, result.out) == (0, "jobs/1\n")
    job = created(service)
    wanted = job.spec.import_spec
    assert job.label == "mine"
    assert (wanted.files[0].root, wanted.files[0].path) == ("local", str(tmp_path / "r.csv")[1:])
    assert (wanted.target.connection, wanted.target.table) == ("crm", "a.b")
    assert (wanted.csv.header, wanted.csv.quote, wanted.chunk_bytes) == (spec_pb2.HEADER_ABSENT, "'", 99)
    assert dict(wanted.types) == {"x=y": "date"}


async def test_export_sends_what_was_written(service: FakeService, lading: Lading, tmp_path: Path) -> None:
    result = await lading("export", "recipients", "--to", "out.csv", "--overwrite", "--delimiter", ";")
    assert result.status == 0, result.err
    assert f"records in {tmp_path / 'out.csv'}" in result.out
    wanted = created(service).spec.export_spec
    assert (wanted.table.table, wanted.file.path) == ("recipients", str(tmp_path / "out.csv")[1:])
    assert (wanted.overwrite, wanted.csv.delimiter) == (True, ";")


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (job_pb2.STATE_FINISHED, 0),
        (job_pb2.STATE_FAILED, 1),
        (job_pb2.STATE_CANCELED, 3),
        (job_pb2.STATE_PAUSED, 3),
        (job_pb2.STATE_INTERRUPTED, 3),
    ],
)
async def test_the_exit_status_says_how_the_job_ended(
    service: FakeService, lading: Lading, state: int, status: int
) -> None:
    service.course = (job_pb2.STATE_RUNNING, state)
    result = await lading("import", "r.csv", "--into", "t", "--output", "json")
    assert result.status == status
    assert result.json["state"] == job_pb2.State.Name(state).removeprefix("STATE_")
    assert result.err == ""


async def test_rejects_can_be_a_failure(service: FakeService, lading: Lading) -> None:
    with_rejects(service, 1)
    assert (await lading("import", "r.csv", "--into", "t", "--fail-on-rejects")).status == 4


@pytest.mark.parametrize(
    ("text", "records", "percent"), [("0", 0, None), ("100", 100, None), ("2.5%", None, 2.5), ("10 %", None, 10)]
)
async def test_a_limit_of_rejects_is_in_the_spec(
    service: FakeService, lading: Lading, text: str, records: int | None, percent: float | None
) -> None:
    assert (await lading("import", "r.csv", "--into", "t", "--max-rejects", text)).status == 0
    limit = created(service).spec.import_spec.reject_limit
    assert (limit.records if limit.HasField("records") else None) == records
    assert (limit.percent if limit.HasField("percent") else None) == percent


@pytest.mark.parametrize("text", ["-1", "some", "1.5", "%", "1%%"])
async def test_a_limit_of_rejects_is_a_number(lading: Lading, text: str) -> None:
    result = await lading("import", "r.csv", "--into", "t", "--max-rejects", text)
    assert result.status == 2
    assert f"--max-rejects {text}: write a number of records" in result.err


async def test_too_many_rejects_have_their_own_status(service: FakeService, lading: Lading) -> None:
    def stopped(job: job_pb2.Job) -> None:
        job.failure.code, job.failure.message = "TOO_MANY_REJECTS", "1 of 3 records are rejected"

    service.course, service.final = (job_pb2.STATE_RUNNING, job_pb2.STATE_FAILED), stopped
    result = await lading("import", "r.csv", "--into", "t", "--max-rejects", "0")
    assert result.status == 4
    assert "the problems: lading rejects jobs/1; to allow more in the next import: --max-rejects" in result.out


async def test_start_waits_when_told_to(service: FakeService, lading: Lading) -> None:
    service.put("a")
    plain = await lading("start", "a")
    assert (plain.status, plain.out) == (0, "jobs/a  ◷ Waiting to start\n")
    service.put("b")
    waited = await lading("start", "jobs/b", "--wait", "--output", "json")
    assert waited.json["state"] == "FINISHED"


async def test_run_takes_json_and_toml(service: FakeService, lading: Lading, tmp_path: Path) -> None:
    spec = {"importSpec": {"files": [{"path": "a.csv"}], "target": {"table": "t"}}, "label": "from a pipe"}
    assert (await lading("run", "-", "--output", "json", stdin=json.dumps(spec))).json["label"] == "from a pipe"
    toml = tmp_path / "job.toml"
    toml.write_text('description = "d"\n[exportSpec]\ntable = {table = "t"}\nfile = {path = "o.csv"}\n')
    result = await lading("--output", "json", "run", str(toml))
    assert result.json["spec"]["exportSpec"]["file"] == {"root": "local", "path": f"{tmp_path}/o.csv".lstrip("/")}
    assert result.json["description"] == "d"


@pytest.mark.parametrize(
    "arguments",
    [
        ("import", "a.csv", "--into", "a..b"),
        ("import", "a.csv", "--into", "t", "--type", "born"),
        ("import", "a.csv"),
        ("import", "", "--into", "t"),
        ("export", "t", "--to", "-"),
        ("run", "no-such-file.json"),
        ("run", "-"),
        ("ls", "--server", "nonsense"),
        ("frobnicate",),
    ],
)
async def test_wrong_usage(lading: Lading, arguments: tuple[str, ...]) -> None:
    result = await lading(*arguments, stdin="[]")
    assert result.status == 2
    assert result.out == ""
    assert result.err
    assert "Traceback" not in result.err


async def test_nothing_of_what_was_typed_or_answered_commands_the_terminal(
    service: FakeService, lading: Lading, tmp_path: Path
) -> None:
    odd = "x\x1b[31m\x9b\u202e.csv"
    (tmp_path / odd).write_text("a,b\n1,2\n")
    service.put("a", label=odd)
    refuse_next(service, "job.spec.import_spec.files[0].path", f"there is no file {odd}")
    for arguments in (
        ("import", odd, "--into", "t"),
        ("import", odd, odd, "--into", "t"),
        ("import", odd, "--into", odd + "."),
        ("run", f"{odd}.json"),
        ("show", odd),
        ("ls", "--server", odd),
        ("ls",),
        ("ls", "--output", "json"),
        ("show", "a"),
        (odd,),
        ("ls", odd),
        ("export", "t", "--to", odd, "--server", "localhost:1"),
        ("import", odd + "/", "--into", "t", "--server", "localhost:1"),
    ):
        result = await lading(*arguments)
        assert all(line.isprintable() for line in (result.out + result.err).split("\n")), (arguments, result)
        assert "x\\x1b" in result.out + result.err or "x\\u001b" in result.out, (arguments, result)


def refuse_next(service: FakeService, field: str, description: str) -> None:
    """The fake refuses the next spec."""
    violation = details.BadRequest.FieldViolation(field=field, description=description)
    info = details.ErrorInfo(reason="INVALID_SPEC", domain="lading")
    service.fail_next(grpc.StatusCode.INVALID_ARGUMENT, info, details.BadRequest(field_violations=[violation]))


async def test_a_refused_spec_is_explained(service: FakeService, lading: Lading) -> None:
    field = "job.spec.import_spec.files[0].path"
    refuse_next(service, field, "there is no file /r.csv")
    result = await lading("import", "r.csv", "--into", "t")
    # Users who wrote no spec do not know its fields.
    assert (result.status, result.err) == (2, "lading: there is no file /r.csv\n")
    refuse_next(service, field, "there is no file /r.csv")
    result = await lading("run", "-", stdin='{"importSpec": {}}')
    assert (result.status, result.err) == (2, f"lading: there is no file /r.csv\n  in {field}\n")
    refuse_next(service, "job.spec.import_spec.csv.delimiter", "is not one character")
    result = await lading("import", "r.csv", "--into", "t", "--delimiter", "ab")
    assert (result.status, result.err) == (2, "lading: --delimiter is not one character\n")


async def test_bytes_that_are_no_text_are_refused(service: FakeService, lading: Lading) -> None:
    odd = os.fsdecode(b"\xff")
    for arguments in (("show", odd), ("import", "r.csv", "--into", odd), ("import", odd, "--into", "t")):
        result = await lading(*arguments)
        assert result.status == 2
        assert "cannot be sent to the daemon" in result.err
        assert "Traceback" not in result.err
    assert service.requests == []


async def test_errors_of_the_daemon(service: FakeService, lading: Lading, folder: Path) -> None:
    missing = await lading("show", "none")
    assert (missing.status, missing.err) == (2, "lading: there is no job jobs/none\n")
    service.put("a", state=job_pb2.STATE_FINISHED)
    forbidden = await lading("start", "a")
    assert (forbidden.status, forbidden.err) == (2, "lading: it is FINISHED\n")
    service.fail_next(grpc.StatusCode.INTERNAL)
    assert (await lading("show", "a")).status == 1
    away = await lading("ls", "--server", f"unix:{folder}/nobody.sock")
    assert away.status == 1
    assert "cannot be reached" in away.err


async def test_ls(service: FakeService, lading: Lading) -> None:
    empty = await lading("ls", "--output", "json")
    assert (empty.status, empty.out) == (0, "")
    service.put("a", label="first")
    service.put("b", state=job_pb2.STATE_PAUSED)
    documents = (await lading("ls", "--output", "json")).lines
    assert [(d["name"], d["state"]) for d in documents] == [("jobs/b", "PAUSED"), ("jobs/a", "EDITING")]
    text = (await lading("ls")).out.splitlines()
    assert len(text) == 3
    assert "Paused" in text[1]
    assert text[2].endswith("first")


async def test_ls_filters_and_orders(service: FakeService, lading: Lading) -> None:
    service.put("a", state=job_pb2.STATE_PAUSED)
    service.put("b")
    arguments = ("ls", "--filter", "state = PAUSED", "--order-by", "label desc")
    documents = (await lading(*arguments, "--output", "json")).lines
    assert [document["name"] for document in documents] == ["jobs/a"]
    [request] = service.requests
    assert isinstance(request, job_service_pb2.ListJobsRequest)
    assert (request.filter, request.order_by) == ("state = PAUSED", "label desc")
    none = await lading("ls", "--filter", "state = FAILED")
    assert (none.status, none.out, none.err) == (0, "", "no such jobs\n")
    refuse_next(service, "filter", "has no comparison after state")
    wrong = await lading("ls", "--filter", "state")
    assert (wrong.status, wrong.err) == (2, "lading: --filter has no comparison after state\n")


async def test_ls_names_owners_where_there_are_several(service: FakeService, lading: Lading) -> None:
    service.put("a", owner="anna")
    assert "OWNER" not in (await lading("ls")).out
    service.put("b", owner="ben\x1b[2J" + "x" * 30)
    heading, *rows = (await lading("ls")).out.splitlines()
    at = heading.index("OWNER")
    assert [row[at:].split()[0] for row in rows] == ["ben\\x1b[2Jxxxxxxxxx…", "anna"]


@pytest.mark.parametrize(
    "arguments",
    [("import", "a.csv", "--into", "t"), ("export", "t", "--to", "o.csv"), ("run", "spec.json")],
    ids=lambda arguments: arguments[0],
)
async def test_a_job_is_shared_from_the_beginning(
    service: FakeService, lading: Lading, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    spec = {"importSpec": {"files": [{"path": "a.csv"}], "target": {"table": "t"}}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    for more in ((), ("--shared",)):
        assert (await lading(*arguments, "--detach", *more)).status == 0
    requests = [r for r in service.requests if isinstance(r, job_service_pb2.CreateJobRequest)]
    assert [request.job.shared for request in requests] == [False, True]


async def test_share_and_unshare(service: FakeService, lading: Lading) -> None:
    service.put("a", label="nightly", owner="anna")
    shared = await lading("share", "a")
    assert (shared.status, shared.out, shared.err) == (0, "jobs/a  shared\n", "")
    document = (await lading("unshare", "jobs/a", "--output", "json")).json
    assert (document["name"], document["owner"], document["shared"]) == ("jobs/a", "anna", False)
    assert (await lading("unshare", "a")).out == "jobs/a  no longer shared\n"
    requests = [r for r in service.requests if isinstance(r, job_service_pb2.UpdateJobRequest)]
    assert [(r.job.shared, [*r.update_mask.paths]) for r in requests] == [
        (True, ["shared"]),
        (False, ["shared"]),
        (False, ["shared"]),
    ]
    shown = (await lading("show", "a")).out.splitlines()
    assert "owner     anna" in shown
    missing = await lading("share", "none")
    assert (missing.status, missing.err) == (2, "lading: there is no job jobs/none\n")


async def test_clone(service: FakeService, lading: Lading) -> None:
    service.put("a", label="nightly", state=job_pb2.STATE_FINISHED)
    made = await lading("clone", "a")
    assert (made.out, made.err) == ("jobs/1\n", "□ Being edited; to run it: lading start jobs/1 --wait\n")
    document = (await lading("clone", "jobs/a", "--label", "again", "--output", "json")).json
    assert (document["name"], document["label"], document["state"]) == ("jobs/2", "again", "EDITING")
    missing = await lading("clone", "none")
    assert (missing.status, missing.err) == (2, "lading: there is no job jobs/none\n")


async def test_many_rejects_are_told_by_their_groups(service: FakeService, lading: Lading) -> None:
    with_rejects(service, 4_000)
    told = await lading("rejects", "a")
    assert told.out.splitlines() == [
        "4,000 rejects, 1 problem:",
        "",
        "group     rejects   share  column  code          pattern  first lines  values",
        "0a1b2c3d    4,000  10.0 %  born    DATE_INVALID  a9       2, 3, 4      'bad0', 'bad1', 'bad2'",
        "",
        "the rejects of a group: --group GROUP; every reject: --all",
    ]
    groups = (await lading("rejects", "a", "--groups", "--output", "json")).lines
    assert [(group["id"], group["count"], group["places"][0]) for group in groups] == [
        ("0a1b2c3d", 4_000, {"file": "in.csv", "line": 2})
    ]
    assert (await lading("rejects", "a", "--all")).out.count("^^^^") == 4_000
    assert (await lading("rejects", "a", "--limit", "2")).out.count("^^^^") == 2
    assert (await lading("rejects", "a", "--column", "name")).err == "no rejects\n"
    assert (await lading("rejects", "a", "--code", "DATE_INVALID", "--limit", "5")).out.count("^^^^") == 5
    few = await lading("rejects", "a", "--groups", "--group", "0a1b2c3d")
    assert (few.status, few.err) == (2, "lading: --groups prints no rejects; use it alone\n")
    service.rejects = []
    none = await lading("rejects", "a", "--groups")
    assert (none.status, none.out, none.err) == (0, "", "no rejects\n")


async def test_rejects_are_followed_to_the_end_of_the_job(service: FakeService, lading: Lading) -> None:
    with_rejects(service, 4)
    service.break_after = [1, 2]
    followed = await lading("rejects", "a", "--follow", "--output", "json")
    assert followed.status == 0, followed.err
    at_once = await lading("rejects", "a", "--output", "json")
    assert followed.lines == at_once.lines
    assert [reject["line"] for reject in followed.lines] == [2, 3, 4, 5]
    text = await lading("rejects", "a", "-f", "--limit", "2")
    assert (text.status, text.out.count("^^^^")) == (0, 2)
    service.rejects = []
    none = await lading("rejects", "a", "-f")
    assert (none.status, none.out, none.err) == (0, "", "no rejects\n")


async def test_audit(service: FakeService, lading: Lading) -> None:
    for sequence in (2, 1):
        entry = audit_service_pb2.AuditEntry(
            sequence=sequence,
            principal="ann\x1b[31m",
            role="operator",
            peer="ipv4:192.0.2.7:4711",
            method="lading.v1.JobService/CancelJob",
            resource="jobs/a",
            outcome="PERMISSION_DENIED",
        )
        entry.time.FromDatetime(NOW)
        service.audit.append(entry)
    heading, line, _ = (await lading("audit")).out.splitlines()
    assert heading.split() == ["TIME", "WHO", "ROLE", "CALL", "RESOURCE", "OUTCOME", "FROM"]
    assert line.split() == [
        *("2026-03-01", "12:00:00", "ann\\x1b[31m", "operator"),
        *("CancelJob", "jobs/a", "PERMISSION_DENIED", "ipv4:192.0.2.7:4711"),
    ]
    [document] = (await lading("audit", "--limit", "1", "--output", "json")).lines
    assert (document["sequence"], document["method"]) == (2, "lading.v1.JobService/CancelJob")
    service.audit = []
    none = await lading("audit")
    assert (none.status, none.out, none.err) == (0, "", "nothing yet\n")
    facts = {"role": "viewer", "needed": "admin"}
    info = details.ErrorInfo(reason="PERMISSION_DENIED", domain="lading", metadata=facts)
    service.fail_next(grpc.StatusCode.PERMISSION_DENIED, info)
    assert (await lading("audit")).status == 2


async def test_show_is_the_general_tab(service: FakeService, lading: Lading) -> None:
    job = service.put("a", label="mine")
    job.start_time.FromDatetime(NOW)
    job.progress.percent = 42.5
    job.counters.total = 1000
    job.counters.doubles = 3
    service.move("jobs/a", job_pb2.STATE_RUNNING)
    out = (await lading("show", "a")).out
    for words in ("label     mine", "⚙ Execution in progress", "import", "2026-03-01 12:00:00", "42 %"):
        assert words in out
    for words in ("total       1,000", "doubles         3", "duplicates      0", "read      0"):
        assert words in out
    assert (await lading("show", "a", "--output", "json")).json["counters"]["total"] == 1000


async def test_commands_show_the_new_state(service: FakeService, lading: Lading) -> None:
    service.put("a", state=job_pb2.STATE_RUNNING)
    assert (await lading("pause", "a")).out == "jobs/a  ‖ Pause in progress\n"
    assert (await lading("cancel", "a", "--output", "json")).json["state"] == "CANCELING"
    assert (await lading("delete", "a", "--output", "json")).json == {"name": "jobs/a", "deleted": True}
    assert service.jobs == {}


async def test_journal_and_rejects(service: FakeService, lading: Lading) -> None:
    with_rejects(service, 3)
    service.journal = [job_pb2.JournalEntry(sequence=4, level=job_pb2.JOURNAL_LEVEL_INFO, code="NOTE", message="hi")]
    assert "info     NOTE  hi" in (await lading("journal", "a", "-f")).out
    assert (await lading("journal", "a", "--output", "json")).lines[0]["level"] == "INFO"
    found = await lading("rejects", "a", "--limit", "2", "--output", "json")
    assert [reject["line"] for reject in found.lines] == [2, 3]
    assert (await lading("rejects", "a")).out.count("^^^^") == 3
    service.rejects = []
    none = await lading("rejects", "a")
    assert (none.status, none.out, none.err) == (0, "", "no rejects\n")


async def test_watch_of_a_job_ends_with_it(service: FakeService, lading: Lading) -> None:
    service.put("a", state=job_pb2.STATE_INTERRUPTED)
    watching = asyncio.create_task(lading("watch", "a", "--output", "json"))
    await watched(service)
    for state in (job_pb2.STATE_QUEUED, job_pb2.STATE_RUNNING, job_pb2.STATE_FAILED):
        service.move("jobs/a", state)
    result = await watching
    assert result.status == 1
    assert [(e["kind"], e["job"]["state"]) for e in result.lines] == [
        ("SNAPSHOT", "INTERRUPTED"),
        ("CHANGED", "QUEUED"),
        ("CHANGED", "RUNNING"),
        ("CHANGED", "FAILED"),
    ]


async def test_whoever_may_not_read_the_rejects_of_a_job_sees_its_bill_all_the_same(
    service: FakeService, lading: Lading
) -> None:
    with_rejects(service, 2)
    service.rejects_are_anothers = True
    service.put("a", state=job_pb2.STATE_RUNNING)
    service.move("jobs/a", job_pb2.STATE_FINISHED)
    result = await lading("watch", "a")
    assert (result.status, result.err) == (0, "")
    assert "  inserted   98" in result.out
    assert (
        "2 rejects: only the owner of the job and admins can read them, unless the job is shared"
        in result.out.splitlines()
    )
    assert "bad0" not in result.out


async def test_watch_of_all_jobs_shows_what_is_under_way_and_no_old_ones(
    service: FakeService, socket: Path, tmp_path: Path
) -> None:
    service.put("old", state=job_pb2.STATE_FINISHED)
    service.put("busy", state=job_pb2.STATE_RUNNING)
    process = await watch_all(socket, tmp_path, stderr=asyncio.subprocess.PIPE)
    await watched(service)
    service.progress("jobs/busy", 42.0)
    service.put("new", state=job_pb2.STATE_QUEUED)
    service.move("jobs/busy", job_pb2.STATE_FINISHED)
    out = await lines_until(process, "Finished")
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(DEADLINE):
        await process.wait()
    assert [text.split("  ")[1:3] for text in out] == [
        ["jobs/busy", "⚙ Execution in progress"],
        ["jobs/new", "◷ Waiting to start"],
        ["jobs/busy", "✔ Finished"],
    ]


async def test_watch_of_all_jobs_says_that_none_is_under_way(
    service: FakeService, socket: Path, tmp_path: Path
) -> None:
    service.put("old", state=job_pb2.STATE_FINISHED)
    process = await watch_all(socket, tmp_path, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE):
        said = (await process.stderr.readline()).decode()
    assert said == "no job is active; waiting for the next change (Ctrl-C to stop)\n"
    process.kill()
    await process.wait()


async def test_watch_of_all_jobs_draws_bars_on_a_terminal(service: FakeService, socket: Path, tmp_path: Path) -> None:
    service.put("busy", state=job_pb2.STATE_RUNNING)
    terminal, end = os.openpty()
    process = await watch_all(socket, tmp_path, stderr=end)
    os.close(end)
    await watched(service)
    service.progress("jobs/busy", 42.0)
    drawn = ""
    async with asyncio.timeout(DEADLINE):
        while "42 %" not in drawn:
            drawn += (await asyncio.to_thread(os.read, terminal, 65536)).decode()
    service.move("jobs/busy", job_pb2.STATE_FINISHED)
    out = await lines_until(process, "Finished")
    process.kill()
    await process.wait()
    assert [text.split("  ")[2] for text in out] == ["⚙ Execution in progress", "✔ Finished"], "bars are not results"


async def test_ctrl_c_leaves_the_job_alone(service: FakeService, client: Client, socket: Path, tmp_path: Path) -> None:
    service.course = (job_pb2.STATE_RUNNING,)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lading_client", "--server", f"unix:{socket}", "import", "r.csv", "--into", "t"),
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=clean_environment(tmp_path),
    )
    await watched(service)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(DEADLINE):
        out, err = await process.communicate()
    assert process.returncode == 130
    assert out == b""
    text = err.decode()
    assert "jobs/1 continues" in text
    assert "lading watch jobs/1" in text
    assert "lading cancel jobs/1" in text
    assert "Traceback" not in text
    assert (await client.get_job("jobs/1")).state == "RUNNING"


def everything(terminal: int) -> str:
    """Everything that was written to a terminal whose other end is closed. The output comes in pieces."""
    pieces = []
    with suppress(OSError):
        while piece := os.read(terminal, 65536):
            pieces.append(piece)
    os.close(terminal)
    return b"".join(pieces).decode()


async def test_a_terminal_sees_a_bar(service: FakeService, socket: Path, tmp_path: Path) -> None:
    terminal, end = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "lading_client", "--server", f"unix:{socket}"),
        *("import", "r.csv", "--into", "t"),
        stderr=end,
        stdout=asyncio.subprocess.PIPE,
        env=clean_environment(tmp_path) | {"TERM": "xterm"},
    )
    os.close(end)
    async with asyncio.timeout(DEADLINE):
        out, _ = await process.communicate()
    drawn = everything(terminal)
    assert process.returncode == 0
    assert "⚙ Execution in progress" in drawn
    assert " records" in drawn
    # Standard output is not a terminal, so it has no colour.
    assert "\x1b" not in out.decode()


async def test_standard_output_may_be_closed(service: FakeService, socket: Path, tmp_path: Path) -> None:
    service.put("a")
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-W", "error", "-m", "lading_client"),
        *("--server", f"unix:{socket}", "ls"),
        stderr=asyncio.subprocess.PIPE,
        env=clean_environment(tmp_path),
    )
    async with asyncio.timeout(DEADLINE):
        _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


async def test_a_reader_that_has_had_enough_is_no_error(service: FakeService, socket: Path, tmp_path: Path) -> None:
    with_rejects(service, 3000)
    read, write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "lading_client", "--server", f"unix:{socket}", "rejects", "a", "--all"),
        stderr=asyncio.subprocess.PIPE,
        stdout=write,
        env=clean_environment(tmp_path),
    )
    os.close(write)
    os.close(read)
    async with asyncio.timeout(DEADLINE):
        _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


async def test_help(lading: Lading) -> None:
    assert "import" in (await lading("-h")).out
    assert "--into" in (await lading("import", "-h")).out


async def watch_all(socket: Path, home: Path, *, stderr: int) -> asyncio.subprocess.Process:
    """`lading watch`, in the order in which it writes."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "lading_client", "--server", f"unix:{socket}", "watch"),
        stderr=stderr,
        stdout=asyncio.subprocess.PIPE,
        env=clean_environment(home) | {"TERM": "xterm", "COLUMNS": "120"},
    )


async def lines_until(process: asyncio.subprocess.Process, word: str) -> list[str]:
    """The lines of the process's output up to the first with the word."""
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(DEADLINE):
        while not lines or word not in lines[-1]:
            lines.append((await process.stdout.readline()).decode())
    return lines


async def watched(service: FakeService) -> None:
    """Wait until somebody watches."""

    async def condition() -> bool:
        return service.watchers == 1

    await until_async(condition, "a watcher")


async def test_what_becomes_of_the_table_is_in_the_spec(service: FakeService, lading: Lading) -> None:
    options = ("--create", "never", "--names", "snake", "--add-columns", "--provenance")
    hooks = ("--before", "DELETE FROM t", "--before", "SELECT 1", "--after", "ANALYZE t")
    assert (await lading("import", "a.csv", "--into", "t", *options, *hooks)).status == 0
    spec = created(service).spec.import_spec
    assert (spec.create, spec.names) == (spec_pb2.CREATE_TABLE_NEVER, spec_pb2.COLUMN_NAMES_SNAKE)
    assert (spec.add_columns, spec.provenance) == (True, True)
    assert (list(spec.before), list(spec.after)) == (["DELETE FROM t", "SELECT 1"], ["ANALYZE t"])


async def test_options_of_the_table_take_only_their_words(lading: Lading) -> None:
    for option in ("--create", "--names"):
        result = await lading("import", "a.csv", "--into", "t", option, "perhaps")
        assert result.status == 2
        assert "perhaps" in result.err
