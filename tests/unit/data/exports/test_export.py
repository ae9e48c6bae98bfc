"""Exports give the imported values back, and the file appears complete or not at all."""

from __future__ import annotations

import csv
import errno
import io
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ladingd.core.bill import Counts
from ladingd.core.errors import (
    AttemptSuperseded,
    BillImbalance,
    DestinationRefused,
    DiskFull,
    InvalidSpec,
    QuotaExceeded,
    SourceChanged,
)
from ladingd.core.files import UPLOADS
from ladingd.core.spec import CsvFormat, ExportSpec, File, Header, Table
from ladingd.data.databases import row_source as table_source
from ladingd.data.databases.row_source import LAST_KEY
from ladingd.data.databases.sqlite.session import connected
from ladingd.data.exports import destination
from ladingd.data.exports import exporter as table_export
from ladingd.data.exports.destination import Destination
from ladingd.data.exports.ledger import Ledger
from ladingd.data.files.uploads.quota import UploadRoom
from ladingd.data.storage import spool
from tests.unit.data.conftest import Yard

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO

    from ladingd.core.plan import Chunk
    from ladingd.data.transfer import BulkTransfer

words = st.text(alphabet="ab é\"',;\n\r\t|0☃\ufeff", max_size=8)
fields = {
    "whole": st.integers(-(2**63), 2**63 - 1).map(str),
    "money": st.decimals(min_value="-9999999", max_value="9999999", places=2).map(
        lambda d: f"{d + 0:.2f}" if d else "0.00"
    ),
    "ratio": st.floats(allow_nan=False, allow_infinity=False).map(repr),
    "flag": st.sampled_from(["true", "false"]),
    "day": st.dates().map(str),
    "text": words,
}
rows = st.lists(st.tuples(*(st.one_of(st.none(), field) for field in fields.values())), min_size=1, max_size=12)


def as_csv(records: list[tuple[str | None, ...]], delimiter: str, end: str) -> str:
    def field(value: str | None) -> str:
        return "" if value is None else '"' + value.replace('"', '""') + '"'

    return "".join(delimiter.join(map(field, record)) + end for record in [tuple(fields), *records])


@given(rows, st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"]), st.integers(1, 60))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_imported_comes_out_the_same(
    make_yard: Callable[[Path], Yard], records: list[tuple[str | None, ...]], delimiter: str, end: str, size: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        yard = make_yard(Path(directory))
        types = {"whole": "integer", "money": "decimal(15,2)", "ratio": "real", "flag": "boolean", "day": "date"}
        layout = CsvFormat(delimiter=delimiter, header=Header.PRESENT)
        text = as_csv(records, delimiter, end)
        plan = yard.plan_import(text, csv=layout, types=types | {"text": "text"}, chunk_bytes=size)
        assert yard.run(plan) == Counts(read=len(records), inserted=len(records))
        yard.run(yard.plan_export(csv=layout, chunk_keys=5), job_id="out")
        first = (yard.directory / "out.csv").read_bytes()
        again = yard.plan_import(first, table="again", csv=layout, types=types | {"text": "text"})
        assert yard.run(again, job_id="again").inserted == len(records)
        columns = ", ".join(fields)
        assert yard.sql(f"SELECT {columns} FROM t ORDER BY rowid") == yard.sql(
            f"SELECT {columns} FROM again ORDER BY rowid"
        )
        yard.run(yard.plan_export("again", "again.csv", csv=layout), job_id="out-again")
        assert (yard.directory / "again.csv").read_bytes() == first
        exported = list(csv.reader(io.StringIO(first.decode(), newline=""), delimiter=delimiter))[1:]
        for was, now in zip(records, exported, strict=True):
            assert [value or "" for value in was[:2]] == now[:2]
            assert [value or "" for value in was[3:]] == now[3:]
            assert was[2] is None or float(was[2]) == float(now[2])


def test_values_of_any_kind_come_out(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a INTEGER, b, c DECIMAL(9,2), d BOOLEAN, e REAL, f TEXT)")
    yard.sql("INSERT INTO t VALUES (1, NULL, 2, 1, 0.1 + 0.2, ''), ('x', x'00ff', 2.125, 7, 1e300, NULL)")
    yard.sql("INSERT INTO t VALUES (2.5, 'q\"', 'n/a', 'maybe', 3, 'a,b'), (NULL, 1.5, 12.5, 0, NULL, 'x')")
    yard.run(yard.plan_export())
    assert (yard.directory / "out.csv").read_text() == (
        'a,b,c,d,e,f\n1,,2.00,true,0.30000000000000004,""\nx,\\x00ff,2.125,7,1e+300,\n'
        '2.5,"q""",n/a,maybe,3,"a,b"\n,1.5,12.50,false,,x\n'
    )


@pytest.mark.parametrize(
    ("schema", "notes"),
    [
        ("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)", 0),
        ("CREATE TABLE t (a INTEGER, b TEXT, PRIMARY KEY (a)) WITHOUT ROWID", 1),
        ("CREATE TABLE t (a INTEGER, b TEXT, rowid TEXT)", 0),
        ("CREATE TABLE t (a INTEGER, b ANY) STRICT", 1),
        ("CREATE TABLE t (a, b BLOB)", 1),
    ],
)
def test_tables_with_and_without_keys(yard: Yard, schema: str, notes: int) -> None:
    yard.sql(schema)
    plan = yard.plan_export(path="empty.csv")
    yard.run(plan, job_id="empty")
    assert (yard.directory / "empty.csv").read_text().count("\n") == 1
    yard.sql("INSERT INTO t (a, b) VALUES (-5, 'x'), (3, 'y'), (9223372036854775807, 'z')")
    assert len(yard.chunks(yard.plan_export(chunk_keys=10))) == 1
    plan = yard.plan_export(chunk_keys=2**62)
    assert len(plan.notes) == notes
    yard.run(plan)
    lines = (yard.directory / "out.csv").read_text().splitlines()[1:]
    assert [line.split(",")[:2] for line in lines] == [["-5", "x"], ["3", "y"], ["9223372036854775807", "z"]]


def test_a_lone_null_is_still_a_record(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a INTEGER)")
    yard.sql("INSERT INTO t VALUES (1), (NULL), (3)")
    yard.run(yard.plan_export())
    text = (yard.directory / "out.csv").read_text()
    assert text == 'a\n1\n""\n3\n'
    yard.run(yard.plan_import(text, table="u"), job_id="back")
    assert yard.sql("SELECT a FROM u") == [(1,), (None,), (3,)]


def test_a_part_is_written_once_and_only_by_the_current_attempt(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a)")
    yard.sql("INSERT INTO t VALUES (1), (2), (3)")
    plan = yard.plan_export(chunk_keys=2)
    first, second = yard.chunks(plan)
    assert yard.transfer.begin("job", 1, plan) == ()
    counts = yard.transfer.process("job", 1, plan, first)
    yard.sql("DELETE FROM t WHERE a = 1")
    assert yard.transfer.process("job", 1, plan, first) == counts == Counts(read=2, inserted=2)
    (entry,) = yard.transfer.begin("job", 2, plan)
    assert (entry.ordinal, entry.counts) == (0, counts)
    with pytest.raises(AttemptSuperseded):
        yard.transfer.process("job", 1, plan, second)
    yard.transfer.process("job", 2, plan, second)
    yard.transfer.finish("job", plan, [first, second])
    yard.transfer.finish("job", plan, [first, second])
    assert (yard.directory / "out.csv").read_text() == "a\n1\n2\n3\n"
    yard.transfer.discard("job", plan)
    assert [path.name for path in yard.directory.iterdir() if "out.csv" in path.name] == ["out.csv"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_finish_can_be_repeated_after_a_crash_behind_the_renaming(
    yard: Yard, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.sql("CREATE TABLE t (a)")
    yard.sql("INSERT INTO t VALUES (1)")
    if overwrite:
        (yard.directory / "out.csv").write_text("old")
    plan = yard.plan_export(overwrite=overwrite)

    def crash(_: Path) -> None:
        raise KeyboardInterrupt

    yard.transfer.begin("job", 1, plan)
    chunks = yard.chunks(plan)
    for chunk in chunks:
        yard.transfer.process("job", 1, plan, chunk)
    with monkeypatch.context() as patch:
        patch.setattr(destination, "sync_directory", crash)
        with pytest.raises(KeyboardInterrupt):
            yard.transfer.finish("job", plan, chunks)
    assert (yard.directory / "out.csv").read_text() == "a\n1\n"
    yard.transfer.begin("job", 2, plan)
    yard.transfer.finish("job", plan, chunks)
    assert (yard.directory / "out.csv").read_text() == "a\n1\n"
    assert [path.name for path in yard.directory.iterdir() if "out.csv" in path.name] == ["out.csv"]


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("late", [True, False])
def test_a_file_that_appeared_meanwhile_is_not_replaced(
    yard: Yard, links: bool, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.sql("CREATE TABLE t (a)")
    plan = yard.plan_export()
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    yard.transfer.begin("job", 1, plan)
    chunks = yard.chunks(plan)
    for chunk in chunks:
        yard.transfer.process("job", 1, plan, chunk)
    out = yard.directory / "out.csv"
    with monkeypatch.context() as patch:
        if late:
            complete = Destination.complete

            def complete_too_late(self: Destination, draft: FileIO, size: int) -> str:
                identity = complete(self, draft, size)
                out.write_text("theirs")
                return identity

            patch.setattr(Destination, "complete", complete_too_late)
        else:
            out.write_text("theirs")
            patch.setattr(Destination, "publish", lambda _: pytest.fail("published in vain"))
        with pytest.raises(DestinationRefused, match=r"out\.csv exists"):
            yard.transfer.finish("job", plan, chunks)
        assert out.read_text() == "theirs"
    out.rename(yard.directory / "elsewhere")
    yard.transfer.begin("job", 2, plan)
    yard.transfer.finish("job", plan, chunks)
    assert out.read_text() == "a\n", "a start goes on where it was refused"
    assert [path.name for path in yard.directory.iterdir() if "out.csv" in path.name] == ["out.csv"]


def no_links(*_: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("overwrite", [False, True])
def test_file_systems_without_links(yard: Yard, overwrite: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    yard.sql("CREATE TABLE t (a)")
    yard.sql("INSERT INTO t VALUES (1)")
    yard.run(yard.plan_export(overwrite=overwrite))
    assert (yard.directory / "out.csv").read_text() == "a\n1\n"
    assert [path.name for path in yard.directory.iterdir() if "out.csv" in path.name] == ["out.csv"]


def test_a_claimed_name_is_still_ours_after_a_crash(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    yard.sql("CREATE TABLE t (a)")
    plan = yard.plan_export()
    target = yard.directory / "out.csv"
    for job in ("given-up", "continued"):
        yard.transfer.begin(job, 1, plan)
        chunks = yard.chunks(plan)
        for chunk in chunks:
            yard.transfer.process(job, 1, plan, chunk)
        Destination.of(yard.transfer.roots, {}, plan, job)._claim()
        if job == "given-up":
            yard.transfer.discard(job, plan)
            assert not target.exists()
        else:
            yard.transfer.begin(job, 2, plan)
            yard.transfer.finish(job, plan, chunks)
            assert target.read_text() == "a\n"


def test_a_cancelled_export_leaves_its_ledger_only(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    yard.sql("INSERT INTO t VALUES (1), (2), (3)")
    plan = yard.plan_export(chunk_keys=1)
    assert plan.keeps_work
    yard.transfer.begin("job", 1, plan)
    for chunk in yard.chunks(plan)[1:]:  # Their parts wait for the first.
        yard.transfer.process("job", 1, plan, chunk)
    for _ in range(2):
        yard.transfer.abandon("job", plan)
    assert [one.ordinal for one in yard.transfer.committed("job", 2, plan)] == [1, 2]
    assert not list(yard.work_dir.job("job").rglob("*.csv"))
    assert not [path.name for path in yard.directory.iterdir() if "out.csv" in path.name]


def test_discard_where_the_directory_of_the_destination_is_gone(yard: Yard) -> None:
    (yard.directory / "sub").mkdir()
    yard.sql("CREATE TABLE t (a)")
    plan = yard.plan_export(path="sub/out.csv")
    yard.transfer.begin("job", 1, plan)
    yard.transfer.process("job", 1, plan, yard.chunks(plan)[0])
    shutil.rmtree(yard.directory / "sub")
    yard.transfer.discard("job", plan)
    assert not yard.work_dir.job("job").exists()


def test_rows_written_after_planning_are_exported(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    empty = yard.plan_export(path="empty.csv")
    yard.sql("INSERT INTO t VALUES (5), (6), (7)")
    plan = yard.plan_export(chunk_keys=1)
    yard.sql("INSERT INTO t VALUES (-9223372036854775808), (3), (8), (9223372036854775807)")
    everything = "a\n-9223372036854775808\n3\n5\n6\n7\n8\n9223372036854775807\n"
    chunks = yard.chunks(plan)
    assert [(chunk.ordinal, chunk.start, chunk.end) for chunk in chunks] == [
        (0, -(2**63), 3),
        (1, 3, 5),
        (2, 5, 6),
        (3, 6, 7),
        (4, 7, 2**63 - 1),
    ]
    for one, path in ((empty, "empty.csv"), (plan, "out.csv")):
        assert yard.run(one, job_id=path.removesuffix(".csv")).read == 7
        assert (yard.directory / path).read_text() == everything
    again = yard.plan_export(path="again.csv", chunk_keys=2**61)
    assert all(-(2**63) <= key < 2**63 for chunk in yard.chunks(again) for key in (chunk.start, chunk.end))
    assert yard.run(again, job_id="again").read == 7


def test_rows_that_come_and_go_between_chunks_are_neither_doubled_nor_lost(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    with connected(yard.database) as database:
        database.run(f"INSERT INTO t VALUES {', '.join(f'({number * 1000})' for number in range(100))}")
        database.commit()
    plan = yard.plan_export(chunk_keys=10)
    yard.transfer.begin("job", 1, plan)
    chunks: list[Chunk] = []
    while more := yard.transfer.cut("job", plan, chunks[-1] if chunks else None, 2):
        for chunk in more:
            yard.transfer.process("job", 1, plan, chunk)
        chunks += more
        place = more[-1].end
        if place < plan.end:
            yard.sql(f"INSERT INTO t VALUES ({place - 1}), ({place + 1})")  # one too late, one in time
            yard.sql(f"DELETE FROM t WHERE id IN (0, {place})")
    yard.transfer.finish("job", plan, chunks)
    found = [int(line) for line in (yard.directory / "out.csv").read_text().splitlines()[1:]]
    assert found == sorted(set(found))
    assert set(range(0, 100_000, 1000)) - set(found) <= {chunk.end for chunk in chunks}
    assert all(chunk.end + 1 in found for chunk in chunks[1:-1:2])


def test_a_table_that_was_made_anew_without_its_key_is_not_read(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    plan = yard.plan_export()
    yard.sql("DROP TABLE t")
    yard.sql("CREATE TABLE t (id INTEGER PRIMARY KEY) WITHOUT ROWID")
    with pytest.raises(SourceChanged, match="another table"):
        yard.chunks(plan)


def test_chunks_grow_so_that_there_are_never_too_many(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.sql("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    yard.sql(f"INSERT INTO t VALUES {', '.join(f'({number})' for number in range(1, 41))}")
    plan = yard.plan_export(chunk_keys=1)
    monkeypatch.setattr(table_source, "DOUBLING", 2)
    assert [chunk.end for chunk in yard.chunks(plan)] == [2, 3, 5, 7, 11, 15, 23, 31, LAST_KEY]
    monkeypatch.setattr(table_source, "MOST_CHUNKS", 4)
    assert [chunk.end for chunk in yard.chunks(plan)] == [2, 3, 5, LAST_KEY]


def test_drafts_of_killed_workers_are_removed(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a)")
    plan = yard.plan_export()
    yard.transfer.begin("job", 1, plan)
    draft = yard.work_dir.part("job", 0).with_name(".000000.csv.99999")
    draft.parent.mkdir()
    draft.write_text("half")
    yard.transfer.begin("job", 2, plan)
    assert not draft.exists()


def test_a_full_disk_is_told_of(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.sql("CREATE TABLE t (a)")
    yard.sql("INSERT INTO t VALUES (1), (2)")
    plan = yard.plan_export(chunk_keys=1)
    first, second = yard.chunks(plan)
    yard.transfer.begin("job", 1, plan)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(table_export, "_WAIT", 0.001)
    with monkeypatch.context() as patch:
        patch.setattr(spool, "sync_file", full)
        with pytest.raises(DiskFull, match=r"job/parts: No space left on device"):
            yard.transfer.process("job", 1, plan, second)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", full)
        with pytest.raises(DiskFull, match=r"out.csv cannot be written: No space left on device"):
            yard.transfer.process("job", 1, plan, first)
    assert list((yard.work_dir.job("job") / "parts").iterdir()) == [], "what was written does not keep the disk full"
    for chunk in (first, second):
        yard.transfer.process("job", 1, plan, chunk)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskFull, match=r"out.csv cannot be written: No space left on device"):
            yard.transfer.finish("job", plan, [first, second])
    yard.transfer.finish("job", plan, [first, second])
    assert (yard.directory / "out.csv").read_text() == "a\n1\n2\n"


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 0, 3, 1]])
@pytest.mark.parametrize("memory", [spool.MEMORY, 3])
def test_chunks_get_their_places_in_whatever_order_they_are_done(
    yard: Yard, order: list[int], memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_export, "_WAIT", 0.001)
    monkeypatch.setattr(spool, "MEMORY", memory)
    yard.sql("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    yard.sql("INSERT INTO t VALUES (1, 'x'), (2, 'long'), (3, 'longer'), (4, 'y')")
    plan = yard.plan_export(chunk_keys=1)
    chunks = yard.chunks(plan)
    for attempt, ordinal in enumerate(order, 1):
        # Each chunk in a process without knowledge of the others.
        table_export._fronts.clear()
        yard.transfer.begin("job", attempt, plan)
        yard.transfer.process("job", attempt, plan, chunks[ordinal])
    table_export._fronts.clear()
    yard.transfer.finish("job", plan, chunks)
    assert (yard.directory / "out.csv").read_text() == "a,b\n1,x\n2,long\n3,longer\n4,y\n"
    assert not list(yard.work_dir.part("job", 0).parent.glob("*.csv")), "no part is left"


def test_what_a_killed_worker_has_put_into_the_draft_is_put_over(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    yard.sql("INSERT INTO t VALUES (1), (2)")
    plan = yard.plan_export(chunk_keys=1)
    first, second = yard.chunks(plan)
    yard.transfer.begin("job", 1, plan)
    yard.transfer.process("job", 1, plan, first)
    destination = Destination.of(yard.transfer.roots, {}, plan, "job")
    with destination.open_draft() as draft:
        destination.put(draft, [b"much longer than what comes\n"], len("a\n1\n"))
    yard.transfer.begin("job", 2, plan)
    yard.transfer.process("job", 2, plan, second)
    yard.transfer.finish("job", plan, [first, second])
    assert (yard.directory / "out.csv").read_text() == "a\n1\n2\n"


def test_a_part_whose_entry_was_never_written_is_of_no_use(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker was killed between writing the part and the entry. The chunk was written since, with other rows."""
    monkeypatch.setattr(table_export, "_WAIT", 0.001)
    yard.sql("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    yard.sql("INSERT INTO t VALUES (1), (2), (3)")
    plan = yard.plan_export(chunk_keys=1)
    chunks = yard.chunks(plan)
    yard.transfer.begin("job", 1, plan)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "write", die)
        with pytest.raises(KeyboardInterrupt):
            yard.transfer.process("job", 1, plan, chunks[1])
    assert yard.work_dir.part("job", 1).exists()
    yard.sql("DELETE FROM t WHERE a = 2")
    for chunk in chunks:
        yard.transfer.process("job", 1, plan, chunk)
    table_export._fronts.clear()
    yard.transfer.finish("job", plan, chunks)
    assert (yard.directory / "out.csv").read_text() == "a\n1\n3\n"
    assert not yard.work_dir.part("job", 1).exists()


def test_what_could_not_be_made_durable_is_copied_again(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_export, "_WAIT", 0.001)
    yard.sql("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    yard.sql("INSERT INTO t VALUES (1), (2), (3)")
    plan = yard.plan_export(chunk_keys=1)
    first, second, third = chunks = yard.chunks(plan)
    yard.transfer.begin("job", 1, plan)
    yard.transfer.process("job", 1, plan, second)
    yard.transfer.process("job", 1, plan, first)

    def broken(_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        with pytest.raises(DestinationRefused, match="Input/output error"):
            yard.transfer.process("job", 1, plan, third)
    draft = yard.directory / ".out.csv.job"
    draft.write_bytes(draft.read_bytes()[:4])  # the kernel has dropped the pages
    yard.transfer.process("job", 1, plan, third)
    yard.transfer.finish("job", plan, chunks)
    assert (yard.directory / "out.csv").read_text() == "a\n1\n2\n3\n"


def test_a_part_that_another_worker_has_copied_meanwhile(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_export, "_WAIT", 0.001)
    yard.sql("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    yard.sql("INSERT INTO t VALUES (1), (2), (3)")
    plan = yard.plan_export(chunk_keys=1)
    first, second, third = chunks = yard.chunks(plan)
    yard.transfer.begin("job", 1, plan)
    for chunk in (second, first, third):
        yard.transfer.process("job", 1, plan, chunk)
    assert not yard.work_dir.part("job", 1).exists()
    table_export._fronts.clear()
    yard.transfer.finish("job", plan, chunks)
    assert (yard.directory / "out.csv").read_text() == "a\n1\n2\n3\n"


def test_a_name_that_another_file_has_is_not_taken_for_ours(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.sql("CREATE TABLE t (a)")
    plan = yard.plan_export()
    yard.transfer.begin("job", 1, plan)
    chunks = yard.chunks(plan)
    for chunk in chunks:
        yard.transfer.process("job", 1, plan, chunk)

    def die(_: Destination) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Destination, "publish", die)
        with pytest.raises(KeyboardInterrupt):
            yard.transfer.finish("job", plan, chunks)
    (yard.directory / ".out.csv.job").unlink()
    out = yard.directory / "out.csv"
    for there in (False, True):
        if there:
            out.write_text("theirs")
        yard.transfer.begin("job", 2, plan)
        with pytest.raises(DestinationRefused, match=r"out\.csv was complete, but neither it nor \.out\.csv\.job"):
            yard.transfer.finish("job", plan, chunks)
    assert out.read_text() == "theirs"


def test_a_draft_that_is_gone_is_told_of(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a)")
    plan = yard.plan_export()
    yard.transfer.begin("job", 1, plan)
    chunks = yard.chunks(plan)
    for chunk in chunks:
        yard.transfer.process("job", 1, plan, chunk)
    (yard.directory / ".out.csv.job").unlink()
    for again in (lambda: yard.transfer.begin("job", 2, plan), lambda: yard.transfer.finish("job", plan, chunks)):
        with pytest.raises(DestinationRefused, match=r"the unfinished file \.out\.csv\.job is gone"):
            again()


def test_a_chunk_that_is_missing_is_told_of(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    yard.sql("INSERT INTO t VALUES (1), (2)")
    plan = yard.plan_export(chunk_keys=1)
    first, second = yard.chunks(plan)
    yard.transfer.begin("job", 1, plan)
    yard.transfer.process("job", 1, plan, second)
    with pytest.raises(BillImbalance, match="2 chunks were exported, and the ledger has 0"):
        yard.transfer.finish("job", plan, [first, second])


def test_a_directory_that_becomes_a_link_leads_nowhere(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (a)")
    inside, outside = yard.directory / "sub", yard.directory.parent / "elsewhere"
    inside.mkdir()
    outside.mkdir()
    plan = yard.plan_export(path="sub/out.csv")
    destination = Destination.of(yard.transfer.roots, {}, plan, "job")
    inside.rename(yard.directory / "renamed")
    inside.symlink_to(outside)
    destination.begin()
    assert list(outside.iterdir()) == []
    assert [path.name for path in (yard.directory / "renamed").iterdir()] == [".out.csv.job"]
    with pytest.raises(DestinationRefused, match="leads out of its root"):
        yard.transfer.begin("job", 1, plan)
    inside.unlink()
    (yard.directory / "renamed").rename(inside)
    yard.transfer.begin("job", 1, plan)
    draft = inside / ".out.csv.job"
    draft.unlink()
    draft.symlink_to(outside / "theirs")
    (outside / "theirs").write_text("theirs")
    with pytest.raises(DestinationRefused, match="Too many levels of symbolic links"):
        yard.transfer.process("job", 1, plan, yard.chunks(plan)[0])
    assert (outside / "theirs").read_text() == "theirs"


def test_nothing_is_read_for_a_destination_that_cannot_be(yard: Yard) -> None:
    """The kernel creates no files in /proc, although the permissions seem to allow it."""
    yard.sql("CREATE TABLE t (a)")
    transfer = replace(yard.transfer, roots={"local": Path("/proc")})
    plan = replace(yard.plan_export(), file=File(path="x.csv"))
    with pytest.raises(DestinationRefused, match=r"no file can be made in the directory of x\.csv"):
        transfer.begin("job", 1, plan)


def test_an_export_for_a_download_fits_into_the_room_of_uploads(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
    yard.sql("INSERT INTO t VALUES (1, '" + "x" * 1000 + "')")
    work = yard.transfer.work_dir.directory
    file = File(root=UPLOADS, path="6f9619ff-8b86-4d01-b42d-00cf4fc964ff/out.csv")
    spec = ExportSpec(source=Table(table="t"), file=file)

    def transfer(limit: int) -> BulkTransfer:
        room = UploadRoom(directory=work, limit=limit, disk_reserve=0)
        return replace(yard.transfer, roots={UPLOADS: room.root}, upload_room=room)

    plan = transfer(500).plan(spec)
    with pytest.raises(QuotaExceeded, match="more than 500"):
        Yard(directory=yard.directory, transfer=transfer(500)).run(plan)
    Yard(directory=yard.directory, transfer=transfer(5_000)).run(plan, attempt=2)
    assert (work / UPLOADS / file.path).stat().st_size > 1000
    with pytest.raises(QuotaExceeded):
        transfer(1_000).plan(spec)


def test_a_replaced_file_keeps_its_rights_and_its_owner(yard: Yard) -> None:
    yard.run(yard.plan_import("id\n1\n"))
    path = yard.directory / "out.csv"
    path.write_text("old\n")
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, 12345, 23456)
    before = path.stat()
    plan = yard.plan_export(overwrite=True)
    yard.transfer.begin("out", 1, plan)
    assert next(yard.directory.glob(".out.csv.*")).stat().st_mode & 0o777 == 0o600
    yard.run(plan, job_id="out")
    after = path.stat()
    assert path.read_text() != "old\n"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a file of another user, as root alone may")
def test_what_a_sticky_directory_protects_is_refused_before_anything_is_read(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.run(yard.plan_import("id\n1\n"))
    shared = yard.directory / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "out.csv").write_text("of another user\n")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(InvalidSpec, match="belongs to another user"):
        yard.plan_export(path="shared/out.csv", overwrite=True)
