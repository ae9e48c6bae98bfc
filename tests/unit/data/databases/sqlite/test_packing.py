"""SQLite: records that are staged in Arrow's format are merged in ranges of their keys."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import TargetChanged
from ladingd.core.spec import Doubles, Reconciliation
from ladingd.data.databases.sqlite import comparison, packing, upsert
from ladingd.data.mapping import reconciliation
from tests.contract.imports import JOB
from tests.unit.data.databases.sqlite.test_merge import by, merged, pier

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from tests.contract.imports import Pier

__all__ = ["pier"]

TABLE = "CREATE TABLE t (a INTEGER NOT NULL, b TEXT NOT NULL, v TEXT, PRIMARY KEY (a, b))"


@pytest.fixture(params=[1000, 1 << 20], ids=["many ranges", "one range"])
def ranges(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_RANGE", request.param)
    monkeypatch.setattr(reconciliation, "_SMALL", 0)


def generated(seed: int) -> list[tuple[int, str, str]]:
    number = random.Random(seed)
    return [
        (number.randint(-9, 9), number.choice(["a", "ä", "B", "b", "zz"]), str(number.randint(0, 3)))
        for _ in range(300)
    ]


def text(records: Sequence[tuple[int, str, str]]) -> str:
    return "a,b,v\n" + "".join(f"{a},{b},x{v}\n" for a, b, v in records)


@pytest.mark.usefixtures("ranges")
@pytest.mark.parametrize("doubles", [Doubles.UPDATE, Doubles.IGNORE])
@pytest.mark.parametrize("seed", range(3))
def test_records_in_any_order_become_the_rows_of_their_keys(pier: Pier, doubles: Doubles, seed: int) -> None:
    records, later = generated(seed), generated(seed + 100)
    pier.database.sql(TABLE)
    expected: dict[tuple[int, str], str] = {}
    for job, batch in (("one", records), ("two", later)):
        new: dict[tuple[int, str], str] = {}
        for a, b, v in batch if doubles is Doubles.UPDATE else reversed(batch):
            new[a, b] = f"x{v}"
        plan = pier.plan(text(batch), chunk_bytes=300, **by("a", "b", doubles=doubles))
        counts = merged(pier.run(plan, job))
        changed = {key for key in new if key in expected and expected[key] != new[key]}
        same = {key for key in new if expected.get(key) == new[key]}
        assert counts.get("inserted", 0) == len(new.keys() - expected.keys())
        assert counts.get("updated", 0) == len(changed)
        assert counts.get("unchanged", 0) == len(same)
        assert counts["ignored_doubles"] == counts["doubles"] == len(batch) - len(new)
        expected |= new
    assert sorted(pier.rows()) == sorted((a, b, v) for (a, b), v in expected.items())


def test_the_records_of_a_unique_key_are_packed(pier: Pier, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    run = upsert.SliceUpsert.run
    monkeypatch.setattr(upsert.SliceUpsert, "run", lambda each, number: written.append(number) or run(each, number))
    pier.database.sql(TABLE)
    pier.imported("a,b,v\n1,a,x\n", **by("a", "b"))
    assert written == [0]


@pytest.mark.usefixtures("ranges")
def test_packed_records_that_the_table_refuses_are_rejected(pier: Pier) -> None:
    pier.database.sql(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT CHECK (v <> 'bad'))", "INSERT INTO t VALUES (2, 'b')"
    )
    counts = pier.imported("id,v\n3,c\n2,bad\n1,a\n1,bad\n4,d\n", reconciliation=Reconciliation(key=("id",)))
    assert merged(counts) == {"inserted": 2, "rejected": 2, "ignored_doubles": 1, "doubles": 1}
    assert pier.rows() == [(2, "b"), (3, "c"), (4, "d")]


def test_text_and_bytes_of_one_column_are_unpacked(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, v)", "INSERT INTO t VALUES (1, 'old')")
    counts = pier.imported("id,v\n3,c\n1,\\x00ff\n2,\\x01\n2,text\n", **by("id"))
    assert merged(counts) == {"inserted": 2, "updated": 1, "ignored_doubles": 1, "doubles": 1, "duplicates": 1}
    assert pier.rows() == [(1, b"\x00\xff"), (2, "text"), (3, "c")]


@pytest.fixture(params=[1, 7, 100], ids=["by one", "by seven", "at once"])
def comparing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """How many records each comparison got and left, in small pieces."""
    compared: list[tuple[int, int]] = []
    changing = comparison.Comparison.changing

    def recorded(each: comparison.Comparison, batches: Sequence[pa.RecordBatch]) -> Sequence[pa.RecordBatch]:
        left = changing(each, batches)
        compared.append((sum(batch.num_rows for batch in batches), sum(batch.num_rows for batch in left)))
        return left

    monkeypatch.setattr(comparison, "_FEW", 0)
    monkeypatch.setattr(comparison, "_SAMPLED", 1)
    monkeypatch.setattr(comparison, "_PIECE", request.param)
    monkeypatch.setattr(comparison.Comparison, "changing", recorded)
    return compared


@pytest.mark.usefixtures("ranges")
@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_only_records_that_change_the_table_are_written(
    pier: Pier, comparing: list[tuple[int, int]], journal: str
) -> None:
    pier.database.sql(f"PRAGMA journal_mode = {journal}", "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, w INTEGER)")
    first = "id,v,w\n" + "".join(f"{number},same,{number}\n" for number in range(100))
    pier.run(pier.plan(first, **by("id")), "first")
    comparing.clear()
    changed = {3: "V", 50: "", 99: "same "}
    lines = [f"{number},{changed.get(number, 'same')},{number}\n" for number in range(101)]
    counts = pier.imported("id,v,w\n" + "".join(reversed(lines)), **by("id"))
    assert merged(counts) == {"inserted": 1, "updated": 3, "unchanged": 97, "duplicates": 100}
    assert (sum(got for got, _ in comparing), sum(left for _, left in comparing)) == (101, 4)
    expected = [(number, changed.get(number, "same") or None, number) for number in range(101)]
    assert sorted(pier.rows()) == expected


@pytest.mark.usefixtures("ranges")
def test_a_table_that_changes_mostly_is_not_compared(pier: Pier, comparing: list[tuple[int, int]]) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    counts = pier.imported("id,v\n1,a\n2,x\n3,c\n", **by("id"))
    assert merged(counts) == {"inserted": 1, "updated": 1, "unchanged": 1, "duplicates": 2}
    assert all(left == got for got, left in comparing if got == 3)


@pytest.mark.usefixtures("comparing")
def test_the_options_for_columns_hold_for_compared_records(pier: Pier) -> None:
    pier.database.sql(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, kept TEXT, filled TEXT, once TEXT)",
        "INSERT INTO t VALUES (1, 'a', 'a', 'a'), (2, 'a', NULL, 'a'), (3, 'a', 'a', 'a')",
    )
    options = {"keep_if_source_empty": ("kept",), "only_if_target_empty": ("filled",), "on_insert_only": ("once",)}
    counts = pier.imported("id,kept,filled,once\n1,,x,x\n2,,x,x\n3,,x,x\n", **by("id", **options))
    assert merged(counts) == {"updated": 1, "unchanged": 2, "duplicates": 3}
    assert pier.rows() == [(1, "a", "a", "a"), (2, "a", "x", "a"), (3, "a", "a", "a")]


def test_a_job_whose_staged_files_are_gone_or_damaged_does_not_go_on(pier: Pier) -> None:
    pier.database.sql(TABLE)
    plan = pier.plan("a,b,v\n1,a,x\n", **by("a", "b"))
    pier.transfer.begin(JOB, 1, plan)
    (chunk,) = pier.transfer.cut(JOB, plan, None, 9)
    pier.transfer.process(JOB, 1, plan, chunk)
    (slice_,) = pier.transfer.cut(JOB, plan, chunk, 9, 1)
    pier.transfer.advance(JOB, 1, plan, 1, [chunk])
    (file,) = (path for path in pier.transfer.work_dir.staged(JOB).iterdir() if not path.name.startswith("bounds"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(TargetChanged, match="cannot read its file"):
        pier.transfer.process(JOB, 1, plan, slice_)
    file.unlink()
    with pytest.raises(TargetChanged, match="staged records of this job are gone"):
        pier.transfer.begin(JOB, 2, plan)
    assert pier.rows() == []
    pier.transfer.discard(JOB, plan)
    assert not pier.transfer.work_dir.staged(JOB).exists()


def test_records_that_an_older_version_has_packed_are_not_merged(pier: Pier) -> None:
    pier.database.sql(TABLE)
    plan = pier.plan("a,b,v\n1,a,x\n", **by("a", "b"))
    pier.transfer.begin(JOB, 1, plan)
    (chunk,) = pier.transfer.cut(JOB, plan, None, 9)
    pier.transfer.process(JOB, 1, plan, chunk)
    pier.database.sql(f'ALTER TABLE "lading_stage_{JOB}_files" RENAME TO "lading_stage_{JOB}_packed"')
    with pytest.raises(TargetChanged, match=r"another version of the daemon has staged them.*lading clone"):
        pier.transfer.begin(JOB, 2, plan)


def test_staged_files_go_even_if_the_database_is_gone(pier: Pier) -> None:
    pier.database.sql(TABLE)
    plan = pier.plan("a,b,v\n1,a,x\n", **by("a", "b"))
    pier.transfer.begin(JOB, 1, plan)
    (chunk,) = pier.transfer.cut(JOB, plan, None, 9)
    pier.transfer.process(JOB, 1, plan, chunk)
    Path(pier.database.url.removeprefix("sqlite://")).unlink()
    pier.transfer.abandon(JOB, plan)
    assert not pier.transfer.work_dir.staged(JOB).exists()


def test_the_database_does_not_grow_by_staged_records(pier: Pier) -> None:
    pier.database.sql(TABLE)
    text = "a,b,v\n" + "".join(f"{number},a,{'x' * 100}\n" for number in range(5000))
    pier.imported(text, **by("a", "b"))
    ((free,),) = pier.database.sql("PRAGMA freelist_count")
    assert free < 10, "the table that names the files was dropped, and no more"
    assert not pier.transfer.work_dir.staged(JOB).exists()
