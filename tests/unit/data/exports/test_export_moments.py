"""An exported file shows one moment of a SQLite table, or the job says that it does not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ladingd.data.exports import moments

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard

TABLE = "CREATE TABLE t (a INTEGER PRIMARY KEY)"
ROWS = "INSERT INTO t VALUES (1), (2), (3), (4)"


@pytest.fixture(autouse=True)
def rows(yard: Yard) -> None:
    yard.sql(TABLE)
    yard.sql(ROWS)


@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("written", [False, True])
def test_a_file_that_others_write_to(yard: Yard, mode: str, written: bool) -> None:
    with closing(sqlite3.connect(yard.database)) as database:
        assert database.execute(f"PRAGMA journal_mode = {mode}").fetchone() == (mode,)
    plan = yard.plan_export(chunk_keys=2)
    yard.transfer.begin("job", 1, plan)
    chunks = yard.chunks(plan)
    yard.transfer.process("job", 1, plan, chunks[0])
    if written:
        yard.sql("UPDATE t SET a = a + 10 WHERE a > 3")
    yard.transfer.process("job", 1, plan, chunks[1])
    (note,) = yard.transfer.finish("job", plan, chunks)
    assert note.text.startswith(
        "the chunks see the table at 2 moments (" if written else "all chunks see the table at one moment ("
    )


def test_a_consistent_export_is_one_read(yard: Yard) -> None:
    plan = yard.plan_export(chunk_keys=2, consistent=True)
    assert len(yard.chunks(plan)) == 1
    assert yard.run(plan).read == 4
    assert (yard.directory / "out.csv").read_text() == "a\n1\n2\n3\n4\n"


def test_a_database_that_never_rests_is_exported_all_the_same(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = yard.plan_export(chunk_keys=2)
    yard.transfer.begin("job", 1, plan)
    chunks = yard.chunks(plan)
    hold = moments._moment

    def write_after(*arguments: object) -> object:
        found = hold(*arguments)  # type: ignore[arg-type]
        yard.sql("UPDATE t SET a = a")
        return found

    monkeypatch.setattr(moments, "_moment", write_after)
    for chunk in chunks:
        yard.transfer.process("job", 1, plan, chunk)
    (note,) = yard.transfer.finish("job", plan, chunks)
    assert note.text.startswith("each chunk sees the table as it was when the chunk was read")
