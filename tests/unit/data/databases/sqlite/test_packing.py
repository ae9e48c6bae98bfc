"""SQLite: records that are staged in Arrow's format are merged in ranges of their keys."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from ladingd.core.spec import Doubles, Reconciliation
from ladingd.data.databases.sqlite import packing, upsert
from ladingd.data.mapping import reconciliation
from tests.unit.data.databases.sqlite.test_merge import by, merged, pier

if TYPE_CHECKING:
    from collections.abc import Sequence

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
