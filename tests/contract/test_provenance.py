"""Where each row comes from, in every kind of database."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import File
from tests.contract.imports import JOB, OTHER, Pier

NAMES = ["lading_job", "lading_file", "lading_line", "lading_time"]
PLACES = "id, lading_job, lading_file, lading_line"


def times(pier: Pier) -> set[datetime]:
    """The times in the table."""
    found = {row[0] for row in pier.rows("lading_time")}
    return {datetime.fromisoformat(str(time)).astimezone(UTC) for time in found if time is not None}


async def test_each_row_of_a_new_table_says_where_it_comes_from(pier: Pier) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    plan = pier.plan('id,name\n1,"a\nb"\nx,\n2,c\n', "name,id\nd,3\n", provenance=True, types={"id": "integer"})
    assert [(column.target, column.type) for column in plan.columns[2:]] == [
        ("lading_job", "text"),
        ("lading_file", "text"),
        ("lading_line", "integer"),
        ("lading_time", "timestamptz"),
    ]
    counts = pier.run(plan)
    assert (counts.inserted, counts.rejected) == (3, 1)
    assert pier.rows(PLACES) == [(1, JOB, "in1.csv", 2), (2, JOB, "in1.csv", 5), (3, JOB, "in2.csv", 2)]
    assert [line for line, _, _ in await pier.rejects()] == [4]
    (time,) = times(pier)
    assert before <= time <= datetime.now(UTC)


def test_a_table_without_the_columns_gets_them(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER)", "INSERT INTO t VALUES (0)")
    plan = pier.plan("id\n1\n", provenance=True)
    assert [column.target for column in plan.added] == NAMES
    assert plan.notes[0].startswith("table t gets new columns: lading_job (text), lading_file (text)")
    assert pier.run(plan).inserted == 1
    again = pier.plan("id\n2\n", provenance=True)
    assert (again.added, again.notes) == ((), ())
    assert pier.run(again, OTHER).inserted == 1
    assert pier.rows(PLACES) == [(0, None, None, None), (1, JOB, "in1.csv", 2), (2, OTHER, "in2.csv", 2)]
    assert pier.run(pier.plan("id\n3\n"), "third").inserted == 1
    assert pier.rows(PLACES)[-1] == (3, None, None, None), "only jobs that are asked to fill the columns"


def test_a_chunk_that_is_read_again_gets_the_same_values(pier: Pier, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = pier.plan("id\n1\n2\n3\n", provenance=True, chunk_bytes=1)
    later = datetime.now(UTC) + timedelta(days=1)
    monkeypatch.setattr("ladingd.core.clock.utc_now", lambda: later)
    pier.run(plan)
    assert pier.run(plan, attempt=2).inserted == 3
    assert len(times(pier)) == 1
    assert max(times(pier)) < later - timedelta(hours=1)


def test_a_file_with_such_a_column_is_refused(pier: Pier) -> None:
    with pytest.raises(InvalidSpec, match="the file has a column lading_line itself") as caught:
        pier.plan("id,Lading_Line\n1,7\n", provenance=True)
    assert caught.value.field == "provenance"
    pier.imported("id,lading_line\n1,7\n")
    with pytest.raises(InvalidSpec):
        pier.plan("id,lading_line\n1,7\n", provenance=True)


def test_a_column_of_another_type_is_refused(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER, lading_line DATE)")
    with pytest.raises(
        InvalidSpec, match=r"(?i)column lading_line is of type date; it must be integer or text"
    ) as caught:
        pier.plan("id\n1\n", provenance=True)
    assert caught.value.field == "provenance"


def test_columns_that_users_have_made_are_filled(pier: Pier) -> None:
    pier.database.sql(
        "CREATE TABLE t (lading_time TIMESTAMP NOT NULL, lading_line VARCHAR(9) NOT NULL, id INTEGER,"
        " lading_job VARCHAR(60) NOT NULL)"
    )
    assert pier.imported("id\n1\n", provenance=True).inserted == 1
    assert pier.rows(PLACES) == [(1, JOB, "in1.csv", "2")]


def test_a_file_without_a_header_fills_the_other_columns(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (lading_job VARCHAR(60), id INTEGER, name VARCHAR(9))")
    assert pier.imported("1,2\n3,4\n", provenance=True).inserted == 2
    assert pier.rows("id, name, lading_job") == [(1, "2", JOB), (3, "4", JOB)]


def test_a_format_without_lines_has_none(pier: Pier) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"id": [1, 2]}), file)
    (pier.directory / "in.parquet").write_bytes(file.getvalue())
    spec = replace(pier.spec(provenance=True), files=(File(path="in.parquet"),))
    assert pier.run(pier.transfer.plan(spec)).inserted == 2  # type: ignore[arg-type]
    assert pier.rows(PLACES) == [(1, JOB, "in.parquet", None), (2, JOB, "in.parquet", None)]


async def test_a_value_that_the_table_refuses_does_not_confuse_the_places(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER UNIQUE, name VARCHAR(9) NOT NULL)")
    assert pier.imported("id,name\n1,a\n1,b\n2,c\n3,\n", provenance=True).rejected == 2
    assert pier.rows(PLACES) == [(1, JOB, "in1.csv", 2), (2, JOB, "in1.csv", 4)]
    assert [line for line, _, _ in await pier.rejects()] == [3, 5]


def test_a_preview_shows_the_columns(pier: Pier) -> None:
    found = pier.transfer.preview(pier.spec("id\n1\n", provenance=True), 5)
    assert [column.target for column in found.plan.columns] == ["id", *NAMES]
    (record,) = found.records
    assert (record.values[0], record.values[3]) == ("1", "2")
