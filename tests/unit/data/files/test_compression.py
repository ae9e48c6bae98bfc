"""Compressed files are imported as what they contain; what can be read before a damage is imported, too."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import zipfile
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from ladingd.core.bill import Counts
from ladingd.core.errors import DestinationRefused, DiskFull, InvalidSpec, SourceChanged, SourceUnreadable
from ladingd.core.plan import UNKNOWN_END, Chunk, Column, ImportPlan, Layout
from ladingd.core.spec import ExportSpec, File, ImportSpec, Table
from ladingd.data.files import content, spooled
from ladingd.data.formats.registry import format_of
from tests.contract.files import written

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.data.conftest import Yard

ROWS = 150_000
"""More than the beginning that names columns."""
MANY = 500_000
"""More than a plan reads."""


def zipped(data: bytes, *, name: str = "a.csv", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


STREAMS: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda data: gzip.compress(data, 1),
    "zst": zstandard.compress,
    "bz2": lambda data: bz2.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
}
ALL: dict[str, Callable[[bytes], bytes]] = {
    **STREAMS,
    "zip": zipped,
    "zip, stored": lambda data: zipped(data, method=zipfile.ZIP_STORED),
    "zip, bzip2": lambda data: zipped(data, method=zipfile.ZIP_BZIP2),
}
TITLES = {"gz": "gzip", "zst": "Zstandard", "bz2": "bzip2", "xz": "xz"}


def text(rows: int = ROWS, first: int = 0) -> bytes:
    return "".join(f"{number},name {number * 7919 % 10_007},ö\n" for number in range(first, first + rows)).encode()


HEADER = b"id,name,letter\n"


def plan_of(yard: Yard, data: bytes, name: str = "in.dat", **spec: object) -> ImportPlan:
    wanted = ImportSpec(files=(yard.write(data, name),), target=Table(table="t"), **spec)  # type: ignore[arg-type]
    plan = yard.transfer.plan(wanted)
    assert isinstance(plan, ImportPlan)
    return plan


def part(yard: Yard, plan: ImportPlan, attempt: int = 1) -> list[Chunk]:
    """Begin an attempt and process all its chunks."""
    yard.transfer.begin("job", attempt, plan)
    chunks = yard.chunks(plan)
    for chunk in chunks:
        yard.transfer.process("job", attempt, plan, chunk)
    return chunks


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("rows", [3, MANY])
def test_every_codec_is_known_by_its_content(yard: Yard, kind: str, rows: int) -> None:
    plan = plan_of(yard, ALL[kind](HEADER + text(rows)), chunk_bytes=2_000_000)
    assert f"compression: {TITLES.get(kind, 'ZIP, file a.csv')}" in plan.detected
    assert plan.file.end == (UNKNOWN_END if rows == MANY else len(HEADER + text(rows)))
    assert yard.run(plan) == Counts(read=rows, inserted=rows)
    assert yard.sql("SELECT count(*), min(id), max(id), sum(id) FROM t") == [
        (rows, 0, rows - 1, rows * (rows - 1) // 2)
    ]


@pytest.mark.parametrize("kind", STREAMS)
def test_streams_may_follow_one_another(yard: Yard, kind: str) -> None:
    pack = STREAMS[kind]
    plan = plan_of(yard, pack(HEADER + text(5)) + pack(text(5, 5)) + pack(b"") + pack(text(5, 10)))
    assert yard.run(plan) == Counts(read=15, inserted=15)


@pytest.mark.parametrize("padding", [4, 12, 8192, 10_000])
@pytest.mark.parametrize("kind", ["gz", "xz"])
def test_zeros_may_fill_the_end(yard: Yard, kind: str, padding: int) -> None:
    pack = STREAMS[kind]
    plan = plan_of(yard, pack(HEADER + text(5)) + bytes(padding))
    assert yard.run(plan) == Counts(read=5, inserted=5)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "shift_jis"])
def test_compressed_text_in_any_encoding(yard: Yard, encoding: str) -> None:
    letter = "あ" if encoding == "shift_jis" else "ö"
    content = "".join(["id,letter\n", *(f"{number},{letter}\n" for number in range(100))]).encode(encoding)
    plan = plan_of(yard, gzip.compress(content), encoding="" if encoding == "utf-16" else encoding, chunk_bytes=100)
    assert yard.run(plan) == Counts(read=100, inserted=100)
    assert yard.sql("SELECT DISTINCT letter FROM t") == [(letter,)]


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("x.csv.gz", b'{"a": 1},2\n', "csv"),
        ("x.jsonl.gz", b'\n\n{"a": 1}\n', "json_lines"),
        ("x.gz", b'{"a": 1}\n', "json_lines"),
        ("x", b"a,b\n1,2\n", "csv"),
    ],
)
def test_the_inner_name_and_the_content_count(yard: Yard, name: str, content: bytes, form: str) -> None:
    assert plan_of(yard, gzip.compress(content), name).file.layout.format == form


def test_a_name_that_lies_is_no_matter(yard: Yard) -> None:
    assert yard.run(plan_of(yard, HEADER + text(3), "x.csv.gz")) == Counts(read=3, inserted=3)


RECORDS = 150_000


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
@pytest.mark.parametrize("harm", ["cut", "flipped"])
def test_what_was_read_before_a_damage_is_imported(yard: Yard, kind: str, share: float, harm: str) -> None:
    data = bytearray(STREAMS[kind](HEADER + text(RECORDS)))
    place = int(len(data) * share)
    if harm == "cut":
        del data[place:]
    else:
        data[place : place + 64] = b"\x55" * 64
    plan = plan_of(yard, bytes(data), encoding="utf-8", types={"id": "integer"})
    chunks = part(yard, plan)
    # Codecs notice a damage late: up to there they unpack something else.
    certain = int(RECORDS * (share - 0.05) * 0.8)
    right = f"SELECT count(DISTINCT id) FROM t WHERE id < {certain} AND name = 'name ' || (id * 7919 % 10007)"
    assert yard.sql(right) == [(certain,)]
    for _ in range(2):
        with pytest.raises(
            SourceUnreadable, match=r"in\.dat is damaged near byte [\d,]+: .*; the records before"
        ) as told:
            yard.transfer.finish("job", plan, chunks)
    near = int(str(told.value).split("near byte ")[1].split(":")[0].replace(",", ""))
    assert near > place * 0.9
    if harm == "cut":
        assert yard.sql("SELECT max(id) + 1 FROM t") == yard.sql("SELECT count(*) FROM t")
        assert near == pytest.approx(place, abs=5000)


def test_a_wrong_checksum_is_a_damage_after_the_last_record(yard: Yard) -> None:
    data = bytearray(gzip.compress(HEADER + text(5)))
    data[-6] ^= 1
    plan = plan_of(yard, bytes(data))
    assert any("is damaged near byte" in note for note in plan.notes)
    chunks = part(yard, plan)
    assert yard.sql("SELECT count(*) FROM t") == [(5,)]
    with pytest.raises(SourceUnreadable, match="Incorrect checksum"):
        yard.transfer.finish("job", plan, chunks)


@pytest.mark.parametrize("name", ["b.csv", "dir/c.csv"])
def test_a_member_is_named(yard: Yard, name: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.mkdir("dir") if hasattr(archive, "mkdir") else archive.writestr("dir/", b"")
        archive.writestr("__MACOSX/._b.csv", b"\0")
        for number, each in enumerate(["b.csv", "dir/c.csv"]):
            archive.writestr(each, HEADER + text(number + 1))
    with pytest.raises(InvalidSpec, match=r"has no file 'd\.csv'; it has b\.csv, dir/c\.csv") as caught:
        plan_of(yard, buffer.getvalue(), member="d.csv")
    assert caught.value.field == "member"
    assert [each.name for each in plan_of(yard, buffer.getvalue()).files] == ["in.dat/b.csv", "in.dat/dir/c.csv"]
    expected = 1 if name == "b.csv" else 2
    assert yard.run(plan_of(yard, buffer.getvalue(), member=name)) == Counts(read=expected, inserted=expected)


@pytest.mark.parametrize("data", [HEADER, gzip.compress(HEADER, mtime=0)], ids=["plain", "gzip"])
def test_only_archives_have_members(yard: Yard, data: bytes) -> None:
    with pytest.raises(InvalidSpec, match="has no members") as caught:
        plan_of(yard, data, member="a.csv")
    assert caught.value.field == "member"


def test_an_archive_without_a_directory_is_refused(yard: Yard) -> None:
    with pytest.raises(
        InvalidSpec, match=r"a damaged ZIP archive: the directory at its end, before byte [\d,]+, cannot"
    ):
        plan_of(yard, zipped(HEADER + text(100))[:-30])


def test_an_archive_without_files_is_refused(yard: Yard) -> None:
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    with pytest.raises(InvalidSpec, match=r"is a ZIP archive without files"):
        plan_of(yard, buffer.getvalue())


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("member", ["", "a.csv"])
def test_a_name_that_occurs_twice_is_refused(yard: Yard, member: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in (1, 2):
            archive.writestr("a.csv", HEADER + text(number))
        archive.writestr("b.csv", HEADER + text(1))
    with pytest.raises(InvalidSpec, match=r"has 2 files called 'a\.csv', and nothing tells which is meant"):
        plan_of(yard, buffer.getvalue(), member=member)
    assert yard.run(plan_of(yard, buffer.getvalue(), member="b.csv")) == Counts(read=1, inserted=1)


def test_an_encrypted_member_is_refused(yard: Yard) -> None:
    data = bytearray(zipped(HEADER))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(InvalidSpec, match="is encrypted: unpack it first"):
        plan_of(yard, bytes(data))


def test_a_spool_is_made_once_and_goes_with_the_end_of_the_job(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(yard, gzip.compress(HEADER + text()))
    chunks = part(yard, plan)
    path = yard.work_dir.content("job")
    made = path.stat()
    yard.transfer.begin("job", 2, plan)
    assert path.stat().st_ino == made.st_ino
    assert yard.transfer.extent("job", plan) == made.st_size == len(HEADER + text())
    yard.transfer.finish("job", plan, chunks)
    yard.transfer.finish("job", plan, chunks)
    assert not list(yard.work_dir.job("job").glob("*content*"))


def test_a_spool_that_was_not_completed_is_made_again(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    plan = plan_of(yard, gzip.compress(HEADER + text()), chunk_bytes=200_000)

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(spooled, "sync_file", kill)
        with pytest.raises(Killed):
            yard.transfer.begin("job", 1, plan)
    (yard.work_dir.job("job") / ".content-0.99999").write_bytes(b"of a process that died")
    path = yard.work_dir.content("job")
    assert not path.exists()
    with pytest.raises(SourceUnreadable, match=r"the spooled content of in\.dat cannot be read"):
        yard.transfer.cut("job", plan, None, 1)
    yard.transfer.begin("job", 2, plan)
    first = yard.transfer.cut("job", plan, None, 3)
    yard.transfer.process("job", 2, plan, first[0])
    path.unlink()
    committed = yard.transfer.begin("job", 3, plan)
    assert [each.ordinal for each in committed] == [0]
    yard.transfer.check_source("job", plan, first)
    for chunk in yard.chunks(plan)[1:]:
        yard.transfer.process("job", 3, plan, chunk)
    assert yard.sql("SELECT count(*), count(DISTINCT id) FROM t") == [(ROWS, ROWS)]
    assert [each.name for each in path.parent.iterdir() if each.is_file()] == ["content-0"]


def test_another_content_of_the_same_size_is_noticed(yard: Yard) -> None:
    plan = plan_of(yard, zipped(HEADER + text(), method=zipfile.ZIP_STORED), chunk_bytes=200_000)
    yard.transfer.begin("job", 1, plan)
    chunks = yard.chunks(plan)
    yard.work_dir.content("job").unlink()
    data = bytearray((yard.directory / "in.dat").read_bytes())
    data[len(data) // 2] ^= 1
    (yard.directory / "in.dat").write_bytes(data)
    yard.transfer.begin("job", 2, plan)
    with pytest.raises(SourceChanged, match="have changed since they were read"):
        yard.transfer.check_source("job", plan, chunks)


def test_a_directory_that_cannot_be_written_is_told(yard: Yard) -> None:
    plan = plan_of(yard, gzip.compress(HEADER + text(3)))
    (yard.directory / "work").mkdir(exist_ok=True)
    (yard.directory / "work" / "jobs").write_bytes(b"")
    with pytest.raises(DestinationRefused, match="cannot write into its directory"):
        yard.transfer.begin("job", 1, plan)


def test_a_preview_reads_the_beginning_only(yard: Yard) -> None:
    for name, data in (("small", HEADER + text(3)), ("large", HEADER + text())):
        file = yard.write(gzip.compress(data), name)
        shown = yard.transfer.preview(ImportSpec(files=(file,), target=Table(table="t")), 2)
        assert [record.values for record in shown.records] == [["0", "name 0", "ö"], ["1", "name 7919", "ö"]]
        assert shown.whole == (name == "small")
    assert not yard.work_dir.directory.exists() or not yard.work_dir.uids()


@pytest.mark.parametrize("kind", sorted(ALL))
@pytest.mark.parametrize("name", ["parquet", "arrow", "excel"])
def test_formats_that_need_the_end_are_unpacked_whole(yard: Yard, name: str, kind: str) -> None:
    form = format_of(Layout(format=name))
    columns = [Column(source=name, target=name, type=kind) for name, kind in (("id", "integer"), ("name", "text"))]
    spec = ExportSpec(source=Table(table="t"), file=File(path="x"), file_format=name)
    texts = [pa.array(["1", "2"]), pa.array(["Jo", "Al"])]
    packed = ALL[kind](written(form.writer(form.layout(spec, columns), columns), texts))
    file = yard.write(packed, "in.dat")
    shown = yard.transfer.preview(ImportSpec(files=(file,), target=Table(table="t")), 5)
    assert [list(record.values) for record in shown.records] == [["1", "Jo"], ["2", "Al"]]
    plan = plan_of(yard, packed)
    assert plan.file.layout.format == name
    assert yard.run(plan) == Counts(read=2, inserted=2)
    assert yard.sql("SELECT id, name FROM t") == [(1, "Jo"), (2, "Al")]


def test_what_must_be_unpacked_whole_is_bounded(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), buffer)
    monkeypatch.setattr(content, "_LARGEST", 100)
    with pytest.raises(InvalidSpec, match=r"in\.dat has more than 0 MB when it is unpacked"):
        plan_of(yard, gzip.compress(buffer.getvalue()))
    with pytest.raises(InvalidSpec, match=r"in\.dat is damaged near byte"):
        plan_of(yard, gzip.compress(buffer.getvalue())[:-9])


@pytest.mark.parametrize("kind", ["gz", "zip"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_types_are_taken_from_more_than_the_first_megabyte(yard: Yard, kind: str, encoding: str) -> None:
    content = (HEADER + text()).decode() + "x1,late,ö\n" * ROWS
    plan = plan_of(yard, ALL[kind](content.encode(encoding)), encoding=encoding)
    assert [column.type for column in plan.columns] == ["text", "text", "text"]
    assert yard.run(plan) == Counts(read=2 * ROWS, inserted=2 * ROWS)


def test_the_types_of_a_long_stream_are_taken_from_its_beginning(yard: Yard) -> None:
    plan = plan_of(yard, gzip.compress(HEADER + text(MANY), 1))
    assert plan.file.end == UNKNOWN_END
    assert [column.type for column in plan.columns] == ["integer", "text", "text"]


def test_a_disk_that_is_full_leaves_nothing_behind(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(yard, gzip.compress(HEADER + text()))

    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(spooled, "sync_file", fill)
        with pytest.raises(DiskFull):
            yard.transfer.begin("job", 1, plan)
    assert list(yard.work_dir.job("job").iterdir()) == []
    assert yard.run(plan, attempt=2) == Counts(read=ROWS, inserted=ROWS)


@pytest.mark.parametrize("outer", ["gz", "zip"])
@pytest.mark.parametrize("inner", STREAMS)
def test_a_file_that_is_compressed_twice_is_refused(yard: Yard, outer: str, inner: str) -> None:
    with pytest.raises(InvalidSpec, match=r"compressed with .* once more: unpack it first"):
        plan_of(yard, ALL[outer](ALL[inner](HEADER + text(3))))
