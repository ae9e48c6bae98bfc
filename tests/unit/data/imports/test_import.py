"""Imports through the transfer: exactly once, every record accounted for, every reject explained."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ladingd.core.bill import Counts
from ladingd.core.errors import InvalidRequest, SourceChanged, TargetUnavailable
from ladingd.core.job import Connector, Reject
from ladingd.data.databases.sqlite.session import connected
from ladingd.data.rejects.files import RejectFiles

if TYPE_CHECKING:
    from ladingd.core.plan import ImportPlan
    from tests.unit.data.conftest import Yard

RECIPIENTS = Path(__file__).parents[3] / "data" / "recipients.csv"


def rejects_of(yard: Yard, plan: ImportPlan, job_id: str = "job") -> list[Reject]:
    reader = RejectFiles(yard.work_dir)
    ordinals = [chunk.ordinal for chunk in yard.chunks(plan)]
    ordinals = [ordinal for ordinal in ordinals if yard.work_dir.rejects(job_id, ordinal).exists()]
    return list(asyncio.run(reader.read(job_id, ordinals, size=1000)).items)


def codes(rejects: list[Reject]) -> list[tuple[int, str, str]]:
    return [(reject.line, reject.column, reject.code) for reject in rejects]


def test_the_sample_file_balances_and_its_troubles_are_named(yard: Yard) -> None:
    plan = yard.plan_import(RECIPIENTS.read_bytes(), chunk_bytes=40_000)
    counts = yard.run(plan)
    assert counts == Counts(read=3002, inserted=2995, rejected=6, errors=6, empty=1)
    assert [reject.code for reject in rejects_of(yard, plan)] == [
        "NOT_A_DATE",
        "TOO_FEW_COLUMNS",
        "TOO_MANY_COLUMNS",
        "NOT_AN_INTEGER",
        "NOT_A_DECIMAL",
        "NOT_A_TIMESTAMP",
    ]
    first = rejects_of(yard, plan)[0]
    lines = RECIPIENTS.read_text().split("\n")
    assert first.message == "'2023-02-30' is not a date (YYYY-MM-DD)"
    assert lines[first.line - 1].startswith("412,")
    assert (first.record, first.raw.split(",")[0]) == (412, "412")
    assert yard.sql("SELECT count(*), count(DISTINCT id) FROM t") == [(2995, 2994)]
    types = {column.source: column.type for column in plan.columns}
    assert types["postal_code"] == "text"
    assert types["balance"] == "decimal(15,2)"
    assert types["newsletter"] == "boolean"


@pytest.mark.parametrize("trigger", [False, True])
def test_a_record_the_table_refuses_costs_no_other(yard: Yard, trigger: bool) -> None:
    yard.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER CHECK (n < 100), name TEXT NOT NULL)")
    yard.sql("CREATE TABLE seen (id)")
    if trigger:
        yard.sql("CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO seen VALUES (new.id); END")
        yard.sql("CREATE TRIGGER h BEFORE INSERT ON t WHEN new.n = 50 BEGIN SELECT RAISE(ABORT, 'not fifty'); END")
    text = "id,n,name\n" + "".join(f"{i},{i},x\n" for i in range(1, 60)) + "7,1,x\n8,1,x\n90,100,x\n91,1,\n92,50,y\n"
    plan = yard.plan_import(text)
    counts = yard.run(plan)
    rejects = rejects_of(yard, plan)
    assert [(r.line, r.message) for r in rejects if r.message != "not fifty"] == [
        (61, "UNIQUE constraint failed: t.id"),
        (62, "UNIQUE constraint failed: t.id"),
        (63, "CHECK constraint failed: n < 100"),
        (64, "the target's column name may not be empty"),
    ]
    assert {r.connector for r in rejects} == {Connector.DATABASE}
    assert {r.code for r in rejects} == {"CONSTRAINT", "NOT_NULL"}
    doubled = next(reject for reject in rejects if reject.line == 61)
    assert (doubled.column, doubled.value, doubled.raw) == ("id", "7", "7,1,x")
    refused = 6 if trigger else 4
    assert counts == Counts(read=64, inserted=64 - refused, rejected=refused, errors=refused)
    assert yard.sql("SELECT count(*) FROM t") == [(64 - refused,)]
    assert yard.sql("SELECT count(*) FROM seen") == [(64 - refused if trigger else 0,)]


def test_every_code_of_a_reject_of_the_file(yard: Yard) -> None:
    types = {
        "i": "integer", "r": "real", "d": "decimal(5,2)", "b": "boolean", "day": "date", "at": "time", "ts": "timestamp"
    }  # fmt: skip
    good = ["1", "1.5", "1.50", "true", "2024-02-29", "10:30:00", "2024-02-29 10:30:00", "é"]
    bad = {
        "NOT_AN_INTEGER": (0, ["x", "0x1F", "1.0", " 1"]),
        "NOT_A_REAL": (1, ["-nan", "1,5", "x"]),
        "NOT_A_DECIMAL": (2, ["1e2", "x"]),
        "NOT_A_BOOLEAN": (3, ["o", "tf", "2"]),
        "NOT_A_DATE": (4, ["2023-02-30", "2023-13-01", "20230101", "1.1.2023"]),
        "NOT_A_TIME": (5, ["24:00:00", "10"]),
        "NOT_A_TIMESTAMP": (6, ["2023-02-30 10:00:00", "2023-02-01", "2023-02-01 10:00:00Z"]),
        "NUL_BYTE": (7, ["a\0b"]),
    }
    rows, expected = [good], []
    for code, (place, values) in bad.items():
        for value in values:
            rows.append([*good[:place], value, *good[place + 1 :]])
            expected.append(code)
    for place, value in ((0, "9223372036854775808"), (1, "1e999"), (2, "1234.5"), (2, "1.555")):
        rows.append([*good[:place], value, *good[place + 1 :]])
        expected.append("OUT_OF_RANGE")
    rows += [good[:-1], [*good, "more"]]
    expected += ["TOO_FEW_COLUMNS", "TOO_MANY_COLUMNS"]
    text = "i;r;d;b;day;at;ts;s\n" + "".join(";".join(row) + "\n" for row in rows)
    broken = b'1;1;1;1;2024-02-29;10:30;2024-02-29T10:30:00;"open\n'
    plan = yard.plan_import(text.encode() + broken, types=types)
    counts = yard.run(plan)
    rejects = rejects_of(yard, plan)
    assert [reject.code for reject in rejects] == [*expected, "UNTERMINATED_QUOTE"]
    assert [reject.line for reject in rejects] == list(range(3, 3 + len(rejects)))
    assert counts == Counts(read=len(rejects) + 1, inserted=1, rejected=len(rejects), errors=len(rejects))
    assert rejects[-1].raw == broken.decode().rstrip("\n")
    assert rejects[-2].message == "9 columns, expected 8"


def test_bytes_that_are_not_utf8_are_refused_where_they_stand(yard: Yard) -> None:
    clean = b"".join(b"%d,x\n" % number for number in range(150_000))  # the plan examines the first MiB
    plan = yard.plan_import(b"id,s\n" + clean + b"1,\xe4\n2,\xf6,3\n4,y\n", chunk_bytes=1 << 20, encoding="utf-8")
    counts = yard.run(plan)
    assert counts == Counts(read=150_003, inserted=150_001, rejected=2, errors=2)
    assert codes(rejects_of(yard, plan)) == [(150_002, "s", "NOT_UTF8"), (150_003, "", "TOO_MANY_COLUMNS")]
    assert rejects_of(yard, plan)[0].raw == "1,\ufffd"


def test_a_reject_is_whole_however_long_its_record_is(yard: Yard) -> None:
    long = "é" * (5 << 20)
    plan = yard.plan_import(f"a,b\n1,2\n{long},y,z\n3,4\n", types={"a": "text"})
    counts = yard.run(plan)
    (reject,) = rejects_of(yard, plan)
    assert (reject.code, reject.raw == f"{long},y,z") == ("TOO_MANY_COLUMNS", True)
    assert counts == Counts(read=3, inserted=2, rejected=1, errors=1)


def test_a_record_that_is_too_long_is_one_reject(yard: Yard) -> None:
    plan = yard.plan_import("a,b\n1,2\n" + "x" * (17 << 20) + ",y\n3,4\n", types={"a": "text"})
    counts = yard.run(plan)
    (reject,) = rejects_of(yard, plan)
    assert (reject.code, reject.line, reject.record) == ("RECORD_TOO_LONG", 3, 2)
    assert reject.raw == "x" * (64 << 10) + "… (shortened)"
    assert reject.message == (
        "the record has 17,825,795 bytes, and may have 16,777,216; of its text the first 65,536 bytes are kept"
    )
    assert counts == Counts(read=3, inserted=2, rejected=1, errors=1)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_a_byte_order_mark_and_empty_lines(yard: Yard, end: str) -> None:
    text = "\ufeff" + end.join(["id,name", "1,Jo", "", '2,"a', 'b"', ",", "3,\ufeffx"])
    plan = yard.plan_import(text)
    counts = yard.run(plan)
    assert counts == Counts(read=5, inserted=4, empty=1)
    assert yard.sql("SELECT id, name FROM t") == [(1, "Jo"), (2, f"a{end}b"), (None, None), (3, "\ufeffx")]


def test_a_chunk_that_begins_with_a_byte_order_mark_keeps_it(yard: Yard) -> None:
    yard.run(yard.plan_import("a,b\n1,2\n\ufeffx,y\n", chunk_bytes=4, types={"a": "text"}))
    assert yard.sql("SELECT a FROM t") == [("1",), ("\ufeffx",)]


@pytest.mark.parametrize("name", ["with space", 'quo"te', "Größe", "select", "a.b", "x;--", "{t}"])
def test_any_name_can_be_quoted(yard: Yard, name: str) -> None:
    header = '"' + name.replace('"', '""') + '",other\n'
    for _ in range(2):
        yard.run(yard.plan_import(header + "1,2\n", table=name), job_id="a" if not yard.database.exists() else "b")
    yard.run(yard.plan_export(table=name))
    assert (yard.directory / "out.csv").read_text().endswith("1,2\n1,2\n")


def test_a_changed_source_is_noticed(yard: Yard) -> None:
    plan = yard.plan_import("a\n1\n2\n")
    for text, words in (("a\n1\n2\n3\n", "2 bytes were appended"), ("a\n1\n3\n", "not the file"), ("a\n", "not the")):
        yard.write(text)
        with pytest.raises(SourceChanged, match=words):
            yard.transfer.begin("job", 1, plan)
    assert not yard.database.exists()


def test_an_outside_writer_is_waited_for_and_then_named(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = yard.plan_import("a\n1\n")
    yard.transfer.begin("job", 1, plan)
    monkeypatch.setattr("ladingd.data.databases.sqlite.session.BUSY_MILLISECONDS", 50)
    with connected(yard.database) as other:
        other.run("CREATE TABLE theirs (a)")
        with pytest.raises(TargetUnavailable, match="locked by another program"):
            yard.transfer.process("job", 1, plan, yard.chunks(plan)[0])


def test_discard_forgets_the_job_and_keeps_the_records(yard: Yard) -> None:
    plan = yard.plan_import("a\n1\nx\n", types={"a": "integer"})
    yard.run(plan)
    yard.transfer.discard("job", plan)
    yard.transfer.discard("job", plan)
    assert yard.transfer.committed("job", 1, plan) == ()
    assert rejects_of(yard, plan) == []
    assert yard.sql("SELECT count(*) FROM t") == [(1,)]


def test_rejects_come_in_pages(yard: Yard) -> None:
    plan = yard.plan_import("a\n" + "x\n" * 25, types={"a": "integer"}, chunk_bytes=8)
    yard.run(plan)
    reader = RejectFiles(yard.work_dir)
    ordinals = [chunk.ordinal for chunk in yard.chunks(plan)]
    lines, token = [], ""
    while True:
        page = asyncio.run(reader.read("job", ordinals, size=3, token=token))
        lines += [reject.line for reject in page.items]
        token = page.next_token
        if not token:
            break
    assert lines == list(range(2, 27))
    for wrong in ("x", "999999", "OTk6MA=="):
        with pytest.raises(InvalidRequest):
            asyncio.run(reader.read("job", ordinals, size=3, token=wrong))


def test_rejects_of_an_earlier_try_are_replaced(yard: Yard) -> None:
    plan = yard.plan_import("a\n1\n")
    stale = yard.work_dir.rejects("job", 0)
    stale.parent.mkdir(parents=True)
    stale.write_text("stale\n")
    yard.run(plan)
    assert not stale.exists()


def test_a_file_without_records_is_a_job_of_zeros(yard: Yard) -> None:
    assert yard.run(yard.plan_import("a,b\n")) == Counts()
    assert yard.run(yard.plan_import(b""), job_id="again") == Counts()
    assert yard.sql("SELECT count(*) FROM t") == [(0,)]


def test_a_transfer_crosses_process_borders(yard: Yard) -> None:
    assert pickle.loads(pickle.dumps(yard.transfer)) == yard.transfer
