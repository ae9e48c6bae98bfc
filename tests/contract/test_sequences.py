"""Numbers that a database gives to rows, before and after an import of rows with numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.data.databases.registry import providers
from tests.contract.databases import DuckdbDatabase, PostgresDatabase, SqliteDatabase, database_of
from tests.contract.imports import Pier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ladingd.data.storage.work_dir import WorkDir

KINDS = {"SQLite": SqliteDatabase, "PostgreSQL": PostgresDatabase, "DuckDB": DuckdbDatabase}
WAYS = [(provider, way) for provider in providers() for way in KINDS[provider.name].identities]


@pytest.fixture(params=WAYS, ids=lambda pair: f"{pair[0].name}, {pair[1]}")
def pier(request: pytest.FixtureRequest, tmp_path: Path, work_dir: WorkDir) -> Iterator[Pier]:
    provider, way = request.param
    with database_of(provider, request) as database:
        database.sql(*database.identities[way])
        yield Pier.of(database, tmp_path / "files", work_dir)


def following(pier: Pier) -> int:
    """The number of a row that comes without one."""
    ((number,),) = pier.database.sql("INSERT INTO t (name) VALUES ('next') RETURNING id")
    return int(number)


def test_numbers_continue_behind_the_imported_ones(pier: Pier) -> None:
    assert following(pier) == 1
    assert pier.imported("id,name\n7,a\n3,b\n5,bad\n").inserted == 2
    assert [following(pier), following(pier)] == [8, 9]


def test_the_numbers_of_all_files_and_chunks_count(pier: Pier) -> None:
    assert pier.imported("id,name\n7,a\n3,b\n", "id,name\n2,c\n20,d\n4,e\n", chunk_bytes=1).inserted == 5
    assert following(pier) == 21


def test_numbers_of_rejected_records_do_not_count(pier: Pier) -> None:
    assert pier.imported("id,name\n7,a\n500,bad\n").rejected == 1
    assert following(pier) == 8


def test_records_without_a_number_get_one(pier: Pier) -> None:
    assert pier.imported("id,name\n,a\n9,b\n,c\n").inserted == 3
    rows = dict(pier.rows("name, id"))
    assert rows["b"] == 9
    assert len(set(rows.values())) == 3
    assert following(pier) > max(rows.values())


def test_numbers_that_the_file_lacks_are_given(pier: Pier) -> None:
    assert pier.imported("name\na\nb\n").inserted == 2
    assert pier.rows("id, name") == [(1, "a"), (2, "b")]
    assert following(pier) == 3
