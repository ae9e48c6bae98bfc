"""Several files in one import."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ladingd.core.bill import Counts
from ladingd.core.errors import InvalidSpec, SourceChanged, SourceUnreadable
from ladingd.core.plan import Phase
from ladingd.core.spec import CsvFormat, File, Header, ImportSpec, Table
from ladingd.data.imports import selection
from tests.harness.reject_files import rejects_in

if TYPE_CHECKING:
    from ladingd.core.plan import ImportPlan
    from tests.unit.data.conftest import Yard


def plan_of(yard: Yard, *paths: str, table: str = "t", **spec: object) -> ImportPlan:
    files = tuple(File(path=path) for path in paths)
    plan = yard.transfer.plan(ImportSpec(files=files, target=Table(table=table), **spec))  # type: ignore[arg-type]
    assert plan.kind == "import"
    return plan


def write(yard: Yard, **files: str | bytes) -> None:
    """Write files, whose names have two underscores in place of the dot."""
    for name, content in files.items():
        path = yard.directory / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def names(plan: ImportPlan) -> list[str]:
    return [file.name for file in plan.files]


def test_files_are_imported_in_their_order_one_after_the_other(yard: Yard) -> None:
    write(yard, b__csv="id,name\n3,c\n", a__csv="id,name\n1,a\n2,b\n")
    plan = plan_of(yard, "b.csv", "a.csv", chunk_bytes=5)
    assert plan.phases == (Phase.LOAD, Phase.LOAD)
    assert yard.run(plan) == Counts(read=3, inserted=3)
    assert yard.sql("SELECT * FROM t ORDER BY rowid") == [(3, "c"), (1, "a"), (2, "b")]
    assert plan.detected.startswith("files: 2, in this order: b.csv, a.csv; delimiter: comma;")


def test_ordinals_continue_and_lines_begin_anew(yard: Yard) -> None:
    write(yard, a__csv="id\n1\nx\n2\n", b__csv="id\n\ny\n3\n")
    plan = plan_of(yard, "a.csv", "b.csv", chunk_bytes=3, types={"id": "integer"})
    assert yard.run(plan) == Counts(read=6, inserted=3, rejected=2, errors=2, empty=1)
    first = yard.chunks(plan)
    second = yard.chunks(plan, 1, first[-1])
    assert [chunk.ordinal for chunk in (*first, *second)] == list(range(len(first) + len(second)))
    assert {chunk.phase for chunk in second} == {1}
    found = [
        (reject["file"], reject["line"], reject["record"], reject["raw"])
        for chunk in (*first, *second)
        for reject in rejects_in(yard.work_dir.rejects("job", chunk.ordinal))
    ]
    assert found == [("a.csv", 3, 2, "x"), ("b.csv", 3, 2, "y")]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.csv", ["a.csv", "b[1].csv", "c.csv"]),
        ("b[1].csv", ["b[1].csv"]),
        ("[ac].csv", ["a.csv", "c.csv"]),
        ("?.csv", ["a.csv", "c.csv"]),
        ("d*/*", ["deep/_SUCCESS", "deep/e.csv"]),
        ("*/e.csv", ["deep/e.csv"]),
        ("deep", ["deep/e.csv"]),
        ("deep/", ["deep/e.csv"]),
        (".h*", [".hidden.csv"]),
    ],
)
def test_patterns_and_directories(yard: Yard, pattern: str, found: list[str]) -> None:
    (yard.directory / "deep" / "deeper.csv").mkdir(parents=True)
    for name in ("a.csv", "b[1].csv", "c.csv", ".hidden.csv", "deep/e.csv", "deep/_SUCCESS", "deep/.part.csv"):
        (yard.directory / name).write_text("id\n1\n")
    assert names(plan_of(yard, pattern)) == found


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("*.txt", "matches no file"),
        ("empty", "has no files"),
        ("../*", "must be relative"),
        ("out/*", "leads out of its root"),
        ("out", "leads out of its root"),
        ("missing.csv", "does not exist"),
    ],
)
def test_a_pattern_finds_nothing_beyond_its_root(
    yard: Yard, tmp_path_factory: pytest.TempPathFactory, pattern: str, words: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.csv").write_text("id\n1\n")
    (yard.directory / "out").symlink_to(outside)
    (yard.directory / "empty").mkdir()
    (yard.directory / "a.csv").write_text("id\n1\n")
    with pytest.raises(InvalidSpec, match=words) as caught:
        plan_of(yard, "a.csv", pattern)
    assert caught.value.field == "files[1].path"


def test_a_file_is_imported_once(yard: Yard) -> None:
    write(yard, a__csv="id\n1\n", b__csv="id\n2\n")
    plan = plan_of(yard, "b.csv", "*.csv")
    assert names(plan) == ["b.csv", "a.csv"]
    assert "b.csv is named twice; it is imported once" in plan.notes


def test_a_file_with_two_names_is_imported_once(yard: Yard) -> None:
    write(yard, a__csv="id\n1\n", b__csv="id\n2\n")
    (yard.directory / "latest.csv").symlink_to("b.csv")
    (yard.directory / "linked.csv").hardlink_to(yard.directory / "a.csv")
    plan = plan_of(yard, "*.csv")
    assert names(plan) == ["a.csv", "b.csv"]
    assert plan.notes[:2] == (
        "latest.csv is the same file as b.csv; it is imported once",
        "linked.csv is the same file as a.csv; it is imported once",
    )


def test_what_is_no_file_is_named(yard: Yard) -> None:
    write(yard, a__csv="id\n1\n")
    (yard.directory / "gone.csv").symlink_to("nowhere")
    (yard.directory / "sub.csv").mkdir()
    os.mkfifo(yard.directory / "pipe.csv")
    plan = plan_of(yard, "*.csv")
    assert names(plan) == ["a.csv"]
    assert plan.notes == ("gone.csv, pipe.csv, sub.csv are no files and were not imported",)


def test_a_name_that_is_no_text_is_refused(yard: Yard) -> None:
    write(yard, a__csv="id\n1\n")
    (yard.directory / os.fsdecode(b"\xff.csv")).write_text("id\n2\n")
    with pytest.raises(InvalidSpec, match=r"the name of the file b'\\xff\.csv' is not UTF-8: rename it"):
        plan_of(yard, "*.csv")


def test_too_many_files_are_refused(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    write(yard, a__csv="id\n1\n", b__csv="id\n2\n")
    monkeypatch.setattr(selection, "MOST_FILES", 1)
    with pytest.raises(InvalidSpec, match="at most 1 files: use several jobs"):
        plan_of(yard, "*.csv")


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("id,name\n1,a\n", "id,mail\n1,a@b.de\n", "lacks 'name' and it has 'mail'"),
        ("id,name\n1,a\n", "id\n1\n", "lacks 'name'"),
        ("id\n1\n", "id,name\n1,a\n", "it has 'name'"),
        ("1,2\n3,4\n", "1,2,3\n4,5,6\n", "has 'column3'"),
    ],
)
def test_files_with_other_columns_are_refused(yard: Yard, first: str, second: str, words: str) -> None:
    write(yard, a__csv=first, b__csv=second)
    with pytest.raises(InvalidSpec, match=f"b.csv has other columns than a.csv.*{words}") as caught:
        plan_of(yard, "a.csv", "b.csv")
    assert caught.value.field == "files[1].path"


def test_columns_are_matched_by_their_names(yard: Yard) -> None:
    write(yard, a__csv="id,name\n1,x\n", b__csv="NAME;ID\ny;2\nz;z\n")
    plan = plan_of(yard, "a.csv", "b.csv", types={"id": "integer"})
    assert plan.files[1].order == (1, 0)
    assert yard.run(plan) == Counts(read=3, inserted=2, rejected=1, errors=1)
    assert yard.sql("SELECT id, name FROM t") == [(1, "x"), (2, "y")]
    assert "b.csv (delimiter: semicolon, other order of columns)" in plan.detected


def test_a_piece_without_a_header_has_the_columns_of_the_first(yard: Yard) -> None:
    """As `split` cuts a file."""
    write(yard, a__csv="id,name\n1,x\n", b__csv="2,y\n", c__csv="3,z\n4,\n")
    assert yard.run(plan_of(yard, "*.csv")).inserted == 4
    assert yard.sql("SELECT id, name FROM t") == [(1, "x"), (2, "y"), (3, "z"), (4, None)]


def test_a_header_of_words_is_known_from_the_first_file(yard: Yard) -> None:
    """Alone, the second file would be two records."""
    write(yard, a__csv="first_name,city\nJo,Bonn\nAl,Köln\n", b__csv="first_name,city\nEd,Ulm\n")
    plan = plan_of(yard, "a.csv", "b.csv")
    assert yard.run(plan).inserted == 3
    write(yard, c__csv="Jo,Bonn\n", d__csv="Al,Ulm\n")
    assert yard.run(plan_of(yard, "c.csv", "d.csv", table="u", csv=CsvFormat(header=Header.ABSENT)), "u").inserted == 2


@pytest.mark.parametrize("first", ["a.jsonl", "b.jsonl"])
def test_files_whose_records_name_their_fields_add_their_columns(yard: Yard, first: str) -> None:
    write(
        yard,
        a__jsonl='{"id": 1, "x": 5}\n',
        b__jsonl='{"id": 2, "y": "b"}\n',
        c__xml="<r><p><id>3</id><z>2026-01-31</z></p><p><id>4</id><x>x</x></p></r>",
    )
    plan = plan_of(yard, first, "*.*l")
    assert yard.run(plan) == Counts(read=4, inserted=4)
    assert {column.source: column.type for column in plan.columns} == {
        "id": "integer", "x": "text", "y": "text", "z": "date"
    }  # fmt: skip
    assert yard.sql("SELECT id, x, y, z FROM t ORDER BY id") == [
        (1, "5", None, None), (2, None, "b", None), (3, None, None, "2026-01-31"), (4, "x", None, None)
    ]  # fmt: skip


def test_a_file_that_lacks_names_ends_the_adding_of_columns(yard: Yard) -> None:
    write(yard, a__jsonl='{"id": 1, "x": 5}\n', b__csv="id,x\n2,6\n", c__jsonl='{"id": 3, "y": 7}\n')
    with pytest.raises(InvalidSpec, match=r"c\.jsonl has other columns than a\.jsonl.* it has 'y'"):
        plan_of(yard, "a.jsonl", "b.csv", "c.jsonl")


def test_the_types_of_json_give_way_to_other_files(yard: Yard) -> None:
    write(
        yard,
        a__jsonl='{"id": 1, "name": 5}\n',
        b__csv="id,name\n2,y\n",
        c__jsonl='{"id": 3, "name": "2026-01-31"}\n',
    )
    plan = plan_of(yard, "a.jsonl", "b.csv", "c.jsonl")
    assert yard.run(plan) == Counts(read=3, inserted=3)


def test_the_types_fit_all_files(yard: Yard) -> None:
    write(yard, a__csv="n,d\n1,2024-01-02\n", b__csv="n,d\n2.5,NA\n", c__csv="n,d\n3,x\n")
    plan = plan_of(yard, "*.csv")
    assert [column.type for column in plan.columns] == ["decimal(15,1)", "text"]
    (note,) = plan_of(yard, "*.csv", types={"d": "date"}).notes[-1:]
    assert "the first in line 2 of c.csv" in note


def test_empty_files_are_no_obstacle(yard: Yard) -> None:
    write(yard, a__csv="", b__csv="id\n", c__csv="id\n1\n", d__csv="")
    plan = plan_of(yard, "*.csv")
    assert yard.run(plan) == Counts(read=1, inserted=1)
    assert "a.csv (empty), b.csv, c.csv, d.csv (empty)" in plan.detected
    write(yard, c__csv="", b__csv="")
    plan = plan_of(yard, "*.csv", table="u")
    assert plan.notes == ("all files are empty: no columns, so no table was made",)
    assert yard.run(plan, "u") == Counts()


def test_formats_and_compressions_may_differ(yard: Yard) -> None:
    write(
        yard,
        a__csv="id,name\n1,ä\n",
        b__jsonl='{"name": "ö", "id": 2}\n{"id": 3}\n',
        c__gz=gzip.compress("id\tname\n4\tü\n".encode("cp1252")),
    )
    plan = plan_of(yard, "a.csv", "b.jsonl", "c.gz")
    assert yard.run(plan) == Counts(read=4, inserted=4)
    assert yard.sql("SELECT id, name FROM t") == [(1, "ä"), (2, "ö"), (3, None), (4, "ü")]
    assert "b.jsonl (JSON Lines" in plan.detected
    assert "compression: gzip" in plan.detected


def test_the_members_of_an_archive_are_files(yard: Yard) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("z.csv", "id\n3\n")
        archive.writestr("in/a.csv", "id\n1\nx\n")
        archive.writestr("readme.txt", "how to read\nthis\n")
    write(yard, all__zip=buffer.getvalue())
    with pytest.raises(InvalidSpec, match=r"all\.zip/readme\.txt has other columns than all\.zip/in/a\.csv") as caught:
        plan_of(yard, "all.zip")
    assert caught.value.field == "member"
    plan = plan_of(yard, "all.zip", member="*.csv", types={"id": "integer"})
    assert names(plan) == ["all.zip/in/a.csv", "all.zip/z.csv"]
    assert yard.run(plan) == Counts(read=3, inserted=2, rejected=1, errors=1)
    (reject,) = rejects_in(yard.work_dir.rejects("job", 0))
    assert reject["file"] == "all.zip/in/a.csv"


def test_a_later_file_is_checked_before_anything_is_imported(yard: Yard) -> None:
    write(yard, a__csv="id\n1\n", b__csv="id\n2\n")
    plan = plan_of(yard, "a.csv", "b.csv")
    write(yard, b__csv="id\n3\n")
    with pytest.raises(SourceChanged, match=r"b\.csv is not the file"):
        yard.transfer.begin("job", 1, plan)
    assert yard.sql("SELECT name FROM sqlite_master") == []


def test_a_file_that_is_complete_may_go(yard: Yard) -> None:
    """An attempt that continues in the second file no longer needs the first one."""
    write(yard, a__csv="id\n1\n", b__csv="id\n2\n3\n")
    plan = plan_of(yard, "a.csv", "b.csv", chunk_bytes=2)
    yard.transfer.begin("job", 1, plan)
    first = yard.chunks(plan)
    for chunk in first:
        yard.transfer.process("job", 1, plan, chunk)
    yard.transfer.advance("job", 1, plan, 1, first)
    second = yard.chunks(plan, 1, first[-1])
    yard.transfer.process("job", 1, plan, second[0])
    (yard.directory / "a.csv").unlink()
    assert len(yard.transfer.begin("job", 2, plan, 1)) == len(first) + 1
    yard.transfer.check_source("job", plan, second)
    yard.transfer.process("job", 2, plan, second[1])
    yard.transfer.finish("job", plan, second)
    assert yard.sql("SELECT id FROM t") == [(1,), (2,), (3,)]


def test_a_damaged_file_ends_the_job_before_the_next_one(yard: Yard) -> None:
    packed = gzip.compress(b"id\n" + b"1\n" * 50_000)
    write(yard, a__gz=packed[:-20], b__csv="id\n2\n")
    plan = plan_of(yard, "a.gz", "b.csv")
    yard.transfer.begin("job", 1, plan)
    chunks = yard.chunks(plan)
    for chunk in chunks:
        yard.transfer.process("job", 1, plan, chunk)
    with pytest.raises(SourceUnreadable, match=r"a\.gz is damaged near byte"):
        yard.transfer.advance("job", 1, plan, 1, chunks)


def test_only_one_file_is_unpacked_at_a_time(yard: Yard) -> None:
    write(yard, a__gz=gzip.compress(b"id\n1\n"), b__gz=gzip.compress(b"id\n2\n"))
    plan = plan_of(yard, "a.gz", "b.gz")
    yard.transfer.begin("job", 1, plan)
    spools = [yard.work_dir.content("job", phase) for phase in range(2)]
    assert [spool.exists() for spool in spools] == [True, False]
    first = yard.chunks(plan)
    yard.transfer.process("job", 1, plan, first[0])
    for _ in range(2):  # It may be repeated.
        yard.transfer.advance("job", 1, plan, 1, first)
        assert [spool.exists() for spool in spools] == [False, True]
    second = yard.chunks(plan, 1, first[-1])
    yard.transfer.process("job", 1, plan, second[0])
    yard.transfer.finish("job", plan, second)
    assert not any(spool.exists() for spool in spools)


TABLES = st.lists(
    st.lists(st.tuples(st.integers(0, 999), st.text("abcü\"', ", max_size=4)), max_size=5), min_size=1, max_size=4
)


@given(tables=TABLES, data=st.data(), chunk_bytes=st.integers(1, 40))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_record_arrives_once_however_it_is_spread(
    yard: Yard, tables: list[list[tuple[int, str]]], data: st.DataObject, chunk_bytes: int
) -> None:
    for old in yard.directory.glob("*.in"):
        old.unlink()
    yard.sql("DROP TABLE IF EXISTS t")
    yard.sql("CREATE TABLE t (id INTEGER, name TEXT)")
    for number, rows in enumerate(tables):
        order = data.draw(st.permutations(["id", "name"]))
        packed = data.draw(st.booleans())
        lines = [",".join(order)]
        for key, text in rows:
            fields = {"id": str(key), "name": '"' + text.replace('"', '""') + '"'}
            lines.append(",".join(fields[name] for name in order))
        content = ("\n".join(lines) + "\n").encode()
        (yard.directory / f"{number}.in").write_bytes(gzip.compress(content) if packed else content)
    plan = plan_of(yard, "*.in", chunk_bytes=chunk_bytes, csv=CsvFormat(header=Header.PRESENT))
    job = os.urandom(16).hex()
    expected = [(key, text) for rows in tables for key, text in rows]
    assert yard.run(plan, job).inserted == len(expected)
    assert [(key, text or "") for key, text in yard.sql("SELECT id, name FROM t ORDER BY rowid")] == expected


@pytest.mark.parametrize(
    ("text", "proof"),
    [
        ("id,name\n1,a\n2,b\n", "3 lines: 1 before the first record, 2 of records"),
        ("id,name\n1,a\n2,b", "3 lines: 1 before the first record, 2 of records"),
        ('id,name\r\n1,"a\r\nb"\r\n2,"c\nd\n"\r\n', "6 lines: 1 before the first record, 2 of records, 3 more within"),
        ("Report\n\nid,name\n1,a\n\n2,b\n", "6 lines: 3 before the first record, 3 of records"),
        ("1,2\n3,4\r5,6\r\n", "3 lines: 3 of records"),
        ('{"a": 1}\n\n{"a": 2}\n', "3 lines: 3 of records"),
        ("id\n", None),
    ],
)
def test_the_lines_of_a_file_are_counted_beside_its_records(yard: Yard, text: str, proof: str | None) -> None:
    write(yard, in__txt=text)
    plan = plan_of(yard, "in.txt", chunk_bytes=6)
    yard.transfer.begin("job", 1, plan)
    chunks = yard.chunks(plan)
    for chunk in chunks:
        yard.transfer.process("job", 1, plan, chunk)
    notes = yard.transfer.finish("job", plan, chunks)
    assert [note.text.startswith(f"in.txt has {proof}") for note in notes] == [True] * (proof is not None)


def test_nulls_are_counted_by_column(yard: Yard) -> None:
    write(yard, a__csv='id,n,s\n1,NA,\n2,,x\n3,5,""\nx,-,NA\n', b__csv="s,n,id\n,7,4\nNA,NA,5\n")
    counts = yard.run(plan_of(yard, "a.csv", "b.csv", types={"id": "integer", "n": "integer"}, chunk_bytes=8))
    assert counts.nulls == {"n": 4, "s": 2}
